"""What LiteLLM's logs of a call mean, by whichever way they come: providers, models, calls that are none of a model, outcomes, usage. Pure.

docs/connect/litellm.md quotes the tables, and a test holds it to them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import Final

from app.domain.fields import SHORT_TEXT
from app.domain.usage import UNKNOWN, Reason
from app.ingest.fields import COUNT_RULE, BrokenRuleError, read_count
from app.ingest.sources.conventions import CONVENTIONS, TokenCounts, TokenReading, read_tokens
from app.ingest.sources.genai_attributes import VARIANTS, Provider

TENANT_METADATA: Final = "tokengraph_tenant_id"
"""The name under which the metadata of a key or of a request names a tenant."""

HEALTH_CHECKS: Final = "litellm-internal-health-check"
"""Key and team of the calls by which LiteLLM tries its own deployments."""

NO_USER: Final = "default_user_id"
"""The user of LiteLLM's master key, who is nobody."""

UNKNOWN_MODEL: Final = "unknown-model"
"""The model that LiteLLM writes down where a caller named none that it knows."""

DISCONNECTED: Final = 499
NO_STATUS: Final = 0
"""The status code of a request that failed where LiteLLM does not say how."""

_OPENAI = Provider("openai", "openai")
_AZURE_OPENAI = Provider("azure", "openai")
_BEDROCK = Provider("amazon-bedrock", "amazon-bedrock")
_GOOGLE = Provider("google", "google")
_MISTRAL = Provider("mistralai", "mistralai")
_WATSONX = Provider("ibm-watsonx", "ibm-watsonx")

PROVIDERS: Final[dict[str, Provider]] = {
    "text-completion-openai": _OPENAI,
    "azure": _AZURE_OPENAI,
    "azure_text": _AZURE_OPENAI,
    "azure_ai": Provider("azure", "azure"),
    "bedrock": _BEDROCK,
    "bedrock_converse": _BEDROCK,
    "vertex_ai": _GOOGLE,
    "vertex_ai_beta": _GOOGLE,
    "gemini": _GOOGLE,
    "anthropic_text": Provider("anthropic", "anthropic"),
    "cohere_chat": Provider("cohere", "cohere"),
    "ollama_chat": Provider("ollama", "ollama"),
    "mistral": _MISTRAL,
    "codestral": _MISTRAL,
    "text-completion-codestral": _MISTRAL,
    "moonshot": Provider("moonshotai", "moonshotai"),
    "watsonx": _WATSONX,
    "watsonx_text": _WATSONX,
    "xai": Provider("x-ai", "x-ai"),
}
"""By `custom_llm_provider`. Any other is its own slug and author."""

AUTHORED: Final = frozenset(
    {"openrouter", "vercel_ai_gateway", "together_ai", "deepinfra", "groq", "nebius", "novita", "hyperbolic", "replicate", "nvidia_nim"}
    | {"huggingface", "hosted_vllm", "vllm"}
)
"""Providers that serve models of many authors and name them `author/model`: that is the model id."""

_DEPLOYMENTS: Final = frozenset({"azure", "azure_text"})
"""Providers whose models an operator names as he likes; the model that LiteLLM prices it as says which it is."""

# How LiteLLM is told to reach a model of Bedrock: the API and the region are no part of the model's name.
_BEDROCK_ROUTE: Final = re.compile(r"\A(?:(?:converse_like|converse|invoke|async_invoke)/)?(?:[a-z]{2}(?:-[a-z]+)+-[0-9]/)?")

# fmt: off
_NOT_CALLS: Final = (
    "get_responses", "delete_responses", "cancel_responses", "list_input_items",
    "create_batch", "retrieve_batch", "cancel_batch", "list_batches",
    "create_file", "file_retrieve", "file_delete", "file_list", "file_content",
    "create_fine_tuning_job", "cancel_fine_tuning_job", "list_fine_tuning_jobs", "retrieve_fine_tuning_job",
    "get_assistants", "create_assistants", "delete_assistant", "create_thread", "get_thread", "add_message", "get_messages",
    *(f"vector_store_{verb}" for verb in ("create", "retrieve", "list", "update", "delete", "search")),
    *(f"vector_store_file_{verb}" for verb in ("create", "retrieve", "list", "content", "update", "delete")),
    "create_container", "list_containers", "retrieve_container", "delete_container",
    "list_container_files", "upload_container_file", "create_sandbox", "delete_sandbox", "run_code",
    "video_retrieve", "video_retrieve_job", "video_content", "video_list", "video_delete", "video_get_character",
    "call_mcp_tool", "list_mcp_tools", "create_skill", "ingest", "query", "search",
)
# fmt: on
NOT_CALLS: Final = frozenset({name for call in _NOT_CALLS for name in (call, f"a{call}")} | {"a_add_message"})
"""Call types that are no call of a model: reading, listing and managing things. Some report the usage of an earlier call."""

