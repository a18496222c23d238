"""Fast path of the public network answer: sent from memory before any middleware."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from itertools import count
from typing import Final

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth.quota import address_subject
from app.execution.cache import Version
from app.http.answer_headers import Header, complete_headers
from app.http.compression import choose_coding, coded_headers
from app.http.json import etag_matches
from app.http.proxies import TrustedProxies
from app.surfaces.network import NETWORK
from app.web.answer_cache import AnswerCache
from app.web.cached_answer import CachedAnswer
from app.web.cors import CrossOrigin
from app.web.metrics import Metrics


class NetworkFront:
    """Answers requests for the network without a key, if a valid answer is cached, without awaiting anything.

    Such a request is counted for its address, measured and given an id here; other requests take the regular path.
    """

    __slots__ = ("_admit", "_answer", "_answers", "_forms", "_ids", "_shared", "_unchanged", "_version", "_versions", "clock", "metrics")

    def __init__(
        self, answers: AnswerCache, admit: Callable[[str, float], bool] | None, metrics: Metrics, cross_origin: CrossOrigin
    ) -> None:
        """`admit`: counts a request for an address; None: there is no limit."""
        self.metrics = metrics
        self.clock = answers.clock
        self._answers = answers
        self._versions = answers.network
        self._admit = admit
        self._ids = count(secrets.randbits(63))
        self._version: Version | None = None
        self._answer: CachedAnswer | None = None
        self._shared = cross_origin.headers_for(NETWORK.path, b"")[0]
        self._unchanged: tuple[Header, ...] = ()
        self._forms: dict[str | None, tuple[tuple[Header, ...], Message]] = {}

    def open(self, scope: Scope, now: float) -> tuple[Message, Message] | None:
        """Return the messages of the answer; None: the regular path answers."""
        if_none_match: bytes | None = None
        accept_encoding: bytes | None = None
        for name, value in scope["headers"]:
            if name in _CALLER_HEADERS:
                if name == b"accept-encoding" and accept_encoding is None:
                    accept_encoding = value
                elif name == b"if-none-match" and if_none_match is None:
                    if_none_match = value
                else:
                    return None
        versions = self._versions
        if now >= versions.fresh_until or (versions.current is not self._version and not self._find(now)) or scope["method"] != "GET":
            return None
        if now >= versions.refresh_at:
            versions.refresh_ahead(now)
        if self._admit is not None:
            client = scope["client"]
            if not self._admit(address_subject(client[0] if client else ""), now):
                return None  # the regular path refuses it with a message; it was not counted here
        request_id = (b"x-request-id", b"%016x" % next(self._ids))
        if if_none_match is not None and etag_matches(if_none_match.decode("latin-1"), self._answer.etag if self._answer else ""):
            return {"type": "http.response.start", "status": 304, "headers": (*self._unchanged, request_id)}, _NO_BODY
        coding = None if accept_encoding is None else choose_coding(accept_encoding.decode("latin-1"))
        headers, body = self._forms.get(coding) or self._make_form(coding)
        return {"type": "http.response.start", "status": 200, "headers": (*headers, request_id)}, body

    def _find(self, now: float) -> bool:
        """Get the cached answer of the current state, once until the next state."""
        answer: CachedAnswer | None = self._answers.memory.find((NETWORK.path,), self._versions, now)
        if answer is None:
            return False
        self._version = self._versions.current
        self._answer = answer
        self._unchanged = (*complete_headers(304, answer.unchanged_headers(), keyed=False), *self._shared)
        self._forms = {}
        return True

    def _make_form(self, coding: str | None) -> tuple[tuple[Header, ...], Message]:
        """Return headers and body of the answer in a coding. Compressed once: it is short, at most 15 models and 68 points."""
        if self._answer is None:
            raise RuntimeError("there is no answer yet")
        headers, body = self._answer.headers, self._answer.body.plain
        if coding is not None and self._answer.is_compressible():
            body = self._answer.body.take(coding)
            headers = coded_headers(headers, coding, len(body))
        completed = (*complete_headers(200, headers, keyed=False), *self._shared)
        form = self._forms[coding] = (completed, {"type": "http.response.body", "body": body})
        return form


_CALLER_HEADERS: Final = frozenset({b"authorization", b"x-api-key", b"x-request-id", b"if-none-match", b"accept-encoding"})
_NO_BODY: Final[Message] = {"type": "http.response.body", "body": b""}


class GatewayApp(FastAPI):
    """The application with its layers before FastAPI: trusted proxies, fast path, gate."""

    proxies: TrustedProxies | None = None
    front: NetworkFront | None = None
    gate: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from memory, or by the regular path."""
        if self.proxies is not None and scope["type"] == "http":
            self.proxies.resolve(scope)
        front = self.front
        if front is not None and scope["type"] == "http" and scope["path"] == NETWORK.path:
            started = front.clock()
            messages = front.open(scope, started)
            if messages is not None:
                start, body = messages
                await send(start)
                await send(body)
                front.metrics.observe_hit(start["status"], front.clock() - started)
                return
        await (self.gate or self.routed)(scope, receive, send)

    async def routed(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by FastAPI's middleware and routes."""
        await super().__call__(scope, receive, send)
