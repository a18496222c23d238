"""The names of span attributes that are read, in one table, and of providers. Nothing else leaves a span: no message content can.

docs/connect quotes these tables, and a test holds it to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Attributes:
    """The names of one fact, the first that has a value counts.

    `agree`: they are names of the same thing, so that two of them with different values contradict each other. `resource`: looked for on
    the resource too, after the span.
    """

    names: tuple[str, ...]
    agree: bool = False
    resource: bool = False


def _same(*names: str) -> Attributes:
    return Attributes(names, agree=True)


def _whose(*names: str) -> Attributes:
    return Attributes(names, resource=True)


class Vocabulary:
    """Facts with the names of their attributes; a name belongs to one fact."""

    def __init__(self, facts: Mapping[str, Attributes]) -> None:
        self.facts = dict(facts)
        self.fact_of = {name: fact for fact, attributes in facts.items() for name in attributes.names}
        if len(self.fact_of) != sum(len(attributes.names) for attributes in facts.values()):
            raise ValueError("an attribute name belongs to two facts")

    def names(self, fact: str) -> tuple[str, ...]:
        """Return the attribute names of a fact."""
        return self.facts[fact].names

    def changed(self, changes: Mapping[str, Attributes]) -> Vocabulary:
        """Return it with some facts added or replaced."""
        return Vocabulary(self.facts | dict(changes))


GENAI: Final = Vocabulary(
    {
        "operation": Attributes(("gen_ai.operation.name",)),
        "request_type": Attributes(("llm.request.type",)),
        "agent_kind": Attributes(("traceloop.span.kind",)),
        "openinference_kind": Attributes(("openinference.span.kind",)),
        "provider": _same("gen_ai.provider.name", "gen_ai.system"),
        "openinference_provider": Attributes(("llm.provider", "llm.system")),
        "request_model": Attributes(("gen_ai.request.model", "llm.model_name", "embedding.model_name")),
        "response_model": Attributes(("gen_ai.response.model",)),
        "prompt": _same("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens", "llm.token_count.prompt"),
        "completion": _same(
            "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens", "llm.token_count.completion"
        ),
        "cached": _same(
            "gen_ai.usage.cache_read.input_tokens",
            "gen_ai.usage.cache_read_input_tokens",
            "gen_ai.usage.cached_input_tokens",
            "gen_ai.usage.input_tokens.cached",
            "llm.token_count.prompt_details.cache_read",
        ),
        "cache_writes": _same(
            "gen_ai.usage.cache_creation.input_tokens",
            "gen_ai.usage.cache_write.input_tokens",
            "gen_ai.usage.cache_creation_input_tokens",
            "gen_ai.usage.cache_write_input_tokens",
            "gen_ai.usage.input_tokens.cache_write",
            "gen_ai.usage.input_tokens.cache_creation",
            "llm.token_count.prompt_details.cache_write",
        ),
        "reasoning": _same(
            "gen_ai.usage.reasoning.output_tokens",
            "gen_ai.usage.reasoning_output_tokens",
            "gen_ai.usage.reasoning_tokens",
            "gen_ai.usage.output_tokens.reasoning",
            "gen_ai.usage.details.reasoning_tokens",
            "llm.token_count.completion_details.reasoning",
        ),
        "total": _same("gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total"),
        "cost_usd": _same("gen_ai.usage.cost", "gen_ai.usage.total_cost", "llm.cost.total"),
        "http_status": _same("http.response.status_code", "http.status_code"),
        "error_type": Attributes(("error.type",)),
        "finish_reason": Attributes(("gen_ai.response.finish_reasons", "gen_ai.response.finish_reason", "llm.response.finish_reason")),
        "first_token_s": Attributes(("gen_ai.response.time_to_first_chunk", "gen_ai.client.operation.time_to_first_chunk")),
        "first_token_ms": Attributes(("ai.response.msToFirstChunk",)),
        "tenant_id": _whose("tokengraph.tenant_id", "tenant.id", "traceloop.association.properties.tenant_id"),
        "project_id": _whose("tokengraph.project_id", "traceloop.association.properties.project_id"),
        "service": _whose("service.namespace", "service.name"),
        "api_key_id": _whose("tokengraph.api_key_id"),
        "user_id": _whose(
            "tokengraph.user_id", "user.id", "enduser.id", "gen_ai.user", "llm.user", "traceloop.association.properties.user_id"
        ),
        "username": _whose("tokengraph.username", "user.name"),
        "traffic_mode": _whose("tokengraph.traffic_mode"),
        "attempt": Attributes(("tokengraph.attempt",)),
        "cache_hit": Attributes(("tokengraph.cache_hit",)),
        "interrupted": Attributes(("tokengraph.interrupted",)),
    }
)
"""Current names of the OpenTelemetry semantic conventions first, then older ones, then those of OpenLLMetry and OpenInference."""

FIRST_TOKEN_EVENTS: Final = frozenset(
    {"gen_ai.content.completion.chunk", "llm.content.completion.chunk", "ai.stream.firstChunk", "First Token Stream Event"}
)
"""Span events that mark a chunk of the answer; the earliest is the first token."""

INFERENCE: Final = frozenset({"chat", "text_completion", "generate_content", "embeddings"})
"""Operations that are one call of a model. The others (agents, tools, workflows) repeat the usage of such calls."""

OLD_INFERENCE: Final = frozenset({"chat", "completion", "embedding"})
"""The same by `llm.request.type`."""

OPENINFERENCE_KINDS: Final = frozenset({"LLM", "EMBEDDING"})
"""The same by `openinference.span.kind`."""


@dataclass(frozen=True, slots=True)
class Provider:
    """`slug`: how the record names who served; `author`: what stands before the slash of a model id that has none."""

    slug: str
    author: str


_GOOGLE = Provider("google", "google")
_AZURE_OPENAI = Provider("azure", "openai")
_AZURE = Provider("azure", "azure")
_MISTRAL = Provider("mistralai", "mistralai")
_XAI = Provider("x-ai", "x-ai")
_MOONSHOT = Provider("moonshotai", "moonshotai")
_BEDROCK = Provider("amazon-bedrock", "amazon-bedrock")
_WATSONX = Provider("ibm-watsonx", "ibm-watsonx")

PROVIDERS: Final[dict[str, Provider]] = {
    "gcp.gemini": _GOOGLE,
    "gcp.vertex_ai": _GOOGLE,
    "gcp.gen_ai": _GOOGLE,
    "vertex_ai": _GOOGLE,
    "gemini": _GOOGLE,
    "azure.ai.openai": _AZURE_OPENAI,
    "az.ai.openai": _AZURE_OPENAI,
    "azure.ai.inference": _AZURE,
    "az.ai.inference": _AZURE,
    "aws.bedrock": _BEDROCK,
    "aws_bedrock": _BEDROCK,
    "ibm.watsonx.ai": _WATSONX,
    "mistral_ai": _MISTRAL,
    "mistral": _MISTRAL,
    "x_ai": _XAI,
    "xai": _XAI,
    "moonshot_ai": _MOONSHOT,
}
"""By the value of `gen_ai.provider.name` or `gen_ai.system`, in lower case. Any other is its own slug and author."""

VARIANTS: Final = frozenset({"free", "extended", "thinking", "online", "nitro", "floor", "exacto", "beta"})
"""What may follow a colon in a model id of OpenRouter without making it another model."""


def names_of(*vocabularies: Vocabulary) -> frozenset[str]:
    """Return every attribute name of vocabularies."""
    return frozenset(name for vocabulary in vocabularies for name in vocabulary.fact_of)
