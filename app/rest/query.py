"""The query parameters of the documented URLs: text for us, who check it in each document's words; typed for OpenAPI, whom clients read."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import WithJsonSchema

from app.domain.time_range import MAX_DAYS_BACK
from app.surfaces.tenant import MAX_OFFSET
from app.surfaces.usage import MAX_TOP_USERS

AGGREGATIONS = ("day", "week", "month")
WEEK_NUMBERINGS = ("iso", "monday")
STATUSES = ("success", "error")
MAX_LOGS = 100

# In the regular expressions that all of JSON Schema's, Go's and Python's engines read. What they match is accepted, if it is a real date.
_MONTH_PATTERN = r"[12]\d{3}-(0[1-9]|1[0-2])"
_DATE_PATTERN = rf"{_MONTH_PATTERN}-(0[1-9]|[12]\d|3[01])"
_HOUR_MINUTE = r"([01]\d|2[0-3]):[0-5]\d"
_INSTANT_PATTERN = rf"{_DATE_PATTERN}T{_HOUR_MINUTE}(:[0-5]\d(\.\d{{1,6}})?)?(Z|[+-]{_HOUR_MINUTE})?"

_DATE: dict[str, Any] = {"type": "string", "format": "date", "pattern": f"^{_DATE_PATTERN}$"}
_DAY: dict[str, Any] = {"type": "string", "pattern": f"^({_DATE_PATTERN}|{_INSTANT_PATTERN})$"}
_TEXT: dict[str, Any] = {"type": "string", "pattern": r"^[^\u0000]*$"}


def _integer(low: int, high: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "integer", "minimum": low, "maximum": high})


def _choice(choices: tuple[str, ...]) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "enum": list(choices)})


def _date(example: str) -> WithJsonSchema:
    return WithJsonSchema({**_DATE, "example": example})


RankingsStart = Annotated[
    str | None, _date("2026-04-12"), Query(description="First UTC date, inclusive. 30 days before `end_date` if not given.")
]
RankingsEnd = Annotated[
    str | None, _date("2026-05-11"), Query(description="Last UTC date, inclusive. The last completed UTC day if not given.")
]
DateFrom = Annotated[
    str | None,
    _date("2026-02-11"),
    Query(description="First UTC date, inclusive. From the first record if not given."),
]
DateTo = Annotated[
    str | None,
    _date("2026-03-12"),
    Query(description="Last UTC date, inclusive. To the last record if not given."),
]
Aggregation = Annotated[
    str | None,
    _choice(AGGREGATIONS),
    Query(description="Buckets of the time series; `day` if not given."),
]
WeekNumbering = Annotated[
    str | None, _choice(WEEK_NUMBERINGS), Query(description="ISO 8601 weeks, or `%W`: from the year's first Monday on; `iso` if not given.")
]
ModelId = Annotated[
    str | None,
    WithJsonSchema(_TEXT),
    Query(description="Only this model id, exact and case-sensitive."),
]
ProjectId = Annotated[
    str | None,
    WithJsonSchema(_TEXT),
    Query(
        description="Only this project; all if not given. An id that several tenants have means all of those; `tenant_id/project_id` one."
    ),
]
TopUsersLimit = Annotated[str | None, _integer(1, MAX_TOP_USERS), Query(description="Users at most; 100 if not given.")]
Days = Annotated[
    str | None, _integer(1, MAX_DAYS_BACK), Query(description="Only the last so many UTC dates, today included. All time if not given.")
]
StartDate = Annotated[
    str | None,
    WithJsonSchema({**_DAY, "example": "2026-02-01"}),
    Query(description="First UTC day: YYYY-MM-DD, or an ISO 8601 instant in it. 7 days before `end_date` if not given."),
]
EndDate = Annotated[
    str | None,
    WithJsonSchema({**_DAY, "example": "2026-02-07"}),
    Query(description="Last UTC day, inclusive, likewise. Today if not given."),
]
LogStart = Annotated[
    str | None,
    WithJsonSchema({**_DAY, "example": "2026-02-01"}),
    Query(description="First UTC day: YYYY-MM-DD, or an ISO 8601 instant in it."),
]
LogEnd = Annotated[
    str | None,
    WithJsonSchema({**_DAY, "example": "2026-02-07"}),
    Query(description="Last UTC day, inclusive, likewise."),
]
ApiKeyId = Annotated[
    str | None,
    WithJsonSchema(_TEXT),
    Query(description="Only this API key, one of the tenant's own."),
]
Limit = Annotated[str | None, _integer(1, MAX_LOGS), Query(description="Rows at most; 50 if not given.")]
Offset = Annotated[
    str | None,
    _integer(0, MAX_OFFSET),
    Query(description="Rows to skip. Prefer `cursor`: new requests shift offsets."),
]
Cursor = Annotated[str | None, WithJsonSchema(_TEXT), Query(description="`next_cursor` of the page before.")]
Status = Annotated[str | None, _choice(STATUSES), Query(description="Only requests that ended so.")]
Month = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "pattern": f"^{_MONTH_PATTERN}$", "example": "2026-05"}),
    Query(description="UTC month; the current one if not given."),
]
