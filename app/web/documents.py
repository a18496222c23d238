"""The documents that a request may run: trusted ones, from manifests that are reloaded when they change, and registered ones.

How a request is read and answered is in `graphql.py`; what a manifest may hold, in `app.execution.documents`.
"""

from __future__ import annotations

import asyncio
import logging
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final

from app.domain.errors import BadInputError, TokengraphError
from app.execution.documents import (
    MAX_MANIFEST_BYTES,
    SHA256_PREFIX,
    AutomaticDocuments,
    Document,
    ManifestError,
    conflict_of,
    digest_of,
    parse_manifest,
)
from app.settings import Settings

log = logging.getLogger(__name__)

CHECK_SECONDS: Final = 1.0
MAX_AUTOMATIC: Final = 1_000
MAX_AUTOMATIC_BYTES: Final = 8 * 2**20

_Stamp = tuple[int, int, int]


class PersistedQueryNotFoundError(TokengraphError):
    """PersistedQueryNotFound"""

    # Apollo's clients match this text, and then send the document.
    code: ClassVar[str] = "PERSISTED_QUERY_NOT_FOUND"
    status: ClassVar[int] = 404


class PersistedQueryNotSupportedError(TokengraphError):
    """PersistedQueryNotSupported"""

    # As above: they then stop sending hashes.
    code: ClassVar[str] = "PERSISTED_QUERY_NOT_SUPPORTED"
    status: ClassVar[int] = 400


class PersistedQueryOnlyError(TokengraphError):
    """Only trusted documents may run: send the documentId of one"""

    code: ClassVar[str] = "PERSISTED_QUERY_ONLY"
    status: ClassVar[int] = 403


def read_manifest(path: Path) -> tuple[Document, ...]:
    """Return the documents of a manifest file. ManifestError: it cannot be read or is none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ManifestError("is no regular file")
        with path.open("rb") as file:
            content = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"cannot be read: {error.strerror}") from None
    return parse_manifest(content)


def manifest_files(path: Path) -> list[Path]:
    """Return the manifests of a setting: the file itself, or the folder's `*.json` by name; none if it does not exist."""
    if path.is_dir():
        return sorted(entry for entry in path.iterdir() if entry.name.endswith(".json") and not entry.name.startswith("."))
    return [path] if path.exists() else []


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """What was last read of one file. Documents that could be read once stay when it is broken later."""

    stamp: _Stamp
    documents: tuple[Document, ...]


def read_changed(path: Path, known: Mapping[Path, ManifestFile]) -> dict[Path, ManifestFile]:
    """Return all manifests under a path, reloading those that changed since `known`. Never raises; errors are logged once."""
    found: dict[Path, ManifestFile] = {}
    try:
        files = manifest_files(path)
    except OSError as error:
        log.error("trusted documents: %s cannot be read (%s); the last version is used", path, error.strerror)
        return dict(known)
    for file in files:
        before = known.get(file)
        try:
            seen = file.stat()
        except OSError:
            continue  # it went away, or is a link to nothing
        stamp = (seen.st_mtime_ns, seen.st_size, seen.st_ino)
        if before is not None and before.stamp == stamp:
            found[file] = before
            continue
        try:
            found[file] = ManifestFile(stamp, read_manifest(file))
        except ManifestError as error:
            kept = () if before is None else before.documents
            log.error("trusted documents: %s %s; %s documents of its last valid version are used", file, error, len(kept))
            found[file] = ManifestFile(stamp, kept)
    return found


class TrustedDocuments:
    """The trusted documents of one process. Their files are checked by requests, at most once in CHECK_SECONDS.

    `path` None: there are none, and never will be.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._files: dict[Path, ManifestFile] = {}
        self._by_id: dict[str, Document] = {}
        self._by_digest: dict[str, Document] = {}
        self._known_wrong: set[Document] = set()
        self._next_check = 0.0
        self._check: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._by_id)

    def load(self) -> None:
        """Read all of them now, as a process does before it serves."""
        if self._path is not None:
            self._next_check = self._clock() + CHECK_SECONDS
            self._take(read_changed(self._path, self._files))

    def tell_wrong(self, document: Document, reason: str) -> None:
        """Log that a document does not fit the schema, once."""
        if document not in self._known_wrong:
            self._known_wrong.add(document)
            log.warning("trusted document %s is invalid in this schema and will be refused: %s", document.id, reason)

    async def find_id(self, document_id: str) -> Document | None:
        """Return a document by its id, or by `sha256:` and the SHA-256 of its text."""
        await self._refresh()
        found = self._by_id.get(document_id)
        if found is None and document_id.startswith(SHA256_PREFIX):
            found = self._by_digest.get(document_id.removeprefix(SHA256_PREFIX))
        return found

    async def find_hash(self, digest: str) -> Document | None:
        """Return a document by what Apollo's clients send as `sha256Hash`: the SHA-256 of its text, or its id in their manifest."""
        await self._refresh()
        return self._by_id.get(digest) or self._by_digest.get(digest)

    async def find_text(self, text: str) -> Document | None:
        """Return the document with exactly this text."""
        await self._refresh()
        return self._by_digest.get(digest_of(text))

    async def _refresh(self) -> None:
        if self._check is None:
            now = self._clock()
            if self._path is None or now < self._next_check:
                return
            self._next_check = now + CHECK_SECONDS
            self._check = asyncio.create_task(self._look(self._path))
        # Shielded: one of those who wait for it going away must not take it from the others.
        await asyncio.shield(self._check)

    async def _look(self, path: Path) -> None:
        try:
            # In a thread: the folder may be on another machine, which may be slow.
            files = await asyncio.to_thread(read_changed, path, self._files)
            if files != self._files:
                self._take(files)
        finally:
            self._check = None

    def _take(self, files: dict[Path, ManifestFile]) -> None:
        by_id: dict[str, Document] = {}
        for path, file in files.items():
            for document in file.documents:
                if by_id.setdefault(document.id, document) != document:
                    log.error("trusted documents: %s: %s; it is skipped", path, conflict_of(document))
        self._files = files
        self._by_id = by_id
        self._by_digest = {document.digest: document for document in by_id.values()}
        self._known_wrong.intersection_update(by_id.values())
        log.info("trusted documents: %s in %s", len(by_id), self._path)


