"""Error bodies, one form per documented URL. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from app.domain.errors import OverloadedError, RateLimitedError, TokengraphError, UnauthenticatedError, UnavailableError

Envelope = Callable[[TokengraphError], dict[str, Any]]

_PUBLIC_500 = "Internal Server Error"


def _message(error: TokengraphError) -> str:
    return _PUBLIC_500 if error.status == 500 else error.message


def numbered(error: TokengraphError) -> dict[str, Any]:
    """`{"error": {"code": <http status>, "message": ...}}`: network and rankings."""
    return {"error": {"code": error.status, "message": _message(error)}}


def detailed(error: TokengraphError) -> dict[str, Any]:
    """`{"detail": ...}`: usage analytics."""
    if isinstance(error, UnauthenticatedError):
        return {"detail": "Not authenticated"}
    return {"detail": _message(error)}


def gateway(error: TokengraphError) -> dict[str, Any]:
    """`{"error": {"message": ..., "type": ..., "code": ...}}`, with the two types of gateway statistics."""
    if error.status >= 500:
        return typed(error)
    kind = "authentication_error" if error.status in (401, 403) else "invalid_request_error"
    return {"error": {"message": _message(error), "type": kind, "code": error.code.lower()}}


def typed(error: TokengraphError) -> dict[str, Any]:
    """`{"error": {"message": ..., "type": ..., "code": ...}}`: customer analytics and the ingest endpoints."""
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    return {"error": {"message": _message(error), "type": kind, "code": error.code.lower()}}


_ENVELOPES: Final[tuple[tuple[str, Envelope], ...]] = (
    ("/api/v1/", numbered),
    ("/api/", detailed),
    ("/v1/analytics", gateway),
)


def envelope_of(path: str) -> Envelope:
    """Return the form of errors below a path."""
    return next((envelope for prefix, envelope in _ENVELOPES if path.startswith(prefix)), typed)


def error_headers(error: TokengraphError) -> dict[str, str]:
    """Return the headers of an error: Retry-After, WWW-Authenticate."""
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, RateLimitedError):
        headers |= {
            "Retry-After": str(error.retry_after),
            "X-RateLimit-Limit": str(error.limit),
            "X-RateLimit-Remaining": str(error.remaining),
            "X-RateLimit-Reset": str(int(error.reset_at)),
        }
    if isinstance(error, UnavailableError | OverloadedError):
        headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers
