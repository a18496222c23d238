"""Growing files: lines as they become complete, through rotation and truncation, and the loop that waits for its database."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import BadInputError, UnavailableError
from app.domain.usage import ParsedBatch
from app.ingest import follow
from app.ingest.files import LineParser, ReadOptions
from app.ingest.follow import MAX_LINES, FileTail, Follower, LineCutter, PipeTail, Tail, Watch
from app.ingest.parse import MAX_LINE_BYTES
from app.write.receipt import Receipt
from tests.unit.test_parse import NOW, lines, record


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


@pytest.fixture(name="path")
def a_path(tmp_path: Path) -> Path:
    return tmp_path / "usage.ndjson"


@pytest.fixture(name="tail")
def a_tail(path: Path) -> Iterator[FileTail]:
    tail = FileTail(path)
    yield tail
    tail.close()


def read(tail: Tail) -> list[bytes]:
    """Return all complete lines that are there."""
    return [line for lines in iter(tail.read, None) for line in lines]


class TestLineCutter:
    @given(st.lists(st.binary(max_size=8)))
    def test_lines_do_not_depend_on_how_they_arrive(self, chunks: list[bytes]) -> None:
        cutter = LineCutter()
        whole = b"".join(chunks)
        cut = [line for chunk in chunks for line in cutter.feed(chunk)]
        assert all(line.endswith(b"\n") for line in cut)
        assert b"".join([*cut, *cutter.finish()]) == whole.removeprefix(b"\xef\xbb\xbf")
        assert cutter.finish() == []

    def test_a_line_without_end_is_cut_and_the_next_one_is_whole(self) -> None:
        cutter = LineCutter()
        chunk = b"x" * 2**20
        cut = [line for _ in range(1024) for line in cutter.feed(chunk)]
        assert [len(line) for line in cut] == [MAX_LINE_BYTES + 1]
        assert cutter.feed(b"y\nz") == []
        assert cutter.feed(b"\n") == [b"z\n"]


class TestFileTail:
    def test_grows(self, path: Path, tail: FileTail) -> None:
        append(path, b"a\nb\nhal")
        assert read(tail) == [b"a\n", b"b\n"]
        assert read(tail) == []
        append(path, b"f\n\nc")
        assert read(tail) == [b"half\n", b"\n"]
        append(path, b"\n")
        assert read(tail) == [b"c\n"]

    def test_may_not_be_there_yet(self, path: Path, tail: FileTail) -> None:
        assert (tail.is_there(), read(tail)) == (False, [])
        append(path, b"a\n")
        assert (tail.is_there(), read(tail)) == (True, [b"a\n"])

    def test_renamed_and_made_anew_loses_nothing_of_the_old_one(self, path: Path, tail: FileTail) -> None:
        append(path, b"a\n")
        assert read(tail) == [b"a\n"]
        append(path, b"b\nha")
        old = path.with_suffix(".1")
        path.rename(old)
        assert read(tail) == [b"b\n"], "there is no new one yet"
        append(old, b"lf\n")
        append(path, b"c\n")
        assert read(tail) == [b"half\n", b"c\n"]
        append(old, b"late\n")
        append(path, b"d\n")
        assert read(tail) == [b"late\n", b"d\n"]
        path.rename(path.with_suffix(".2"))
        append(path, b"e\n")
        append(old, b"later\n")
        assert read(tail) == [b"later\n", b"e\n"]
        assert read(tail) == []

    def test_an_old_one_is_let_go_when_it_was_quiet_long_enough(self, path: Path, tail: FileTail, monkeypatch: pytest.MonkeyPatch) -> None:
        append(path, b"a\nno end")
        assert read(tail) == [b"a\n"]
        path.rename(path.with_suffix(".1"))
        append(path, b"b\n")
        assert read(tail) == [b"b\n"]
        monkeypatch.setattr(follow, "_LEAVING_SECONDS", -1.0)
        assert read(tail) == [b"no end"]
        append(path.with_suffix(".1"), b"unseen\n")
        assert read(tail) == []

    def test_deleted_and_made_anew(self, path: Path, tail: FileTail) -> None:
        append(path, b"a\n")
        assert read(tail) == [b"a\n"]
        path.unlink()
        assert read(tail) == []
        append(path, b"b\n")
        assert read(tail) == [b"b\n"]

    @pytest.mark.parametrize("new", [b"b\n", b"longer than before\n", b""])
    def test_cut_off_begins_again(self, path: Path, tail: FileTail, new: bytes) -> None:
        append(path, b"abc\nhalf")
        assert read(tail) == [b"abc\n"]
        path.write_bytes(new)
        assert read(tail) == new.splitlines(keepends=True)
        append(path, b"more\n")
        assert read(tail) == [b"more\n"]

    def test_only_regular_files_are_followed(self, tmp_path: Path, path: Path) -> None:
        os.mkfifo(path)
        for other in (path, tmp_path, Path("/dev/zero")):
            with pytest.raises(BadInputError, match="is no regular file, and only those can be followed"):
                FileTail(other).read()
        with pytest.raises(BadInputError, match="is not a file name"):
            FileTail(Path("a\0b")).read()
        append(tmp_path / "file", b"")
        with pytest.raises(BadInputError, match="not a directory"):
            FileTail(tmp_path / "file" / "x").read()


class TestPipeTail:
    def test_gives_what_is_there_and_ends(self) -> None:
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as file:
            tail = PipeTail(file)
            assert (read(tail), tail.has_ended) == ([], False)
            os.write(writing, b"a\nhal")
            assert (read(tail), tail.has_ended) == ([b"a\n"], False)
            os.write(writing, b"f")
            os.close(writing)
            assert (read(tail), tail.has_ended) == ([b"half"], True)
            assert read(tail) == []


class Writer:
    """Takes batches in the place of a database, and fails as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.batches: list[ParsedBatch] = []
        self.told: list[bool] = []
        self.reported: list[str] = []
        self.progress = asyncio.Event()

    async def write(self, batch: ParsedBatch) -> Receipt:
        if self.failures:
            self.failures -= 1
            raise UnavailableError
        self.batches.append(batch)
        return Receipt(batch.received, len(batch.records), 0, len(batch.rejects))

    def report(self, tail: Tail, batch: ParsedBatch, receipt: Receipt) -> None:
        self.reported += [taken.request_id for taken in batch.records]
        self.progress.set()

    def tell(self, error: UnavailableError | None) -> None:
        self.told.append(error is not None)
        self.progress.set()

    def follower(self, *tails: Tail) -> Follower:
        watches = [Watch(tail, LineParser(ReadOptions(NOW))) for tail in tails]
        return Follower(watches, self.write, self.report, self.tell, lambda: NOW)


