"""What a documented answer is made of. GraphQL types, OpenAPI bodies and CSV columns derive from these declarations. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from app.cube.metrics import Metric
from app.domain.fields import Unit
from app.domain.time_range import DateWindow
from app.surfaces.readers import Readers

Row = tuple[Any, ...]


class Caching(Enum):
    """Who may be given an answer again, while neither the data nor the UTC date has changed."""

    NEVER = "never"
    PER_SCOPE = "per scope"
    """Every caller of the same role and tenant."""
    PUBLIC = "public"
    """Everybody; it changes with the stored snapshot of the network alone."""


class Scalar(Enum):
    """The form of a value in answers."""

    WHOLE = "whole"
    """A whole number of any size, 0 or more."""
    INTEGER = "integer"
    NUMBER = "number"
    TEXT = "text"
    DATE = "date"
    INSTANT = "instant"
    FLAG = "flag"


_SCALARS = {
    Unit.PERCENT: Scalar.NUMBER,
    Unit.COUNT: Scalar.WHOLE,
    Unit.TOKENS: Scalar.WHOLE,
    Unit.CREDITS: Scalar.WHOLE,
    Unit.USD: Scalar.NUMBER,
    Unit.MILLISECONDS: Scalar.NUMBER,
    Unit.RATE: Scalar.NUMBER,
    Unit.INSTANT: Scalar.INSTANT,
}


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A value of a row, named as REST and CSV name it.

    `metrics`: the sums that it is computed from, by `value` if there are several or they are not shown as they are. `label`: which of the
    row's labels it is, instead. `is_settled`: of a column that is neither, that it changes with the data and the UTC date alone, never
    with the clock; what does not say so is in no cached answer. `least`, `most`, `pattern`, `choices` and `examples` are for OpenAPI.
    """

    name: str
    description: str
    scalar: Scalar = Scalar.TEXT
    unit: Unit | None = None
    metrics: tuple[Metric, ...] = ()
    value: Callable[..., Any] | None = None
    label: int | None = None
    is_settled: bool = False
    is_nullable: bool = False
    least: float | None = None
    most: float | None = None
    pattern: str | None = None
    choices: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()

    @property
    def is_cacheable(self) -> bool:
        """Whether a cached answer may have it."""
        return self.is_settled or bool(self.metrics) or self.label is not None


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Rows of another section, or one of them, under a name. `most`: rows at most. `is_settled`: as of a column that is no sum.

    `asks`: the questions that it is made of, its own name if not given; columns beside parts are made of `totals`.

    The documented body has it as `documented_as` if given, and as an object by the column `keyed_by` if given, instead of a list.
    """

    name: str
    section: Section
    description: str
    is_list: bool = True
    most: int | None = None
    is_settled: bool = False
    asks: tuple[str, ...] = ()
    documented_as: str = ""
    keyed_by: str = ""

    @property
    def is_cacheable(self) -> bool:
        """Whether a cached answer may have it."""
        return self.is_settled


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """An object of an answer: its columns and parts, in their order. `name`: of its type in GraphQL and OpenAPI."""

    name: str
    description: str
    fields: tuple[Column | Part, ...]
    columns: tuple[Column, ...] = field(init=False)
    metrics: tuple[Metric, ...] = field(init=False)
    """What a question asks for the section: each metric once, in the order in which its columns need them."""

    def __post_init__(self) -> None:
        """Note what follows from the fields."""
        columns = tuple(column for column in self.fields if isinstance(column, Column))
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "metrics", tuple(dict.fromkeys(metric for column in columns for metric in column.metrics)))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)

    def cells(self, rows: Sequence[Row], asked: tuple[Metric, ...] | None = None, **given: Iterable[Any]) -> list[Row]:
        """Return rows of labels and metrics as rows of the columns.

        `asked`: the metrics that the rows have, if not just the section's. `given`: by name, the values of columns that are neither label
        nor metric, or that have other values.

        Column by column, so that a row more costs no call of a function that is written in Python, but for those of the columns.
        """
        if not rows:
            return []
        found = list(zip(*rows, strict=True))
        metrics = self.metrics if asked is None else asked
        places = {metric: place for place, metric in enumerate(metrics, len(found) - len(metrics))}

        def cells_of(column: Column) -> Iterable[Any]:
            if column.name in given:
                return given[column.name]
            if column.label is not None:
                sources = [found[column.label]]
            else:
                sources = [found[places[metric]] for metric in column.metrics]
            return sources[0] if column.value is None else map(column.value, *sources)

        return list(zip(*map(cells_of, self.columns), strict=True))

    def row(self, sums: Row, asked: tuple[Metric, ...] | None = None) -> dict[str, Any]:
        """Return the values of one row by the names of their columns. As `cells`."""
        (cells,) = self.cells([sums], asked)
        return dict(zip(self.names, cells, strict=True))

    def walk(self) -> Iterator[Section]:
        """Yield the section and those under it, each once."""
        seen: dict[Section, None] = {self: None}
        waiting: list[Section] = [self]
        while waiting:
            below = [part.section for part in waiting.pop().fields if isinstance(part, Part) and part.section not in seen]
            seen.update(dict.fromkeys(below))
            waiting += below
        yield from seen


def nothing_of(metrics: tuple[Metric, ...]) -> Row:
    """Return the sums of no request at all."""
    return tuple(Decimal(0) if metric.unit in (Unit.USD, Unit.MILLISECONDS) else 0 for metric in metrics)


def measured(name: str, metric: Metric, description: str = "") -> Column:
    """Return the column of a metric as it is, which describes it unless the surface has more to say."""
    return Column(name, description or metric.description, _SCALARS[metric.unit], metric.unit, (metric,), least=0)


def computed(name: str, description: str, unit: Unit, metrics: tuple[Metric, ...], value: Callable[..., Any], **more: Any) -> Column:
    """Return a column that `value` computes from metrics."""
    return Column(name, description, _SCALARS[unit], unit, metrics, value, **{"least": 0, **more})


def settled(name: str, description: str, scalar: Scalar = Scalar.TEXT, **more: Any) -> Column:
    """Return a column that is no sum and no label, and changes with the data and the UTC date alone."""
    return Column(name, description, scalar, is_settled=True, **more)


def labelled(name: str, label: int, description: str, scalar: Scalar = Scalar.TEXT, **more: Any) -> Column:
    """Return the column of one of the row's labels."""
    return Column(name, description, scalar, label=label, **more)


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """A documented question: the root of the GraphQL schema, and the URL of its stored document, empty if it has none.

    `window`: the rule by which it resolves the arguments `dates`, by their names in GraphQL; it takes them and the time of the request.
    `reads`: the rows that it may read, of its window if it has one, and `reads_more` those by its other arguments; 0: nothing that costs.
    `answers`: None if its type is declared elsewhere. `has_validator`: whether its URL answers with an ETag and to conditions; where
    `caching` is NEVER, the ETag is of the data alone.
    """

    root: str
    description: str
    readers: Readers | None
    reads: int | Callable[[DateWindow], int] = 0
    window: Callable[..., DateWindow] | None = None
    dates: tuple[str, ...] = ()
    reads_more: Callable[[Mapping[str, Any]], int] | None = None
    answers: Section | None = None
    caching: Caching = Caching.NEVER
    path: str = ""
    has_validator: bool = False

    @property
    def is_cacheable(self) -> bool:
        """Whether its answers may be cached."""
        return self.caching is not Caching.NEVER

    @property
    def cost(self) -> int | Callable[[Mapping[str, Any], datetime], int]:
        """The rows that it may read: as many for every question, or by the question."""
        return self.reads if isinstance(self.reads, int) and self.reads_more is None else self.rows

    def resolve_window(self, now: datetime, *given: Any) -> DateWindow:
        """Return the window that its arguments mean, in the order of `dates`. BadInputError names the one that is wrong."""
        assert self.window is not None
        return self.window(*given, now)

    def rows(self, arguments: Mapping[str, Any], now: datetime) -> int:
        """Return the rows that it may read, given its arguments by their names in GraphQL. BadInputError: it is refused before it reads."""
        more = 0 if self.reads_more is None else self.reads_more(arguments)
        if isinstance(self.reads, int):
            return self.reads + more
        return self.reads(self.resolve_window(now, *map(arguments.get, self.dates))) + more
