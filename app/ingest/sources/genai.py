"""Spans of model calls, by the GenAI semantic conventions old and new, to candidates for records. Pure.

Missing values of a span are not invented; two different values of one fact are a contradiction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from app.domain.usage import Reason
from app.ingest.fields import ID_PATTERN
from app.ingest.sources.candidates import Candidate
from app.ingest.sources.conventions import TokenConvention, TokenCounts, read_tokens
from app.ingest.sources.genai_attributes import (
    INFERENCE,
    OLD_INFERENCE,
    OPENINFERENCE_KINDS,
    PROVIDERS,
    VARIANTS,
    Provider,
    Vocabulary,
)
from app.ingest.sources.otlp import Span

TENANT_HEADER: Final = "X-Tokengraph-Tenant"

FAILED: Final = 500
"""Status of a call that failed without saying how."""

CANCELLED: Final = 499
"""Status of a call that its caller gave up."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CANCELLATION: Final = re.compile(r"cancel|abort|disconnect|generatorexit|interrupted", re.IGNORECASE)
_STATUS: Final = re.compile(r"[1-5][0-9]{2}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?")
# The Vercel AI SDK names the provider's API too: openai.chat, anthropic.messages.
_API_SUFFIX: Final = re.compile(r"\.(?:chat|responses|completion|messages|embedding|generative-ai)\Z")
_USAGE: Final = ("prompt", "completion", "total")


@dataclass(frozen=True, slots=True)
class Reading:
    """How a request's spans are read: `convention` of their token counts, `default_tenant` of those that name none.

    `key_tenant`: the tenant that the sender's key is bound to, if any.
    """

    convention: TokenConvention
    default_tenant: str | None = None
    key_tenant: str | None = None


class Facts:
    """What a span says, by the facts of a vocabulary, and the contradictions found on the way."""

    __slots__ = ("_given", "contradictions", "span", "vocabulary")

    def __init__(self, span: Span, vocabulary: Vocabulary) -> None:
        self.span = span
        self.vocabulary = vocabulary
        self.contradictions: list[Reason] = []
        self._given = _by_fact(span.attributes, vocabulary)

    def has(self, *facts: str) -> bool:
        """Whether the span itself gives any of these facts."""
        return any(fact in self._given for fact in facts)

    def get(self, fact: str, field_name: str | None = None) -> object:
        """Return the value of a fact, None if it is not given. `field_name`: of the record, for the contradiction."""
        given = self._given.get(fact)
        attributes = self.vocabulary.facts[fact]
        if given is None:
            return _first(self.span.resource, attributes.names) if attributes.resource else None
        if len(given) == 1:
            return self.span.attributes[given[0]]
        name = min(given, key=attributes.names.index)
        value = self.span.attributes[name]
        if attributes.agree:
            differing = [other for other in given if _comparable(self.span.attributes[other]) != _comparable(value)]
            if differing:
                self.contradict(field_name or fact, f"{name} and {differing[0]} differ")
        return value

    def all(self, fact: str) -> list[object]:
        """Return the values of a fact by all its names."""
        return [self.span.attributes[name] for name in self._given.get(fact, ())]

    def text(self, fact: str) -> object:
        """Return the value of a fact that is a text; an integer is written out, as many ids are integers."""
        value = self.get(fact)
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    def contradict(self, field_name: str, message: str) -> None:
        """Note what is wrong."""
        self.contradictions.append(Reason(field_name, message))


def _by_fact(attributes: Mapping[str, object], vocabulary: Vocabulary) -> dict[str, list[str]]:
    """The names that have a value, by their fact. An empty text is no value."""
    given: dict[str, list[str]] = {}
    for name, value in attributes.items():
        fact = vocabulary.fact_of.get(name)
        if fact is not None and value != "":
            given.setdefault(fact, []).append(name)
    return given


def _first(attributes: Mapping[str, object], names: tuple[str, ...]) -> object:
    return next((value for name in names if (value := attributes.get(name)) is not None and value != ""), None)


def _comparable(value: object) -> Decimal | str:
    """What two writings of one number have in common; of anything else the text."""
    text = str(value)
    return Decimal(text) if _NUMBER.fullmatch(text) else text.lower()


