"""Query parameters as text, checked in the words of their documents. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from app.domain.errors import BadInputError

_INTEGER = re.compile(r"[+-]?\d{1,9}", re.ASCII)


def parse_choice(text: str | None, name: str, choices: tuple[str, ...]) -> str | None:
    """Return one of the choices, or None if nothing was given."""
    if text is None or text in choices:
        return text
    raise BadInputError(f"{name} must be one of: {', '.join(choices)}")


def parse_integer(text: str | None, name: str, low: int, high: int, default: int | None = None) -> int | None:
    """Return an integer from `low` to `high`, or the default if nothing was given."""
    if text is None:
        return default
    if _INTEGER.fullmatch(text) is None or not low <= int(text) <= high:
        raise BadInputError(f"{name} must be an integer from {low} to {high}")
    return int(text)


def refuse_parameters(given: Iterable[str], names: dict[str, str]) -> None:
    """BadInputError if a parameter of `names` was given; it says the right one."""
    wrong = [name for name in given if name in names]
    if wrong:
        raise BadInputError(f"this endpoint uses {' and '.join(names.values())}, not {' and '.join(names)}")
