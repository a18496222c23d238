"""Changes of the model catalog: entries with their prices, and what is public. Unlisted models follow the entry of their public id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from app.db.engine import Connection, Database
from app.domain.errors import BadInputError
from app.domain.usage import OTHER
from app.write.identities import CATALOG_LOCK, entry_lookup, implied_provider, register_providers

_TEXT_FIELDS = ("model_id", "permaslug", "name", "provider", "provider_name")
_PRICE_FIELDS = ("cost_per_input_token", "cost_per_output_token")
CATALOG_FIELDS = frozenset((*_TEXT_FIELDS, *_PRICE_FIELDS, "public"))
_MAX_PRICE = Decimal(1_000_000)
_MAX_PLACES = 30

EARLIEST_PRICE = datetime(2020, 1, 1, tzinfo=UTC)
"""No record occurred before."""
PRICES_AHEAD = timedelta(days=366)
"""How far in the future a price may begin."""


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
    """How many entries were new, and how many got another price."""

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
    unknown = sorted(str(key) for key in item.keys() - CATALOG_FIELDS)
    if unknown:
        raise BadInputError(f"entry {index}: unknown field {unknown[0][:80]!r}; the fields are {', '.join(sorted(CATALOG_FIELDS))}")
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


def check_valid_from(instant: datetime, now: datetime) -> None:
    """Raise BadInputError for an instant before EARLIEST_PRICE, or too far ahead of `now`."""
    if not EARLIEST_PRICE <= instant <= now + PRICES_AHEAD:
        raise BadInputError(f"valid_from must be from {EARLIEST_PRICE.date()} to {PRICES_AHEAD.days} days from now", "valid_from")


def _to_millisecond(instant: datetime) -> datetime:
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


async def load_catalog(
    database: Database, entries: Sequence[CatalogEntry], now: datetime, valid_from: datetime | None = None
) -> CatalogChange:
    """Store the entries. Their prices hold from `valid_from` on, to the millisecond, up to where a later one begins already.

    Without `valid_from`: from `now` on, and a first price for all time. Loading the same again changes nothing.
    """
    added = repriced = 0
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", [CATALOG_LOCK])
        providers: dict[str, int] = {}
        since = PriceStart(_to_millisecond(now if valid_from is None else valid_from), first_for_all_time=valid_from is None)
        await register_providers(connection, {entry.provider for entry in entries}, providers)
        for slug, name in sorted({(entry.provider, entry.provider_name) for entry in entries if entry.provider_name is not None}):
            await connection.execute("UPDATE providers SET name = %s WHERE slug = %s AND name <> %s", [name, slug, name])
        for entry in sorted(entries, key=lambda entry: (entry.model_id, entry.permaslug)):
            key, is_new = await _store_entry(connection, entry, providers[entry.provider], since)
            added += is_new
            if entry.has_prices:
                prices = Prices(entry.cost_per_input_token, entry.cost_per_output_token)
                repriced += await store_price(connection, key, prices, since)
        await _refresh_followers(connection)
    return CatalogChange(entries=len(entries), added=added, repriced=repriced)


async def _store_entry(connection: Connection, entry: CatalogEntry, provider: int, since: PriceStart) -> tuple[int, bool]:
    cursor = await connection.execute(
        "SELECT id, is_listed FROM models WHERE public_id = %s AND permaslug = %s", [entry.model_id, entry.permaslug]
    )
    found = await cursor.fetchone()
    if found is None:
        cursor = await connection.execute(
            "INSERT INTO models (public_id, permaslug, name, provider_id, is_listed, is_public, ranked_public)"
            " VALUES (%s, %s, %s, %s, false, %s, %s) RETURNING id, is_listed",
            [entry.model_id, entry.permaslug, entry.name or entry.model_id, provider, bool(entry.public), bool(entry.public)],
        )
        found = await cursor.fetchone()
    if found is None:
        raise AssertionError("an inserted row is returned")
    key, was_listed = found
    if not was_listed and entry.has_prices and not since.first_for_all_time:
        await _keep_followed_prices(connection, key, since.at)
    await connection.execute(
        "UPDATE models SET name = coalesce(%s, name), provider_id = %s, entry_id = id, is_listed = true,"
        " is_public = coalesce(%s, is_listed AND is_public) WHERE id = %s",
        [entry.name, provider, entry.public, key],
    )
    return int(key), not was_listed


async def _keep_followed_prices(connection: Connection, model: int, before: datetime) -> None:
    """Give a model that is about to be listed the prices that it followed, so that it is not unpriced until its own begin."""
    await connection.execute(
        "INSERT INTO model_prices (model_id, valid_from, valid_to, cost_per_input_token, cost_per_output_token)"
        " SELECT m.id, p.valid_from, CASE WHEN p.valid_to > %s THEN 'infinity' ELSE p.valid_to END,"
        " p.cost_per_input_token, p.cost_per_output_token"
        f" FROM models m JOIN LATERAL ({entry_lookup('m.public_id', 'm.permaslug')}) e ON true JOIN model_prices p ON p.model_id = e.id"
        " WHERE m.id = %s AND p.valid_from < %s",
        [before, model, before],
    )


class PriceStart(NamedTuple):
    """From when on a price is to hold. `first_for_all_time`: an entry's first price holds before `at` too."""

    at: datetime
    first_for_all_time: bool = False


class Prices(NamedTuple):
    """US dollars a token; None is 'no price'."""

    per_input: Decimal | None
    per_output: Decimal | None


async def store_price(connection: Connection, entry: int, prices: Prices, since: PriceStart) -> bool:
    """Let prices hold from an instant on, up to where the next ones begin; False if they are in force then already.

    The period that holds the instant is split, those after it stay: an entry's periods never overlap, and have no gaps once begun.
    """
    values = {"entry": entry, "at": since.at, "always": since.first_for_all_time, **prices._asdict()}
    holds_it = "model_id = %(entry)s AND valid_from <= %(at)s AND %(at)s < valid_to"
    into = "INSERT INTO model_prices (model_id, valid_from, valid_to, cost_per_input_token, cost_per_output_token)"
    cursor = await connection.execute(
        f"SELECT valid_from = %(at)s, cost_per_input_token, cost_per_output_token FROM model_prices WHERE {holds_it}", values
    )
    current = await cursor.fetchone()
    if current is None:
        await connection.execute(
            f"{into} SELECT %(entry)s, CASE WHEN min(valid_from) IS NULL AND %(always)s THEN '-infinity' ELSE %(at)s::timestamptz END,"
            " coalesce(min(valid_from), 'infinity'), %(per_input)s::numeric, %(per_output)s::numeric"
            " FROM model_prices WHERE model_id = %(entry)s",
            values,
        )
        return True
    if current[1:] == prices:
        return False
    if current[0]:
        await connection.execute(
            "UPDATE model_prices SET cost_per_input_token = %(per_input)s, cost_per_output_token = %(per_output)s"
            " WHERE model_id = %(entry)s AND valid_from = %(at)s",
            values,
        )
        return True
    await connection.execute(
        f"{into} SELECT model_id, %(at)s, valid_to, %(per_input)s::numeric, %(per_output)s::numeric FROM model_prices WHERE {holds_it}",
        values,
    )
    await connection.execute(
        "UPDATE model_prices SET valid_to = %(at)s WHERE model_id = %(entry)s AND valid_from < %(at)s AND %(at)s < valid_to", values
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


class Published(NamedTuple):
    """A model that became public."""

    model_id: str
    permaslug: str


async def publish_models(database: Database, pattern: str) -> list[str]:
    """Publish as `publish_matching`; return the permaslugs."""
    return [published.permaslug for published in await publish_matching(database, pattern)]


async def publish_matching(database: Database, pattern: str) -> list[Published]:
    """Make public every known model whose id or permaslug matches a glob pattern (case-sensitive); return those that became so.

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
    return [Published(row[1], row[2]) for row in matched]
