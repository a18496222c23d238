"""Connection limits over uvicorn's HTTP protocol: bytes and time of request heads, number of connections, time to read an answer.

It knows nothing of what is asked. Bodies have their own bounds (`bodies`), because these depend on who sends them.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from app.auth.quota import address_subject
from app.domain.errors import BadInputError, SlowSenderError, TokengraphError, UnavailableError
from app.http.answer_headers import complete_headers
from app.http.envelopes import error_headers, typed
from app.http.json import encode_json
from app.http.proxies import TrustedProxies


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBounds:
    """Limits of a worker. Sizes in bytes, times in seconds. Can be pickled, because it is sent to workers."""

    connections: int = 1000
    """Open connections. One more replaces the one that is idle longest; if none is idle, it gets 503."""
    per_address: int = 200
    """Open connections from one address (IPv6: one /64), with the same rule."""
    proxies: str = ""
    """Addresses and networks, or *, that many callers share: `per_address` does not hold for them."""
    url: int = 16 * 1024
    """Of a request's target. More: 414."""
    head: int = 64 * 1024
    """Of a request line and its headers. More: 431."""
    headers: int = 100
    """Headers of a request. More: 431."""
    pipelined: int = 32
    """Requests that wait for the answer to an earlier one on their connection. It is closed after them."""
    head_seconds: float = 10.0
    """From the first byte of a head to its end. Longer: 408. A new connection that stays silent as long is closed."""
    drop_seconds: float = 10.0
    """For the rest of a body that was answered before its end, so that the sender sees the answer."""
    read_seconds: float = 30.0
    """In which a caller has to read `read_bytes` of what waits for it, or all. Else the connection is cut."""
    read_bytes: int = 64 * 1024
    answer_seconds: float = 3600.0
    """From a request's head to the end of its answer."""
    stop_seconds: float = 10.0
    """That open requests get to end after SIGTERM."""
    check_seconds: float = 1.0
    """Between two looks at the clock."""


class BoundedConfig(uvicorn.Config):
    """uvicorn's configuration with the bounds of its connections."""

    bounds: Final[ConnectionBounds]

    def __init__(self, app: Any, bounds: ConnectionBounds, **options: Any) -> None:
        super().__init__(
            app,
            http=BoundedProtocol,
            ws="none",
            loop="uvloop",
            access_log=False,
            timeout_graceful_shutdown=max(1, round(bounds.stop_seconds)),
            **options,
        )
        self.bounds = bounds


_AT_ONCE: Final = struct.pack("ii", 1, 0)


class _UrlTooLongError(BadInputError):
    """The URL is too long"""

    status = 414


class _HeadTooLargeError(BadInputError):
    """The request line and headers are too long"""

    status = 431


class _Refused(Exception):
    """Nothing more is read of a connection."""


class _Connections:
    """The connections of one server: counts them, makes room, and looks at the clock for all of them."""

    def __init__(self, bounds: ConnectionBounds, loop: asyncio.AbstractEventLoop) -> None:
        self._bounds = bounds
        self._loop = loop
        self._proxies = TrustedProxies(bounds.proxies) if bounds.proxies else None
        self._all: dict[BoundedProtocol, str] = {}
        self._by_address: dict[str, set[BoundedProtocol]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, connection: BoundedProtocol, host: str) -> bool:
        """Count a connection; False: there is no room for it."""
        shared = not host or (self._proxies is not None and self._proxies.is_proxy(host))  # no host: a Unix socket
        subject = "" if shared else address_subject(host)
        neighbours = self._by_address.get(subject, set()) if subject else set()
        if len(neighbours) >= self._bounds.per_address and not self._make_room(neighbours):
            return False
        if len(self._all) >= self._bounds.connections and not self._make_room(self._all):
            return False
        self._all[connection] = subject
        if subject:
            self._by_address.setdefault(subject, set()).add(connection)
        if self._timer is None:
            self._timer = self._loop.call_later(self._bounds.check_seconds, self._check)
        return True

    def leave(self, connection: BoundedProtocol) -> None:
        """Count it no more."""
        subject = self._all.pop(connection, "")
        if subject:
            neighbours = self._by_address[subject]
            neighbours.discard(connection)
            if not neighbours:
                del self._by_address[subject]

    def _make_room(self, among: dict[BoundedProtocol, str] | set[BoundedProtocol]) -> bool:
        """Close the connection that has waited longest for a request; False: none waits."""
        longest = min((one for one in among if one.is_waiting), key=lambda one: one.since, default=None)
        if longest is None:
            return False
        self.leave(longest)
        longest.transport.abort()
        return True

    def _check(self) -> None:
        now = self._loop.time()
        for connection in list(self._all):
            connection.check(now)
        self._timer = self._loop.call_later(self._bounds.check_seconds, self._check) if self._all else None


_connections: WeakKeyDictionary[ServerState, _Connections] = WeakKeyDictionary()


