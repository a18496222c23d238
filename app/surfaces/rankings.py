"""The daily rankings: each day's first 50 public models by tokens, and the rest in one row. Pure."""

from __future__ import annotations

from typing import Final

from app.cube.ranking import RANKED_MODELS
from app.domain.time_range import DateWindow, resolve_rankings_window
from app.domain.usage import OTHER
from app.surfaces.declare import Column, Part, Scalar, Section, Surface, labelled, settled
from app.surfaces.readers import ANY_KEY
from app.surfaces.reading import days_of

ROW: Final = Section(
    "RankingsDailyRow",
    "The tokens of one model on one day.",
    (
        labelled("date", 0, "UTC date.", Scalar.DATE),
        labelled(
            "model_permaslug",
            1,
            f"Dated model, with `:variant` for a variant; `{OTHER}`, the last row of a day, is the sum of all models outside the top "
            f"{RANKED_MODELS}.",
            examples=("openai/gpt-4o-2024-05-13",),
        ),
        labelled("total_tokens", 2, "Prompt plus completion tokens, as a decimal string.", pattern=r"^\d+$", examples=("12345678",)),
    ),
)
META: Final = Section(
    "RankingsDailyMeta",
    "Description of the rows.",
    (
        Column("as_of", "Time of the answer, in seconds.", Scalar.INSTANT, examples=("2026-05-12T02:00:00Z",)),
        settled("version", "Version of the dataset: `v1`.", choices=("v1",)),
        settled("start_date", "First date, as resolved; inclusive.", Scalar.DATE),
        settled("end_date", "Last date, as resolved; inclusive.", Scalar.DATE),
    ),
)
DAILY: Final = Section(
    "RankingsDaily",
    "Daily token totals by model: by date ascending, then by tokens descending, then by permaslug.",
    (
        Part("data", ROW, f"At most {RANKED_MODELS + 1} rows per day; none for a day without traffic.", is_settled=True),
        Part("meta", META, "The window, and the time of the answer.", is_list=False, is_settled=True),
    ),
)


def _ranked_rows(window: DateWindow) -> int:
    return days_of(window) * (RANKED_MODELS + 1)


RANKINGS_DAILY: Final = Surface(
    root="rankings_daily",
    description=(
        f"Daily token totals of the top {RANKED_MODELS} public models. Requires a valid key; 30 reads a minute per key, 500 a UTC day per"
        " account."
    ),
    readers=ANY_KEY,
    window=resolve_rankings_window,
    dates=("startDate", "endDate"),
    reads=_ranked_rows,
    answers=DAILY,
    path="/api/v1/datasets/rankings-daily",
    has_validator=True,
)
