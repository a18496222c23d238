"""The kinds of field that a usage record may have, and the table of its fields as read off the record's class. Pure.

A kind holds what parsing, encoding, staging SQL, the GraphQL input, OpenAPI and the docs derive from a field; each of them is a `match`
over the kinds, which mypy holds complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Final, TypeVar, get_args, get_origin, get_type_hints

MAX_COUNT: Final = 2**53 - 1
"""Greatest token, credit or search count of one record: the greatest integer that JSON clients read exactly."""

EARLIEST: Final = datetime(2020, 1, 1, tzinfo=UTC)
AHEAD: Final = timedelta(days=1)
"""A record may be from `EARLIEST` on, and this far ahead of its arrival."""

SHORT_TEXT: Final = 128
LONG_TEXT: Final = 256


class Unit(Enum):
    """What one of it is; decides the GraphQL scalar, the CSV form and the rounding at output."""

    COUNT = "count"
    TOKENS = "tokens"
    USD = "USD"
    CREDITS = "credits"
    MILLISECONDS = "ms"
    TOKENS_PER_SECOND = "tokens/s"
    RATE = "0 to 1"
    PERCENT = "percent"
    INSTANT = "instant"


PLAUSIBLE: Final = {Unit.TOKENS: 10**12, Unit.CREDITS: 10**12, Unit.COUNT: 10**6, Unit.USD: 10**6, Unit.MILLISECONDS: 10**9}
"""The most that one request can mean, by unit. A record over it is quarantined."""


@dataclass(frozen=True, slots=True)
class Instant:
    """A point in time with its offset."""

    description: str
    sql_type: ClassVar[str] = "timestamptz"


@dataclass(frozen=True, slots=True)
class Text:
    """A text that is stored with the record as it is: an id of the request, a label."""

    description: str
    limit: int = SHORT_TEXT
    sql_type: ClassVar[str] = "text"


@dataclass(frozen=True, slots=True)
class Name:
    """A name that is registered: records hold the surrogate in `column`, 0 where they name none (null if `is_implied`).

    `is_id`: of the narrow alphabet of identifiers. `is_implied`: something else supplies a name that is not given.
    """

    description: str
    column: str
    limit: int = SHORT_TEXT
    is_id: bool = False
    is_implied: bool = False
    sql_type: ClassVar[str] = "integer"


@dataclass(frozen=True, slots=True)
class ModelName:
    """Half of what a model is registered by: the public id, or the permaslug. Records hold the surrogate of the pair."""

    description: str
    limit: ClassVar[int] = LONG_TEXT
    column: ClassVar[str] = "model_id"
    sql_type: ClassVar[str] = "integer"


@dataclass(frozen=True, slots=True)
class DisplayName:
    """A text to show for something that is registered: the newest one stays in the row of `table` that a record's surrogates name.

    `keys`: the columns of the surrogates and of the table's key, in pairs. `column` and `at`: the text there, and the instant of the record
    that gave it.
    """

    description: str
    table: str
    keys: tuple[tuple[str, str], ...]
    column: str
    at: str
    limit: int = LONG_TEXT
    sql_type: ClassVar[str] = "text"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words; records hold its position."""

    description: str
    words: tuple[str, ...]
    sql_type: ClassVar[str] = "smallint"


@dataclass(frozen=True, slots=True)
class Count:
    """A whole number from 0 on. `part_of`: the count that includes it."""

    description: str
    unit: Unit
    part_of: str | None = None
    sql_type: ClassVar[str] = "bigint"


@dataclass(frozen=True, slots=True)
class SmallNumber:
    """A whole number within bounds, both inclusive and of 16 bits."""

    description: str
    minimum: int
    maximum: int
    sql_type: ClassVar[str] = "smallint"


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    description: str
    sql_type: ClassVar[str] = "boolean"


@dataclass(frozen=True, slots=True)
class Amount:
    """An exact decimal number from 0 on; null where it is not known. `most`: the greatest that may be stored."""

    description: str
    unit: Unit
    most: int
    sql_type: ClassVar[str] = "numeric"


@dataclass(frozen=True, slots=True)
class Cost:
    """An exact amount of money, under `below`; what is not given is priced from the catalog."""

    description: str
    below: int
    unit: ClassVar[Unit] = Unit.USD
    sql_type: ClassVar[str] = "numeric"


Kind = Instant | Text | Name | ModelName | DisplayName | Choice | Count | SmallNumber | Flag | Amount | Cost
Summed = Count | Amount | Cost
"""The kinds that have a unit, of which a measure may be the sum."""

K = TypeVar("K", bound=Kind)


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the record. `default`: what it is if it is not given, None where nothing or another field says it.

    `is_required`: no default and nothing else supplies it. `is_optional`: a record may be without it, and then holds None.
    """

    name: str
    kind: Kind
    default: Any
    is_required: bool
    is_optional: bool

    @property
    def column(self) -> str | None:
        """The column of `usage_records` that holds it; both names of a model share one, a display name has none."""
        match self.kind:
            case Name(column=column) | ModelName(column=column):
                return column
            case DisplayName():
                return None
            case _:
                return self.name

    @property
    def is_nullable(self) -> bool:
        """Whether that column may be null. Names are 0, and costs are priced."""
        return self.is_optional and not isinstance(self.kind, Name | Cost)


def read_fields(record: type[Any]) -> tuple[Field, ...]:
    """Return the table of a NamedTuple's fields, each annotated `Annotated[type, kind]`. TypeError: one is not."""
    defaults: dict[str, Any] = record._field_defaults
    fields = []
    for name, hint in get_type_hints(record, include_extras=True).items():
        kinds = [extra for extra in get_args(hint)[1:] if isinstance(extra, Kind)] if get_origin(hint) is Annotated else []
        if len(kinds) != 1:
            raise TypeError(f"the field {name} has no kind")
        (kind,) = kinds
        type_ = get_args(hint)[0]
        is_optional = get_origin(type_) is UnionType and NoneType in get_args(type_)
        is_supplied = isinstance(kind, ModelName) or (isinstance(kind, Name) and kind.is_implied)
        fields.append(Field(name, kind, defaults.get(name), name not in defaults and not is_supplied, is_optional))
    return tuple(fields)


def kinds_of(fields: tuple[Field, ...], kind: type[K]) -> dict[str, K]:
    """Return the fields of one kind, by name, in the order of the record."""
    return {field.name: field.kind for field in fields if isinstance(field.kind, kind)}
