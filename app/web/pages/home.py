"""The view of the home page: links, and totals of the gateway. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from app.web.pages.wording import clock_time, read_instant


@dataclass(frozen=True, slots=True)
class Link:
    """A link to a page or an endpoint."""

    path: str
    name: str
    what: str


LOOK: Final = (
    Link("/network", "Network", "Tokens, models and activity of the last 30 days, live. No key needed."),
    Link("/rankings", "Rankings", "The top models by day, and changes of rank. Any valid key."),
    Link("/graphql", "GraphiQL", "Query everything that your key may read, with saved examples."),
)
BUILD: Final = (
    Link("/docs", "HTTP API", "Documentation of every URL, with a client."),
    Link("/schema.graphql", "Schema", "The GraphQL schema as SDL, for code generators."),
    Link("/healthz", "Health", "Whether the process is alive; /readyz says whether it can serve."),
)


@dataclass(frozen=True, slots=True)
class HomeView:
    """`facts` is False if the database did not answer; `generated` is empty before the first snapshot."""

    facts: bool
    tokens: int
    requests: int
    models: int
    generated_at: str
    generated: str
    look: tuple[Link, ...] = LOOK
    build: tuple[Link, ...] = BUILD


def view_home(network: dict[str, Any] | None) -> HomeView:
    """Return the view with the facts of a documented network answer; None: there is none."""
    if network is None:
        return HomeView(False, 0, 0, 0, "", "")
    at = network["generated_at"] or ""
    generated = clock_time(read_instant(at)) if at else ""
    return HomeView(True, network["totals"]["tokens"], network["totals"]["requests"], len(network["top_models"]), at, generated)
