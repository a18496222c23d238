"""What a connection may cost: raw sockets against the server as it is served, with bounds so small that they are met at once."""

from __future__ import annotations

import asyncio
import re
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from app.web.http_protocol import ConnectionBounds
from tests.live import listening

QUICK = ConnectionBounds(
    connections=8,
    per_address=8,
    head_seconds=0.3,
    drop_seconds=0.3,
    read_seconds=0.3,
    answer_seconds=5,
    stop_seconds=1,
    check_seconds=0.05,
)
PATIENT = ConnectionBounds(connections=8, per_address=8, check_seconds=0.05)
"""Nothing ends by time while a test looks."""

_BIG = b"x" * (32 * 2**20)


class Hello:
    """Answers by path: at once, after the body, with much, or not at all."""

    def __init__(self) -> None:
        self.disconnected = 0
        self.bodies: list[int] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        request = Request(scope, receive)
        body = b"hello"
        if scope["path"] == "/body":
            try:
                self.bodies.append(len(await request.body()))
            except ClientDisconnect:
                self.disconnected += 1
                return
        elif scope["path"] == "/big":
            body = _BIG
        elif scope["path"] == "/never":
            await asyncio.Event().wait()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(bounds: ConnectionBounds, app: Hello | None = None) -> Iterator[tuple[str, int]]:
    with listening(app or Hello(), bounds, lifespan="off") as url:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        yield parts.hostname, parts.port


def connect(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=30)


def send_all(connection: socket.socket, data: bytes) -> None:
    """Send what the server takes: it may have closed already."""
    with suppress(OSError):
        connection.sendall(data)


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the connection is ended by the server."""
    received = b""
    try:
        while piece := connection.recv(2**16):
            received += piece
    except ConnectionError:
        pass
    return received


def read_answer(connection: socket.socket) -> int:
    """Return the status of an answer, whose body is read."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(2**16)
        assert piece, received
        received += piece
    head, _, rest = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    assert length
    left = int(length[1]) - len(rest)
    while left > 0:
        left -= len(connection.recv(left))
    return status_of(head)


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:200]
    return int(answer[9:12])


