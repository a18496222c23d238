"""Compressed bodies: every way to cut them, to damage them, and to make a small one large."""

from __future__ import annotations

import gc
import gzip
import os
import random
import time
import tracemalloc
import weakref
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import BadInputError, BodyTooLargeError, UnsupportedEncodingError
from app.ingest import decompress
from app.ingest.decompress import FILE_WINDOW, BodyDecoder, stream_decoder

TEXT = b"".join(b'{"request_id":"%d","prompt_tokens":%d}\n' % (i, i * 7919 % 5000) for i in range(20_000))
MEGABYTE = 2**20


def zstd(data: bytes, level: int = 3) -> bytes:
    return zstandard.ZstdCompressor(level).compress(data)


def zstd_flushed(data: bytes, size: int) -> bytes:
    """As a sender writes that does not know the length, and flushes after every `size` bytes."""
    compressor = zstandard.ZstdCompressor().compressobj()
    parts = []
    for start in range(0, len(data), size):
        parts += [compressor.compress(data[start : start + size]), compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)]
    return b"".join([*parts, compressor.flush()])


def zstd_with_window(data: bytes, window_log: int) -> bytes:
    parameters = zstandard.ZstdCompressionParameters(window_log=window_log, write_content_size=False)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return compressor.compress(data) + compressor.flush()


def decoded(encoding: str, body: bytes, *, limit: int = 16 * MEGABYTE, size: int = 65_536) -> bytes:
    decoder = BodyDecoder(encoding, limit)
    for start in range(0, len(body), size):
        decoder.feed(body[start : start + size])
    return decoder.finish()


COMPRESSED = {
    "gzip": gzip.compress(TEXT),
    "zstd": zstd(TEXT),
}


class TestGood:
    @pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
    def test_plain(self, encoding: str) -> None:
        assert decoded(encoding, TEXT) == TEXT
        assert decoded(encoding, b"") == b""

    @pytest.mark.parametrize("encoding", ["gzip", "GZIP", " gzip ", "x-gzip", "zstd", "Zstd"])
    def test_compressed(self, encoding: str) -> None:
        body = COMPRESSED["zstd" if "std" in encoding else "gzip"]
        assert decoded(encoding, body) == TEXT
        assert decoded(encoding, body, size=7) == TEXT

    @pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstd)])
    def test_empty_content_and_several_parts(self, encoding: str, compress: Callable[[bytes], bytes]) -> None:
        empty, one, two = compress(b""), compress(b"one"), compress(TEXT)
        assert decoded(encoding, empty) == b""
        assert decoded(encoding, empty + one + empty + two + empty, size=5) == b"one" + TEXT
        assert decoded(encoding, one * 500) == b"one" * 500

    @pytest.mark.parametrize("level", [-5, 1, 3, 19])
    def test_zstd_of_any_ordinary_level(self, level: int) -> None:
        assert decoded("zstd", zstd(TEXT, level=level)) == TEXT

    @pytest.mark.parametrize("size", [1, 100, 4096, 300_000])
    def test_zstd_of_flushed_blocks(self, size: int) -> None:
        data = TEXT[:300_000] if size > 1 else TEXT[:3000]
        assert decoded("zstd", zstd_flushed(data, size), size=11) == data

    def test_zstd_skippable_frames_and_checksums(self) -> None:
        skippable = b"\x50\x2a\x4d\x18" + (9).to_bytes(4, "little") + b"not a zst"
        body = skippable + zstandard.ZstdCompressor(write_checksum=True).compress(TEXT) + skippable
        assert decoded("zstd", body, size=13) == TEXT

    def test_incompressible(self) -> None:
        noise = random.Random(7).randbytes(2 * MEGABYTE)
        assert decoded("gzip", gzip.compress(noise), limit=len(noise)) == noise
        assert decoded("zstd", zstd(noise), limit=len(noise)) == noise

    @given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.lists(st.integers(1, 40), min_size=1, max_size=5))
    def test_the_cuts_make_no_difference(self, parts: list[bytes], sizes: list[int]) -> None:
        for encoding, body in (("gzip", b"".join(map(gzip.compress, parts))), ("zstd", b"".join(map(zstd, parts)))):
            decoder = BodyDecoder(encoding, MEGABYTE)
            start, step = 0, 0
            while start < len(body):
                size = sizes[step % len(sizes)]
                decoder.feed(body[start : start + size])
                start, step = start + size, step + 1
            assert decoder.finish() == b"".join(parts)


