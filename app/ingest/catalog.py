"""Changes of the model catalog: entries with their prices, and what is public. Unlisted models follow the entry of their public id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Any

from app.db.engine import Connection, Database
from app.domain.errors import BadInputError
from app.domain.usage import OTHER
from app.ingest.names import CATALOG_LOCK, entry_lookup, implied_provider, register_providers

_TEXT_FIELDS = ("model_id", "permaslug", "name", "provider", "provider_name")
_PRICE_FIELDS = ("cost_per_input_token", "cost_per_output_token")
_FIELDS = frozenset((*_TEXT_FIELDS, *_PRICE_FIELDS, "public"))
_MAX_PRICE = Decimal(1_000_000)
_MAX_PLACES = 30


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One entry as loaded. None leaves what is stored as it is; prices only if `has_prices`, where None is 'no price'."""

    model_id: str
    permaslug: str
    name: str | None
    provider: str
    provider_name: str | None
    has_prices: bool
    cost_per_input_token: Decimal | None
    """USD."""
    cost_per_output_token: Decimal | None
    """USD."""
    public: bool | None


@dataclass(frozen=True, slots=True)
class CatalogChange:
    """How many entries were new, and how many prices begin now."""

    entries: int
    added: int
    repriced: int


def parse_catalog(value: object) -> list[CatalogEntry]:
    """Check the decoded JSON of a catalog file; BadInputError names the entry's index and field."""
    if not isinstance(value, list):
        raise BadInputError("a catalog is a JSON array of entries")
    entries = [_parse_entry(index, item) for index, item in enumerate(value)]
    seen: set[tuple[str, str]] = set()
    for index, entry in enumerate(entries):
        if (entry.model_id, entry.permaslug) in seen:
            raise BadInputError(f"entry {index}: {entry.permaslug} of {entry.model_id} is listed twice")
        seen.add((entry.model_id, entry.permaslug))
    return entries


def _parse_entry(index: int, item: object) -> CatalogEntry:
    if not isinstance(item, Mapping):
        raise BadInputError(f"entry {index}: must be an object")
    unknown = sorted(str(key) for key in item.keys() - _FIELDS)
    if unknown:
        raise BadInputError(f"entry {index}: unknown field {unknown[0][:80]!r}; the fields are {', '.join(sorted(_FIELDS))}")
    texts = {name: _parse_text(index, name, item.get(name)) for name in _TEXT_FIELDS}
    model_id = texts["model_id"]
    if model_id is None:
        raise BadInputError(f"entry {index}: model_id is required")
    permaslug = texts["permaslug"] or model_id
    if OTHER in (model_id, permaslug):
        raise BadInputError(f"entry {index}: {OTHER!r} is reserved")
    public = item.get("public")
    if public is not None and not isinstance(public, bool):
        raise BadInputError(f"entry {index}: public must be true or false")
    return CatalogEntry(
        model_id=model_id,
        permaslug=permaslug,
        name=texts["name"],
        provider=texts["provider"] or implied_provider(model_id),
        provider_name=texts["provider_name"],
        has_prices=any(name in item for name in _PRICE_FIELDS),
        cost_per_input_token=_parse_price(index, _PRICE_FIELDS[0], item.get(_PRICE_FIELDS[0])),
        cost_per_output_token=_parse_price(index, _PRICE_FIELDS[1], item.get(_PRICE_FIELDS[1])),
        public=public,
    )


