"""Trusted documents, pure: every manifest that clients' tools write, the broken ones, merging, roots, and the bounds of what clients register."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest
from graphql import parse

from app.execution.documents import (
    MAX_MANIFEST_BYTES,
    MAX_MANIFEST_DOCUMENTS,
    AutomaticDocuments,
    Document,
    ManifestError,
    digest_of,
    encode_manifest,
    merge_documents,
    parse_manifest,
    root_fields,
)

NETWORK = "query Network {\n  network {\n    totals {\n      tokens\n    }\n  }\n}"
VIEWER = "query Viewer { viewer { keyId } }"


def document(document_id: str, text: str = NETWORK) -> Document:
    return Document(document_id, text, digest_of(text))


def parsed(value: Any) -> tuple[Document, ...]:
    return parse_manifest(json.dumps(value).encode())


def apollo(*operations: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {"format": "apollo-persisted-query-manifest", "version": 1, "operations": list(operations), **changed}


def test_apollos_manifest() -> None:
    digest = sha256(NETWORK.encode()).hexdigest()
    manifest = apollo(
        {"id": digest, "name": "Network", "type": "query", "body": NETWORK},
        {"id": "web/viewer@3", "name": "Viewer", "type": "query", "body": VIEWER, "clientName": None},
    )
    assert parsed(manifest) == (document(digest), document("web/viewer@3", VIEWER))
    assert parsed(apollo()) == ()


def test_relays_and_codegens_manifest() -> None:
    md5, sha1 = "6a7a40eb1c06e7d0b3b35d2f4d9a8f2c", "8bd6a33e0d1a0a28f7a9ecb4b3ee5b9ad23a6a11"
    assert parsed({md5: NETWORK, sha1: VIEWER}) == (document(md5), document(sha1, VIEWER))
    prefixed = f"sha256:{digest_of(VIEWER)}"
    (only,) = parsed({prefixed: VIEWER})
    assert (only.id, only.digest) == (prefixed, sha256(VIEWER.encode()).hexdigest())


def test_a_byte_order_mark_and_an_id_that_is_there_twice_with_one_text_are_taken() -> None:
    assert parse_manifest(b"\xef\xbb\xbf" + json.dumps({"a": NETWORK}).encode()) == (document("a"),)
    assert parse_manifest(f'{{"a": {json.dumps(VIEWER)}, "a": {json.dumps(VIEWER)}}}'.encode()) == (document("a", VIEWER),)
    twice = {"id": "a", "name": "Network", "type": "query", "body": NETWORK}
    assert parsed(apollo(twice, twice)) == (document("a"),)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe{}", "is not UTF-8"),
        (b"[" * 200_000, "is not JSON"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "is not JSON"),
        (b"null", "must be an Apollo manifest"),
        (b'["query { x }"]', "must be an Apollo manifest"),
        (b'{"a": "{ x }", "a": "{ y }"}', "has 'a' twice"),
        (b'{"a": 1}', "'a' has no text"),
        (b'{"a": {"text": "{ x }"}}', "'a' has no text"),
        (b'{"a": " \\n"}', "'a' has no text"),
        (b'{"a": "{ x(y: \\"\\ud800\\") }"}', "the text of 'a' is not well-formed Unicode"),
        (b'{"": "{ x }"}', "'' is no id"),
        (b'{"a b": "{ x }"}', "'a b' is no id"),
        (b'{"a\\u0000": "{ x }"}', r"'a\x00' is no id"),
        (b'{"\\u00e9": "{ x }"}', r"'\xe9' is no id"),
        (b'{"a\\n": "{ x }"}', r"'a\n' is no id"),
        (b'{"' + b"a" * 257 + b'": "{ x }"}', "is no id"),
        (b'{"sha256:abc": "{ x }"}', "is not the SHA-256 of its text"),
        (b'{"format": "apollo-persisted-queries", "version": 1}', "unknown format 'apollo-persisted-queries'"),
        (b'{"format": 1}', "unknown format"),
        (b'{"format": "apollo-persisted-query-manifest", "operations": []}', "another version than 1"),
        (b'{"format": "apollo-persisted-query-manifest", "version": true, "operations": []}', "another version than 1"),
        (b'{"format": "apollo-persisted-query-manifest", "version": 2, "operations": []}', "another version than 1"),
        (b'{"format": "apollo-persisted-query-manifest", "version": 1}', "has no list of operations"),
        (b'{"format": "apollo-persisted-query-manifest", "version": 1, "operations": [1]}', "operations[0] is not an object"),
        (b'{"format": "apollo-persisted-query-manifest", "version": 1, "operations": [{"name": "N"}]}', "operations[0] ('N') has no id"),
        (b'{"format": "apollo-persisted-query-manifest", "version": 1, "operations": [{"id": "a"}]}', "'a' has no text"),
    ],
)
def test_a_broken_manifest_is_refused_with_the_place(content: bytes, words: str) -> None:
    with pytest.raises(ManifestError) as raised:
        parse_manifest(content)
    assert words in str(raised.value)


def test_an_apollo_manifest_with_one_id_for_two_bodies_is_refused() -> None:
    with pytest.raises(ManifestError, match="'a' twice, with different bodies"):
        parsed(apollo({"id": "a", "body": NETWORK}, {"id": "a", "body": VIEWER}))


def test_a_manifest_is_bounded() -> None:
    most = {f"d{number}": VIEWER for number in range(MAX_MANIFEST_DOCUMENTS)}
    assert len(parsed(most)) == MAX_MANIFEST_DOCUMENTS
    with pytest.raises(ManifestError, match="more than 5,000 documents"):
        parsed(most | {"more": VIEWER})
    with pytest.raises(ManifestError, match="longer than 33,554,432 bytes"):
        parse_manifest(b" " * (MAX_MANIFEST_BYTES + 1))


def test_what_is_written_is_read_again_and_sorted() -> None:
    documents = (document("b", 'query B { model(modelId: "é\u2028") { name } }'), document("a", VIEWER))
    written = encode_manifest(documents)
    assert parse_manifest(written) == (documents[1], documents[0])
    assert encode_manifest(reversed(documents)) == written


def test_merging_adds_keeps_and_prunes() -> None:
    a, b, c = document("a"), document("b"), document("c", VIEWER)
    merge = merge_documents((a, b), (b, c), prune=False)
    assert (merge.documents, merge.added, merge.unchanged, merge.pruned) == ((a, b, c), ("c",), ("b",), ())
    merge = merge_documents((a, b), (b, c), prune=True)
    assert (merge.documents, merge.added, merge.unchanged, merge.pruned) == ((b, c), ("c",), ("b",), ("a",))
    merge = merge_documents((b, c), (b, c), prune=True)
    assert (merge.documents, merge.added, merge.pruned) == ((b, c), (), ())


@pytest.mark.parametrize("prune", [False, True])
def test_an_id_never_changes_its_meaning(prune: bool) -> None:
    with pytest.raises(ManifestError, match="'a' is already trusted with another text"):
        merge_documents((document("a"),), (document("a", NETWORK + " "),), prune=prune)


@pytest.mark.parametrize(
    ("text", "operation", "roots"),
    [
        ("{ network { totals { totalTokens } } }", None, {"network"}),
        ("{ x: network { totals { totalTokens } } __typename }", None, {"network", "__typename"}),
        ("query A { network { totals { totalTokens } } } query B { viewer { keyId } }", "B", {"viewer"}),
        ("query A { network { totals { totalTokens } } } query B { viewer { keyId } }", None, set()),
        ("query A { network { totals { totalTokens } } }", "B", set()),
        (
            "{ ...F } fragment F on Query { network { totals { totalTokens } } ...G } fragment G on Query { viewer { keyId } ...F }",
            None,
            {"network", "viewer"},
        ),
        (
            "query($x: Boolean!) { ... @include(if: $x) { ... on Query { viewer { keyId } } } network { generatedAt } }",
            None,
            {"network", "viewer"},
        ),
        ("mutation M { revokeApiKey(keyId: 1) { id } }", None, {"revokeApiKey"}),
    ],
)
def test_roots_are_found_wherever_they_hide(text: str, operation: str | None, roots: set[str]) -> None:
    assert root_fields(parse(text), operation) == roots


def test_registered_texts_are_bounded_by_count_and_the_least_used_go() -> None:
    kept = AutomaticDocuments(max_count=2, max_bytes=1_000)
    kept.add("a", "{ a }")
    kept.add("b", "{ b }")
    assert kept.find("a") == "{ a }"
    kept.add("c", "{ c }")
    assert [kept.find(name) for name in "abc"] == ["{ a }", None, "{ c }"]
    assert (len(kept), kept.size) == (2, 10)


def test_registered_texts_are_bounded_by_bytes() -> None:
    kept = AutomaticDocuments(max_count=1_000, max_bytes=1_000)
    for number in range(100):
        kept.add(f"{number}", "é" * 40)
    assert (len(kept), kept.size) == (12, 960)
    kept.add("long", "x" * 101)
    assert kept.find("long") is None
    assert kept.find("99") is not None
    kept.add("99", "é" * 40)
    assert kept.size == 960


def test_a_lone_surrogate_has_a_digest_that_is_no_documents() -> None:
    assert digest_of("\ud800") != digest_of("?")
    assert digest_of(VIEWER) == sha256(VIEWER.encode()).hexdigest()