class TestUnsupported:
    @pytest.mark.parametrize("encoding", ["br", "deflate", "compress", "gzip, zstd", "gzip,gzip", "identity, gzip", "*", "zstd;q=1"])
    def test_the_accepted_ones_are_named(self, encoding: str) -> None:
        with pytest.raises(UnsupportedEncodingError) as raised:
            BodyDecoder(encoding, MEGABYTE)
        assert raised.value.message == f'Content-Encoding "{encoding}" is not supported: send gzip, zstd or identity'

    def test_the_name_is_fit_to_be_shown(self) -> None:
        with pytest.raises(UnsupportedEncodingError) as raised:
            BodyDecoder("\x00\n" + "x" * 10_000, MEGABYTE)
        assert raised.value.message.isprintable()
        assert len(raised.value.message) < 160


class TestDamaged:
    @pytest.mark.parametrize("encoding", ["gzip", "zstd"])
    def test_cut_off_anywhere(self, encoding: str) -> None:
        content = b"some content that is not very long, some content"
        body = gzip.compress(content) if encoding == "gzip" else zstandard.ZstdCompressor(write_checksum=True).compress(content)
        assert decoded(encoding, body) == content
        for whole in (b"", body):
            for end in range(len(body)):
                if end == 0 and whole:
                    continue
                with pytest.raises(BadInputError, match=f"^the {encoding} data ends too early$"):
                    decoded(encoding, whole + body[:end])

    @pytest.mark.parametrize("checksum", [True, False])
    @pytest.mark.parametrize("content", [b"", b"x", b"x" * 1000, os.urandom(1000), TEXT[:300_000]], ids=len)
    def test_zstd_cut_off_near_either_end(self, content: bytes, checksum: bool) -> None:
        body = zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=False).compress(content)
        for end in sorted({*range(min(len(body), 40)), *range(max(0, len(body) - 40), len(body))}):
            with pytest.raises(BadInputError, match=r"^the zstd data ends too early$"):
                decoded("zstd", body[:end])

    @pytest.mark.parametrize("encoding", ["gzip", "zstd"])
    @pytest.mark.parametrize("tail", [b"garbage", b"\x00" * 8, b'{"request_id":"r1"}', b"\n\n\n\n"])
    def test_followed_by_something_else(self, encoding: str, tail: bytes) -> None:
        with pytest.raises(BadInputError, match=f"^the {encoding} data is damaged, or something else follows it$"):
            decoded(encoding, COMPRESSED[encoding] + tail)

    @pytest.mark.parametrize("encoding", ["gzip", "zstd"])
    @pytest.mark.parametrize("body", [TEXT, b"not compressed", b"\x00" * 100, zlib.compress(TEXT)])
    def test_not_compressed_at_all(self, encoding: str, body: bytes) -> None:
        with pytest.raises(BadInputError, match=f"^the {encoding} data is damaged, or something else follows it$"):
            decoded(encoding, body)

    @pytest.mark.parametrize("encoding", ["gzip", "zstd"])
    def test_one_encoding_called_the_other(self, encoding: str) -> None:
        with pytest.raises(BadInputError, match="is damaged"):
            decoded(encoding, COMPRESSED["zstd" if encoding == "gzip" else "gzip"])

    def test_a_wrong_checksum(self) -> None:
        wrong = bytearray(COMPRESSED["gzip"])
        wrong[-6] ^= 1
        with pytest.raises(BadInputError, match="gzip data is damaged"):
            decoded("gzip", bytes(wrong))
        wrong = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(TEXT))
        wrong[-1] ^= 1
        with pytest.raises(BadInputError, match="zstd data is damaged"):
            decoded("zstd", bytes(wrong))

    @given(st.sampled_from(["gzip", "zstd"]), st.binary(max_size=200), st.integers(0, 2**32), st.integers(1, 255))
    def test_any_bytes_and_any_wrong_byte(self, encoding: str, noise: bytes, position: int, change: int) -> None:
        body = bytearray(gzip.compress(TEXT[:2000], mtime=0) if encoding == "gzip" else zstd(TEXT[:2000]))
        body[position % len(body)] ^= change
        for candidate in (noise, bytes(body)):
            try:
                content = decoded(encoding, candidate, limit=MEGABYTE)
            except BadInputError:
                continue
            assert len(content) <= MEGABYTE


