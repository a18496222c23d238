"""RFC 4180 rows whose text cells no spreadsheet takes for a formula. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def safe_cell(value: Any) -> Any:
    """Return a cell as it may be written: text that would begin a formula gets a leading apostrophe, numbers stay."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def encode_rows(rows: Iterable[Sequence[Any]]) -> bytes:
    """Return the rows as UTF-8 CSV, each ended by CRLF."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([safe_cell(cell) for cell in row] for row in rows)
    return text.getvalue().encode()
