"""The catalog, as the graph reads it: models, their variants and prices, providers.

`visible_model` and `visible_provider` say who sees a row: everybody the public ones, a tenant also those that its own records use. Of a
private one a tenant sees no more than its records say: its id. What the catalog adds (a name, a provider, prices, whether it is listed) is
for readers of everything, so that naming a model tells nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from app.analytics.fetch import fetch_rows
from app.analytics.select import CompiledSelect
from app.cube.rollups import BY_DAY_ALL
from app.db.engine import Database
from app.domain.principal import Scope
from app.graph.listing import Column, Listing, Reach, reach_of


class ModelRow(NamedTuple):
    """A model by its public id: the card of its plainest variant in scope, and whether any of them is public.

    Private to the reader: the name is the id, and there is no provider.
    """

    public_id: str
    name: str
    is_public: bool
    provider_key: int | None
    provider_slug: str | None
    provider_name: str | None


class VariantRow(NamedTuple):
    """A dated permaslug or variant of a model. `key`: the row whose prices are asked for."""

    key: int
    public_id: str
    permaslug: str
    name: str
    is_public: bool
    is_listed: bool


class ProviderRow(NamedTuple):
    """A provider: surrogate, slug, name for people."""

    key: int
    slug: str
    name: str


class EntryName(NamedTuple):
    """What tells a catalog entry."""

    public_id: str
    permaslug: str


class PriceRow(NamedTuple):
    """A price of a catalog entry in US dollars, in force in `[valid_from, valid_to)`; None: unbounded, or no such price."""

    entry: EntryName
    valid_from: datetime | None
    valid_to: datetime | None
    cost_per_input_token: Decimal | None
    cost_per_output_token: Decimal | None


def _used(column: str) -> str:
    return f"(SELECT r.{column} FROM {BY_DAY_ALL.name} r WHERE r.tenant_id = %(tenant)s::integer)"


def visible_model(reach: Reach) -> str:
    """Return the condition under which the row `m` of `models` may be seen."""
    return {
        Reach.EVERYTHING: "true",
        Reach.TENANT: f"(m.is_public OR m.id IN {_used('model_id')})",
        Reach.PUBLIC: "m.is_public",
    }[reach]


def _told(reach: Reach, value: str, otherwise: str) -> str:
    """Return SQL of what the catalog says of the row `m` of `models`, or of what stands for it where the reader may not know."""
    return value if reach is Reach.EVERYTHING else f"CASE WHEN m.is_public THEN {value} ELSE {otherwise} END"


_SERVES_PUBLIC = "v.id IN (SELECT m.provider_id FROM models m WHERE m.is_public)"


def visible_provider(reach: Reach) -> str:
    """Return the condition under which the row `v` of `providers` may be seen: it has a public model, or served the reader."""
    return {
        Reach.EVERYTHING: "true",
        Reach.TENANT: f"({_SERVES_PUBLIC} OR v.id IN {_used('provider_id')})",
        Reach.PUBLIC: _SERVES_PUBLIC,
    }[reach]


def _models(reach: Reach) -> str:
    # The card that the network's answer shows too: the plain permaslug, then one that is no variant, then the last.
    plainest = "m.permaslug = m.public_id DESC, position(':' IN m.permaslug) = 0 DESC, m.permaslug DESC"
    public_first = "" if reach is Reach.EVERYTHING else "m.is_public DESC, "
    return (
        "SELECT c.public_id, c.name, c.is_public, v.id AS provider_key, v.slug AS provider_slug, v.name AS provider_name"
        f" FROM (SELECT DISTINCT ON (m.public_id) m.public_id, {_told(reach, 'm.name', 'm.public_id')} AS name,"
        f" {_told(reach, 'm.provider_id', 'NULL')} AS provider_key, bool_or(m.is_public) OVER (PARTITION BY m.public_id) AS is_public"
        f" FROM models m WHERE {visible_model(reach)} ORDER BY m.public_id, {public_first}{plainest}) c"
        " LEFT JOIN providers v ON v.id = c.provider_key"
    )


def _variants(reach: Reach) -> str:
    return (
        f"SELECT m.id AS key, m.public_id, m.permaslug, {_told(reach, 'm.name', 'm.permaslug')} AS name, m.is_public,"
        f" {_told(reach, 'm.is_listed', 'false')} AS is_listed FROM models m WHERE {visible_model(reach)}"
    )


def _providers(reach: Reach) -> str:
    name = "v.name" if reach is Reach.EVERYTHING else f"CASE WHEN {_SERVES_PUBLIC} THEN v.name ELSE v.slug END AS name"
    return f"SELECT v.id AS key, v.slug, {name} FROM providers v WHERE {visible_provider(reach)}"


BY_PUBLIC_ID = (Column("public_id", "text"),)
BY_SLUG = (Column("slug", "text"),)
BY_MODEL_AND_PERMASLUG = (Column("public_id", "text"), Column("permaslug", "text"))

MODELS = Listing("models", ModelRow, ("public_id",), _models)
PROVIDERS = Listing("providers", ProviderRow, ("slug",), _providers)
PROVIDER_MODELS = Listing("provider_models", ModelRow, ("public_id",), _models, Column("provider_key", "integer"), shared=True)
MODEL_VARIANTS = Listing("model_variants", VariantRow, ("permaslug",), _variants, Column("public_id", "text"))


@lru_cache(maxsize=8)
def select_prices(reach: Reach) -> CompiledSelect:
    """Return the SELECT of the price history of the variants `keys`: (key, price), newest first."""
    return CompiledSelect(
        "/* app:model_prices */ SELECT m.id, e.public_id, e.permaslug, nullif(p.valid_from, '-infinity'), nullif(p.valid_to, 'infinity'),"
        " p.cost_per_input_token, p.cost_per_output_token"
        " FROM models m JOIN models e ON e.id = m.entry_id JOIN model_prices p ON p.model_id = e.id"
        f" WHERE m.id = ANY(%(keys)s::integer[]) AND {_told(reach, 'true', 'false')} ORDER BY m.id, p.valid_from DESC",
        {},
    )


async def fetch_prices(database: Database, keys: Sequence[int], scope: Scope) -> dict[int, list[PriceRow]]:
    """Return the price history, newest first, of each variant of which the reader may know it: its own, or that of the entry it follows."""
    found: dict[int, list[PriceRow]] = {}
    rows = await fetch_rows(database, select_prices(reach_of(scope)), {"keys": list(keys)})
    for key, public_id, permaslug, *cells in rows:
        found.setdefault(key, []).append(PriceRow(EntryName(public_id, permaslug), *cells))
    return found