def _is_one_of(value: object, names: frozenset[str]) -> bool:
    return isinstance(value, str) and value in names


def is_inference(facts: Facts) -> bool:
    """Whether the span is one call of a model. Agents, tools and workflows are not: their usage is that of calls that have spans."""
    operation = facts.get("operation")
    if operation is not None:
        return _is_one_of(operation, INFERENCE)
    kind = facts.get("openinference_kind")
    if kind is not None:
        return _is_one_of(kind, OPENINFERENCE_KINDS)
    if facts.has("agent_kind"):
        return False
    request_type = facts.get("request_type")
    if request_type is not None:
        return _is_one_of(request_type, OLD_INFERENCE)
    return facts.has("provider", "request_model", "response_model") and facts.has(*_USAGE)


def read_span(facts: Facts, reading: Reading) -> Candidate:
    """Return the candidate of a span that `is_inference`."""
    provider = read_provider(facts) or provider_of(facts.get("openinference_provider"))
    values = read_values(facts, reading)
    values["request_id"] = span_request_id(facts)
    values |= model_names(facts, provider)
    values["provider"] = provider.slug if provider else facts.get("provider")
    return Candidate(values, tuple(facts.contradictions))


def read_values(facts: Facts, reading: Reading) -> dict[str, object]:
    """Return the values of the record that do not depend on who wrote the span: all but its id, model and provider."""
    values: dict[str, object] = {
        "occurred_at": _start(facts.span),
        "tenant_id": _tenant(facts, reading),
        "project_id": first_given(facts.text("project_id"), _service(facts)),
        "api_key_id": facts.text("api_key_id"),
        "user_id": facts.text("user_id"),
        "username": facts.text("username"),
        "cost_usd": facts.get("cost_usd"),
        "traffic_mode": facts.get("traffic_mode"),
        "attempt": facts.get("attempt"),
        "cache_hit": facts.get("cache_hit"),
        "latency_ms": _duration_ms(facts),
        "ttft_ms": _first_token_ms(facts),
    }
    values |= _outcome(facts)
    counts = TokenCounts(
        prompt=facts.get("prompt", "prompt_tokens"),
        completion=facts.get("completion", "completion_tokens"),
        cached=facts.get("cached", "cached_tokens"),
        cache_writes=facts.get("cache_writes", "prompt_tokens"),
        reasoning=facts.get("reasoning", "reasoning_tokens"),
        total=facts.get("total", "total_tokens"),
    )
    tokens = read_tokens(counts, reading.convention)
    facts.contradictions += tokens.contradictions
    return values | tokens.values


def first_given(*values: object) -> object:
    """Return the first value that is not None."""
    return next((value for value in values if value is not None), None)


def span_request_id(facts: Facts) -> str | None:
    """Return `trace:span`, the same however often it is exported."""
    span = facts.span
    if span.trace_id and span.span_id:
        return f"{span.trace_id}:{span.span_id}"
    facts.contradict("request_id", "needs a trace id of 32 and a span id of 16 hexadecimal digits, not all of them 0")
    return None


