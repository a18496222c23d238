"""What any question about usage may group and filter by: name, definition, key, label, who may. Declared here and nowhere else. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from app.cube.dimensions import CALLER_KEY, MODEL, PERMASLUG, PROJECT, PROVIDER, TENANT, TRAFFIC_MODE, USER, Dimension

PROMPT_SIZES: Final = (1, 1_000, 4_000, 16_000, 64_000, 256_000, 1_000_000)
"""Where classes of prompt tokens begin; below the first one there are none."""


class Kind(Enum):
    """Kind of the values of a dimension."""

    TEXT = "text"
    NUMBER = "number"
    CHOICE = "choice"
    FLAG = "flag"


@dataclass(frozen=True, slots=True, eq=False)
class UsageDimension:
    """`stored`: the cube's dimension, whose key rollups have; None: only records have it, and `of_record` is its key, an integer.

    `choices`: the names of its keys from 0 on. `is_private`: gateway keys may not use it.
    """

    name: str
    description: str
    kind: Kind
    stored: Dimension | None = None
    of_record: str = ""
    choices: tuple[str, ...] = ()
    is_private: bool = False

    @property
    def needs_records(self) -> bool:
        """Whether single records only have it."""
        return self.stored is None

    @property
    def size(self) -> int | None:
        """How many values it can have; None: that is not known here."""
        return 2 if self.kind is Kind.FLAG else len(self.choices) or None

    @property
    def is_labelled_by_row(self) -> bool:
        """Whether rows are grouped by the label itself: several keys share one."""
        return self.stored in (MODEL, PERMASLUG)


def _stored(name: str, dimension: Dimension, *, is_private: bool = False) -> UsageDimension:
    return UsageDimension(name, dimension.description, Kind.TEXT, dimension, is_private=is_private)


def _sizes() -> tuple[str, ...]:
    bounds = [*(f"{start:,}".replace(",", "_") for start in PROMPT_SIZES)]
    return ("none", *(f"from_{start}" for start in bounds))


BY_MODEL = _stored("model", MODEL)
BY_PERMASLUG = _stored("permaslug", PERMASLUG)
BY_PROVIDER = _stored("provider", PROVIDER)
BY_TENANT = _stored("tenant", TENANT, is_private=True)
BY_PROJECT = _stored("project", PROJECT)
BY_USER = _stored("user", USER, is_private=True)
BY_API_KEY = _stored("api_key", CALLER_KEY, is_private=True)
BY_TRAFFIC_MODE = UsageDimension("traffic_mode", TRAFFIC_MODE.description, Kind.CHOICE, TRAFFIC_MODE, choices=TRAFFIC_MODE.choices)
BY_OUTCOME = UsageDimension(
    "outcome",
    "Whether the request had a 2xx status.",
    Kind.CHOICE,
    of_record="(status_code BETWEEN 200 AND 299)::integer",
    choices=("error", "success"),
)
BY_STATUS_CODE = UsageDimension("status_code", "HTTP status, 0 if there was none.", Kind.NUMBER, of_record="status_code::integer")
BY_ATTEMPT = UsageDimension(
    "attempt", "Number of the attempt: 1 unless it was a retry or fallback.", Kind.NUMBER, of_record="attempt::integer"
)
BY_CACHE_HIT = UsageDimension("cache_hit", "Whether the router's own cache answered.", Kind.FLAG, of_record="cache_hit::integer")
BY_INTERRUPTED = UsageDimension("interrupted", "Whether the stream was interrupted.", Kind.FLAG, of_record="interrupted::integer")
BY_PROMPT_SIZE = UsageDimension(
    "prompt_size",
    "Class of prompt tokens: none, or from this number to the next class.",
    Kind.CHOICE,
    of_record=f"width_bucket(prompt_tokens, ARRAY[{', '.join(map(str, PROMPT_SIZES))}]::bigint[])",
    choices=_sizes(),
)

USAGE_DIMENSIONS: Final = (
    BY_MODEL,
    BY_PERMASLUG,
    BY_PROVIDER,
    BY_TENANT,
    BY_PROJECT,
    BY_USER,
    BY_API_KEY,
    BY_TRAFFIC_MODE,
    BY_OUTCOME,
    BY_STATUS_CODE,
    BY_ATTEMPT,
    BY_CACHE_HIT,
    BY_INTERRUPTED,
    BY_PROMPT_SIZE,
)

RECORD_NUMBERS: Final = {
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
    "total_tokens": "prompt_tokens + completion_tokens",
    "latency_ms": "latency_ms",
    "ttft_ms": "ttft_ms",
    "cost": "cost_usd",
}
"""Numbers of a single record that a filter may bound, and their SQL over `usage_records`."""
