"""The column map: a small YAML file that says in which columns of any table the usage record's fields are. Pure.

What it says wrong is told with the key's path and the rule; what a row says wrong becomes a contradiction of its candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from decimal import Decimal
from typing import Any, Final, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from yaml.nodes import MappingNode, Node

from app.domain.errors import BadInputError
from app.domain.fields import Amount, Cost, Count, Flag, SmallNumber, kinds_of
from app.domain.usage import FIELDS, Reason, UsageRecord
from app.ingest.fields import BrokenRuleError, decimal_reader
from app.ingest.sources.candidates import Candidate
from app.ingest.sources.conventions import Part, TokenConvention, TokenCounts, read_tokens
from app.ingest.sources.instants import EXACT, UNITS, in_zone, instant_of_count

MAX_MAP_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 6
MAX_PATH: Final = 256

CACHE_WRITES: Final = "cache_write_tokens"
"""The one field of a map that no record has: tokens written to a prompt cache, which are part of the prompt's."""

_TOKEN_FIELDS: Final = {
    "prompt": "prompt_tokens",
    "completion": "completion_tokens",
    "cached": "cached_tokens",
    "cache_writes": CACHE_WRITES,
    "reasoning": "reasoning_tokens",
}
_FIELDS: Final = (*UsageRecord._fields, CACHE_WRITES)
_NUMBERS: Final = {CACHE_WRITES, *(field.name for field in FIELDS if isinstance(field.kind, Count | SmallNumber | Amount | Cost))}
_FLAGS: Final = kinds_of(FIELDS, Flag).keys()
_INSTANT: Final = "occurred_at"
_PARTS: Final = {part: _TOKEN_FIELDS[part] for part in ("cached", "cache_writes", "reasoning")}
_WORDS: Final = {part.value: part for part in Part}
_read_number = decimal_reader(10**30, "is no number", inclusive=False)


def _wrong(path: str, rule: str) -> BadInputError:
    """What is wrong with a map, by the path of the key."""
    return BadInputError(f"{path}: {rule}")