async def until(writer: Writer, count: int) -> None:
    async with asyncio.timeout(20):
        while len(writer.reported) < count:
            writer.progress.clear()
            await writer.progress.wait()


class TestFollower:
    async def test_writes_what_comes_until_it_is_stopped(self, path: Path, tail: FileTail) -> None:
        writer, stop = Writer(), asyncio.Event()
        append(path, lines(*(record(request_id=f"r{number}") for number in range(2500))) + b"\nbad\n")
        running = asyncio.create_task(writer.follower(tail).run(stop))
        await until(writer, 2500)
        taken = [batch.received for batch in writer.batches]
        assert (sum(taken), max(taken)) == (2501, MAX_LINES)
        assert [reject.index for batch in writer.batches for reject in batch.rejects] == [2500]
        append(path, lines(record(request_id="later")) + b"\n")
        await until(writer, 2501)
        assert writer.batches[-1].indexes == [2501]
        stop.set()
        assert await running == 0
        assert len(set(writer.reported)) == 2501

    async def test_waits_for_the_database_and_says_so_once(self, path: Path, tail: FileTail, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(follow, "_FIRST_PAUSE", 0.01)
        writer, stop = Writer(failures=4), asyncio.Event()
        append(path, lines(record()) + b"\n")
        running = asyncio.create_task(writer.follower(tail).run(stop))
        await until(writer, 1)
        assert writer.told == [True, False]
        writer.failures = 1
        append(path, lines(record(request_id="r2")) + b"\n")
        await until(writer, 2)
        assert (writer.told, writer.reported) == ([True, False] * 2, ["r1", "r2"])
        stop.set()
        assert await running == 0

    async def test_says_what_it_could_not_write(self, path: Path, tail: FileTail) -> None:
        writer, stop = Writer(failures=10**9), asyncio.Event()
        append(path, lines(record(), record()) + b"\n")
        running = asyncio.create_task(writer.follower(tail).run(stop))
        await asyncio.wait_for(writer.progress.wait(), 20)
        stop.set()
        assert (await running, writer.told, writer.batches) == (2, [True], [])

    async def test_ends_with_a_pipe_but_not_before_a_file(self, path: Path, tail: FileTail) -> None:
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as file:
            os.write(writing, lines(record()))
            os.close(writing)
            writer, stop = Writer(), asyncio.Event()
            assert await writer.follower(PipeTail(file)).run(stop) == 0
            assert writer.reported == ["r1"]
            running = asyncio.create_task(writer.follower(PipeTail(file), tail).run(stop))
            await asyncio.sleep(0.1)
            append(path, lines(record(request_id="r2")) + b"\n")
            await until(writer, 2)
            stop.set()
            assert await running == 0

    async def test_ends_with_an_error_where_the_rows_are_not_what_was_asked_for(self, path: Path, tail: FileTail) -> None:
        append(path, lines(record()) + b"\n")
        watch = Watch(tail, LineParser(ReadOptions(NOW, "acme", "openrouter-activity")))
        writer = Writer()
        follower = Follower([watch], writer.write, writer.report, writer.tell, lambda: NOW)
        with pytest.raises(BadInputError, match="which OpenRouter's activity export has"):
            await follower.run(asyncio.Event())
