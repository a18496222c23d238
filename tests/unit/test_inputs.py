"""Which files are meant: names, directories, links; and maps read from files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.domain.errors import BadInputError
from app.ingest.inputs import find_files, is_compressed, printable, read_map, shown, size_of


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def refusal(*paths: Path) -> str:
    with pytest.raises(BadInputError) as raised:
        find_files(paths, None)
    return raised.value.message


class TestFindFiles:
    def test_named_files_keep_their_order_and_may_be_given_a_format(self, tmp_path: Path) -> None:
        b, a = tmp_path / "b.csv", tmp_path / "a.ndjson.gz"
        assert find_files([b, a, Path("-")], None).files == [(b, "csv"), (a, "ndjson"), (Path("-"), "ndjson")]
        assert find_files([tmp_path / "x.log", Path("-")], "json").files == [(tmp_path / "x.log", "json"), (Path("-"), "json")]
        assert "the name must end in one of" in refusal(tmp_path / "x.log")

    def test_a_directory_is_searched_to_its_end_in_order(self, tmp_path: Path) -> None:
        make(tmp_path, "b/z.csv", "b/a.parquet", "a/2/x.json", "c.ndjson.zst", "a.jsonl", "README.md", "b/.hidden", "noend")
        found = find_files([tmp_path], None)
        assert [str(path.relative_to(tmp_path)) for path, _ in found.files] == [
            "a/2/x.json",
            "a.jsonl",
            "b/a.parquet",
            "b/z.csv",
            "c.ndjson.zst",
        ]
        assert [file_format for _, file_format in found.files] == ["json", "ndjson", "parquet", "csv", "ndjson"]
        assert [path.name for path in found.left_out] == ["README.md", ".hidden", "noend"]

    def test_a_directory_tells_the_format_by_the_names(self, tmp_path: Path) -> None:
        make(tmp_path, "a.csv")
        with pytest.raises(BadInputError, match="in a directory the names say the format"):
            find_files([tmp_path], "csv")

    def test_a_directory_without_files(self, tmp_path: Path) -> None:
        make(tmp_path, "a/x.txt")
        for folder in (tmp_path, tmp_path / "a"):
            assert refusal(folder).endswith("has no file with one of the extensions .ndjson, .jsonl, .json, .csv, .parquet")

    def test_links_that_go_round_end(self, tmp_path: Path) -> None:
        make(tmp_path, "in/a.csv", "out/b.csv")
        (tmp_path / "in" / "up").symlink_to(tmp_path / "in")
        (tmp_path / "in" / "other").symlink_to(tmp_path / "out")
        (tmp_path / "in" / "self.csv").symlink_to(tmp_path / "in" / "self.csv")
        (tmp_path / "in" / "gone.csv").symlink_to(tmp_path / "nowhere.csv")
        (tmp_path / "in" / "one.csv").symlink_to(tmp_path / "out" / "b.csv")
        (tmp_path / "link").symlink_to(tmp_path / "in")
        os.mkfifo(tmp_path / "in" / "pipe.ndjson")
        found = find_files([tmp_path / "link"], None)
        assert [path.name for path, _ in found.files] == ["a.csv", "one.csv"]
        assert sorted(path.name for path in found.left_out) == ["gone.csv", "pipe.ndjson", "self.csv"]

    @pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
    def test_a_directory_that_may_not_be_read(self, tmp_path: Path) -> None:
        make(tmp_path, "a.csv", "secret/b.csv")
        (tmp_path / "secret").chmod(0)
        try:
            assert refusal(tmp_path).endswith("secret: permission denied")
        finally:
            (tmp_path / "secret").chmod(0o700)

    def test_a_name_that_is_none(self) -> None:
        assert find_files([Path("a\0b.csv")], None).files == [(Path("a\0b.csv"), "csv")]
        assert size_of(Path("a\0b.csv")) is None


def test_names_are_fit_to_be_shown() -> None:
    assert printable("a\x1b[31m\udcffb") == "a\ufffd[31m\ufffdb"
    assert shown("x" * 200) == "..." + "x" * 80
    assert [is_compressed(name) for name in ("a.GZ", "a.csv.zst", "a.csv")] == [True, True, False]


class TestReadMap:
    def test_a_map(self, tmp_path: Path) -> None:
        path = tmp_path / "map.yaml"
        path.write_text("fields: {request_id: id, occurred_at: ts}")
        assert read_map(path).paths == ("id", "ts")

    def test_what_is_wrong_is_told_with_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "map.yaml"
        path.write_text("fields: {request_id: id, occurred_at: {column: ts, unit: m}}")
        cases = {
            path: "map.yaml: fields.occurred_at.unit: must be one of s, ms, us, ns, iso",
            tmp_path / "none.yaml": "none.yaml: no such file or directory",
            tmp_path: ": is a directory",
            Path("a\0b"): "a\ufffdb: cannot be read",
        }
        for wrong, message in cases.items():
            with pytest.raises(BadInputError) as raised:
                read_map(wrong)
            assert raised.value.message.endswith(message)

    def test_an_endless_map_is_not_read_whole(self) -> None:
        with pytest.raises(BadInputError, match="may not be longer than 65536 bytes"):
            read_map(Path("/dev/zero"))
