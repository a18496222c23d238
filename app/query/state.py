"""What the database holds at one instant, as far as it decides where a question is answered from: what is closed, how many rows there are.

Records are counted exactly, by the sums that are kept of them; rows of rollups as the planner estimates them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import Any, Final

from app.cube.dimensions import Grain
from app.cube.rollups import SOURCES, Rollup
from app.domain.time_range import TimeRange, midnight

_DAY: Final = timedelta(days=1)
SELECT_CLOSING: Final = (
    "/* app:closing_state */ SELECT closed_until, partly_until, ARRAY(SELECT day FROM reopened_days ORDER BY day),"
    " (SELECT records_since FROM write_state) FROM closing_state"
)
"""The one row that `Closing` is made of."""

_OPEN: Final = "(day >= closed_until OR day = ANY(ARRAY(SELECT day FROM reopened_days)))"
_IN_RANGE: Final = "day >= %(start)s::date AND day < %(end)s::date"
_COUNTED_ALL: Final = (
    f"SELECT day, request_count AS records FROM usage_by_day, closing_state WHERE {_IN_RANGE} AND NOT {_OPEN} UNION ALL"
    f" SELECT day, sum(request_count) FROM usage_by_day_model, closing_state WHERE {_IN_RANGE} AND {_OPEN} GROUP BY day"
)
_COUNTED_OF_TENANT: Final = (
    "SELECT day, request_count AS records FROM usage_by_day_tenant, closing_state"
    f" WHERE tenant_id = %(tenant)s::integer AND {_IN_RANGE} AND NOT {_OPEN} UNION ALL"
    " SELECT day, sum(request_count) FROM usage_by_day_all, closing_state"
    f" WHERE tenant_id = %(tenant)s::integer AND {_IN_RANGE} AND {_OPEN} GROUP BY day"
)
_ROWS: Final = (
    "pg_relation_size(id) / current_setting('block_size')::numeric"
    " * CASE WHEN reltuples > 0 AND relpages > 0 THEN reltuples / relpages ELSE 50 END"
)
"""Rows of a table by its size now, as dense as when it was last analysed; as rollups usually are, if it never was."""
_TABLES: Final = ", ".join(f"'{source.name}'::regclass" for source in SOURCES)


def select_counts(window: TimeRange, tenant_key: int | None) -> tuple[str, dict[str, Any]]:
    """Return the SELECT, and its values, of the one row that `State.of` reads: what a range holds, of a tenant or of all."""
    end = (window.end - timedelta(microseconds=1)).date() + _DAY
    return (_SELECT_OF_ALL if tenant_key is None else _SELECT_OF_TENANT), {"start": window.start.date(), "end": end, "tenant": tenant_key}


def _select_counts(counted: str) -> str:
    return (
        f"/* app:counts */ SELECT partly_cube_rows,"
        " (SELECT coalesce(sum(request_count), 0) FROM usage_by_hour_model WHERE hour >= date_trunc('hour', partly_until, 'UTC')"
        " AND hour < (closed_until + 1)::timestamp AT TIME ZONE 'UTC')::bigint - partly_hour_records,"
        " (SELECT min(day) FROM usage_by_day_model), (SELECT max(day) FROM usage_by_day_model),"
        f" ARRAY(SELECT ({_ROWS})::bigint FROM unnest(ARRAY[{_TABLES}]) WITH ORDINALITY AS source (id, place)"
        " JOIN pg_class ON pg_class.oid = source.id ORDER BY place),"
        " counted.days, counted.records FROM closing_state, (SELECT array_agg(day) AS days, array_agg(records::bigint) AS records"
        f" FROM ({counted}) AS counted) AS counted"
    )


_SELECT_OF_ALL: Final = _select_counts(_COUNTED_ALL)
_SELECT_OF_TENANT: Final = _select_counts(_COUNTED_OF_TENANT)


_GRAINS: Final = (Grain.HOUR, Grain.DAY, Grain.MONTH, Grain.EVER)


def _is_as_fine(other: Rollup, source: Rollup) -> bool:
    return set(source.dimensions) <= set(other.dimensions) and _GRAINS.index(other.grain) <= _GRAINS.index(source.grain)


_AS_FINE: Final = {source.name: [other.name for other in SOURCES if _is_as_fine(other, source)] for source in SOURCES}
"""By table: itself and those that tell all that it tells, and so have as many rows at least."""


@dataclass(frozen=True, slots=True)
class Closing:
    """What is closed, and from when on records are kept (None: all are): by this, cover is right or not."""

    closed_until: date
    partly_until: datetime
    reopened: frozenset[date] = frozenset()
    records_since: datetime | None = None

    @classmethod
    def of(cls, row: Sequence[Any]) -> Closing:
        """Return what a row of `SELECT_CLOSING` tells."""
        closed_until, partly_until, reopened, records_since = row
        return cls(closed_until, partly_until, frozenset(reopened), records_since)

    def is_closed(self, day: date) -> bool:
        """Tell whether the sums kept of a whole day are right."""
        return day < self.closed_until and day not in self.reopened

    @property
    def is_partly(self) -> bool:
        """Tell whether the sums kept of the first day that is not closed are right, of its records from before `partly_until`."""
        return self.partly_until > midnight(self.closed_until) and self.closed_until not in self.reopened


@dataclass(frozen=True)
class State:
    """`records`: by day, of the tenant that is asked for or of all. `tuples`: estimated rows by table, of those that are not empty.

    `days`: over which all that is stored is spread. The last two: rows of the cube of the day that is closed in part, and records since.
    """

    closing: Closing
    records: dict[date, int] = field(default_factory=dict)
    tuples: dict[str, int] = field(default_factory=dict)
    days: int = 1
    partly_cube_rows: int = 0
    records_since_partly: int = 0

    @classmethod
    def of(cls, closing: Closing, row: Sequence[Any]) -> State:
        """Return the state that a row of `select_counts` tells."""
        cube_rows, since, first, last, tuples, days, records = row
        return cls(
            closing,
            dict(zip(days or (), records or (), strict=True)),
            {source.name: rows for source, rows in zip(SOURCES, tuples, strict=True) if rows > 0},
            1 if first is None else (last - first).days + 1,
            cube_rows,
            since,
        )

    @property
    def prefers_parts(self) -> bool:
        """Tell whether the first day that is not closed is fewer rows in its part that is, and the records since, than in the cube."""
        return self.closing.is_partly and self.records_since_partly < self.partly_cube_rows

    @cached_property
    def _sorted(self) -> list[date]:
        return sorted(self.records)

    def count_records(self, spans: Iterable[TimeRange]) -> float:
        """Return how many records there are in stretches of time, a day's being spread over it."""
        return sum(part for span in spans for _, part in self._parts(span))

    def count_rows(self, source: Rollup, spans: Iterable[TimeRange]) -> float:
        """Return how many rows a rollup has there: as many as is usual for it, and never more than there are records."""
        usual = self.rows_an_hour(source)
        if usual is None:
            return self.count_records(spans)
        return sum(min(part, usual * hours) for span in spans for hours, part in self._parts(span))

    def rows_an_hour(self, source: Rollup) -> float | None:
        """Return how many rows a rollup has for an hour, at most; None: it is empty, and so is every one that is as fine."""
        return min((rows / (self.days * 24) for name in _AS_FINE[source.name] if (rows := self.tuples.get(name)) is not None), default=None)

    def _parts(self, span: TimeRange) -> Iterable[tuple[float, float]]:
        first = bisect_left(self._sorted, span.start.date())
        for day in islice(self._sorted, first, bisect_left(self._sorted, span.end.date() + _DAY, first)):
            start, end = max(span.start, midnight(day)), min(span.end, midnight(day) + _DAY)
            if start < end:
                yield (end - start) / timedelta(hours=1), self.records[day] * ((end - start) / _DAY)
