"""Gateway statistics: how many requests the gateway handled, and how many of them failed. Pure."""

from __future__ import annotations

from typing import Final

from app.cube.metrics import CACHE_HITS, FAILED, INTERRUPTED, REQUESTS, RETRIES, SUCCESSFUL
from app.domain.fields import Unit
from app.domain.time_range import resolve_days_back
from app.money.rounding import SHARE_PLACES, ratio
from app.surfaces.declare import Caching, Part, Scalar, Section, Surface, computed, labelled, measured
from app.surfaces.limits import MAX_ROWS
from app.surfaces.readers import GATEWAY_READERS
from app.surfaces.reading import summed_rows

LISTS: Final = ("providers", "models", "projects")
"""The breakdowns, each of which has a rest."""


def _share(part: int, whole: int) -> float:
    return ratio(part, whole, SHARE_PLACES)


_MORE: Final = (measured("retries", RETRIES), measured("cache_hits", CACHE_HITS), measured("interrupted", INTERRUPTED))
_COUNTS: Final = (measured("requests", REQUESTS), measured("successful", SUCCESSFUL), measured("failed", FAILED), *_MORE)

OUTCOMES: Final = Section(
    "Outcomes",
    "Outcomes of the requests under one name.",
    (
        labelled(
            "name",
            0,
            "Provider, model or project; `unknown` if the record has none. A project name that several tenants use is "
            "`tenantId/projectId`.",
        ),
        *_COUNTS,
    ),
)
DAILY_OUTCOMES: Final = Section(
    "DailyOutcomes", "Outcomes of the requests of one day.", (labelled("date", 0, "UTC date.", Scalar.DATE), *_COUNTS)
)
OUTCOMES_REST: Final = Section("OutcomesRest", "Outcomes beyond the limit of a list, summed.", _COUNTS)


def _breakdown(name: str, key: str) -> tuple[Part, Part]:
    description = f"By {key}, most requests first, then by name."
    return (
        Part(name, OUTCOMES, description, most=MAX_ROWS, is_settled=True, keyed_by="name"),
        Part(
            f"{name}_rest",
            OUTCOMES_REST,
            f"Rows beyond the limit of `{name}`, summed.",
            is_list=False,
            is_settled=True,
            asks=(name, "totals"),
        ),
    )


STATS: Final = Section(
    "GatewayStats",
    "Request counts of the gateway. Each breakdown with its rest sums to the totals.",
    (
        *_COUNTS,
        computed(
            "success_rate",
            "Successful divided by total, 0 to 1, 4 decimal places; 0 without requests.",
            Unit.RATE,
            (SUCCESSFUL, REQUESTS),
            _share,
            most=1,
        ),
        *_breakdown("providers", "provider"),
        *_breakdown("models", "public model id"),
        *_breakdown("projects", "project"),
        Part("daily", DAILY_OUTCOMES, "By UTC date since 2020, ascending; dates without requests are omitted.", is_settled=True),
    ),
)


GATEWAY_STATS: Final = Surface(
    root="gateway_stats",
    description="Request counts and outcomes. Requires the gateway secret, or role gateway or admin.",
    readers=GATEWAY_READERS,
    window=resolve_days_back,
    dates=("days",),
    reads=summed_rows,
    answers=STATS,
    caching=Caching.PER_SCOPE,
    path="/v1/analytics",
    has_validator=True,
)
