"""HEAD for every URL with GET: the same answer without the body."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Send


class HeadersSentError(Exception):
    """The headers are sent; the rest of a streamed body is not needed."""


def without_body(send: Send) -> tuple[Receive, Send]:
    """Return what an application is given that answers as for GET: the body ends before it begins, and so does what makes it."""
    sent = asyncio.Event()
    asked = False

    async def receive_nothing() -> Message:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await sent.wait()
        return {"type": "http.disconnect"}

    async def send_headers(message: Message) -> None:
        if message["type"] != "http.response.body":
            await send(message)
            return
        if not sent.is_set():
            sent.set()
            await send({"type": "http.response.body", "body": b""})
        if message.get("more_body"):
            raise HeadersSentError

    return receive_nothing, send_headers
