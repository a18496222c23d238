"""Every hostile request is answered in its surface's form: refused with a reason, or taken for what it is."""

from __future__ import annotations

import pytest
from graphql import DocumentNode

from app.execution import engine
from app.execution.limits import Limits
from app.execution.parsing import parse_document
from tests.gateway import Gateway
from tests.hostile_requests import HOSTILE, HostileRequest, doubling

TENANT = "acme"
MAX_ANSWER = 20_000
"""Bytes that may answer what is refused."""


def test_names_are_unique() -> None:
    assert len({one.name for one in HOSTILE}) == len(HOSTILE)


async def test_all(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    keys = {role: await gateway.key(role, TENANT if role == "tenant" else None) for role in ("admin", "ingest", "tenant")}
    wrong: list[str] = []
    for one in HOSTILE:
        caplog.clear()
        headers = {**one.headers, **(keys[one.role] if one.role else {})}
        response = await gateway.client.request(
            one.method, one.path, content=one.body, headers=[(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        )
        found = _wrong(one, response.status_code, response.content)
        if caplog.records and not found:
            found = caplog.records[0].getMessage()
        if found:
            wrong.append(f"{one.name}: {found}")
    assert not wrong, "\n".join(one[:260] for one in wrong)


async def test_a_refused_document_is_read_once(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def parse(text: str, limits: Limits) -> DocumentNode:
        read.append(text)
        return parse_document(text, limits)

    monkeypatch.setattr(engine, "parse_document", parse)
    texts = ["{ nothing }", "{ network { generatedAt } }", doubling(40), doubling(80), "{"]
    for text in texts:
        await gateway.graphql(text)
    assert read == texts


def _wrong(one: HostileRequest, status: int, content: bytes) -> str:
    """Return what is wrong with an answer, or nothing."""
    if status not in one.statuses:
        return f"{status} {content[:300]!r}"
    if b"INTERNAL" in content or b"nternal" in content:
        return repr(content[:300])
    if status >= 400 and len(content) > MAX_ANSWER:
        return f"{len(content)} bytes"
    return ""
