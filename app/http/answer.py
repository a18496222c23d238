"""Responses of routes: JSON, with errors in the form of the URL's document."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from app.domain.errors import TokengraphError
from app.http.envelopes import Envelope, error_headers
from app.http.json import encode_json

log = logging.getLogger(__name__)


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(encode_json(value), status_code=status, media_type="application/json", headers=headers)


async def answer(envelope: Envelope, request: Request, respond: Callable[[], Awaitable[Response]]) -> Response:
    """Run a route; return errors in the form of its document, and unexpected ones without details."""
    try:
        return await respond()
    except TokengraphError as error:
        shown = error
    except ClientDisconnect:
        raise  # the client is gone
    except Exception:
        log.exception("request %s failed", getattr(request.state, "request_id", ""))
        shown = TokengraphError()
    return json_response(envelope(shown), shown.status, error_headers(shown))
