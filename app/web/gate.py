"""Where every request comes in: it gets an id and is counted, for its caller and in the metrics; its answer gets the headers of both."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from itertools import count
from time import perf_counter
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth.quota import answer_headers
from app.db.shares import current_workload
from app.domain.errors import StoppingError, TokengraphError
from app.http.answer_headers import KEY_HEADERS, Header, complete_headers
from app.request.context import RequestContext, Services
from app.web.cors import CrossOrigin, is_keyed
from app.web.head import HeadersSentError, without_body
from app.web.metrics import Metrics
from app.web.pages.routes import PAGES
from app.web.refusals import refuse

log = logging.getLogger(__name__)

_GONE: Final = 499
"""As what a request is counted whose sender broke off in the middle of the body: nobody is there to be told."""

_ACCEPTED = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_ORIGIN: Final = ("Origin",)


class Gate:
    """Takes over a well-formed `X-Request-ID` of the caller, or makes one; counts each request that asks for work.

    It refuses nothing itself: a refusal is raised where the route asks for its context, so that each surface says it in its own form.
    """

    def __init__(self, app: ASGIApp, services: Services, metrics: Metrics, cross_origin: CrossOrigin) -> None:
        self._app = app
        self._cross_origin = cross_origin
        self._services = services
        self._metrics = metrics
        self._ids = count(secrets.randbits(63))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        path: str = scope["path"]
        given = origin = b""
        keyed = False
        for name, value in scope["headers"]:
            if name in KEY_HEADERS:
                keyed = True
            elif name == b"x-request-id":
                given = given or value
            elif name == b"origin":
                origin = value
        shared, depends = self._cross_origin.headers_for(path, origin)
        varies = _ORIGIN if depends else ()
        request_id = given if _ACCEPTED.fullmatch(given) else b"%016x" % next(self._ids)
        scope.setdefault("state", {})["request_id"] = request_id.decode("ascii")
        limits: dict[str, str] = {}
        status = 0

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                completed = complete_headers(status, message.get("headers", ()), keyed=keyed, varies=varies)
                message["headers"] = [*completed, *(header for header in shared if not preflight), (b"x-request-id", request_id)]
                if limits:  # which an answer of 429 has already
                    message["headers"] = _add_headers(message["headers"], limits)
            await send(message)

        answer: Send = send_noted
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        if inner is not scope:
            receive, answer = without_body(send_noted)
        preflight = self._cross_origin.preflight(scope)
        before = current_workload.set(current_workload.get())
        try:
            if preflight is not None:
                await preflight(scope, receive, send_noted)
                return
            if (path in PAGES or is_keyed(path)) and scope["method"] != "OPTIONS":
                answer_headers.set(limits)  # each request is a task, with a context of its own
                await RequestContext.of(Request(inner), self._services).admit()
            await self._app(inner, receive, answer)
        except HeadersSentError:
            pass
        except ClientDisconnect:
            status = _GONE
        except asyncio.CancelledError:  # the process stops, and the time is over that its requests were given to end
            task = asyncio.current_task()
            if status or task is None:
                raise
            task.uncancel()
            await refuse(inner, StoppingError())(inner, receive, answer)
        except Exception:
            if status:
                raise  # it was answered; the server logs it
            log.exception("request %s failed", request_id.decode("ascii"))
            await refuse(inner, TokengraphError())(inner, receive, answer)
        finally:
            current_workload.reset(before)
            route = getattr(inner.get("route"), "path", "none")
            self._metrics.observe_request(scope["method"], route, status or 500, perf_counter() - started)


def _add_headers(headers: list[Header], added: dict[str, str]) -> list[Header]:
    """Return an answer's headers with others, which take the place of those of the same names."""
    encoded = {name.lower().encode("latin-1"): value.encode("latin-1") for name, value in added.items()}
    return [*(header for header in headers if header[0] not in encoded), *encoded.items()]