class TestLimit:
    @pytest.mark.parametrize(("encoding", "body"), [("", TEXT), *COMPRESSED.items()])
    def test_is_on_the_content_to_the_byte(self, encoding: str, body: bytes) -> None:
        assert decoded(encoding, body, limit=len(TEXT)) == TEXT
        with pytest.raises(BodyTooLargeError, match=f"^the body is larger than {len(TEXT) - 1} bytes after decompression$"):
            decoded(encoding, body, limit=len(TEXT) - 1)

    @pytest.mark.parametrize("encoding", ["gzip", "zstd"])
    def test_a_bomb_is_stopped_at_the_limit(self, encoding: str) -> None:
        zeros = b"\x00" * (64 * MEGABYTE)
        bomb = gzip.compress(zeros, 9) * 8 if encoding == "gzip" else zstd(zeros) * 200
        del zeros
        limit = MEGABYTE
        decoder = BodyDecoder(encoding, limit)
        tracemalloc.start()
        try:
            with pytest.raises(BodyTooLargeError):
                decoder.feed(bomb)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 3 * limit

    def test_nothing_is_expanded_past_one_step(self) -> None:
        sizes: list[int] = []

        def sink(piece: bytes) -> None:
            sizes.append(len(piece))
            if sum(sizes) > MEGABYTE:
                raise BodyTooLargeError

        for encoding, body in (("gzip", gzip.compress(bytes(32 * MEGABYTE))), ("zstd", zstd(bytes(32 * MEGABYTE)))):
            sizes.clear()
            with pytest.raises(BodyTooLargeError):
                stream_decoder(encoding, sink, window=FILE_WINDOW).feed(body)
            assert max(sizes) <= 128 * 1024
            assert sum(sizes) <= MEGABYTE + 128 * 1024

    @pytest.mark.parametrize("encoding", ["gzip", "zstd"])
    def test_parts_that_hold_nothing_are_stopped_too(self, encoding: str) -> None:
        empty = gzip.compress(b"") if encoding == "gzip" else zstd(b"")
        chunk = empty * (65_536 // len(empty))
        decoder = BodyDecoder(encoding, 256 * 1024)
        started = time.perf_counter()
        for _ in range(4):
            decoder.feed(chunk)
        with pytest.raises(BodyTooLargeError, match=r"^the body is larger than 262144 bytes$"):
            decoder.feed(chunk * 2)
        assert time.perf_counter() - started < 5

    def test_the_number_of_gzip_members_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(decompress, "MAX_GZIP_MEMBERS", 3)
        part = gzip.compress(b"x")
        assert decoded("gzip", part * 3) == b"xxx"
        with pytest.raises(BadInputError, match=r"^the gzip data has more than 3 parts$"):
            decoded("gzip", part * 4)

    def test_the_zstd_window_is_bounded(self) -> None:
        assert decoded("zstd", zstd_with_window(TEXT, 23)) == TEXT
        large = zstd_with_window(TEXT, 24)
        with pytest.raises(BadInputError, match=r"^the zstd data needs a window of more than 8 MiB$"):
            decoded("zstd", large)
        pieces: list[bytes] = []
        decoder = stream_decoder("zstd", pieces.append, window=FILE_WINDOW)
        decoder.feed(large)
        decoder.finish()
        assert b"".join(pieces) == TEXT


def test_a_decoder_that_failed_leaves_nothing_in_memory() -> None:
    """zstandard's objects are unknown to the garbage collector: in a cycle they would stay for ever."""
    decoder = BodyDecoder("zstd", 10)
    with pytest.raises(BodyTooLargeError):
        decoder.feed(COMPRESSED["zstd"])
    inner = weakref.ref(decoder._decoder)
    gc.disable()
    try:
        del decoder
        assert inner() is None
    finally:
        gc.enable()
