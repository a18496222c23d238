"""What the rankings page is sent with: where its dataset begins, and the query that GraphiQL opens. Its script fetches the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.domain.time_range import RANKINGS_FLOOR
from app.rest.execute import load_document

URL: Final = "/api/v1/datasets/rankings-daily"


@dataclass(frozen=True, slots=True)
class RankingsView:
    """`query`: the stored document of the URL, without its first line of comment."""

    url: str
    floor: str
    query: str


def view_rankings() -> RankingsView:
    """Return the view, the same for everybody."""
    lines = load_document("rankings_daily").splitlines()
    return RankingsView(URL, RANKINGS_FLOOR.isoformat(), "\n".join(line for line in lines if not line.startswith("#")))
