"""Lists that may be long: how many rows a caller gets of them, and what stands for the others. Every list with its rest is its totals."""

from __future__ import annotations

from typing import Final

from app.domain.errors import BadInputError

DEFAULT_ROWS: Final = 1_000
MAX_ROWS: Final = 10_000
"""What a documented URL gives of a list, which has no place for a limit."""


def limit_description(what: str) -> str:
    """Return the description of an argument that limits a list."""
    return f"Maximum number of {what}, 1 to {MAX_ROWS:,}; the others are summed in the rest."


def check_limits(**limits: int) -> None:
    """Pass limits by the names of their arguments. BadInputError: one is out of bounds."""
    for name, limit in limits.items():
        if not 1 <= limit <= MAX_ROWS:
            raise BadInputError(f"{name} must be an integer from 1 to {MAX_ROWS}", name)
