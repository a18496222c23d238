"""From a bound question and its scans to one SELECT. Pure; names come from declarations, and every value is a parameter.

A statement is a chain of named parts: `src` (what the scans bring, a row for each record or stored sum), `top` (the groups that are kept),
`member` (each row with the group it counts in), `grouped`, `filled`, `named` (with labels) and `placed` (in order).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from app.cube.dimensions import Grain
from app.cube.metrics import REQUEST_COUNT
from app.cube.usage_dimensions import RECORD_NUMBERS
from app.cube.usage_metrics import SCAN_COLUMNS, UsageMetric
from app.domain.time_range import TimeRange
from app.query.bind import Bound
from app.query.cover import Scan
from app.query.filters import All, Bounded, Condition, Match, Named, Not, Some
from app.query.labels import Labelled
from app.query.limits import fillable_groups
from app.query.order import SortKey, follows, label, located, sort_keys
from app.query.question import Grouping, Top


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with psycopg's named placeholders, and their values."""

    sql: str
    values: dict[str, Any]


@dataclass(slots=True)
class _Values:
    """The values of a statement, each under a name of its own."""

    given: dict[str, Any] = field(default_factory=dict)

    def add(self, value: Any, type_: str) -> str:
        """Return the placeholder of a value."""
        name = f"v{len(self.given)}"
        self.given[name] = value
        return f"%({name})s::{type_}"


def select_totals(bound: Bound, scans: Sequence[Scan]) -> Statement:
    """Return the SELECT of one row: the question's metrics over everything in range and scope, whatever the grouping."""
    values = _Values()
    metrics = bound.question.metrics
    source = _source(bound, scans, (), None, _columns(metrics), values)
    return Statement(f"/* app:usage_totals */ WITH src AS ({source}) SELECT {_numbers(metrics)} FROM src", values.given)


@dataclass(frozen=True, slots=True)
class Compared:
    """The question of an earlier range, grouped as that of the rows, and what is to be read for it."""

    bound: Bound
    scans: Sequence[Scan]


def select_rows(bound: Bound, grouping: Grouping, scans: Sequence[Scan], compared: Compared | None = None) -> Statement:
    """Return the SELECT of one page.

    Columns: how many rows there are on all pages; of how many groups gaps are filled (null: not; no more are filled than may be); the row's
    place on all pages from 1 on (null: the page is empty), bucket from 1 on (0: not by time), whether it is the group of all others, for
    each dimension its label and, where names are a tenant's, the tenant's surrogate (else null), each metric of the question, with
    `compared` each metric of the same group there, and what the row is ordered by.
    """
    chain = _Chain.of(bound, grouping, scans, compared)
    metrics = bound.question.metrics
    columns = ["page.place", "page.bucket", "page.is_other", *(f"c{place}, o{place}" for place in range(len(grouping.by)))]
    columns += [f"page.n{place}" for place in range(len(metrics))]
    joined = ""
    if compared is not None:
        columns += [_of_nothing(metric, f"earlier.n{place}") + f" AS p{place}" for place, metric in enumerate(metrics)]
        keys = ", ".join(chain.keys)
        groups = f"SELECT {keys}{_numbered(metrics)} FROM earlier_member WHERE NOT is_hidden GROUP BY {keys}"
        joined = f" LEFT JOIN ({groups}) earlier ON {chain.matched('earlier', 'page')}"
    columns += [f"page.{key.column}" for key in chain.order]
    counts = f"SELECT (SELECT count(*) FROM placed) AS row_count, {chain.groups} AS group_count"
    return Statement(
        f"/* app:usage_rows */ {chain.sql} SELECT counted.*, {', '.join(columns)}"
        f" FROM ({counts}) counted LEFT JOIN ({chain.page}) page ON true{joined} ORDER BY place",
        chain.values.given,
    )


def select_rest(bound: Bound, grouping: Grouping, scans: Sequence[Scan]) -> Statement:
    """Return the SELECT of one row: the question's metrics over everything that is in no row of the page."""
    return _rest("usage_rest", "member", bound, _Chain.of(bound, grouping, scans))


