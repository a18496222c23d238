"""Which coding a caller gets, and that every body comes back as it was, whole or in pieces."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from random import Random

import brotli
import pytest
from starlette.types import Message, Receive, Scope, Send
from zstandard import ZstdDecompressor

from app.http.compression import CODINGS, LEAST_BYTES, CodedBody, CompressionMiddleware, choose_coding, compress

JSON = [(b"content-type", b"application/json")]
TEXT = b'{"date":"2026-01-01","total_tokens":"12345678"}' * 100

DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": lambda body: ZstdDecompressor().decompressobj().decompress(body),
    "br": brotli.decompress,
    "gzip": gzip.decompress,
}


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", None),
        ("identity", None),
        ("deflate", None),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("GZIP", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("gzip;q=1.0, br;q=0.8, zstd;q=0.1", "gzip"),
        ("gzip; q=0.2 ,br ; Q=0.9", "br"),
        ("*", "zstd"),
        ("*;q=0", None),
        ("zstd;q=0, *", "br"),
        ("gzip;q=0, br;q=0., zstd;q=0.000", None),
        ("gzip;q=0.5, identity", None),
        ("gzip;q=0.5, identity;q=0.4", "gzip"),
        ("gzip;q=nan, br;q=inf, zstd;q=-1", None),
        ("gzip;q=x", None),
        ("gzip;level=9", "gzip"),
        (",;,=;q, gzip", "gzip"),
        ("\x00\xff", None),
        ("gzip," * 5000, None),
    ],
)
def test_the_coding_with_the_highest_weight_is_chosen(accepted: str, coding: str | None) -> None:
    assert choose_coding(accepted) == coding


def test_only_what_there_is_is_chosen() -> None:
    assert choose_coding("zstd, br;q=0.5, gzip;q=0.4", ("br", "gzip")) == "br"
    assert choose_coding("zstd", ("br", "gzip")) is None
    assert choose_coding("gzip", ()) is None


@pytest.mark.parametrize("coding", CODINGS)
def test_a_body_comes_back_as_it_was(coding: str) -> None:
    for body in (b"", b"x", TEXT, Random(1).randbytes(100_000)):
        assert DECODERS[coding](compress(body, coding)) == body


def test_forms_of_a_body_take_no_more_than_it_does() -> None:
    text = CodedBody(TEXT)
    assert text.take("gzip") is text.take("gzip")
    noise = CodedBody(Random(1).randbytes(10_000))
    assert noise.take("gzip") is not noise.take("gzip"), "it is larger than the body"
    assert CodedBody(b"short").size == 5


async def exchange(accept: str, start: Message, *pieces: tuple[bytes, bool]) -> list[Message]:
    """Return the messages that a caller gets of an answer."""
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", **start})
        for body, more in pieces:
            await send({"type": "http.response.body", "body": body, "more_body": more})

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    await CompressionMiddleware(app)({"type": "http", "headers": [(b"accept-encoding", accept.encode())]}, receive, send)
    return sent


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_whole_answer_says_how_long_it_is_and_its_validator_is_weak(coding: str) -> None:
    headers = [*JSON, (b"content-length", b"%d" % len(TEXT)), (b"etag", b'"strong"')]
    start, body = await exchange(coding, {"status": 200, "headers": headers}, (TEXT, False))
    said = dict(start["headers"])
    assert (said[b"content-encoding"], said[b"etag"]) == (coding.encode(), b'W/"strong"')
    assert int(said[b"content-length"]) == len(body["body"]) < len(TEXT) / 5
    assert DECODERS[coding](body["body"]) == TEXT


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_download_is_sent_while_it_is_made(coding: str) -> None:
    random = Random(1)
    pieces = [random.randbytes(60_000).hex().encode() for _ in range(20)]
    messages = await exchange(
        coding,
        {"status": 200, "headers": [(b"content-type", b"text/csv; charset=utf-8"), (b"content-length", b"9")]},
        *((piece, True) for piece in pieces),
        (b"", False),
    )
    start, *bodies = messages
    assert b"content-length" not in dict(start["headers"])
    assert len(bodies) > 15, "nothing is held back to the end"
    assert [body["more_body"] for body in bodies] == [True] * (len(bodies) - 1) + [False]
    assert DECODERS[coding](b"".join(body["body"] for body in bodies)) == b"".join(pieces)


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, JSON, b"x" * (LEAST_BYTES - 1)),
        (200, [*JSON, (b"content-encoding", b"br")], TEXT),
        (200, [*JSON, (b"cache-control", b"public, no-transform")], TEXT),
        (200, [*JSON, (b"cache-control", b"public, max-age=31536000, immutable")], TEXT),
        (200, [(b"content-type", b"image/png")], TEXT),
        (200, [(b"content-type", b"application/x-protobuf")], TEXT),
        (200, [], TEXT),
        (206, JSON, TEXT),
        (204, [], b""),
        (304, [(b"etag", b'"x"')], b""),
    ],
)
async def test_what_would_gain_nothing_is_left_as_it_is(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    start, sent = await exchange("gzip", {"status": status, "headers": headers}, (body, False))
    assert (start["headers"], sent["body"]) == (headers, body)


async def test_large_bodies_are_compressed_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    real = asyncio.to_thread

    async def to_thread(work: Callable[[], bytes]) -> bytes:
        threads.append(1)
        return await real(work)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    await exchange("gzip", {"status": 200, "headers": JSON}, (TEXT, False))
    assert threads == []
    await exchange("gzip", {"status": 200, "headers": JSON}, (TEXT * 20, False))
    await exchange("gzip", {"status": 200, "headers": JSON}, (TEXT * 20, True), (TEXT, True), (TEXT * 20, False))
    assert len(threads) == 3
