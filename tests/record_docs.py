"""Writes the fields of the usage record and their bounds into docs/usage-record.md.

`python -m tests.record_docs` (`make schema`) writes them; tests/unit/test_record_docs.py compares them.
"""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

from app.domain.describe import describe
from app.domain.fields import (
    PLAUSIBLE,
    Amount,
    Choice,
    Cost,
    Count,
    DisplayName,
    Flag,
    Instant,
    Kind,
    ModelName,
    Name,
    SmallNumber,
    Text,
    Unit,
)
from app.domain.usage import FIELDS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "usage-record.md"
BEGIN, END = "<!-- fields: `make schema` writes them from app/domain/usage.py -->", "<!-- end of fields -->"
_BOUNDED = {
    Unit.TOKENS: "of each count of tokens",
    Unit.CREDITS: "credits of each charge",
    Unit.COUNT: "of anything else that is counted",
    Unit.USD: "US dollars",
    Unit.MILLISECONDS: "milliseconds",
}


def _type_of(kind: Kind) -> str:
    match kind:
        case Instant():
            return "ISO 8601 instant"
        case Text() | Name() | ModelName() | DisplayName() | Choice():
            return "string"
        case Count(unit=Unit.CREDITS):
            return "integer, credits"
        case Count() | SmallNumber():
            return "integer"
        case Flag():
            return "boolean"
        case Amount() | Cost():
            return "number, or a decimal string"
        case _:
            assert_never(kind)


def draw() -> str:
    """Return the table of the fields, and what one request can mean at most, as Markdown."""
    rows = [
        f"| `{field.name}` | {_type_of(field.kind)} | {'Required. ' if field.is_required else ''}{describe(field)} |" for field in FIELDS
    ]
    bounds = ", ".join(f"10^{len(str(bound)) - 1} {_BOUNDED[unit]}" for unit, bound in PLAUSIBLE.items())
    return "\n".join(
        ["| field | type | notes |", "|---|---|---|", *rows, "", f"The limits of one request: {bounds}.", ""],
    )


def _parts() -> tuple[str, str, str]:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN + "\n")
    drawn, _, after = rest.partition(END)
    return before, drawn, after


def drawn() -> str:
    """Return what the page has."""
    return _parts()[1]


if __name__ == "__main__":
    before, _, after = _parts()
    PAGE.write_text(f"{before}{BEGIN}\n{draw()}{END}{after}", encoding="utf-8")