def select_previous_rest(bound: Bound, grouping: Grouping, scans: Sequence[Scan], compared: Compared) -> Statement:
    """Return the SELECT of one row: the question's metrics over everything of the compared range that belongs to no row of the page."""
    return _rest("usage_previous_rest", "earlier_member", bound, _Chain.of(bound, grouping, scans, compared))


def _rest(name: str, members: str, bound: Bound, chain: _Chain) -> Statement:
    return Statement(
        f"/* app:{name} */ {chain.sql}, page AS ({chain.page})"
        f" SELECT {_numbers(bound.question.metrics)} FROM {members} LEFT JOIN page ON {chain.matched('page', members)}"
        " WHERE page.bucket IS NULL",
        chain.values.given,
    )


@dataclass(frozen=True, slots=True)
class _Chain:
    """The parts up to `placed`, and the SELECT of the page's rows; with `compared` also `earlier_member`."""

    sql: str
    page: str
    labelled: list[Labelled]
    order: list[SortKey]
    is_filled: bool
    values: _Values

    @classmethod
    def of(cls, bound: Bound, grouping: Grouping, scans: Sequence[Scan], compared: Compared | None = None) -> _Chain:
        values = _Values()
        labelled = label(bound, grouping)
        metrics = [*bound.question.metrics, *grouping.metrics()]
        columns = _columns([*bound.question.metrics, *grouping.read_metrics()])
        parts = {"src": _source(bound, scans, labelled, grouping, columns, values)}
        if grouping.top is not None:
            parts["top"] = _top(grouping.top, labelled, values)
        parts["member"] = _members(grouping.top, labelled, columns, "src")
        parts["grouped"] = _groups(metrics, labelled)
        if grouping.fill and grouping.buckets is not None:
            group = ", ".join(["is_other", *(key for one in labelled for key in one.keys)])
            parts["every_group"] = f"SELECT DISTINCT {group} FROM grouped" if labelled else "SELECT false AS is_other"
            parts["filled"] = _filled(metrics, labelled, grouping, values)
        parts["named"] = _named(labelled, "filled" if "filled" in parts else "grouped")
        keys = sort_keys(grouping, labelled, metrics)
        parts["placed"] = _placed(grouping, keys, metrics, values)
        if compared is not None:
            # The groups of the range's top are those of the compared range too.
            columns = _columns(compared.bound.question.metrics)
            parts["earlier"] = _source(compared.bound, compared.scans, labelled, compared.bound.grouping, columns, values)
            parts["earlier_member"] = _members(grouping.top, labelled, columns, "earlier")
        sql = "WITH " + ", ".join(f"{name} AS ({part})" for name, part in parts.items())
        after = "true" if grouping.after is None else follows(keys, located(grouping, keys), values.add)
        page = f"SELECT * FROM placed WHERE {after} ORDER BY place LIMIT {values.add(grouping.first, 'bigint')}"
        return cls(sql, page, labelled, keys, "filled" in parts, values)

    @property
    def groups(self) -> str:
        """SQL giving of how many groups the gaps are filled; null if they are not."""
        return "(SELECT count(*) FROM every_group)" if self.is_filled else "NULL::bigint"

    @property
    def keys(self) -> list[str]:
        """Names of the columns that tell groups apart."""
        return ["bucket", "is_other", *(key for labelled in self.labelled for key in labelled.keys)]

    def matched(self, left: str, right: str) -> str:
        """Return the condition that a group is the same in two relations."""
        return " AND ".join(f"{left}.{key} = {right}.{key}" for key in self.keys)


def _numbers(metrics: Sequence[UsageMetric]) -> str:
    return ", ".join(f"{metric.expression} AS n{place}" for place, metric in enumerate(metrics))


def _columns(metrics: Sequence[UsageMetric]) -> list[str]:
    return list(dict.fromkeys([REQUEST_COUNT.name, *(name for metric in metrics for name in metric.columns)]))


def _source(
    bound: Bound,
    scans: Sequence[Scan],
    labelled: Sequence[Labelled],
    grouping: Grouping | None,
    columns: Sequence[str],
    values: _Values,
) -> str:
    starts = None
    if grouping is not None and grouping.buckets is not None:
        starts = values.add([bucket.start for bucket in grouping.buckets], "timestamptz[]")
    tenant = None if bound.tenant_key is None else values.add(bound.tenant_key, "integer")
    where = _condition(bound.question.where, values)
    if bound.only_public:
        where += " AND s.model_id IN (SELECT id FROM models WHERE is_public)"
    selects = [_scan(scan, columns, labelled, starts, tenant, where, values) for scan in scans]
    if selects:
        return " UNION ALL ".join(selects)
    # An empty range: the same columns, of no row.
    empty = Scan(None, (TimeRange(bound.question.range.start, bound.question.range.start),))
    return _scan(empty, columns, labelled, starts, tenant, where, values)