class BoundedProtocol(HttpToolsProtocol):
    """A connection. Between two requests, in a head, or in a body; what is answered meanwhile is uvicorn's `cycle`."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._bounds = config.bounds if isinstance(config, BoundedConfig) else ConnectionBounds()
        if server_state not in _connections:
            _connections[server_state] = _Connections(self._bounds, self.loop)
        self._others = _connections[server_state]
        self.since = self.loop.time()
        """When it began to wait for what it waits for: a request, the end of a head, that of a body which was answered."""
        self._in_head = False
        self._in_body = False
        self._size = 0
        """Bytes of this head in earlier pieces, or of a body's framing since its last byte."""
        self._counted = 0
        """Bytes of this head that the parser told of."""
        self._fault: TokengraphError | None = None
        self._is_refused = False
        self._unread = 0
        """Bytes that waited for the caller when it last read enough of them, at `_read_at`."""
        self._read_at = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether it has no request that is being answered or sent."""
        return not self._in_body and not self._is_answering

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not (self.cycle.response_complete or self.cycle.disconnected)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, if there is room."""
        super().connection_made(transport)
        if not self._others.enter(self, self.client[0] if self.client else ""):
            self._is_refused = True
            self._write_refusal(UnavailableError("Too many connections; try again"))
            transport.close()
            return
        if self.client is not None and hasattr(socket, "TCP_USER_TIMEOUT"):  # for what the system still holds after the end
            patience = round(2 * self._bounds.read_seconds * 1000)
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no more."""
        self._others.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, within the bounds."""
        if self._is_refused:
            return
        self._unset_keepalive_if_required()
        if not (self._in_head or self._in_body):
            self._begin_head()
        elif self._size > self._bounds.head:
            self._refuse(_HeadTooLargeError())
            return
        else:
            self._size += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._read_no_more()  # what follows is of no protocol that is spoken here
        except httptools.HttpParserError:
            self._refuse(self._fault or BadInputError("Invalid HTTP request"))

    def _begin_head(self) -> None:
        self._in_head = True
        self._in_body = False
        self._size = self._counted = 0
        self.since = self.loop.time()

    def on_message_begin(self) -> None:
        """Begin a head."""
        if len(self.pipeline) >= self._bounds.pipelined:
            raise _Refused
        if not self._in_head:  # it begins in the piece in which the one before ends
            self._begin_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._counted += len(url)
        if self._counted > self._bounds.url:
            self._fault = _UrlTooLongError()
            raise _Refused
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header. Trailers are passed over: nothing here reads them."""
        if not self._in_head:
            return
        self._counted += len(name) + len(value)
        if self._counted > self._bounds.head or len(self.headers) >= self._bounds.headers:
            self._fault = _HeadTooLargeError()
            raise _Refused
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin a body, and to answer."""
        self._in_head = False
        self._in_body = True
        self._size = 0
        self.since = self.loop.time()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._size = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a body."""
        self._in_body = False
        self.since = self.loop.time()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """End an answer, perhaps before the body's end."""
        self.since = self.loop.time()
        super().on_response_complete()

    def resume_writing(self) -> None:
        """Note that the caller read most of what waited for it."""
        self._unread = 0
        super().resume_writing()

    def check(self, now: float) -> None:
        """End the connection if it took too long over anything."""
        waited = now - self.since
        if self._reads_too_slowly(now) or waited > self._patience:
            if self._in_head and not self._is_refused:
                self._refuse(SlowSenderError("The request did not arrive in time"))
            else:
                self._cut()

    def _cut(self) -> None:
        """End the connection at once, and let the system forget what it holds for a caller that does not read."""
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.transport.abort()

    @property
    def _patience(self) -> float:
        """Seconds that it may wait for what it waits for."""
        bounds = self._bounds
        if self._in_head and not self._is_refused:
            return bounds.head_seconds
        if self._is_answering:
            return bounds.answer_seconds
        if self._is_refused or self._in_body:
            return bounds.drop_seconds
        return bounds.head_seconds if self.cycle is None else self.timeout_keep_alive

    def _reads_too_slowly(self, now: float) -> bool:
        unread = self.transport.get_write_buffer_size()
        if not unread or not self._unread or self._unread - unread >= self._bounds.read_bytes:
            self._unread, self._read_at = unread, now
            return False
        self._unread = max(unread, self._unread)
        return now - self._read_at > self._bounds.read_seconds

    def shutdown(self) -> None:
        """End soon: at once if nothing is being answered, and in any case a moment after the others were told to."""
        super().shutdown()
        self.loop.call_later(self._bounds.stop_seconds + 1, self.transport.abort)

    def _refuse(self, error: TokengraphError) -> None:
        """Answer in the place of a request that is not taken, and read nothing more."""
        if self._in_body and self._is_answering:  # its body will not arrive; the waiting reader gets an error
            if self.cycle.response_started or self.pipeline:
                self.transport.abort()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if not self._is_answering:
            self._write_refusal(error)
            if self.transport.can_write_eof():
                self.transport.write_eof()
        self._read_no_more()

    def _read_no_more(self) -> None:
        """Drop what comes, for a while: a sender that is cut off in the middle might not see its answer."""
        if self._is_answering:
            self.cycle.keep_alive = False
        self._is_refused = True
        self.since = self.loop.time()

    def _write_refusal(self, error: TokengraphError) -> None:
        content = encode_json(typed(error))
        headers = {
            **error_headers(error),
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            "Connection": "close",
        }
        encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        lines = [*self.server_state.default_headers, *complete_headers(error.status, encoded, keyed=True)]
        self.transport.write(
            b"".join((STATUS_LINE[error.status], *(b"%b: %b\r\n" % line for line in lines), b"\r\n", content)),
        )
