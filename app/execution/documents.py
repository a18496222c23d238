"""Trusted documents: what clients' tools emit read into documents, what an id may be, which roots a document asks for. Pure.

Where manifests are kept and who may run what is decided elsewhere.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from graphql import DocumentNode, FragmentDefinitionNode, OperationDefinitionNode

from app.execution.selection import selected_names

MAX_MANIFEST_BYTES: Final = 32 * 2**20
MAX_MANIFEST_DOCUMENTS: Final = 5_000
MAX_ID_LENGTH: Final = 256
SHA256_PREFIX: Final = "sha256:"

_APOLLO: Final = "apollo-persisted-query-manifest"
_ID = re.compile(rf"[A-Za-z0-9._~:+/=@-]{{1,{MAX_ID_LENGTH}}}")
_FORMS: Final = "an Apollo manifest, or one object of texts by id, as the Relay compiler and graphql-codegen write it"


class ManifestError(ValueError):
    """The manifest cannot be taken; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text that clients name by its id. `digest`: SHA-256 of its UTF-8, lower-case hex."""

    id: str
    text: str
    digest: str = field(compare=False)


def digest_of(text: str) -> str:
    """Return the SHA-256 of a text's UTF-8 as lower-case hex."""
    return sha256(_utf8(text)).hexdigest()


def _utf8(text: str) -> bytes:
    # A lone surrogate, which a comment may hold, has no UTF-8; what it is taken for is no other text's.
    return text.encode("utf-8", "surrogatepass")


def parse_manifest(content: bytes) -> tuple[Document, ...]:
    """Return the documents of a manifest, in its order. ManifestError: it is none, or one of its documents could never be asked for."""
    if len(content) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"is longer than {MAX_MANIFEST_BYTES:,} bytes")
    try:
        value = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_unique)
    except ManifestError:
        raise
    except UnicodeDecodeError:
        raise ManifestError("is not UTF-8") from None
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits are ValueErrors as well
        raise ManifestError(f"is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ManifestError(f"must be {_FORMS}")
    pairs = _apollo_pairs(value) if "format" in value else list(value.items())
    if len(pairs) > MAX_MANIFEST_DOCUMENTS:
        raise ManifestError(f"has more than {MAX_MANIFEST_DOCUMENTS:,} documents")
    return tuple(_document(document_id, text) for document_id, text in pairs)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for name, item in pairs:
        if name in value and value[name] != item:
            raise ManifestError(f"has {_shown(name)} twice, with different values")
        value[name] = item
    return value


def _apollo_pairs(manifest: dict[str, Any]) -> list[tuple[Any, Any]]:
    if manifest["format"] != _APOLLO:
        raise ManifestError(f"has the unknown format {_shown(manifest['format'])}; must be {_FORMS}")
    version = manifest.get("version")
    if type(version) is not int or version != 1:
        raise ManifestError("has another version than 1")
    operations = manifest.get("operations")
    if not isinstance(operations, list):
        raise ManifestError("has no list of operations")
    texts: dict[Any, Any] = {}
    for number, operation in enumerate(operations):
        if not isinstance(operation, dict):
            raise ManifestError(f"operations[{number}] is not an object")
        document_id, text = operation.get("id"), operation.get("body")
        if not isinstance(document_id, str):
            raise ManifestError(f"operations[{number}] ({_shown(operation.get('name'))}) has no id")
        if texts.setdefault(document_id, text) != text:
            raise ManifestError(f"has {_shown(document_id)} twice, with different bodies")
    return list(texts.items())


def _document(document_id: Any, text: Any) -> Document:
    if not _ID.fullmatch(document_id):
        raise ManifestError(f"{_shown(document_id)} is no id: 1 to {MAX_ID_LENGTH} letters, digits and ._~:+/=@-")
    if not isinstance(text, str) or not text.strip():
        raise ManifestError(f"{_shown(document_id)} has no text; must be {_FORMS}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ManifestError(f"the text of {_shown(document_id)} is not well-formed Unicode") from None
    digest = digest_of(text)
    if document_id.startswith(SHA256_PREFIX) and document_id != SHA256_PREFIX + digest:
        raise ManifestError(f"{_shown(document_id)} is not the SHA-256 of its text, which is {digest}")
    return Document(document_id, text, digest)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return ascii(text if len(text) <= 80 else f"{text[:77]}...")


def encode_manifest(documents: Iterable[Document]) -> bytes:
    """Return documents as a manifest of texts by id, sorted by id, so that it can be compared line by line."""
    texts = {document.id: document.text for document in sorted(documents, key=lambda document: document.id)}
    return (json.dumps(texts, indent=1, ensure_ascii=False) + "\n").encode()


@dataclass(frozen=True, slots=True)
class Merge:
    """What a manifest changes: `documents` are those that are kept after it."""

    documents: tuple[Document, ...]
    added: tuple[str, ...]
    unchanged: tuple[str, ...]
    pruned: tuple[str, ...]


def merge_documents(kept: Iterable[Document], given: Iterable[Document], *, prune: bool) -> Merge:
    """Add the given documents to the kept ones. `prune`: drop those that are not given. ManifestError: an id is kept with another text."""
    known = {document.id: document for document in kept}
    merged = dict(known)
    added: list[str] = []
    unchanged: list[str] = []
    for document in given:
        if document.id not in known:
            added.append(document.id)
        elif known[document.id] != document:
            raise ManifestError(conflict_of(document))
        else:
            unchanged.append(document.id)
        merged[document.id] = document
    pruned = known.keys() - set(unchanged) if prune else set()
    documents = tuple(document for name, document in merged.items() if name not in pruned)
    return Merge(documents, tuple(added), tuple(unchanged), tuple(sorted(pruned)))


def conflict_of(document: Document) -> str:
    """Return the words for a document whose id already means another text."""
    return f"{_shown(document.id)} is already trusted with another text, and an id never changes its meaning"


def root_fields(document: DocumentNode, operation_name: str | None) -> frozenset[str]:
    """Return the names of the fields that an operation asks of its root type, in fragments too; none if there is no such operation."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if operation_name is not None:
        operations = [node for node in operations if node.name is not None and node.name.value == operation_name]
    if len(operations) != 1:
        return frozenset()
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    return selected_names([operations[0].selection_set], fragments)


class AutomaticDocuments:
    """Texts that clients registered by their SHA-256 while this process runs. Bounded; the least recently used go."""

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._bytes = 0
        self._texts: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._texts)

    @property
    def size(self) -> int:
        """Bytes of UTF-8 that are held."""
        return self._bytes

    def find(self, digest: str) -> str | None:
        """Return a text by its SHA-256, lower-case hex."""
        text = self._texts.get(digest)
        if text is not None:
            self._texts.move_to_end(digest)
        return text

    def add(self, digest: str, text: str) -> None:
        """Keep a text, unless it would take more than a tenth of the room. `digest` is its SHA-256, which the caller has checked."""
        size = len(_utf8(text))
        if digest in self._texts or size * 10 > self._max_bytes:
            return
        self._texts[digest] = text
        self._bytes += size
        while len(self._texts) > self._max_count or self._bytes > self._max_bytes:
            _, oldest = self._texts.popitem(last=False)
            self._bytes -= len(_utf8(oldest))
