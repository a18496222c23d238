"""What the first page shows: the product's ways in and out, and a few facts of this gateway. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from app.web.pages.wording import clock_time, read_instant


@dataclass(frozen=True, slots=True)
class Way:
    """A link to something that this gateway has."""

    path: str
    name: str
    what: str


LOOK: Final = (
    Way("/network", "Network", "Tokens, models and activity of the last 30 days, live. Open to everybody."),
    Way("/rankings", "Rankings", "The top models day by day, and how their places change. Any key opens it."),
    Way("/graphql", "GraphiQL", "Ask anything that your key may see, with saved examples to begin with."),
)
BUILD: Final = (
    Way("/docs", "HTTP API", "Every documented URL, to read and to try."),
    Way("/schema.graphql", "Schema", "The whole graph as SDL, for code generators."),
    Way("/healthz", "Health", "Whether the process is alive; /readyz says whether it can serve."),
)


@dataclass(frozen=True, slots=True)
class HomeView:
    """`facts` is False where the database did not answer; `generated` is empty before the first snapshot."""

    facts: bool
    tokens: int
    requests: int
    models: int
    generated_at: str
    generated: str
    look: tuple[Way, ...] = LOOK
    build: tuple[Way, ...] = BUILD


def view_home(network: dict[str, Any] | None) -> HomeView:
    """Return the view with the facts of a documented network answer; None: there is none to be had."""
    if network is None:
        return HomeView(False, 0, 0, 0, "", "")
    at = network["generated_at"] or ""
    generated = clock_time(read_instant(at)) if at else ""
    return HomeView(True, network["totals"]["tokens"], network["totals"]["requests"], len(network["top_models"]), at, generated)
