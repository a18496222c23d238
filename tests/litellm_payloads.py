"""Makes LiteLLM's logging payloads: what a proxy of version 1.106.2 sent, without what is not read of it, and with changes."""

from __future__ import annotations

import copy
from typing import Any

CONTENT = "the content of a conversation"
START = 1_782_475_200.918_273

_SENT: dict[str, Any] = {
    "id": "chatcmpl-840b5417-f238-4ba9-a9b7-0a4551da34a4",
    "litellm_call_id": "4e49f632-6a36-4f0e-94d4-9a4e2f1c0e6b",
    "trace_id": "bf25ce26-6f0c-4d4c-8a5b-1f3c2f1b9a10",
    "session_id": "",
    "call_type": "acompletion",
    "cache_hit": None,
    "stream": None,
    "status": "success",
    "status_fields": {"llm_api_status": "success", "guardrail_status": "not_run"},
    "custom_llm_provider": "openai",
    "saved_cache_cost": 0.0,
    "startTime": START,
    "endTime": START + 1.25,
    "completionStartTime": START + 1.25,
    "response_time": 1.25,
    "model": "openai/gpt-4o",
    "metadata": {
        "user_api_key_hash": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
        "user_api_key_alias": "production",
        "user_api_key_team_id": "acme",
        "user_api_key_org_id": None,
        "user_api_key_project_id": None,
        "user_api_key_user_id": "5f0c1c3e-8f5c-4a53-9d0e-3c1f0b1f6f51",
        "user_api_key_user_email": "ada@example.com",
        "user_api_key_end_user_id": "enduser",
        "user_api_key_auth_metadata": None,
        "user_api_key_request_route": "/v1/chat/completions",
        "spend_logs_metadata": None,
        "requester_ip_address": "127.0.0.1",
        "user_agent": "curl/7.88.1",
        "requester_metadata": {"headers": {"host": "localhost:4444"}},
        "prompt_management_metadata": None,
        "usage_object": {
            "completion_tokens": 20,
            "prompt_tokens": 100,
            "total_tokens": 120,
            "completion_tokens_details": {"reasoning_tokens": 8, "text_tokens": 12},
            "prompt_tokens_details": {"cached_tokens": 40, "cache_creation_tokens": 10},
        },
    },
    "cache_key": None,
    "response_cost": 0.00022500000000000002,
    "total_tokens": 120,
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "request_tags": ["User-Agent: curl"],
    "end_user": "enduser",
    "api_base": "https://api.openai.com",
    "model_group": "gpt",
    "model_id": "259dc06645c7a8edb6eeb605c548e76cc8586d04f819a338495a5717e6d37945",
    "requester_ip_address": "127.0.0.1",
    "messages": [{"role": "user", "content": CONTENT}],
    "response": {"choices": [{"message": {"role": "assistant", "content": CONTENT}}]},
    "model_parameters": {"temperature": 0},
    "hidden_params": {
        "response_cost": 0.00022500000000000002,
        "additional_headers": {"x-litellm-model-group": "gpt", "x-litellm-attempted-retries": 0, "x-litellm-attempted-fallbacks": 0},
        "litellm_model_name": "openai/gpt-4o",
        "usage_object": None,
    },
    "model_map_information": {"model_map_key": "openai/gpt-4o", "model_map_value": {"input_cost_per_token": 2.5e-06}},
    "error_str": None,
    "error_information": {"error_code": "", "error_class": "", "llm_provider": "", "traceback": "", "error_message": ""},
    "response_cost_failure_debug_info": None,
    "zero_cost_diagnostic": None,
    "guardrail_information": None,
}


def payload(**changes: Any) -> dict[str, Any]:
    """Return the payload of a call that succeeded. A change is named by its path, its parts divided by two underscores."""
    made = copy.deepcopy(_SENT)
    for path, value in changes.items():
        put(made, path.split("__"), value)
    return made


def failure(**changes: Any) -> dict[str, Any]:
    """Return the payload of an attempt that the provider refused with a 429."""
    return payload(
        **{
            "id": _SENT["litellm_call_id"],
            "status": "failure",
            "cache_hit": False,
            "response_cost": 0.0,
            "total_tokens": 0,
            "prompt_tokens": 0,
            "completion_tokens": 0,
            "metadata__usage_object": {},
            "hidden_params": {"response_cost": 0.0, "additional_headers": None},
            "error_str": f"litellm.RateLimitError: {CONTENT}",
            "error_information": {
                "error_code": "429",
                "error_class": "RateLimitError",
                "error_message": CONTENT,
                "normalized_error": "429_RATE_LIMIT_EXCEEDED",
            },
            **changes,
        }
    )


def put(made: dict[str, Any], path: list[str], value: Any) -> None:
    """Set what is at a path, making the objects on the way."""
    *way, last = path
    for name in way:
        if not isinstance(made.get(name), dict):
            made[name] = {}
        made = made[name]
    made[last] = value
