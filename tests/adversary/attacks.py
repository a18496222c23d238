"""The attacks: what each sends, and what may come back. Each returns what was wrong; to be slow is not wrong, never to end is."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.adversary.bodies import HOSTILE_BODIES, HostileBody, content_of
from tests.hostile_requests import HOSTILE, HostileRequest

PATIENCE = 60.0
"""Seconds after which something that has not ended is taken for a hang. The longest limit of the gateway that is met here is 30."""

_BODY = 64 * 1024
_MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class Target:
    """Where the gateway is, and keys by role."""

    port: int
    keys: dict[str, str]


Attack = Callable[[Target], list[str]]


@contextlib.contextmanager
def _connected(target: Target, source: str) -> Iterator[socket.socket]:
    """Connect from an address of the loopback network: the attackers are not the honest callers."""
    with socket.create_connection(("127.0.0.1", target.port), timeout=PATIENCE, source_address=(source, 0)) as connection:
        yield connection


def _send(connection: socket.socket, data: bytes) -> bool:
    """Return whether all was taken."""
    try:
        connection.sendall(data)
    except OSError as error:
        if isinstance(error, TimeoutError):
            raise
        return False
    return True


def _read(connection: socket.socket) -> bytes:
    """Return what comes until the gateway ends the connection. TimeoutError: it does not."""
    received = b""
    try:
        while piece := connection.recv(2**16):
            received += piece
    except ConnectionError:
        pass
    return received


def _status(answer: bytes) -> int:
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0


def _judge(name: str, status: int, allowed: frozenset[int] | set[int]) -> list[str]:
    return [] if status in allowed else [f"{name}: answered by {status or 'nothing'}, not by {' or '.join(map(str, sorted(allowed)))}"]


def _head(method: str, path: str, headers: dict[str, str], length: int = 0) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


def _ask(target: Target, name: str, head: bytes, body: bytes, allowed: frozenset[int]) -> list[str]:
    """Send a request; a sender that is cut off in the middle of its body has to see the answer all the same."""
    try:
        with _connected(target, "127.0.0.2") as connection:
            _send(connection, head)
            _send(connection, body)
            return _judge(name, _status(connection.recv(2**16)), allowed)
    except ConnectionResetError:
        return [f"{name}: the connection was cut before the answer"]
    except TimeoutError:
        return [f"{name}: no answer in {PATIENCE:.0f} s"]


def _send_request(target: Target, one: HostileRequest) -> list[str]:
    key = {"Authorization": f"Bearer {target.keys[one.role]}"} if one.role else {}
    head = _head(one.method, one.path, {**one.headers, **key, "Connection": "close"}, len(one.body))
    return _ask(target, one.name, head, one.body, one.statuses)


def hostile_requests(target: Target) -> list[str]:
    """Send every request of the corpus, some at a time."""
    with ThreadPoolExecutor(8) as pool:
        return [wrong for found in pool.map(partial(_send_request, target), HOSTILE) for wrong in found]


def _send_body(target: Target, one: HostileBody) -> list[str]:
    body = content_of(one)
    headers = {**one.headers, "Authorization": f"Bearer {target.keys['ingest']}"}
    return _ask(target, one.name, _head("POST", one.path, headers, len(body)), body, one.statuses)


def hostile_bodies(target: Target) -> list[str]:
    """Send every hostile body twice, 20 at once."""
    with ThreadPoolExecutor(20) as pool:
        return [wrong for found in pool.map(partial(_send_body, target), HOSTILE_BODIES * 2) for wrong in found]


def giant_heads(target: Target) -> list[str]:
    """Send a URL and a header of 200 MB, or as much of them as is taken."""
    wrong = []
    for name, start, status in (("a URL of 200 MB", b"GET /", 414), ("a header of 200 MB", b"GET / HTTP/1.1\r\nX: ", 431)):
        with _connected(target, "127.0.0.3") as connection:
            _send(connection, start)
            connection.settimeout(0)
            answer = b""
            deadline = time.monotonic() + PATIENCE
            for _ in range(200):
                connection.settimeout(PATIENCE)
                if time.monotonic() > deadline or not _send(connection, b"a" * _MEGABYTE):
                    break
            with contextlib.suppress(ConnectionError):
                answer = connection.recv(2**16)
        wrong += _judge(name, _status(answer), {status})
    return wrong


def _held(target: Target, name: str, source: str, starts: list[bytes], drip: bytes, allowed: set[int]) -> list[str]:
    """Begin requests that do not end, with a byte now and then, until each is ended by the gateway."""
    wrong: list[str] = []
    with contextlib.ExitStack() as stack:
        opened: list[socket.socket] = []
        for start in starts:
            try:
                connection = stack.enter_context(_connected(target, source))
            except OSError as error:
                return [f"{name}: {error!r}"]
            _send(connection, start)
            opened.append(connection)
        deadline = time.monotonic() + PATIENCE
        left = opened
        while left and time.monotonic() < deadline:
            time.sleep(0.25)
            still = []
            for connection in left:
                connection.settimeout(0)
                try:
                    answer = connection.recv(2**16)
                except BlockingIOError:
                    with contextlib.suppress(OSError):
                        connection.send(drip)
                    still.append(connection)
                    continue
                except ConnectionError:
                    answer = b""
                wrong += _judge(name, _status(answer), allowed)
            left = still
        if left:
            wrong.append(f"{name}: {len(left)} of {len(opened)} are open after {PATIENCE:.0f} s")
    return wrong


def half_open(target: Target) -> list[str]:
    """Open 1,200 connections that say nothing."""
    return _held(target, "half-open connections", "127.0.0.4", [b""] * 1200, b"", {0, 503})


def slow_heads(target: Target) -> list[str]:
    """Send heads a header at a time, without an end."""
    return _held(target, "slow heads", "127.0.0.5", [b"GET / HTTP/1.1\r\nHost: gateway\r\n"] * 100, b"A: b\r\n", {0, 408})


def unfinished_uploads(target: Target) -> list[str]:
    """Begin bodies, of strangers and of senders, that go on a byte at a time."""
    ingest = {"Authorization": f"Bearer {target.keys['ingest']}", "Content-Type": "application/json"}
    starts = [_head("POST", "/graphql", {"Content-Type": "application/json"}, _BODY) + b"[" + b" " * (_BODY - 2000)] * 100
    starts += [_head("POST", "/v1/ingest/usage", ingest, 64 * _MEGABYTE) + b"[" + b" " * (256 * 1024)] * 60
    return _held(target, "unfinished uploads", "127.0.0.6", starts, b" ", {408, 429, 0})


def unread_answers(target: Target) -> list[str]:
    """Ask for much, many times on a connection, and read nothing of it."""
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            connection = stack.enter_context(_connected(target, "127.0.0.7"))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            _send(connection, b"GET /schema.graphql HTTP/1.1\r\nHost: gateway\r\n\r\n" * 30)
            connection.recv(1)  # it was taken, and is being answered
        deadline = time.monotonic() + PATIENCE
        while left := _kept_open(target.port, "127.0.0.7"):
            if time.monotonic() > deadline:
                return [f"unread answers: {left} of 50 connections are open after {PATIENCE:.0f} s"]
            time.sleep(0.5)
        return []


def _kept_open(port: int, source: str) -> int:
    """Return how many connections from an address the gateway has open. What the system still holds after their end has no inode."""
    peer = socket.inet_aton(source)[::-1].hex().upper()
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[2].startswith(f"{peer}:") and row[9] != "0" for row in rows)


def pipelined(target: Target) -> list[str]:
    """Send 20,000 requests at once on each of 20 connections."""

    def one(_: int) -> list[str]:
        with _connected(target, "127.0.0.8") as connection:
            _send(connection, b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n" * 20_000)
            try:
                return _judge("pipelined requests", _status(_read(connection)), {200})
            except TimeoutError:
                return ["pipelined requests: no end"]

    with ThreadPoolExecutor(20) as pool:
        return [wrong for found in pool.map(one, range(20)) for wrong in found]


HELD: dict[str, Attack] = {
    "half-open connections": half_open,
    "slow heads": slow_heads,
    "unfinished uploads": unfinished_uploads,
    "unread answers": unread_answers,
}
"""Those that wait for the gateway to end them: they go on beside each other and beside the next ones."""

QUICK: dict[str, Attack] = {
    "hostile requests": hostile_requests,
    "giant heads": giant_heads,
    "pipelined requests": pipelined,
    "hostile bodies": hostile_bodies,
}