class _Loader(yaml.SafeLoader):
    """Plain YAML values only: no aliases, no key twice, no deep nesting."""

    depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        if self.check_event(yaml.AliasEvent):
            raise BadInputError("may not use aliases (*name)")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise BadInputError(f"may not be nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key.value, str) else None
            if name is None:
                raise BadInputError(f"line {key.start_mark.line + 1}: a key must be a plain word")
            if name in seen:
                raise BadInputError(f"line {key.start_mark.line + 1}: the key is there twice")
            seen.add(name)
        return super().construct_mapping(node, deep)


@dataclass(frozen=True, slots=True)
class FieldMap:
    """Where one field comes from: the column, by its name or a dotted path, or a value of its own; and what is done with it."""

    path: str | None = None
    value: object = None
    prefix: str = ""
    scale: Decimal | None = None
    unit: str = "iso"
    zone: tzinfo | None = None
    choices: Mapping[str, object] | None = None

    def convert(self, name: str, cell: object) -> object:
        """Return the field's value for what its column holds, None if that says nothing. Raises BrokenRuleError."""
        if cell is None or cell == "":
            return None
        if self.choices is not None:
            return self._chosen(cell)
        if name == _INSTANT:
            cell = cell if self.unit == "iso" else instant_of_count(cell, self.unit)
            return cell if self.zone is None else in_zone(cell, self.zone)
        if name in _NUMBERS:
            return cell if self.scale is None else _scaled(cell, self.scale)
        if name not in _FLAGS and isinstance(cell, int) and not isinstance(cell, bool):
            cell = str(cell) if abs(cell) < 2**64 else cell
        return f"{self.prefix}{cell}" if self.prefix and isinstance(cell, str) else cell

    def _chosen(self, cell: object) -> object:
        word = _word(cell)
        if word is None or self.choices is None or word not in self.choices:
            raise BrokenRuleError(f"is not one of the values that the map of {self.path} lists")
        return self.choices[word]


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """A map as it was read: which column holds which field, and how the tokens are counted. `total`: the path of the source's own sum."""

    fields: Mapping[str, FieldMap]
    convention: TokenConvention
    total: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of all columns that the map names."""
        named = [field.path for field in self.fields.values() if field.path is not None]
        return tuple(dict.fromkeys(named if self.total is None else [*named, self.total]))

    @property
    def columns(self) -> frozenset[str]:
        """The names that a table's columns may have to be read: each path, and the first part of each."""
        return frozenset(self.paths) | {path.partition(".")[0] for path in self.paths}

    @property
    def names_tenant(self) -> bool:
        """Whether the rows say whose requests they are."""
        return "tenant_id" in self.fields

    def candidate(self, row: Mapping[str, object]) -> Candidate:
        """Return what a row says."""
        values: dict[str, object] = {}
        contradictions: list[Reason] = []
        for name, field in self.fields.items():
            values[name] = field.value
            if field.path is None:
                continue
            try:
                values[name] = _found(field.path, row)
                values[name] = field.convert(name, values[name])
            except BrokenRuleError as error:
                contradictions.append(Reason(name, str(error)))
        total: object = None
        if self.total is not None:
            try:
                total = _found(self.total, row)
            except BrokenRuleError as error:
                contradictions.append(Reason("total_tokens", str(error)))
        counts = {count: values.pop(name, None) for count, name in _TOKEN_FIELDS.items()}
        reading = read_tokens(TokenCounts(**counts, total=None if total == "" else total), self.convention)
        return Candidate({**values, **reading.values}, (*contradictions, *reading.contradictions))


def _found(path: str, row: Mapping[str, object]) -> object:
    """The value at a path: the column of that name, else what lies within objects by the parts between dots; None if nothing does."""
    if path in row:
        return row[path]
    here: object = row
    walked = ""
    for part in path.split("."):
        if not isinstance(here, Mapping):
            raise BrokenRuleError(f"cannot be found: {walked} is no object")
        here = here.get(part)
        if here is None:
            return None
        walked = f"{walked}.{part}" if walked else part
    return here


def _word(cell: object) -> str | None:
    """How a map writes a cell: text as it is, true and false, whole numbers by their digits."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int):
        return str(cell) if abs(cell) < 2**64 else None
    return cell if isinstance(cell, str) else None


def _scaled(cell: object, scale: Decimal) -> object:
    """The product, exactly; what is no number from 0 on stays as it is, for the rules of the field to refuse."""
    try:
        return EXACT.multiply(_read_number(cell), scale)
    except BrokenRuleError:
        return cell


def parse_map(data: bytes) -> ColumnMap:
    """Read a map. BadInputError: the path of the key and the rule that it breaks."""
    document = _document(data)
    _only(document, {"fields", "tokens"}, "")
    named = document.get("fields")
    if not isinstance(named, dict):
        raise _wrong("fields", "must be an object of the record's fields")
    fields: dict[str, FieldMap] = {}
    for name, said in named.items():
        if name not in _FIELDS:
            raise _wrong(f"fields.{_shown(name)}", "is no field of the usage record (see docs/usage-record.md)")
        fields[name] = _field(name, said)
    for name in ("request_id", _INSTANT):
        if name not in fields or fields[name].path is None:
            raise _wrong(f"fields.{name}", "must name a column")
    convention, total = _tokens(document.get("tokens", {}), fields)
    return ColumnMap(fields, convention, total)


def _document(data: bytes) -> dict[str, object]:
    if len(data) > MAX_MAP_BYTES:
        raise BadInputError(f"may not be longer than {MAX_MAP_BYTES} bytes")
    try:
        # The loader is a SafeLoader, and narrower.
        document = yaml.load(data.decode(), Loader=_Loader)  # noqa: S506
    except UnicodeDecodeError:
        raise BadInputError("is not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f" at line {error.problem_mark.line + 1}"
        raise BadInputError(f"is malformed YAML{line}: {_shown(error.problem or error.context)}") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError):
        # A date such as 2026-02-30 raises ValueError, and a character that YAML does not have is a ReaderError.
        raise BadInputError("is malformed YAML") from None
    if not isinstance(document, dict):
        raise BadInputError('must be an object with the key "fields"')
    return cast("dict[str, object]", document)


def _shown(key: object) -> str:
    text = str(key)[:80]
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _only(said: Mapping[Any, object], allowed: set[str], path: str) -> None:
    for key in said:
        if key not in allowed:
            raise _wrong(f"{path}{_shown(key)}", f"is not known here; known: {', '.join(sorted(allowed))}")


def _field(name: str, said: object) -> FieldMap:
    path = f"fields.{name}"
    if isinstance(said, str):
        said = {"column": said}
    if not isinstance(said, dict):
        raise _wrong(path, "must be a column's name, or an object with column or value")
    if ("column" in said) == ("value" in said):
        raise _wrong(path, "must have either column or value")
    if "value" in said:
        _only(said, {"value"}, f"{path}.")
        return FieldMap(value=_constant(said["value"], f"{path}.value"))
    readers = _options_of(name)
    _only(said, {"column", *readers}, f"{path}.")
    if "map" in said and len(said) > 2:
        raise _wrong(f"{path}.map", "stands alone beside column")
    options: dict[str, Any] = {}
    for key, (option, read) in readers.items():
        if key in said:
            options[option] = read(said[key], f"{path}.{key}")
    return FieldMap(path=_column(said["column"], f"{path}.column"), **options)


def _options_of(name: str) -> dict[str, tuple[str, Callable[[object, str], Any]]]:
    """What a field's object may say beside the column: by key, the part of FieldMap that it sets and how it is read."""
    options: dict[str, tuple[str, Callable[[object, str], Any]]] = {"map": ("choices", _choices)}
    if name == _INSTANT:
        return {"unit": ("unit", _unit), "timezone": ("zone", _zone)}
    if name in _NUMBERS:
        options["scale"] = ("scale", _scale)
    elif name not in _FLAGS:
        options["prefix"] = ("prefix", _text)
    return options


def _column(said: object, path: str) -> str:
    if not isinstance(said, str) or not 0 < len(said) <= MAX_PATH:
        raise _wrong(path, f"must be a column's name of 1 to {MAX_PATH} characters (quote words such as yes, no, on and numbers)")
    return said


def _constant(said: object, path: str) -> object:
    if isinstance(said, bool | str | int | float):
        return said
    raise _wrong(path, "must be text, a number, true or false (quote dates)")


def _text(said: object, path: str) -> str:
    if isinstance(said, str):
        return said
    raise _wrong(path, "must be text")


def _scale(said: object, path: str) -> Decimal:
    try:
        scale = _read_number(said)
    except BrokenRuleError:
        scale = Decimal(0)
    if not scale:
        raise _wrong(path, "must be a number over 0")
    return scale


def _unit(said: object, path: str) -> str:
    if isinstance(said, str) and (said in UNITS or said == "iso"):
        return said
    raise _wrong(path, f"must be one of {', '.join(UNITS)}, iso")


def _zone(said: object, path: str) -> tzinfo:
    name = _text(said, path)
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise _wrong(path, "must be a time zone that this machine knows, such as UTC or Europe/Berlin") from None


def _choices(said: object, path: str) -> dict[str, object]:
    if not isinstance(said, dict) or not said:
        raise _wrong(path, "must be an object: each value of the column, and what it stands for")
    choices: dict[str, object] = {}
    for key, value in said.items():
        word = _word(key)
        if word is None:
            raise _wrong(f"{path}.{_shown(key)}", "must be text, a whole number, true or false")
        if word in choices:
            raise _wrong(f"{path}.{_shown(word)}", "is there twice")
        choices[word] = None if value is None else _constant(value, f"{path}.{_shown(word)}")
    return choices


def _tokens(said: object, fields: Mapping[str, FieldMap]) -> tuple[TokenConvention, str | None]:
    if not isinstance(said, dict):
        raise _wrong("tokens", "must be an object")
    _only(said, {*_PARTS, "total"}, "tokens.")
    parts: dict[str, Part] = {}
    for part, name in _PARTS.items():
        word = said.get(part)
        if word is None and name in fields:
            # Guessed wrong, every sum would be wrong by it.
            raise _wrong(f"tokens.{part}", f"is required where fields.{name} is: {Part.INSIDE.value} or {Part.BESIDE.value}")
        if word is not None and (not isinstance(word, str) or word not in _WORDS):
            raise _wrong(f"tokens.{part}", f"must be {Part.INSIDE.value} or {Part.BESIDE.value}")
        parts[part] = Part.INSIDE if word is None else _WORDS[word]
    total = None if said.get("total") is None else _column(said["total"], "tokens.total")
    return TokenConvention(**parts), total
