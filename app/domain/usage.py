"""The usage record: the one shape that every way in produces and that the write takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

UNKNOWN = "unknown"
"""The name under which an empty model or provider counts."""

OTHER = "other"
"""Reserved by the rankings for the tail: no model may have it as its permaslug."""

MAX_ATTEMPT = 10_000
"""Greatest `attempt`."""

MAX_COUNT = 2**53 - 1
"""Greatest token, credit or search count of one record: the greatest integer that JSON clients read exactly."""


PLAUSIBLE_UP_TO: Mapping[str, int] = {
    **dict.fromkeys(("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens"), 10**12),
    **dict.fromkeys(("shared_model_spend", "byok_platform_fee", "managed_tool_fee", "agent_runtime_fee"), 10**12),
    "search_requests": 10**6,
    "cost_usd": 10**6,
    **dict.fromkeys(("latency_ms", "ttft_ms"), 10**9),
}
"""The most that one request can mean, by field: tokens, credits, searches, US dollars, milliseconds. A record over it is quarantined."""


class UsageRecord(NamedTuple):
    """One request at the router. Token counts are inclusive: cached is part of prompt, reasoning is part of completion."""

    tenant_id: str
    request_id: str
    occurred_at: datetime
    project_id: str | None
    api_key_id: str | None
    user_id: str | None
    username: str | None
    model_id: str
    model_permaslug: str
    provider: str | None
    """None: the catalog's provider of the model, or the part of `model_id` before the slash."""
    status_code: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost_usd: Decimal | None
    """None: to be priced from the catalog."""
    traffic_mode: str
    shared_model_spend: int
    byok_platform_fee: int
    managed_tool_fee: int
    agent_runtime_fee: int
    search_requests: int
    latency_ms: Decimal | None
    ttft_ms: Decimal | None
    attempt: int = 1
    """Which try of the caller's request this is; over 1: a router tried again or fell back. Each attempt has a request id of its own."""
    cache_hit: bool = False
    """Whether the router answered from its own cache, so that no provider was asked; without a given cost it costs nothing."""
    interrupted: bool = False
    """Whether the stream ended before its end, by the caller or by the provider; the tokens are those up to there."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Why one record was not taken: its 0-based position in what was sent, the field (None: the whole record), the rule."""

    index: int
    field: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Reason:
    """What is wrong with a record: the field (None: the whole record) and the rule."""

    field: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A record that its source cannot mend: it contradicts itself or breaks a rule, and waits for a person. In no sum until released.

    `index`: its 0-based position in what was sent; `source`: the way in that read it; `values`: by the record's field names, as they were
    read; `tenant_id`: the tenant that the sender's key is bound to, if any.
    """

    index: int
    source: str
    received_at: datetime
    tenant_id: str | None
    values: Mapping[str, object]
    reasons: tuple[Reason, ...]


@dataclass(slots=True)
class ParsedBatch:
    """What a parser made of its input; `indexes[i]` is the position, in what was sent, of `records[i]`."""

    received: int = 0
    records: list[UsageRecord] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    unknown_fields: dict[str, int] = field(default_factory=dict)
    """Field names that the record does not have, with how many records carried each."""
    quarantined: list[Quarantined] = field(default_factory=list)
    """Records to be kept aside, each also counted in `received`."""