def _scan(
    scan: Scan, columns: Sequence[str], labelled: Sequence[Labelled], starts: str | None, tenant: str | None, where: str, values: _Values
) -> str:
    rollup = scan.rollup
    at = "s.occurred_at" if rollup is None else f"s.{rollup.grain.value}"
    is_day = rollup is not None and rollup.grain is not Grain.HOUR
    instant = f"({at}::timestamp AT TIME ZONE 'UTC')" if is_day else at
    bucket = "0" if starts is None else f"width_bucket({instant}, {starts})"
    selected = [f"{bucket} AS bucket"]
    for dimension in labelled:
        selected += [f"{expression} AS {key}" for expression, key in zip(dimension.expressions, dimension.keys, strict=True)]
    selected += [f"{SCAN_COLUMNS[name].of_record if rollup is None else f's.{name}'} AS {name}" for name in columns]
    joined = " JOIN models m ON m.id = s.model_id" if any(one.dimension.is_labelled_by_row for one in labelled) else ""

    def bound_of(value: datetime) -> str:
        # A day that is closed in part is stored under its date.
        return values.add((value - timedelta.resolution).date() + timedelta(days=1), "date") if is_day else values.add(value, "timestamptz")

    spans = " OR ".join(f"({at} >= {bound_of(span.start)} AND {at} < {bound_of(span.end)})" for span in scan.spans)
    if rollup is not None and rollup.grain is Grain.EVER:
        spans = "true"
    conditions = [f"({spans})", *([f"s.tenant_id = {tenant}"] if tenant else []), where]
    return f"SELECT {', '.join(selected)} FROM {scan.table} s{joined} WHERE {' AND '.join(conditions)}"


def _condition(condition: Condition, values: _Values) -> str:
    match condition:
        case All(()):
            return "true"
        case Some(()):
            return "false"
        case All(conditions):
            return f"({' AND '.join(_condition(part, values) for part in conditions)})"
        case Some(conditions):
            return f"({' OR '.join(_condition(part, values) for part in conditions)})"
        case Not(inner):
            return f"NOT {_condition(inner, values)}"
        case Bounded(number, bound, value):
            # Two values, never three: a record without the number is outside, and so inside of a negation.
            return f"coalesce(({RECORD_NUMBERS[number]}) {bound.value} {values.add(value, 'numeric')}, false)"
        case Named():
            return _matches(condition, values)


def _matches(named: Named, values: _Values) -> str:
    stored = named.dimension.stored
    if stored is None or stored.table is None:
        key = f"s.{stored.key}" if stored is not None else f"({named.dimension.of_record})"
        return f"({key} = ANY({values.add(list(named.values), 'integer[]')}))"
    if named.match is Match.ABSENT:
        return f"(s.{stored.key} = 0)"
    match named.match:
        case Match.IN:
            found = f"{stored.label} = ANY({values.add(list(named.values), 'text[]')})"
        case Match.STARTS_WITH:
            found = f"starts_with({stored.label}, {values.add(named.values[0], 'text')})"
        case _:
            found = f"strpos({stored.label}, {values.add(named.values[0], 'text')}) > 0"
    if stored.in_tenant:
        return f"((s.tenant_id, s.{stored.key}) IN (SELECT tenant_id, id FROM {stored.table} WHERE {found}))"
    return f"(s.{stored.key} IN (SELECT id FROM {stored.table} WHERE {found}))"