def _parse_text(index: int, name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= 256 or not value.isprintable():
        raise BadInputError(f"entry {index}: {name} must be a string of 1 to 256 printable characters")
    return value


def _parse_price(index: int, name: str, value: object) -> Decimal | None:
    if value is None:
        return None
    rule = f"entry {index}: {name} must be a number of US dollars from 0 to {_MAX_PRICE:,}, with at most {_MAX_PLACES} decimal places"
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise BadInputError(rule)
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        raise BadInputError(rule) from None
    exponent = price.as_tuple().exponent
    if not price.is_finite() or not 0 <= price <= _MAX_PRICE or not isinstance(exponent, int) or exponent < -_MAX_PLACES:
        raise BadInputError(rule)
    return price


async def load_catalog(database: Database, entries: Sequence[CatalogEntry], now: datetime) -> CatalogChange:
    """Store the entries. A first price holds for all time, a changed one from `now` on; loading the same again changes nothing."""
    added = repriced = 0
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", [CATALOG_LOCK])
        providers: dict[str, int] = {}
        await register_providers(connection, {entry.provider for entry in entries}, providers)
        for slug, name in sorted({(entry.provider, entry.provider_name) for entry in entries if entry.provider_name is not None}):
            await connection.execute("UPDATE providers SET name = %s WHERE slug = %s AND name <> %s", [name, slug, name])
        for entry in sorted(entries, key=lambda entry: (entry.model_id, entry.permaslug)):
            key, is_new = await _store_entry(connection, entry, providers[entry.provider])
            added += is_new
            if entry.has_prices:
                repriced += await store_price(connection, key, now, entry.cost_per_input_token, entry.cost_per_output_token)
        await _refresh_followers(connection)
    return CatalogChange(entries=len(entries), added=added, repriced=repriced)


async def _store_entry(connection: Connection, entry: CatalogEntry, provider: int) -> tuple[int, bool]:
    cursor = await connection.execute(
        "SELECT id, is_listed FROM models WHERE public_id = %s AND permaslug = %s", [entry.model_id, entry.permaslug]
    )
    found = await cursor.fetchone()
    if found is None:
        cursor = await connection.execute(
            "INSERT INTO models (public_id, permaslug, name, provider_id, is_listed, is_public)"
            " VALUES (%s, %s, %s, %s, false, false) RETURNING id, is_listed",
            [entry.model_id, entry.permaslug, entry.name or entry.model_id, provider],
        )
        found = await cursor.fetchone()
    if found is None:
        raise AssertionError("an inserted row is returned")
    key, was_listed = found
    await connection.execute(
        "UPDATE models SET name = coalesce(%s, name), provider_id = %s, entry_id = id, is_listed = true,"
        " is_public = coalesce(%s, is_listed AND is_public) WHERE id = %s",
        [entry.name, provider, entry.public, key],
    )
    return int(key), not was_listed


async def store_price(connection: Connection, entry: int, at: datetime, per_input: Decimal | None, per_output: Decimal | None) -> bool:
    """Let a price hold from `at` on, or for all time if it is the entry's first; False if it is the one in force already."""
    cursor = await connection.execute(
        "SELECT valid_from >= %s, cost_per_input_token, cost_per_output_token FROM model_prices"
        " WHERE model_id = %s AND valid_to = 'infinity'",
        [at, entry],
    )
    current = await cursor.fetchone()
    if current is not None and current[1:] == (per_input, per_output):
        return False
    if current is not None and current[0]:
        await connection.execute(
            "UPDATE model_prices SET cost_per_input_token = %s, cost_per_output_token = %s WHERE model_id = %s AND valid_to = 'infinity'",
            [per_input, per_output, entry],
        )
        return True
    if current is not None:
        await connection.execute("UPDATE model_prices SET valid_to = %s WHERE model_id = %s AND valid_to = 'infinity'", [at, entry])
    await connection.execute(
        "INSERT INTO model_prices (model_id, valid_from, valid_to, cost_per_input_token, cost_per_output_token)"
        " VALUES (%s, coalesce(%s::timestamptz, '-infinity'), 'infinity', %s, %s)",
        [entry, None if current is None else at, per_input, per_output],
    )
    return True


async def _refresh_followers(connection: Connection) -> None:
    await connection.execute(
        "UPDATE models m SET entry_id = e.id, is_public = coalesce(e.is_public, false),"
        " name = coalesce(e.name, m.name), provider_id = coalesce(e.provider_id, m.provider_id)"
        f" FROM models u LEFT JOIN LATERAL ({entry_lookup('u.public_id', 'u.permaslug')}) e ON true"
        " WHERE u.id = m.id AND NOT m.is_listed"
        " AND (m.entry_id, m.is_public, m.name, m.provider_id) IS DISTINCT FROM"
        " (e.id, coalesce(e.is_public, false), coalesce(e.name, m.name), coalesce(e.provider_id, m.provider_id))"
    )


async def publish_models(database: Database, pattern: str) -> list[str]:
    """Make public every known model whose id or permaslug matches a glob pattern (case-sensitive); return the permaslugs that became so.

    A model that records named before the catalog did becomes an entry, with the prices that it followed.
    """
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", [CATALOG_LOCK])
        rows: list[tuple[Any, ...]] = await (
            await connection.execute(
                "SELECT id, public_id, permaslug, is_listed FROM models WHERE NOT is_public ORDER BY permaslug, public_id"
            )
        ).fetchall()
        matched = [row for row in rows if fnmatchcase(row[1], pattern) or fnmatchcase(row[2], pattern)]
        unlisted = [row[0] for row in matched if not row[3]]
        await connection.execute(
            "INSERT INTO model_prices (model_id, valid_from, valid_to, cost_per_input_token, cost_per_output_token)"
            " SELECT m.id, p.valid_from, p.valid_to, p.cost_per_input_token, p.cost_per_output_token"
            " FROM models m JOIN model_prices p ON p.model_id = m.entry_id WHERE m.id = ANY(%s) AND m.entry_id <> m.id",
            [unlisted],
        )
        await connection.execute(
            "UPDATE models SET is_public = true, is_listed = true, entry_id = id WHERE id = ANY(%s)", [[row[0] for row in matched]]
        )
        await _refresh_followers(connection)
    return [str(row[2]) for row in matched]
