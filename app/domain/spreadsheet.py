"""Text cells that no spreadsheet takes for a formula, and the way back. Pure."""

from __future__ import annotations

import unicodedata
from typing import Any, Final

_GUARD: Final = "'"
_TRIGGERS: Final = frozenset("=+-@")
_CONTROLS: Final = ("\t", "\r", "\n")
_IGNORED: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})
"""Unicode categories that spreadsheets may drop at the start of a cell: controls, marks without width, spaces of every kind."""


def _begins_formula(text: str) -> bool:
    first = text[:1]
    if first.isascii() and first.isalnum():
        return False
    if text.startswith(_CONTROLS):
        return True
    for character in text:
        if unicodedata.category(character) not in _IGNORED and character != _GUARD:
            # NFKC: full-width and small forms of the signs are taken for the signs.
            return unicodedata.normalize("NFKC", character) in _TRIGGERS
    return False


def guard_cell(value: Any) -> Any:
    """Return a cell as it may be written: text that would begin a formula gets a leading apostrophe; all else stays.

    Text that already begins with apostrophes before such a sign gets one more, so that `plain_cell` always finds the original.
    """
    return f"{_GUARD}{value}" if isinstance(value, str) and _begins_formula(value) else value


def plain_cell(value: object) -> object:
    """Return the original of a guarded cell; all else stays."""
    return value[1:] if isinstance(value, str) and value.startswith(_GUARD) and _begins_formula(value[1:]) else value
