"""The words that have a better one: none of them is in the schema, the docs, the pages or the application."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PUBLIC = (
    "schema.graphql",
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "docs",
    "app/web/pages/templates",
    "frontend/src",
    "app/cli",
    "app/settings.py",
)
"""What users and operators read."""

EVERYWHERE = (*PUBLIC, "app")

TEXT = frozenset({".md", ".graphql", ".py", ".html", ".ts", ".tsx", ".css"})

BETTER = {
    r"kept (answers?|aside)": "cached, quarantined",
    r"ways? in": "ingest endpoint",
    r"be they": "whether",
    r"since ever|for ever": "always, no limit",
    r"dearest": "highest cost first",
    r"strangers?": "callers without a key",
    r"what it was asked": "the request",
    r"as it likes": "auto",
    r"as it is written": "exactly",
    r"hands? out": "return",
    r"opens? nothing": "is invalid",
    r"asked too often": "rate limit exceeded",
    r"wrong keys?": "invalid key",
    r"made up|make up": "invent",
}
"""Searched in every text of EVERYWHERE."""

BETTER_IN_PUBLIC = {
    r"whose": "of, with",
    r"ever": "always, at any time",
    r"likewise": "the same",
    r"whoever": "the caller, every",
    r"greatest|least first": "maximum, descending, ascending",
    r"so many": "this number of",
    r"kept": "cached, stored, retained",
    r"anew": "again",
    r"condens\w+": "summary",
    r"of one's own": "custom",
    r"who asks": "the caller",
    r"mends?": "correct",
}
"""Searched in the texts of PUBLIC."""

ALLOWED: dict[tuple[str, str], str] = {}
"""By path and pattern, the reason why a word may stay."""


def _files(roots: tuple[str, ...]) -> Iterator[Path]:
    for root in roots:
        path = ROOT / root
        yield from (
            (path,) if path.is_file() else sorted(file for file in path.rglob("*") if file.suffix in TEXT and "generated" not in file.parts)
        )


def _messages(source: str) -> Iterator[tuple[int, str]]:
    """Give the texts of raised errors, with their lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            for text in ast.walk(node.exc):
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    yield text.lineno, text.value


def _find(pattern: str, roots: tuple[str, ...]) -> list[str]:
    word = re.compile(rf"(?<![\w`.-])(?:{pattern})(?![\w`])", re.IGNORECASE)
    found = []
    for file in dict.fromkeys(_files(roots)):
        name = file.relative_to(ROOT).as_posix()
        if (name, pattern) in ALLOWED or "static" in file.parts:
            continue
        text = file.read_text(encoding="utf-8")
        found += [f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}" for match in word.finditer(text)]
    return found


@pytest.mark.parametrize("pattern", BETTER)
def test_a_better_word_is_used_everywhere(pattern: str) -> None:
    assert _find(pattern, EVERYWHERE) == [], f"better: {BETTER[pattern]}"


@pytest.mark.parametrize("pattern", BETTER_IN_PUBLIC)
def test_a_better_word_is_used_in_public_texts(pattern: str) -> None:
    assert _find(pattern, PUBLIC) == [], f"better: {BETTER_IN_PUBLIC[pattern]}"


def test_a_better_word_is_used_in_error_messages() -> None:
    word = re.compile(rf"\b(?:{'|'.join((*BETTER, *BETTER_IN_PUBLIC))})\b", re.IGNORECASE)
    found = [
        f"{file.relative_to(ROOT)}:{line}: {text}"
        for file in sorted((ROOT / "app").rglob("*.py"))
        for line, text in _messages(file.read_text(encoding="utf-8"))
        if word.search(text)
    ]
    assert found == []


def test_each_exception_is_needed() -> None:
    for (name, pattern), reason in ALLOWED.items():
        assert reason
        assert re.search(pattern, (ROOT / name).read_text(encoding="utf-8"), re.IGNORECASE), (name, pattern)