PASSED_THROUGH: Final = frozenset({"pass_through_endpoint", "llm_passthrough_route", "allm_passthrough_route"})
"""Call types of requests that LiteLLM only hands on: calls of a model if they failed or have usage."""

PASSED_OVER: Final = "is no call of a model and has neither tokens nor cost (call_type): passed over"

_STATUS: Final = re.compile(r"[1-5][0-9]{2}")
_LEADING_STATUS: Final = re.compile(r"([1-5][0-9]{2})(?:_|\Z)")
_MARK_BYTES: Final = 16
_KEY_PREFIX: Final = "sk-"


def as_object(value: object) -> Mapping[str, object]:
    """Return an object, an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def given(value: object) -> object:
    """Return None for what LiteLLM writes where there is nothing: null, an empty text, the word None."""
    return None if value is None or (isinstance(value, str) and value in ("", "None")) else value


def first_given(*values: object) -> object:
    """Return the first value that says something."""
    return next((value for value in values if given(value) is not None), None)


def shortened(text: object, limit: int = SHORT_TEXT) -> object:
    """Return a text that is longer than `limit` as its beginning and a digest of the whole, so that no two become one."""
    if not isinstance(text, str) or len(text) <= limit:
        return text
    mark = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_MARK_BYTES).hexdigest()
    return f"{text[: limit - len(mark) - 1]}-{mark}"


def key_id(value: object) -> object:
    """Return a virtual key's hash; a key in clear is hashed as LiteLLM does, for no secret may be stored."""
    value = given(value)
    if isinstance(value, str) and value.startswith(_KEY_PREFIX):
        return sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
    return value


def has_amounts(log: Mapping[str, object], fields: tuple[str, ...]) -> bool:
    """Whether any of these fields, tokens and cost, has an amount; what is no number at all counts as one."""
    return any(_is_amount(log.get(name)) for name in fields)


def is_passed_over(log: Mapping[str, object], amounts: tuple[str, ...]) -> bool:
    """Whether a log is of something else than a call of a model and has none of the amounts, which are names of fields."""
    call_type = log.get("call_type")
    if not isinstance(call_type, str) or has_amounts(log, amounts):
        return False
    return call_type in NOT_CALLS or (call_type in PASSED_THROUGH and log.get("status") == "success")


def _is_amount(value: object) -> bool:
    if isinstance(value, str):
        try:
            return float(value or 0) != 0
        except ValueError:
            return True
    return value is not None and value != 0


@dataclass(frozen=True, slots=True)
class Routed:
    """Where a call went: `model` as LiteLLM names it, `provider` its `custom_llm_provider`, `priced_as` its `model_map_key`."""

    model: object
    provider: object
    priced_as: object = None
    failed: bool = False


