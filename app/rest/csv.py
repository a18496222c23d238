"""RFC 4180 rows whose text cells no spreadsheet takes for a formula. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from app.domain.spreadsheet import guard_cell


def encode_rows(rows: Iterable[Sequence[Any]]) -> bytes:
    """Return the rows as UTF-8 CSV, each ended by CRLF."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([guard_cell(cell) for cell in row] for row in rows)
    return text.getvalue().encode()
