"""The headers of a request, read from its scope: one look through a short list, where Starlette decodes and compares each by itself."""

from __future__ import annotations

from starlette.types import Scope


def find_header(scope: Scope, name: bytes) -> str | None:
    """Return the first header of a name, in lower case, of a request; None: there is none."""
    for found, value in scope["headers"]:
        if found == name:
            text: str = value.decode("latin-1")
            return text
    return None


def read_header(scope: Scope, name: bytes) -> str:
    """Return the first header of a name, in lower case, of a request; empty if there is none."""
    return find_header(scope, name) or ""
