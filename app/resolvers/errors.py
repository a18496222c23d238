"""What a caller is told of an error: its code and words if it is one of ours, else a request id and nothing more."""

from __future__ import annotations

import logging
from typing import Final

from graphql import GraphQLError
from strawberry.utils.str_converters import to_camel_case

from app.domain.errors import OverloadedError, RateLimitedError, TokengraphError, UnavailableError

log = logging.getLogger(__name__)

MAX_MESSAGE: Final = 500
"""Characters of a message: those of the library repeat names and values of the document, which may be as long as it is."""


def public_error(error: GraphQLError, request_id: str) -> GraphQLError:
    """Return the error as the caller may see it, always with `extensions.code`."""
    cause = error.original_error
    if cause is None or isinstance(cause, GraphQLError):
        if "code" in (error.extensions or {}):
            return error
        return _replaced(error, _shown(error.message), {"code": "BAD_USER_INPUT"}, None)
    if not isinstance(cause, TokengraphError):
        log.error("request %s failed at %s", request_id, error.path, exc_info=cause)
        return _replaced(error, "Internal server error", {"code": "INTERNAL", "requestId": request_id}, cause)
    extensions: dict[str, object] = {"code": cause.code}
    if cause.arguments:
        extensions["argument"] = to_camel_case(cause.arguments[0])
    if isinstance(cause, RateLimitedError):
        extensions |= {"limit": cause.limit, "remaining": cause.remaining, "retryAfter": cause.retry_after}
    if isinstance(cause, UnavailableError | OverloadedError):
        extensions["retryAfter"] = cause.retry_after
    return _replaced(error, cause.spelled(to_camel_case), extensions, cause)


def _shown(message: str) -> str:
    """Return a message of the library as it may be sent: not longer than is useful, and without lone surrogates, which are no text."""
    whole = message.encode("utf-8", "backslashreplace").decode()
    return whole if len(whole) <= MAX_MESSAGE else f"{whole[: MAX_MESSAGE - 3]}..."


def _replaced(error: GraphQLError, message: str, extensions: dict[str, object], cause: Exception | None) -> GraphQLError:
    shown = GraphQLError(message, path=error.path, original_error=cause, extensions=extensions)
    # Taken over, not given to the constructor: it would look for the lines in the document again.
    shown.nodes, shown.source, shown.positions, shown.locations = error.nodes, error.source, error.positions, error.locations
    return shown