def ask(address: tuple[str, int], request: bytes) -> bytes:
    with connect(address) as connection:
        send_all(connection, request)
        return read_all(connection)


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has ended it, without waiting."""
    connection.settimeout(0)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    finally:
        connection.settimeout(30)


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /?" + b"a" * 300_000, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 700_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"a" * 700_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100_000, 431),
        (b"\r\n" * 400_000, 431),
        (b"NONSENSE\r\n\r\n", 400),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00", 400),
        (b"GET \x80 HTTP/1.1\r\n\r\n", 400),
        (b"POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;" + b"e" * 700_000, 431),
        (b"POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"T: x\r\n" * 200_000, 431),
        (b"POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
def test_a_head_or_framing_out_of_bounds_is_refused_by_its_status(request_head: bytes, status: int) -> None:
    app = Hello()
    with serving(PATIENT, app) as address:
        answer = ask(address, request_head)
        assert status_of(answer) == status
        assert b'{"error":{' in answer
        assert status_of(ask(address, GET.replace(b"Host", b"Connection: close\r\nHost"))) == 200
    assert app.bodies == []


def test_what_is_just_within_the_bounds_is_taken() -> None:
    with serving(PATIENT) as address, connect(address) as connection:
        connection.sendall(b"GET /" + b"a" * (16 * 1024 - 1) + b" HTTP/1.1\r\n" + b"A: b\r\n" * 100 + b"\r\n")
        assert read_answer(connection) == 200
        connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 60_000 + b"\r\n\r\n")
        assert read_answer(connection) == 200
        connection.sendall(
            b"POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 50_000 + b"0\r\nT: x\r\n\r\n" + GET
        )
        received = b""
        while received.count(b"HTTP/1.1 200") < 2:
            piece = connection.recv(2**16)
            assert piece, received
            received += piece


def test_a_head_that_does_not_come_to_its_end_is_answered_408_however_it_drips() -> None:
    with serving(QUICK) as address, connect(address) as connection, connect(address) as silent:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        connection.settimeout(0.02)
        received = b""
        while not received:
            send_all(connection, b"A: b\r\n")
            try:
                received = connection.recv(2**16)
            except TimeoutError:
                continue
        assert status_of(received) == 408
        assert read_all(silent) == b"", "a connection that says nothing is told nothing"


def test_the_second_head_of_a_connection_is_bounded_as_the_first() -> None:
    with serving(QUICK) as address, connect(address) as connection:
        connection.sendall(GET)
        assert read_answer(connection) == 200
        connection.sendall(b"GET /")
        assert status_of(read_all(connection)) == 408


def test_half_open_connections_give_way_to_those_that_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    for bounds in (replace(PATIENT, connections=1000), replace(PATIENT, per_address=1000)):
        with serving(bounds) as address, ExitStack() as stack:
            idle = [stack.enter_context(connect(address)) for _ in range(50)]
            for one in idle:
                send_all(one, b"GET / HTTP/1.1\r\nA")
            with connect(address) as connection:
                connection.sendall(GET)
                assert read_answer(connection) == 200
            assert sum(is_closed(one) for one in idle) >= 50 - 8


def test_what_is_being_answered_does_not_give_way() -> None:
    with serving(replace(PATIENT, stop_seconds=1)) as address, ExitStack() as stack:
        busy = [stack.enter_context(connect(address)) for _ in range(8)]
        for one in busy:
            one.sendall(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
        refused = b""
        while b"503" not in refused:  # the requests may still be on their way
            refused = ask(address, b"")
        assert status_of(refused) == 503
        assert not any(is_closed(one) for one in busy)
        busy.pop().close()
        while True:  # its end may still be on its way
            with connect(address) as connection:
                send_all(connection, GET)
                if status_of(connection.recv(2**16)) == 200:
                    break


def test_connections_of_a_trusted_proxy_are_not_counted_as_one_address() -> None:
    for proxies in ("10.0.0.0/8, 127.0.0.0/8", "*"):
        with serving(replace(PATIENT, per_address=1, proxies=proxies)) as address, ExitStack() as stack:
            several = [stack.enter_context(connect(address)) for _ in range(5)]
            for one in several:
                one.sendall(GET)
            assert [read_answer(one) for one in several] == [200] * 5


def test_an_idle_connection_is_closed_even_if_its_last_body_ended_after_the_answer() -> None:
    with serving(QUICK) as address, connect(address) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na")
        assert read_answer(connection) == 200
        assert read_all(connection) == b"", "the rest of the body does not come"


def test_a_sender_sees_the_answer_that_came_before_its_body_ended() -> None:
    with serving(PATIENT) as address, connect(address) as connection:
        size = 8 * 2**20
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        assert read_answer(connection) == 200
        connection.sendall(GET)
        assert read_answer(connection) == 200


def test_a_caller_that_does_not_read_its_answer_is_cut_off() -> None:
    with serving(QUICK) as address, connect(address) as connection:
        connection.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        ended = select.poll()
        ended.register(connection, select.POLLRDHUP)
        assert ended.poll(30_000), "it was not cut off"
        assert len(read_all(connection)) < len(_BIG)


def test_a_caller_that_reads_slowly_gets_all_of_its_answer() -> None:
    bounds = replace(QUICK, read_seconds=0.5, read_bytes=64 * 1024)
    with serving(bounds) as address, connect(address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**18)
        connection.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        received = 0
        while piece := connection.recv(2**18):
            received += len(piece)
            time.sleep(0.01)
        assert received > len(_BIG)


def test_more_pipelined_requests_than_allowed_are_not_answered() -> None:
    with serving(PATIENT) as address:
        answers = ask(address, GET * 500)
        assert answers.count(b"HTTP/1.1 200") == PATIENT.pipelined + 1


def test_a_body_that_breaks_off_in_a_wrong_chunk_is_not_taken_for_whole() -> None:
    app = Hello()
    with serving(PATIENT, app) as address:
        answer = ask(address, b"POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n")
        assert status_of(answer) == 400
    assert (app.bodies, app.disconnected) == ([], 1)


def test_an_upgrade_is_answered_as_any_request_and_ends_the_connection() -> None:
    with serving(PATIENT) as address:
        answer = ask(address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert status_of(answer) == 200


def test_a_stop_ends_whatever_is_open() -> None:
    app = Hello()
    with ExitStack() as stack, serving(QUICK, app) as address:
        for request in (
            b"",
            b"GET / HTTP/1.1\r\n",
            b"GET /never HTTP/1.1\r\n\r\n",
            b"POST /body HTTP/1.1\r\nContent-Length: 9\r\n\r\na",
        ):
            stack.enter_context(connect(address)).sendall(request)
        reader = stack.enter_context(connect(address))
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        assert reader.recv(9) == b"HTTP/1.1 "
        # `listening` asserts that the server ended
