"""A router: LiteLLM itself, which logs mocked calls to a gateway by its generic API callback. Run by LiteLLM's own interpreter.

Arguments: the endpoint, the headers as JSON, the log format. Prints as JSON what LiteLLM logged, by its own word, and whom it tried to reach.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import Any

os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "LITELLM_LOG": "CRITICAL"}

reached: set[str] = set()


def note_connections(event: str, arguments: tuple[Any, ...]) -> None:
    """Note every address but this machine's own."""
    if event == "socket.getaddrinfo" or (event == "socket.connect" and isinstance(arguments[1], tuple)):
        host = arguments[0] if event == "socket.getaddrinfo" else arguments[1][0]
        if str(host) not in ("127.0.0.1", "::1", "localhost"):
            reached.add(str(host))


sys.addaudithook(note_connections)

import litellm  # type: ignore[import-not-found]  # noqa: E402
from litellm.caching.caching import Cache  # type: ignore[import-not-found]  # noqa: E402
from litellm.integrations.generic_api.generic_api_callback import GenericAPILogger  # type: ignore[import-not-found]  # noqa: E402


def said() -> dict[str, Any]:
    """Return what every call says: LiteLLM writes into it, so it is made anew."""
    return {
        "messages": [{"role": "user", "content": "a secret of mine"}],
        "metadata": {"user_api_key_team_id": "acme", "user_api_key_hash": "hash-1", "user_api_key_user_id": "ada"},
    }


async def make_calls() -> int:
    """Make calls that end in every way; return how many logs there must be."""
    await litellm.acompletion(model="gpt-4o", mock_response="an answer", **said())
    async for _ in await litellm.acompletion(model="gpt-4o", mock_response="an answer in pieces", stream=True, **said()):
        pass
    for broken in ("litellm.RateLimitError", Exception("a secret of the provider's")):
        with contextlib.suppress(Exception):
            await litellm.acompletion(model="anthropic/claude-sonnet-4-5", mock_response=broken, **said())
    await litellm.aembedding(model="text-embedding-3-small", input=["a secret"], mock_response=[0.5], metadata=said()["metadata"])
    router = litellm.Router(
        [
            {"model_name": "bad", "litellm_params": {"model": "openai/gpt-4o-mini", "mock_response": "litellm.InternalServerError"}},
            {"model_name": "good", "litellm_params": {"model": "openrouter/openai/gpt-4o:free", "mock_response": "an answer"}},
        ],
        num_retries=1,
        fallbacks=[{"bad": ["good"]}],
    )
    await router.acompletion("bad", **said())
    litellm.cache = Cache()
    for _ in range(2):
        await litellm.acompletion(model="gpt-4o", mock_response="kept", caching=True, **said())
        await asyncio.sleep(0.5)
    return 10


async def main(endpoint: str, headers: str, log_format: Any) -> None:
    """Make the calls, send the logs, print them."""
    logger = GenericAPILogger(endpoint, json.loads(headers), log_format=log_format, max_retries=2, flush_interval=3600)
    litellm.callbacks = [logger]
    expected = await make_calls()
    for _ in range(100):
        if len(logger.log_queue) >= expected:
            break
        await asyncio.sleep(0.1)
    logged = json.loads(json.dumps(logger.log_queue, default=str))
    # The second time is what LiteLLM does when the first answer is lost.
    for _ in range(2):
        logger.log_queue = json.loads(json.dumps(logged))
        await logger.flush_queue()
    sys.stdout.write("\n" + json.dumps({"logged": logged, "reached": sorted(reached)}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