def model_names(routed: Routed) -> dict[str, object]:
    """Return `model_id`, `model_permaslug` and `provider` as the catalog has them: LiteLLM's prefix of the provider is not doubled.

    A request that failed with no provider chosen was not routed: its model is whatever its caller wrote, and unknown.
    """
    model, name = routed.model, given(routed.provider)
    if model == UNKNOWN_MODEL or (routed.failed and name is None):
        return {"model_id": UNKNOWN, "model_permaslug": None, "provider": name}
    if not isinstance(model, str) or not model or not isinstance(name, str):
        return {"model_id": model, "model_permaslug": None, "provider": name}
    provider = PROVIDERS.get(name) or Provider(name, name)
    bare = model.removeprefix(f"{name}/")
    if name in _DEPLOYMENTS and isinstance(routed.priced_as, str) and routed.priced_as:
        bare = routed.priced_as.rpartition("/")[2]
    if provider is _BEDROCK:
        bare = _BEDROCK_ROUTE.sub("", bare)
    has_author = bare.startswith(f"{provider.author}/") or (name in AUTHORED and "/" in bare)
    permaslug = bare if has_author else f"{provider.author}/{bare}"
    base, _, variant = permaslug.rpartition(":")
    model_id = base if name == "openrouter" and variant in VARIANTS else permaslug
    return {"model_id": model_id, "model_permaslug": permaslug, "provider": provider.slug}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended, and what contradicts itself in that."""

    status_code: object
    interrupted: bool = False
    contradictions: tuple[Reason, ...] = ()


def read_outcome(status: object, error: Mapping[str, object], *, answered: bool) -> Outcome:
    """Return the outcome by `status` and `error_information`. `answered`: tokens of an answer came.

    A stream that its caller left is logged as a success with the error code 499.
    """
    code = _error_code(error)
    left = code == DISCONNECTED or error.get("error_class") == "ClientDisconnected"
    if status not in ("success", "failure"):
        return Outcome(None, contradictions=(Reason("status_code", 'status must be "success" or "failure"'),))
    if left:
        return Outcome(DISCONNECTED, interrupted=True)
    if status == "success":
        wrong = () if code is None else (Reason("status_code", "status is success, and error_information.error_code is given"),)
        return Outcome(200, contradictions=wrong)
    if code is not None and 200 <= code < 300:
        return Outcome(
            code, contradictions=(Reason("status_code", "status is failure, and error_information.error_code is that of a success"),)
        )
    return Outcome(NO_STATUS if code is None else code, interrupted=answered)


def _error_code(error: Mapping[str, object]) -> int | None:
    """The HTTP status. What LiteLLM calls a code may be a provider's own word too, and then its own name of the error begins with one."""
    code = error.get("error_code")
    if isinstance(code, int) and not isinstance(code, bool) and 100 <= code < 600:
        return code
    if isinstance(code, str) and _STATUS.fullmatch(code):
        return int(code)
    name = error.get("normalized_error")
    match = _LEADING_STATUS.match(name) if isinstance(name, str) else None
    return int(match[1]) if match else None


def read_usage(counts: TokenCounts, usage: Mapping[str, object], source: str) -> TokenReading:
    """Return the record's token fields: `counts` has the sums, `usage` is LiteLLM's `usage_object`, with the parts of them.

    A total of 0 is how LiteLLM writes that none was given.
    """
    prompt, completion = as_object(usage.get("prompt_tokens_details")), as_object(usage.get("completion_tokens_details"))
    cached = (prompt.get("cached_tokens"), usage.get("cache_read_input_tokens"))
    writes = first_given(prompt.get("cache_creation_tokens"), prompt.get("cache_write_tokens"), usage.get("cache_creation_input_tokens"))
    wrong = []
    if None not in cached and cached[0] != cached[1]:
        wrong.append(Reason("cached_tokens", "prompt_tokens_details.cached_tokens and cache_read_input_tokens differ"))
    if writes is not None and not _is_count(writes):
        wrong.append(Reason("prompt_tokens", f"the tokens written to a prompt cache: {COUNT_RULE}"))
        writes = None
    reading = read_tokens(
        TokenCounts(
            prompt=counts.prompt,
            completion=counts.completion,
            cached=first_given(*cached),
            cache_writes=writes,
            reasoning=completion.get("reasoning_tokens"),
            total=None if counts.total in (0, "0") else counts.total,
        ),
        CONVENTIONS[source],
    )
    return TokenReading(reading.values, (*wrong, *reading.contradictions))


def _is_count(value: object) -> bool:
    try:
        read_count(value)
    except BrokenRuleError:
        return False
    return True


def searches_of(usage: Mapping[str, object]) -> object:
    """Return how many web searches the provider made for the call."""
    return first_given(
        as_object(usage.get("prompt_tokens_details")).get("web_search_requests"),
        as_object(usage.get("server_tool_use")).get("web_search_requests"),
    )


def attempt_of(retries: object, fallbacks: object) -> tuple[object, tuple[Reason, ...]]:
    """Return which try a call was, by how many retries and fallbacks LiteLLM says came before; None: it does not say."""
    told = [value for value in (given(retries), given(fallbacks)) if value is not None]
    try:
        return (1 + sum(read_count(value) for value in told) if told else None), ()
    except BrokenRuleError as error:
        return None, (Reason("attempt", f"retries and fallbacks: {error}"),)