def _top(top: Top, labelled: Sequence[Labelled], values: _Values) -> str:
    keys = [key for one in labelled for key in one.keys]
    buckets = ["bucket"] if top.per_bucket else []
    sort = ", ".join(["g.n DESC NULLS LAST", *(f"{key} NULLS LAST" for one in labelled for key, _ in one.sort_keys)])
    partition = "PARTITION BY g.bucket " if top.per_bucket else ""
    groups = ", ".join([*buckets, *keys])
    grouped = f"SELECT {groups}, {top.metric.expression} AS n FROM src GROUP BY {groups}"
    placed = (
        f"SELECT g.*, row_number() OVER ({partition}ORDER BY {sort}) AS place FROM ({grouped}) g{''.join(one.joins for one in labelled)}"
    )
    return f"SELECT {groups} FROM ({placed}) p WHERE place <= {values.add(top.count, 'integer')}"


def _numbered(metrics: Sequence[UsageMetric]) -> str:
    return "".join(f", {metric.expression} AS n{place}" for place, metric in enumerate(metrics))


def _of_nothing(metric: UsageMetric, number: str) -> str:
    """Return SQL giving a metric of a group that may have no request: 0 if it is a count or a sum."""
    return f"coalesce({number}, 0)" if metric.is_zero_of_nothing else number


def _members(top: Top | None, labelled: Sequence[Labelled], columns: Sequence[str], source: str) -> str:
    if top is None:
        return f"SELECT {source}.*, false AS is_other, false AS is_hidden FROM {source}"
    keys = [key for one in labelled for key in one.keys]
    first = f"top.{keys[0]} IS NULL"
    matched = " AND ".join(f"top.{key} = {source}.{key}" for key in (["bucket", *keys] if top.per_bucket else keys))
    others = [other for one in labelled for other in one.other]
    replaced = ", ".join(
        f"CASE WHEN {first} THEN {other} ELSE {source}.{key} END AS {key}" for key, other in zip(keys, others, strict=True)
    )
    numbers = ", ".join(f"{source}.{name}" for name in ["bucket", *columns])
    hidden = "false" if top.with_other else first
    return f"SELECT {numbers}, {replaced}, {first} AS is_other, {hidden} AS is_hidden FROM {source} LEFT JOIN top ON {matched}"


def _groups(metrics: Sequence[UsageMetric], labelled: Sequence[Labelled]) -> str:
    keys = ", ".join(["bucket", "is_other", *(key for one in labelled for key in one.keys)])
    return f"SELECT {keys}{_numbered(metrics)} FROM member WHERE NOT is_hidden GROUP BY {keys} HAVING sum({REQUEST_COUNT.name}) > 0"


def _filled(metrics: Sequence[UsageMetric], labelled: Sequence[Labelled], grouping: Grouping, values: _Values) -> str:
    keys = ["is_other", *(key for one in labelled for key in one.keys)]
    numbers = "".join(f", {_of_nothing(metric, f'grouped.n{place}')} AS n{place}" for place, metric in enumerate(metrics))
    matched = " AND ".join(["grouped.bucket = every.bucket", *(f"grouped.{key} = groups.{key}" for key in keys)])
    groups = f"SELECT * FROM every_group LIMIT {values.add(fillable_groups(grouping), 'bigint')}"
    last = values.add(len(grouping.buckets or ()), "integer")
    return (
        f"SELECT every.bucket, {', '.join(f'groups.{key}' for key in keys)}{numbers} FROM ({groups}) groups"
        f" CROSS JOIN generate_series(1, {last}) AS every (bucket) LEFT JOIN grouped ON {matched}"
    )


def _named(labelled: Sequence[Labelled], source: str) -> str:
    labels = ""
    for one in labelled:
        tenant = f"nullif(g.{one.keys[0]}, -1)" if len(one.keys) > 1 else "NULL::integer"
        labels += f", {one.label} AS c{one.place}, {tenant} AS o{one.place}"
        labels += "".join(f", {key} AS s{one.place}_{number}" for number, (key, _) in enumerate(one.sort_keys))
    return f"SELECT g.*{labels} FROM {source} g{''.join(one.joins for one in labelled)}"


def _placed(grouping: Grouping, keys: Sequence[SortKey], metrics: Sequence[UsageMetric], values: _Values) -> str:
    having = "".join(
        f" AND n{metrics.index(condition.metric)} {condition.operator} {values.add(condition.value, 'numeric')}"
        for condition in grouping.having
    )
    order = ", ".join(key.sorting for key in keys)
    return f"SELECT *, row_number() OVER ({f'ORDER BY {order}' if order else ''}) AS place FROM named WHERE true{having}"
