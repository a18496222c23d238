"""Usage analytics: usage over time, by model, and the users with the highest cost. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from operator import eq
from typing import Any, Final

from app.cube.metrics import COMPLETION_TOKENS, COST_USD, PRICED_COUNT, PROMPT_TOKENS, REQUESTS, as_metric
from app.domain.fields import Unit
from app.domain.time_range import resolve_usage_window
from app.money.rounding import usd
from app.surfaces.declare import Caching, Column, Part, Scalar, Section, Surface, computed, labelled, measured, settled
from app.surfaces.limits import MAX_ROWS
from app.surfaces.readers import ADMINS
from app.surfaces.reading import summed_rows

MAX_TOP_USERS: Final = 1000
DEFAULT_TOP_USERS: Final = 100

_INPUT, _OUTPUT, _COST, _PRICED = (as_metric(measure) for measure in (PROMPT_TOKENS, COMPLETION_TOKENS, COST_USD, PRICED_COUNT))
_DOLLARS: Final = "US dollars, 6 decimal places; unpriced requests contribute 0."

_NUMBERS: Final = (
    measured("prompt_tokens", _INPUT),
    measured("completion_tokens", _OUTPUT),
    computed("cost_usd", _DOLLARS, Unit.USD, (_COST,), usd),
    measured("requests", REQUESTS),
    Column(
        "priced",
        "Whether the cost of every request is known. A cost of 0 is known.",
        Scalar.FLAG,
        metrics=(_PRICED, REQUESTS),
        value=eq,
    ),
)
_SPENDING: Final = (
    computed("cost_usd", _DOLLARS, Unit.USD, (_COST,), usd),
    measured("requests", REQUESTS),
)

POINT: Final = Section(
    "UsagePoint",
    "Usage in one bucket of time.",
    (
        labelled(
            "period",
            0,
            "Label of the bucket: `2026-03-12`, `2026-W11` or `2026-03`.",
            examples=("2026-03-12", "2026-W11", "2026-03"),
        ),
        *_NUMBERS,
    ),
)
MODEL_USAGE: Final = Section(
    "ModelUsage",
    "Usage of one model at one provider.",
    (
        labelled("model_id", 0, "Public model id; `unknown` for requests that failed before routing."),
        labelled("provider_id", 1, "Slug of the provider that served it."),
        *_NUMBERS,
    ),
)
MODEL_USAGE_REST: Final = Section("ModelUsageRest", "Usage beyond the limit of a list of models, summed.", _NUMBERS)
USER_USAGE: Final = Section(
    "UserUsage",
    "Usage of one end user over the whole window.",
    (
        labelled("user_id", 0, "Id of the user at the router."),
        settled("username", "Newest name of the user; null if there is none.", is_nullable=True),
        *_SPENDING,
    ),
)
USER_USAGE_REST: Final = Section("UserUsageRest", "Usage beyond the limit of a list of users, summed.", _SPENDING)

ANALYTICS: Final = Section(
    "UsageAnalytics",
    "Usage analytics of one window. The time series sums to the same totals as the models with their rest.",
    (
        Part(
            "time_series",
            POINT,
            "By time, ascending; buckets without requests are omitted. At most one point per day since 2020.",
            is_settled=True,
        ),
        Part(
            "by_model",
            MODEL_USAGE,
            "By model and provider, highest cost first, then by model id.",
            most=MAX_ROWS,
            is_settled=True,
        ),
        Part(
            "by_model_rest",
            MODEL_USAGE_REST,
            "Usage of models beyond the limit of `byModel`.",
            is_list=False,
            is_settled=True,
            asks=("by_model", "totals"),
        ),
        Part(
            "top_users",
            USER_USAGE,
            "Users, highest cost first, then most requests, then by id.",
            most=MAX_TOP_USERS,
            is_settled=True,
        ),
        Part(
            "top_users_rest",
            USER_USAGE_REST,
            "Usage of users beyond the limit of `topUsers`, and of requests without a user.",
            is_list=False,
            is_settled=True,
            asks=("top_users", "totals"),
        ),
    ),
)


def _users(arguments: Mapping[str, Any]) -> int:
    users: int = arguments["topUsersLimit"]
    return max(0, min(users, MAX_TOP_USERS))


USAGE_ANALYTICS: Final = Surface(
    root="usage_analytics",
    description="Usage over time, by model, and the users with the highest cost. Requires role admin.",
    readers=ADMINS,
    window=resolve_usage_window,
    dates=("dateFrom", "dateTo"),
    reads=summed_rows,
    reads_more=_users,
    answers=ANALYTICS,
    caching=Caching.PER_SCOPE,
    path="/api/usage/analytics",
    has_validator=True,
)
