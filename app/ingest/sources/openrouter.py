"""Spans of OpenRouter's Broadcast to candidates for records. Pure.

A request is one trace: the generation, which has everything, and below it one span for each provider that was tried, which has no usage.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

from app.ingest.fields import ID_PATTERN
from app.ingest.sources.candidates import Candidate
from app.ingest.sources.genai import Facts, Reading, first_given, model_names, provider_of, read_values, span_request_id
from app.ingest.sources.genai_attributes import GENAI, Attributes
from app.ingest.sources.otlp import Span

SERVICE: Final = "openrouter"
"""`service.name` of the resource, and the name of the scope, of everything that Broadcast sends."""

CONNECTION_TEST: Final = "openrouter-connection-test"
TEST_SOURCE: Final = "observability-test-button"

_METADATA: Final = ("trace.metadata.", "span.metadata.")


def _metadata(name: str) -> tuple[str, ...]:
    return tuple(prefix + name for prefix in _METADATA)


def _own(name: str) -> tuple[str, ...]:
    """The names of a fact of OpenRouter's own: as it is sent, and as it was sent at first."""
    return (f"trace.metadata.openrouter.{name}", f"openrouter.{name}")


OPENROUTER: Final = GENAI.changed(
    {
        "provider": Attributes((*_own("provider_slug"), *_own("provider_name"), "gen_ai.provider.name", "gen_ai.system")),
        "generation": Attributes(("gen_ai.response.id",)),
        "span_type": Attributes(("span.type",)),
        "test": Attributes(("source",)),
        "service": Attributes(()),
        "api_key_id": Attributes(_metadata("api_key_id")),
        "api_key_name": Attributes(_own("api_key_name")),
        "tenant_id": Attributes((*_metadata("tenant_id"), *GENAI.names("tenant_id")), resource=True),
        "project_id": Attributes((*_metadata("project_id"), *GENAI.names("project_id")), resource=True),
        "user_id": Attributes(("user.id",)),
        "username": Attributes(_metadata("username")),
        "first_token_ms": Attributes(_own("first_token_ms")),
        "byok": Attributes(_metadata("openrouter_generation.is_byok")),
        "interrupted": Attributes(_metadata("openrouter_generation.cancelled")),
    }
)
"""What Broadcast sends beside the GenAI conventions: `trace.metadata.*` are the fields of the request's `trace` object."""

_ATTEMPT: Final = re.compile(r":attempt-[0-9]+\Z")
_NO_ID_CHARACTER: Final = re.compile(r"[^A-Za-z0-9._:@/-]+")
_LABEL_LENGTH: Final = 119
"""Leaves room for the digest within the 128 characters of an identifier."""


def is_from_openrouter(span: Span) -> bool:
    """Whether Broadcast sent the span."""
    return span.resource.get("service.name") == SERVICE or span.scope == SERVICE


def is_generation(facts: Facts) -> bool:
    """Whether the span is a request: not a provider's attempt or another part of one, nor one of OpenRouter's two tests."""
    generation = facts.get("generation")
    return (
        facts.has("request_model", "response_model")
        and facts.get("span_type") in (None, "generation", "llm")
        and not (isinstance(generation, str) and _ATTEMPT.search(generation))
        and facts.span.name != CONNECTION_TEST
        and facts.get("test") != TEST_SOURCE
    )


def read_generation(facts: Facts, reading: Reading) -> Candidate:
    """Return the candidate of a span that `is_generation`. OpenRouter's own id of the request is the record's, where it is sent."""
    provider = provider_of(facts.get("provider"))
    values = read_values(facts, reading)
    generation = facts.text("generation")
    values["request_id"] = span_request_id(facts) if generation is None else generation
    values["api_key_id"] = first_given(values["api_key_id"], key_label(facts.text("api_key_name")))
    # Its model ids have their author; the provider is only who served.
    values |= model_names(facts, None)
    values["provider"] = provider.slug if provider else facts.get("provider")
    if str(facts.get("byok")).lower() == "true":
        values["traffic_mode"] = "byok"
    return Candidate(values, tuple(facts.contradictions))


def key_label(name: object) -> object:
    """Return an API key's name, which is any text, as an identifier: spaces become hyphens.

    Other characters do too, and a digest of the name is added, so that two names do not become one.
    """
    if not isinstance(name, str):
        return name
    label = name.strip().replace(" ", "-")
    if not label or ID_PATTERN.fullmatch(label):
        return label or None
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{_NO_ID_CHARACTER.sub('-', label)[:_LABEL_LENGTH]}-{digest}"