@dataclass(frozen=True, slots=True)
class Named:
    """How a request names its document: by its text, by an id, by the hash of Apollo's persisted queries, or by a text and its hash."""

    text: str = ""
    document_id: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The document that a request may run. `by_id`: it was named, not sent, so that a GET of it can be kept.

    `digest`: under which the text is to be remembered if it is valid.
    """

    text: str
    trusted: Document | None = None
    by_id: bool = False
    digest: str | None = None


class DocumentPolicy:
    """Decides what each request runs. `only_trusted`: nothing but trusted documents. `automatic` None: clients register nothing."""

    def __init__(self, trusted: TrustedDocuments, automatic: AutomaticDocuments | None, *, only_trusted: bool) -> None:
        self.only_trusted = only_trusted
        self._trusted = trusted
        self._automatic = None if only_trusted else automatic

    async def choose(self, named: Named) -> Chosen:
        """Return what to run. PersistedQueryNotFoundError, PersistedQueryNotSupportedError, PersistedQueryOnlyError; BadInputError."""
        if named.document_id is not None:
            trusted = await self._trusted.find_id(named.document_id)
            if trusted is None:
                raise PersistedQueryNotFoundError
            return Chosen(trusted.text, trusted, by_id=True)
        if named.digest is not None:
            return await (self._choose_both(named.text, named.digest) if named.text else self._choose_by_digest(named.digest))
        return await self._choose_text(named.text)

    async def _choose_text(self, text: str) -> Chosen:
        if not self.only_trusted:
            return Chosen(text)
        trusted = await self._trusted.find_text(text)
        if trusted is None:
            raise PersistedQueryOnlyError
        return Chosen(text, trusted)

    async def _choose_both(self, text: str, digest: str) -> Chosen:
        trusted = await self._trusted.find_hash(digest)
        if trusted is not None and trusted.text == text:
            return Chosen(text, trusted, by_id=True)
        if digest_of(text) != digest:
            raise BadInputError("provided sha does not match query")
        chosen = await self._choose_text(text)
        # Not remembered under what is a trusted document's id: that comes first.
        return replace(chosen, by_id=True, digest=digest if trusted is None else None)

    async def _choose_by_digest(self, digest: str) -> Chosen:
        trusted = await self._trusted.find_hash(digest)
        if trusted is not None:
            return Chosen(trusted.text, trusted, by_id=True)
        text = None if self._automatic is None else self._automatic.find(digest)
        if text is not None:
            return Chosen(text, by_id=True)
        if self._automatic is None and not len(self._trusted):
            raise PersistedQueryNotSupportedError
        raise PersistedQueryNotFoundError

    def note(self, chosen: Chosen, error: str | None) -> None:
        """Take note of what its validation found: a valid text can be registered by its hash, a trusted one that is wrong is logged."""
        if error is not None:
            if chosen.trusted is not None:
                self._trusted.tell_wrong(chosen.trusted, error)
        elif self._automatic is not None and chosen.digest is not None:
            self._automatic.add(chosen.digest, chosen.text)


def documents_path(settings: Settings) -> Path:
    """Return where the trusted documents are: as it is set, else a folder beside the embedded server's data."""
    return settings.documents or settings.data_dir / "documents"


def build_document_policy(settings: Settings) -> DocumentPolicy:
    """Return the policy as it is set, with the trusted documents read."""
    path = documents_path(settings)
    trusted = TrustedDocuments(path)
    trusted.load()
    if settings.trusted_documents_only and not len(trusted):
        log.warning("only trusted documents may run, but there are none in %s", path)
    automatic = AutomaticDocuments(MAX_AUTOMATIC, MAX_AUTOMATIC_BYTES) if settings.automatic_persisted_queries else None
    return DocumentPolicy(trusted, automatic, only_trusted=settings.trusted_documents_only)
