"""CORS: the origins that may read answers. Credentials are never allowed: no answer depends on a cookie, and a page needs an API key."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.http.answer_headers import Header
from app.ingest.sources.genai import TENANT_HEADER

PUBLIC_PATHS: Final = frozenset({"/api/v1/analytics/network", "/schema.graphql"})
"""Public URLs, which pages of all origins may read."""

REQUEST_HEADERS: Final = (
    *("Accept", "Authorization", "Content-Encoding", "Content-Type", "If-None-Match", "X-API-Key", "X-Request-ID"),
    *("baggage", "traceparent", "tracestate"),
    *("Apollo-Require-Preflight", "Apollographql-Client-Name", "Apollographql-Client-Version", "X-Apollo-Operation-Name"),
    *(TENANT_HEADER, "X-Test-Connection", "X-Token-Convention", "X-Tokengraph-Tenant-From"),
)
"""Request headers that a page may send."""

ANSWER_HEADERS: Final = (
    *("Allow", "Content-Disposition", "ETag", "Retry-After", "WWW-Authenticate", "X-Request-ID"),
    *("RateLimit", "RateLimit-Policy", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"),
    *("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"),
)
"""Response headers that a page may read, in addition to the safelisted ones."""

_ANY: Final = "*"
_KEYED: Final = ("/api/", "/v1/", "/graphql")
_PREFLIGHT_SECONDS: Final = 7200

_ALLOW: Final = b"access-control-allow-origin"
_EXPOSE: Final = (b"access-control-expose-headers", ", ".join(ANSWER_HEADERS).encode("ascii"))


def is_keyed(path: str) -> bool:
    """Tell whether requests to a path count for a key or an address."""
    return path.startswith(_KEYED)


class CrossOrigin:
    """The CORS policy. `origins`: those that may call `/graphql` and all keyed URLs; `*`: all origins."""

    def __init__(self, origins: tuple[str, ...] = ()) -> None:
        self._public = _policy((_ANY,), ("GET", "HEAD"))
        self._keyed = _policy(origins, ("GET", "HEAD", "POST", "PUT")) if origins else None

    def _policy_of(self, path: str) -> CORSMiddleware | None:
        return self._public if path in PUBLIC_PATHS else self._keyed if is_keyed(path) else None

    def preflight(self, scope: Scope) -> Response | None:
        """Return the response to a preflight request; None: it is none, or the URL allows no origin."""
        if scope["method"] != "OPTIONS":
            return None
        headers = Headers(scope=scope)
        policy = self._policy_of(scope["path"])
        if policy is None or "origin" not in headers or "access-control-request-method" not in headers:
            return None
        return policy.preflight_response(headers)

    def headers_for(self, path: str, origin: bytes) -> tuple[tuple[Header, ...], bool]:
        """Return the CORS headers of an answer, and whether they depend on the origin. `origin` empty: none was sent.

        Public answers always have them, so that a shared cache has one answer for all.
        """
        policy = self._policy_of(path)
        if policy is None:
            return (), False
        if policy.allow_all_origins:
            return _FOR_ALL, False
        if origin and policy.is_allowed_origin(origin.decode("latin-1")):
            return ((_ALLOW, origin), _EXPOSE), True
        return (), True


_FOR_ALL: Final[tuple[Header, ...]] = ((_ALLOW, b"*"), (_EXPOSE[0], b"*"))
"""All headers may be read where no credentials are sent. Their names would be a third of a cached answer's head."""


def _policy(origins: tuple[str, ...], methods: tuple[str, ...]) -> CORSMiddleware:
    return CORSMiddleware(_nothing, allow_origins=origins, allow_methods=methods, allow_headers=REQUEST_HEADERS, max_age=_PREFLIGHT_SECONDS)


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotImplementedError("only its policy is used")
