"""Refuses GraphQL requests that are too long to be honest, before they are read into memory."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.rest.answer import json_response

GRAPHQL_BODY_LIMIT = 8 * 2**20
"""Bytes: room for a mutation of 1,000 usage records."""

_PATH = "/graphql"


class TooLongError(Exception):
    """More came than may."""


class BodyLimitMiddleware:
    """Answers 413 to a GraphQL body of more than GRAPHQL_BODY_LIMIT bytes. The ways in bound their own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting its bytes."""
        if scope["type"] != "http" or scope["path"] != _PATH:
            await self._app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if announced.isdigit() and int(announced) > GRAPHQL_BODY_LIMIT:
            await _refuse(scope, receive, send)
            return
        arrived = 0
        answered = False

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > GRAPHQL_BODY_LIMIT:
                raise TooLongError
            return message

        async def watched(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except TooLongError:
            if not answered:
                await _refuse(scope, receive, send)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    error = {"message": f"the body is larger than {GRAPHQL_BODY_LIMIT} bytes", "extensions": {"code": "BAD_USER_INPUT"}}
    await json_response({"data": None, "errors": [error]}, 413, {"Connection": "close"})(scope, receive, send)
