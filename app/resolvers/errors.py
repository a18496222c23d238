"""What a caller is told of an error: its code and words if it is one of ours, else a request id and nothing more."""

from __future__ import annotations

import logging

from graphql import GraphQLError

from app.domain.errors import OverloadedError, RateLimitedError, TokengraphError, UnavailableError

log = logging.getLogger(__name__)


def public_error(error: GraphQLError, request_id: str) -> GraphQLError:
    """Return the error as the caller may see it, always with `extensions.code`."""
    cause = error.original_error
    if cause is None or isinstance(cause, GraphQLError):
        if "code" in (error.extensions or {}):
            return error
        return _replaced(error, error.message, {"code": "BAD_USER_INPUT"}, None)
    if not isinstance(cause, TokengraphError):
        log.error("request %s failed at %s", request_id, error.path, exc_info=cause)
        return _replaced(error, "Internal server error", {"code": "INTERNAL", "requestId": request_id}, cause)
    extensions: dict[str, object] = {"code": cause.code}
    if isinstance(cause, RateLimitedError):
        extensions |= {"limit": cause.limit, "remaining": cause.remaining, "retryAfter": cause.retry_after}
    if isinstance(cause, UnavailableError | OverloadedError):
        extensions["retryAfter"] = cause.retry_after
    return _replaced(error, cause.message, extensions, cause)


def _replaced(error: GraphQLError, message: str, extensions: dict[str, object], cause: Exception | None) -> GraphQLError:
    return GraphQLError(
        message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        original_error=cause,
        extensions=extensions,
    )
