"""Any `usage` document, answered by plain Python over the records: arguments and selection are read from its text."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from graphql import FieldNode, OperationDefinitionNode, parse, value_from_ast_untyped
from strawberry.utils.str_converters import to_camel_case

from app.cube.usage_dimensions import USAGE_DIMENSIONS, Kind, UsageDimension
from app.cube.usage_metrics import METRICS_BY_NAME, USAGE_METRICS
from app.domain.calendar import Bucket, Interval, parse_zone, split_buckets
from app.domain.comparison import ComparisonPeriod, compared_range
from app.domain.time_range import TimeRange
from app.domain.usage import UsageRecord
from app.query.filters import All, Match, Named
from app.query.question import Grouping, Having, Order, Question, Top
from app.resolvers.usage_range import CalendarPeriod, LastRange, TimeRangeInput, TimeUnit, resolve_ranges
from tests import naive_usage

OPERATORS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "eq": "="}
DIMENSIONS = {dimension.name.upper(): dimension for dimension in USAGE_DIMENSIONS}
METRICS = {".".join(map(to_camel_case, metric.path)): metric.name for metric in USAGE_METRICS}


def instant(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"


def part(number: Any, whole: Any) -> float | None:
    if number is None or not whole:
        return None
    return float((Decimal(str(number)) / Decimal(str(whole))).quantize(Decimal("0.0001"), ROUND_HALF_UP))


def arguments_of(field: FieldNode) -> dict[str, Any]:
    return {argument.name.value: value_from_ast_untyped(argument.value) for argument in field.arguments or ()}


def below(field: FieldNode) -> list[FieldNode]:
    assert field.selection_set is not None
    return [node for node in field.selection_set.selections if isinstance(node, FieldNode)]


def key_of(field: FieldNode) -> str:
    return field.alias.value if field.alias else field.name.value


@dataclass(frozen=True)
class Beside:
    """What a group is seen beside: the records of the totals, and its own of the compared range."""

    totals: Sequence[UsageRecord]
    previous: Sequence[UsageRecord] | None = None


def numbers(field: FieldNode, records: Sequence[UsageRecord], beside: Beside, path: str = "") -> dict[str, Any]:
    """A `UsageMetrics` object, or one inside of it."""
    found: dict[str, Any] = {}
    for node in below(field):
        name = f"{path}{node.name.value}"
        value: Any
        if node.name.value in ("share", "change"):
            metric = METRICS_BY_NAME[arguments_of(node)["of"].lower()].name
            own = naive_usage.number(metric, records)
            if node.name.value == "share":
                value = part(own, naive_usage.number(metric, beside.totals))
            else:
                previous = None if beside.previous is None else naive_usage.number(metric, beside.previous)
                value = None if own is None or previous is None else part(Decimal(str(own)) - Decimal(str(previous)), previous)
        elif node.selection_set is not None:
            value = numbers(node, records, beside, f"{name}.")
        elif name == "cost.coverage.isComplete":
            value = naive_usage.number("unpriced_requests", records) == 0
        else:
            value = naive_usage.number(METRICS[name], records)
            if name == "cost.usd":
                value = float(value.quantize(Decimal("0.000001"), ROUND_HALF_UP))
            value = instant(value) if isinstance(value, datetime) else value
        found[key_of(node)] = value
    return found


def text_of(dimension: UsageDimension, value: Any) -> str:
    label = value[0] if isinstance(value, tuple) else value
    if label is None:
        return "unknown"
    return dimension.choices[label] if dimension.kind is Kind.CHOICE else str(label)


@dataclass(frozen=True)
class NaiveReport:
    """One `usage` field of a document, over all records, for a caller that sees all tenants or one."""

    field: FieldNode
    records: Sequence[UsageRecord]
    tenant: str | None
    now: datetime

    @property
    def arguments(self) -> dict[str, Any]:
        return {"timeZone": "UTC", "where": {}, "compareTo": None, **arguments_of(self.field)}

    def windows(self) -> tuple[TimeRange, TimeRange | None, TimeRange | None]:
        """The range, and the compared one, cut and whole."""
        given = self.arguments["range"]
        if "last" in given:
            last = LastRange(
                count=given["last"]["count"], unit=TimeUnit[given["last"]["unit"]], complete=given["last"].get("complete", False)
            )
            range_ = TimeRangeInput(last=last)
        else:
            range_ = TimeRangeInput(period=CalendarPeriod[given["period"]])
        zone = parse_zone(self.arguments["timeZone"])
        window = resolve_ranges(range_, None, zone, self.now).range
        if self.arguments["compareTo"] is None:
            return window, None, None
        # These reports end with a whole period, which may lie ahead of what records can be of.
        month = given.get("period") == "THIS_MONTH"
        whole = TimeRange(window.start, datetime(2026, 7, 1, tzinfo=UTC)) if month else window
        earlier = compared_range(whole, ComparisonPeriod[self.arguments["compareTo"]["previous"]], zone)
        return window, earlier, earlier

    def about(self, window: TimeRange) -> list[UsageRecord]:
        conditions = tuple(
            Named(DIMENSIONS[name.upper()], Match.IN, (DIMENSIONS[name.upper()].choices.index(given["eq"].lower()),))
            for name, given in self.arguments["where"].items()
        )
        return naive_usage.asked_of(Question(window, (), All(conditions)), self.records, self.tenant)

    def answer(self) -> dict[str, Any]:
        window, earlier, _ = self.windows()
        own, previous = self.about(window), None if earlier is None else self.about(earlier)
        found: dict[str, Any] = {}
        for node in below(self.field):
            match node.name.value:
                case "range" | "previousRange":
                    shown = window if node.name.value == "range" else earlier
                    assert shown is not None
                    ends = {"start": instant(shown.start), "end": instant(shown.end)}
                    found[key_of(node)] = {name.name.value: ends[name.name.value] for name in below(node)}
                case "totals":
                    found[key_of(node)] = numbers(node, own, Beside(own, previous))
                case "previousTotals":
                    found[key_of(node)] = None if previous is None else numbers(node, previous, Beside(previous))
                case "rows":
                    found[key_of(node)] = self.rows(node, window, earlier, own, previous)
                case name:
                    raise AssertionError(f"no naive answer for {name}")
        return found

    def buckets(self, given: dict[str, Any], window: TimeRange) -> tuple[Bucket, ...] | None:
        zone = parse_zone(self.arguments["timeZone"])
        return tuple(split_buckets(window, Interval[given["interval"]], zone)) if "interval" in given else None

    def rows(
        self,
        field: FieldNode,
        window: TimeRange,
        earlier: TimeRange | None,
        own: list[UsageRecord],
        previous: list[UsageRecord] | None,
    ) -> dict[str, Any]:
        given = {"by": [], "first": 100, **arguments_of(field)}
        grouping = grouping_of(given, self.buckets(given, window))
        rows = naive_usage.Rows(Question(window, ()), grouping, own)
        before: dict[Any, list[UsageRecord]] | None = None
        if previous is not None and earlier is not None:
            before = rows.earlier(previous, self.buckets(given, earlier))
        found: dict[str, Any] = {}
        for node in below(field):
            match node.name.value:
                case "totalCount":
                    found[key_of(node)] = len(rows.ordered)
                case "nodes":
                    found[key_of(node)] = [
                        self.row(node, group, members, grouping, Beside(own, None if before is None else before[group]), previous or [])
                        for group, members in rows.page()
                    ]
                case "rest":
                    found[key_of(node)] = numbers(node, rows.rest(), Beside(own, None if before is None else before[None]))
                case "previousRest":
                    assert before is not None
                    found[key_of(node)] = numbers(node, before[None], Beside(previous or []))
                case name:
                    raise AssertionError(f"no naive answer for {name}")
        return found

    def row(
        self,
        field: FieldNode,
        group: naive_usage.Group,
        members: list[UsageRecord],
        grouping: Grouping,
        beside: Beside,
        previous_totals: Sequence[UsageRecord],
    ) -> dict[str, Any]:
        number, is_other, keys = group
        labels = dict(zip((dimension.name for dimension in grouping.by), keys, strict=True))
        found: dict[str, Any] = {}
        for node in below(field):
            match node.name.value:
                case "label":
                    texts = [text_of(dimension, key) for dimension, key in zip(grouping.by, keys, strict=True)]
                    found["label"] = "other" if is_other else " · ".join(texts)
                case "isOther":
                    found["isOther"] = is_other
                case "bucket":
                    assert grouping.buckets is not None
                    assert number is not None
                    found["bucket"] = self.bucket(node, grouping.buckets[number])
                case "metrics":
                    found[key_of(node)] = numbers(node, members, beside)
                case "previous":
                    found[key_of(node)] = numbers(node, beside.previous or [], Beside(previous_totals))
                case "statusCode":
                    found["statusCode"] = labels["status_code"]
                case "promptSize":
                    found["promptSize"] = text_of(DIMENSIONS["PROMPT_SIZE"], labels["prompt_size"]).upper()
                case "user":
                    found["user"] = self.user(node, labels["user"])
                case name:
                    raise AssertionError(f"no naive answer for {name}")
        return found

    def user(self, field: FieldNode, name: str | None) -> dict[str, Any] | None:
        """A user that no record gave a name, with its global id."""
        known = {"id": b64encode(f"User:{name}".encode()).decode(), "userId": name, "username": None}
        return None if name is None else {node.name.value: known[node.name.value] for node in below(field)}

    def bucket(self, field: FieldNode, bucket: Bucket) -> dict[str, Any]:
        window = self.windows()[0]
        known = {
            "label": bucket.label,
            "start": instant(bucket.start),
            "isComplete": window.start <= bucket.start and bucket.end <= min(window.end, self.now),
        }
        return {node.name.value: known[node.name.value] for node in below(field)}


def grouping_of(given: dict[str, Any], buckets: tuple[Bucket, ...] | None) -> Grouping:
    def order(one: dict[str, Any]) -> Order:
        descending = one.get("direction", "DESC") == "DESC"
        if "metric" in one:
            return Order(descending, METRICS_BY_NAME[one["metric"].lower()])
        return Order(descending, None, DIMENSIONS[one["dimension"]] if "dimension" in one else None)

    top = given.get("top")
    return Grouping(
        by=tuple(DIMENSIONS[name] for name in given["by"]),
        buckets=buckets,
        fill=given.get("fill", False),
        top=None if top is None else Top(top["count"], METRICS_BY_NAME[top.get("orderBy", "COST").lower()]),
        having=tuple(
            Having(METRICS_BY_NAME[one["metric"].lower()], operator, Decimal(one[name]))
            for one in given.get("having", [])
            for name, operator in OPERATORS.items()
            if name in one
        ),
        order=tuple(order(one) for one in given.get("orderBy", [])),
        first=given["first"],
    )


def naive_answer(text: str, records: Sequence[UsageRecord], tenant: str | None, now: datetime) -> dict[str, Any]:
    """What a document of one `usage` field must answer."""
    (operation,) = (node for node in parse(text).definitions if isinstance(node, OperationDefinitionNode))
    (field,) = (node for node in operation.selection_set.selections if isinstance(node, FieldNode))
    return NaiveReport(field, records, tenant, now).answer()
