"""The usage record: what every source format is parsed to and what the write takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final, NamedTuple, cast

from app.domain.fields import (
    LONG_TEXT,
    PLAUSIBLE,
    Amount,
    Choice,
    Cost,
    Count,
    DisplayName,
    Flag,
    Instant,
    ModelName,
    Name,
    SmallNumber,
    Summed,
    Text,
    Unit,
    read_fields,
)

UNKNOWN = "unknown"
"""The name under which an empty model or provider counts."""

OTHER = "other"
"""Reserved by the rankings for the tail: no model may have it as its permaslug."""

TRAFFIC_MODES: Final = ("shared", "byok")
"""How a request may have been paid for. Records and rollups hold the position."""

MAX_STATUS: Final = 599
MAX_ATTEMPT: Final = 10_000
COST_BOUND: Final = 10**12
MAX_DURATION_MS: Final = 10**12


class UsageRecord(NamedTuple):
    """One request at the router. Token counts are inclusive: cached is part of prompt, reasoning is part of completion.

    The one place where a field is declared: parsing, encoding, staging, columns, the GraphQL input, OpenAPI and docs derive from it.
    """

    tenant_id: Annotated[
        str, Name("Tenant that made the request; a key that is bound to a tenant implies it.", "tenant_id", is_id=True, is_implied=True)
    ]
    request_id: Annotated[str, Text("Id of the request, unique per tenant: a record sent again is a duplicate.")]
    occurred_at: Annotated[datetime, Instant("Time of the request.")]
    model_id: Annotated[str, ModelName("Public model id, such as `openai/gpt-4o`; required unless the request failed before routing.")]
    model_permaslug: Annotated[str, ModelName("Dated model and variant, such as `openai/gpt-4o-2024-05-13:free`; default: `model_id`.")]
    project_id: Annotated[str | None, Name("Project within the tenant.", "project_id", is_id=True)] = None
    api_key_id: Annotated[
        str | None, Name("The API key at the router: a dimension, not a credential of this gateway.", "caller_key_id", is_id=True)
    ] = None
    user_id: Annotated[str | None, Name("End user.", "user_id")] = None
    username: Annotated[
        str | None,
        DisplayName(
            "The end user's name; the newest one is shown.",
            table="tenant_users",
            keys=(("tenant_id", "tenant_id"), ("user_id", "user_id")),
            column="username",
            at="username_at",
        ),
    ] = None
    provider: Annotated[
        str | None,
        Name(
            "Provider that served the request; default: that of the catalog, else the part of `model_id` before `/`.",
            "provider_id",
            LONG_TEXT,
            is_implied=True,
        ),
    ] = None
    status_code: Annotated[int, SmallNumber("HTTP status, 0 if there was none; 2xx is success.", 0, MAX_STATUS)] = 200
    prompt_tokens: Annotated[int, Count("Input tokens, including cached ones.", Unit.TOKENS)] = 0
    completion_tokens: Annotated[int, Count("Output tokens, including reasoning.", Unit.TOKENS)] = 0
    cached_tokens: Annotated[
        int, Count("The part of the input tokens that the provider's prompt cache answered.", Unit.TOKENS, part_of="prompt_tokens")
    ] = 0
    reasoning_tokens: Annotated[
        int, Count("The part of the output tokens spent on reasoning.", Unit.TOKENS, part_of="completion_tokens")
    ] = 0
    cost_usd: Annotated[Decimal | None, Cost("Cost in US dollars; default: priced from the catalog.", COST_BOUND)] = None
    traffic_mode: Annotated[str, Choice("Shared capacity or bring-your-own-key.", TRAFFIC_MODES)] = "shared"
    shared_model_spend: Annotated[int, Count("Credits charged for shared-capacity model usage.", Unit.CREDITS)] = 0
    byok_platform_fee: Annotated[int, Count("Credits charged as platform fee on bring-your-own-key requests.", Unit.CREDITS)] = 0
    managed_tool_fee: Annotated[int, Count("Credits charged for managed tools such as web search.", Unit.CREDITS)] = 0
    agent_runtime_fee: Annotated[int, Count("Credits charged for agent runtime.", Unit.CREDITS)] = 0
    search_requests: Annotated[int, Count("Successful managed web tool invocations.", Unit.COUNT)] = 0
    latency_ms: Annotated[
        Decimal | None, Amount("Milliseconds to the end of the answer, if known.", Unit.MILLISECONDS, MAX_DURATION_MS)
    ] = None
    ttft_ms: Annotated[Decimal | None, Amount("Milliseconds to the first token, if known.", Unit.MILLISECONDS, MAX_DURATION_MS)] = None
    attempt: Annotated[
        int,
        SmallNumber("Number of the attempt; a retry or a fallback has its own `request_id`.", 1, MAX_ATTEMPT),
    ] = 1
    cache_hit: Annotated[bool, Flag("Whether the router answered from its own cache; then the default cost is 0.")] = False
    interrupted: Annotated[bool, Flag("Whether the stream was interrupted; the tokens are those until then.")] = False


FIELDS: Final = read_fields(UsageRecord)
"""The fields of the usage record, in its order."""

PLAUSIBLE_UP_TO: Final = {field.name: PLAUSIBLE[field.kind.unit] for field in FIELDS if isinstance(field.kind, Summed)}
"""The most that one request can mean, by field."""

# Every field holds its own name.
_NAMES: Final = tuple.__new__(UsageRecord, UsageRecord._fields)


def name_of(read: Callable[[UsageRecord], object]) -> str:
    """Return the name of the field that `read` takes from a record, `lambda record: record.cost_usd`: mypy knows whether there is one."""
    return cast(str, read(_NAMES))


def names_of(read: Callable[[UsageRecord], tuple[object, ...]]) -> tuple[str, ...]:
    """Return the names of several fields, likewise."""
    return cast("tuple[str, ...]", read(_NAMES))


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

    `index`: its position in the request, from 0; `source`: the format it was read from; `values`: by the record's field names, as they were
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
    """Records to quarantine, each also counted in `received`."""
