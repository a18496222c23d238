"""How each source counts tokens, in one table: what it includes in what. Declared here and nowhere else; docs/usage-record.md quotes it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from app.domain.fields import MAX_COUNT
from app.domain.usage import Reason
from app.ingest.fields import BrokenRuleError, read_count


class Part(Enum):
    """Where a source reports a part of the tokens."""

    INSIDE = "inside"
    """In the total that it is a part of, as the usage record has it."""
    BESIDE = "beside"
    """Not in that total: it is to be added."""


@dataclass(frozen=True, slots=True)
class TokenConvention:
    """How a source counts: `cached` (read from a prompt cache) and `cache_writes` against prompt tokens, `reasoning` against completion."""

    cached: Part
    cache_writes: Part
    reasoning: Part


INCLUSIVE: Final = TokenConvention(Part.INSIDE, Part.INSIDE, Part.INSIDE)
EXCLUSIVE: Final = TokenConvention(Part.BESIDE, Part.BESIDE, Part.BESIDE)

CONVENTIONS: Final[dict[str, TokenConvention]] = {
    "usage": INCLUSIVE,
    "export": INCLUSIVE,
    "otlp": INCLUSIVE,
    "openrouter": INCLUSIVE,
    "openrouter-activity": INCLUSIVE,
    "litellm": INCLUSIVE,
    "litellm-spend-logs": INCLUSIVE,
}
"""By the name of the source, as quarantined records and metrics have it."""


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Token counts as a source gives them, in any type; None: not given. `total`: the source's own sum, to check with."""

    prompt: object = None
    completion: object = None
    cached: object = None
    cache_writes: object = None
    reasoning: object = None
    total: object = None


@dataclass(frozen=True, slots=True)
class TokenReading:
    """The record's four token fields, and what in them contradicts itself."""

    values: dict[str, object]
    contradictions: tuple[Reason, ...]


def read_tokens(counts: TokenCounts, convention: TokenConvention) -> TokenReading:
    """Bring counts to the record's convention: cached within prompt, reasoning within completion. Nothing is guessed.

    A count that is no count stays as it is, for the rules of the field to refuse. A total that is neither the sum as given nor the
    inclusive sum is a contradiction.
    """
    as_given = {
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.completion,
        "cached_tokens": counts.cached,
        "reasoning_tokens": counts.reasoning,
    }
    try:
        prompt, completion, cached, reasoning = (0 if value is None else read_count(value) for value in as_given.values())
    except BrokenRuleError:
        return TokenReading({name: value for name, value in as_given.items() if value is not None}, ())
    contradictions = []
    try:
        writes = 0 if counts.cache_writes is None else read_count(counts.cache_writes)
    except BrokenRuleError as error:
        writes = 0
        contradictions.append(Reason("cache_write_tokens", str(error)))
    given_sum = prompt + completion
    if convention.cached is Part.BESIDE:
        prompt += cached
    if convention.cache_writes is Part.BESIDE:
        prompt += writes
    if convention.reasoning is Part.BESIDE:
        completion += reasoning
    if convention.cache_writes is Part.INSIDE and cached + writes > prompt and cached <= prompt:
        contradictions.append(Reason("prompt_tokens", "is less than the tokens read from and written to the prompt cache together"))
    if counts.total is not None:
        contradictions += _check_total(counts.total, {given_sum, prompt + completion})
    values: dict[str, object] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "cached_tokens": cached,
        "reasoning_tokens": reasoning,
    }
    return TokenReading(values, tuple(contradictions))


def _check_total(total: object, sums: set[int]) -> list[Reason]:
    try:
        known = read_count(total)
    except BrokenRuleError:
        return [Reason("total_tokens", f"must be an integer from 0 to {MAX_COUNT}")]
    if known in sums:
        return []
    return [Reason("total_tokens", "is not the sum of prompt and completion tokens")]
