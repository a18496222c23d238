"""The public statistics of the network: sums, models and activity of 30 days, as a job computed and stored them. Pure."""

from __future__ import annotations

from typing import Final

from app.cube.metrics import CACHED, FRESH_PROMPT, REASONING, REQUESTS, TOKENS, VISIBLE_COMPLETION
from app.cube.ranking import TOP_MODELS
from app.surfaces.declare import Caching, Part, Scalar, Section, Surface, labelled, measured, settled

TOTALS: Final = Section(
    "NetworkTotals",
    "Sums over the 30 UTC dates of the 30-day trend. The four parts are disjoint and add up to the total.",
    (
        measured("total_tokens", TOKENS, "Prompt plus completion tokens, including cached and reasoning tokens."),
        measured("requests", REQUESTS),
        measured("fresh_prompt_tokens", FRESH_PROMPT, "Input tokens without cached tokens."),
        measured("visible_completion_tokens", VISIBLE_COMPLETION, "Output tokens without reasoning tokens."),
        measured("cached_tokens", CACHED),
        measured("reasoning_tokens", REASONING),
    ),
)
MODEL: Final = Section(
    "NetworkModel",
    f"A public model among the {TOP_MODELS} with the most tokens of the 30 days.",
    (
        labelled("model_id", 0, "Public catalog id; variants and dated permaslugs of one model are summed under it."),
        settled("model_name", "Display name."),
        settled("provider_name", "The provider's name for people, by the catalog."),
        settled("rank", f"Rank by tokens, then model id: 1 to {TOP_MODELS}.", Scalar.INTEGER, least=1, most=TOP_MODELS),
        measured("total_tokens", TOKENS),
        measured("requests", REQUESTS),
        settled("share", "Fraction of all tokens, 0 to 1, 4 decimal places.", Scalar.NUMBER, least=0, most=1),
    ),
)
POINT: Final = Section(
    "NetworkPoint",
    "One bucket of a trend.",
    (
        labelled(
            "bucket",
            0,
            "`YYYY-MM-DD HH:00` for an hour, `YYYY-MM-DD` for a day, both UTC.",
            examples=("2026-06-26 11:00", "2026-06-25"),
        ),
        measured("total_tokens", TOKENS, "Prompt plus completion tokens; 0 without requests."),
        measured("requests", REQUESTS),
    ),
)
TREND: Final = Section(
    "NetworkTrend",
    "Activity by bucket, oldest first, without gaps. The last bucket contains the instant before `generatedAt`.",
    (
        Part("h24", POINT, documented_as="24h", description="24 hours.", is_settled=True),
        Part("d7", POINT, documented_as="7d", description="7 days.", is_settled=True),
        Part("d30", POINT, documented_as="30d", description="30 days.", is_settled=True),
    ),
)
STATS: Final = Section(
    "NetworkStats",
    "Public aggregate statistics of the network, computed every 10 minutes. No data of users, tenants or keys.",
    (
        settled(
            "generated_at",
            "Time of the snapshot, in milliseconds; null before the first snapshot.",
            Scalar.INSTANT,
            is_nullable=True,
            examples=("2026-06-26T12:00:00.000Z",),
        ),
        Part("totals", TOTALS, "Sums of 30 days.", is_list=False, is_settled=True),
        Part("top_models", MODEL, f"At most {TOP_MODELS} public models, tokens descending.", most=TOP_MODELS, is_settled=True),
        Part("trend", TREND, "Tokens and requests over time.", is_list=False, is_settled=True),
    ),
)

NETWORK: Final = Surface(
    root="network",
    description="Public aggregate statistics of the network. Requires no key.",
    readers=None,
    answers=STATS,
    caching=Caching.PUBLIC,
    path="/api/v1/analytics/network",
    has_validator=True,
)