def _start(span: Span) -> datetime | None:
    """The start of the call, floored to the microsecond. The greatest that 64 bits hold is in the year 2554."""
    if span.start_ns is None:
        return None
    return _EPOCH + timedelta(microseconds=span.start_ns // 1000)


def _tenant(facts: Facts, reading: Reading) -> object:
    named = first_given(facts.text("tenant_id"), reading.default_tenant)
    if named is None and reading.key_tenant is None:
        names = ", ".join(facts.vocabulary.names("tenant_id"))
        facts.contradict("tenant_id", f"is in none of the attributes {names}, nor in the header {TENANT_HEADER}")
    return named


def _service(facts: Facts) -> str | None:
    """The service as a project, if it has a name of its own that may be one: it was not meant as one, so it is no fault if not."""
    name = facts.text("service")
    if isinstance(name, str) and ID_PATTERN.fullmatch(name) and not name.startswith("unknown_service"):
        return name
    return None


def _duration_ms(facts: Facts) -> float | None:
    start, end = facts.span.start_ns, facts.span.end_ns
    if start is None or end is None:
        return None
    if end < start:
        facts.contradict("latency_ms", "the span ends before it starts")
        return None
    return (end - start) / 1e6


def _first_token_ms(facts: Facts) -> object:
    milliseconds = facts.get("first_token_ms")
    if milliseconds is not None:
        return milliseconds
    seconds = facts.get("first_token_s")
    if seconds is not None:
        number = _comparable(seconds)
        return number * 1000 if isinstance(number, Decimal) else seconds
    start, first = facts.span.start_ns, facts.span.first_event_ns
    return (first - start) / 1e6 if start is not None and first is not None and first >= start else None


def _outcome(facts: Facts) -> dict[str, object]:
    """The status, and whether the answer broke off.

    An HTTP status counts, but not a 2xx of a span that failed: then the answer had begun and broke off.
    """
    error_type = facts.text("error_type")
    failed = facts.span.failed or error_type is not None
    cancelled = isinstance(error_type, str) and _CANCELLATION.search(error_type) is not None
    http_status = facts.get("http_status", "status_code")
    has_begun = _is_success(http_status)
    if http_status is not None and not (failed and has_begun):
        status: object = http_status
    elif isinstance(error_type, str) and _STATUS.fullmatch(error_type) and not _is_success(error_type):
        status = int(error_type)
    elif failed:
        status = CANCELLED if cancelled else FAILED
    else:
        status = 200
    given = facts.get("interrupted")
    interrupted = cancelled or (failed and has_begun) or _was_cancelled(facts.get("finish_reason"))
    return {"status_code": status, "interrupted": interrupted if given is None else given}


def _is_success(status: object) -> bool:
    number = _comparable(status)
    return isinstance(number, Decimal) and 200 <= number < 300


def _was_cancelled(finish_reason: object) -> bool:
    """Whether any finish reason, one text or a list of them, is a cancellation."""
    reasons = finish_reason if isinstance(finish_reason, list) else [finish_reason]
    return any(isinstance(reason, str) and _CANCELLATION.search(reason) for reason in reasons)


def provider_of(name: object) -> Provider | None:
    """Return the provider that an instrumentation names; None: it names none."""
    if not isinstance(name, str) or not name.strip():
        return None
    slug = _API_SUFFIX.sub("", name.strip().lower().replace(" ", "-"))
    return PROVIDERS.get(slug) or Provider(slug, slug)


def read_provider(facts: Facts) -> Provider | None:
    """Return the provider by the names that all mean it, which must agree once both are brought to one form."""
    named = [provider_of(value) for value in facts.all("provider")]
    known = [provider for provider in named if provider is not None]
    if any(provider != known[0] for provider in known):
        facts.contradict("provider", " and ".join(facts.vocabulary.names("provider")) + " differ")
    return known[0] if known else None


def model_names(facts: Facts, provider: Provider | None) -> dict[str, object]:
    """Return `model_id` and `model_permaslug` as the catalog has them: `author/model`, a variant of OpenRouter in the permaslug only.

    The model asked for is the id and the one that answered the permaslug; one of another author answered in its stead, and is both.
    """
    asked, answered = facts.text("request_model"), facts.text("response_model")
    asked = _with_author(asked, provider.author if provider else "")
    author = asked.partition("/")[0] if isinstance(asked, str) and "/" in asked else provider.author if provider else ""
    answered = _with_author(answered, author)
    if isinstance(asked, str) and isinstance(answered, str) and answered == _without_variant(asked):
        answered = asked
    model = asked
    if asked is None or (isinstance(asked, str) and isinstance(answered, str) and _author(asked) != _author(answered)):
        model = answered
    return {"model_id": _without_variant(model), "model_permaslug": model if answered is None else answered}


def _with_author(model: object, author: str) -> object:
    if not isinstance(model, str):
        return model
    if author == "google":
        model = model.removeprefix("models/")
    return f"{author}/{model}" if author and "/" not in model else model


def _author(model: str) -> str:
    author, slash, _ = model.partition("/")
    return author if slash else ""


def _without_variant(model: object) -> object:
    if isinstance(model, str) and "/" in model:
        name, _, variant = model.rpartition(":")
        if variant in VARIANTS:
            return name
    return model
