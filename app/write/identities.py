"""Names to surrogate ids: registers tenants, projects, users, keys, providers and models that a batch is the first to mention.

Ids never change, so what is committed may be remembered; what a transaction registered is remembered only after its commit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.db.engine import Connection
from app.domain.usage import UNKNOWN, UsageRecord

CATALOG_LOCK = 0x63617461  # "cata": shared by those who register models, exclusive to those who change the catalog

_MAX_REMEMBERED = 500_000

TenantScoped = tuple[int, str]
ModelName = tuple[str, str]


@dataclass(slots=True)
class Names:
    """Known ids by external name; projects, caller keys and users of a tenant by (tenant's id, name), models by (public id, permaslug)."""

    tenants: dict[str, int] = field(default_factory=dict)
    providers: dict[str, int] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    projects: dict[TenantScoped, int] = field(default_factory=dict)
    caller_keys: dict[TenantScoped, int] = field(default_factory=dict)
    members: dict[TenantScoped, int] = field(default_factory=dict)
    models: dict[ModelName, int] = field(default_factory=dict)

    def _maps(self) -> tuple[dict[Any, int], ...]:
        return (self.tenants, self.providers, self.users, self.projects, self.caller_keys, self.members, self.models)

    def add(self, other: Names) -> None:
        """Take over all that `other` knows."""
        for known, new in zip(self._maps(), other._maps(), strict=True):
            known.update(new)

    def clear(self) -> None:
        """Forget everything."""
        for known in self._maps():
            known.clear()

    def trim(self) -> None:
        """Forget the larger maps when they have grown past their bound."""
        for known in self._maps():
            if len(known) > _MAX_REMEMBERED:
                known.clear()


@dataclass(slots=True)
class Missing:
    """What a batch mentions that is not known yet."""

    tenants: set[str] = field(default_factory=set)
    providers: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    projects: set[tuple[str, str]] = field(default_factory=set)
    caller_keys: set[tuple[str, str]] = field(default_factory=set)
    members: set[tuple[str, str]] = field(default_factory=set)
    models: set[ModelName] = field(default_factory=set)

    def concerns(self, record: UsageRecord) -> bool:
        """Tell whether a record mentions any of it."""
        tenant = record.tenant_id
        return (
            (record.model_id, record.model_permaslug) in self.models
            or (tenant, record.user_id) in self.members
            or (tenant, record.project_id) in self.projects
            or (tenant, record.api_key_id) in self.caller_keys
            or record.provider in self.providers
            or tenant in self.tenants
        )

    def __bool__(self) -> bool:
        return bool(self.tenants or self.providers or self.users or self.projects or self.caller_keys or self.members or self.models)


def resolve(records: Sequence[UsageRecord], known: Names) -> tuple[Names, Missing]:
    """Return the ids of the names in `records`, apart from those that `known` does not hold, and those."""
    found, missing = Names(), Missing()
    _split({record.tenant_id for record in records}, known.tenants, found.tenants, missing.tenants)
    _split({record.user_id for record in records if record.user_id is not None}, known.users, found.users, missing.users)
    _split(
        {record.provider for record in records if record.provider is not None},
        known.providers,
        found.providers,
        missing.providers,
    )
    _split({(record.model_id, record.model_permaslug) for record in records}, known.models, found.models, missing.models)
    projects = {(record.tenant_id, record.project_id) for record in records if record.project_id is not None}
    caller_keys = {(record.tenant_id, record.api_key_id) for record in records if record.api_key_id is not None}
    members = {(record.tenant_id, record.user_id) for record in records if record.user_id is not None}
    _split_scoped(members, found.tenants, known.members, found.members, missing.members)
    _split_scoped(projects, found.tenants, known.projects, found.projects, missing.projects)
    _split_scoped(caller_keys, found.tenants, known.caller_keys, found.caller_keys, missing.caller_keys)
    return found, missing


def _split(wanted: set[Any], known: dict[Any, int], found: dict[Any, int], missing: set[Any]) -> None:
    for name in wanted:
        key = known.get(name)
        if key is None:
            missing.add(name)
        else:
            found[name] = key


def _split_scoped(
    wanted: set[tuple[str, str]],
    tenants: dict[str, int],
    known: dict[TenantScoped, int],
    found: dict[TenantScoped, int],
    missing: set[tuple[str, str]],
) -> None:
    for tenant_id, name in wanted:
        tenant = tenants.get(tenant_id)
        key = None if tenant is None else known.get((tenant, name))
        if tenant is None or key is None:
            missing.add((tenant_id, name))
        else:
            found[tenant, name] = key


async def look_up(connection: Connection, missing: Missing, names: Names) -> None:
    """Add to `names` the ids of what is missing from it but registered; nothing is registered or locked."""
    for table, column, wanted, known in (
        ("tenants", "external_id", missing.tenants, names.tenants),
        ("users", "external_id", missing.users, names.users),
        ("providers", "slug", missing.providers, names.providers),
    ):
        if wanted:
            known.update(await _fetch_ids(connection, f"SELECT {column}, id FROM {table} WHERE {column} = ANY(%s)", [sorted(wanted)]))
    for table, pairs, scoped in (
        ("projects", missing.projects, names.projects),
        ("caller_keys", missing.caller_keys, names.caller_keys),
    ):
        await _look_up_scoped(
            connection, table, [(names.tenants[tenant], name) for tenant, name in pairs if tenant in names.tenants], scoped
        )
    await _look_up_members(connection, missing, names)
    if missing.models:
        names.models.update(await _fetch_models(connection, sorted(missing.models)))


async def _look_up_scoped(connection: Connection, table: str, pairs: list[TenantScoped], known: dict[TenantScoped, int]) -> None:
    if not pairs:
        return
    wanted = sorted(pairs)
    rows = await connection.execute(
        f"SELECT t.tenant_id, t.external_id, t.id FROM {table} t"
        " JOIN unnest(%s::integer[], %s::text[]) AS w (tenant_id, external_id) USING (tenant_id, external_id)",
        [[tenant for tenant, _ in wanted], [name for _, name in wanted]],
    )
    known.update({(tenant, name): key for tenant, name, key in await rows.fetchall()})


async def _look_up_members(connection: Connection, missing: Missing, names: Names) -> None:
    of_user = {names.users[user]: user for _, user in missing.members if user in names.users}
    wanted = sorted(
        (names.tenants[tenant], names.users[user]) for tenant, user in missing.members if tenant in names.tenants and user in names.users
    )
    if not wanted:
        return
    rows = await connection.execute(
        "SELECT t.tenant_id, t.user_id FROM tenant_users t"
        " JOIN unnest(%s::integer[], %s::integer[]) AS w (tenant_id, user_id) USING (tenant_id, user_id)",
        [[tenant for tenant, _ in wanted], [user for _, user in wanted]],
    )
    names.members.update({(tenant, of_user[user]): user for tenant, user in await rows.fetchall()})


async def register_tenants(connection: Connection, wanted: Collection[str], names: Names) -> None:
    """Register tenants in the caller's transaction, adding their ids to `names`: before any key is claimed, which needs them."""
    await _register_plain(connection, "tenants", wanted, names.tenants)


async def register(connection: Connection, missing: Missing, names: Names) -> list[str]:
    """Register what `look_up` did not find in the caller's transaction, adding the ids to `names`; return permaslugs of private models.

    For records whose keys are claimed, so that a duplicate registers nothing. Every writer does so in this order, each kind by its key.
    """
    await _register_plain(connection, "users", missing.users, names.users)
    for table, pairs, known in (
        ("projects", missing.projects, names.projects),
        ("caller_keys", missing.caller_keys, names.caller_keys),
    ):
        await _register_scoped(connection, table, [(names.tenants[tenant], name) for tenant, name in pairs], known)
    await _register_members(connection, [(names.tenants[tenant], user) for tenant, user in missing.members], names)
    if missing.models:
        await connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", [CATALOG_LOCK])
    await register_providers(
        connection, missing.providers | {implied_provider(model_id) for model_id, _ in missing.models}, names.providers
    )
    return await _register_models(connection, missing.models, names)


async def _register_plain(connection: Connection, table: str, wanted: Collection[str], known: dict[str, int]) -> None:
    if not wanted:
        return
    ordered = sorted(wanted)
    insert = f"INSERT INTO {table} (external_id) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING RETURNING external_id, id"
    known.update(await _fetch_ids(connection, insert, [ordered]))
    others = [name for name in ordered if name not in known]  # which another writer registered meanwhile
    if others:
        known.update(await _fetch_ids(connection, f"SELECT external_id, id FROM {table} WHERE external_id = ANY(%s)", [others]))


async def _register_scoped(connection: Connection, table: str, pairs: list[TenantScoped], known: dict[TenantScoped, int]) -> None:
    if not pairs:
        return
    wanted = sorted(pairs)
    rows = await connection.execute(
        f"INSERT INTO {table} (tenant_id, external_id) SELECT w.tenant_id, w.external_id"
        " FROM unnest(%s::integer[], %s::text[]) WITH ORDINALITY AS w (tenant_id, external_id, position)"
        " ORDER BY w.position ON CONFLICT DO NOTHING RETURNING tenant_id, external_id, id",
        [[tenant for tenant, _ in wanted], [name for _, name in wanted]],
    )
    known.update({(tenant, name): key for tenant, name, key in await rows.fetchall()})
    await _look_up_scoped(connection, table, [pair for pair in wanted if pair not in known], known)


async def _register_members(connection: Connection, pairs: list[TenantScoped], names: Names) -> None:
    if not pairs:
        return
    wanted = sorted((tenant, names.users[user]) for tenant, user in pairs)
    await connection.execute(
        "INSERT INTO tenant_users (tenant_id, user_id) SELECT w.tenant_id, w.user_id"
        " FROM unnest(%s::integer[], %s::integer[]) WITH ORDINALITY AS w (tenant_id, user_id, position)"
        " ORDER BY w.position ON CONFLICT DO NOTHING",
        [[tenant for tenant, _ in wanted], [user for _, user in wanted]],
    )
    names.members.update({(tenant, user): names.users[user] for tenant, user in pairs})


async def register_providers(connection: Connection, wanted: Collection[str], known: dict[str, int]) -> None:
    """Register provider slugs, each shown by its slug until the catalog names it; adds their ids to `known`."""
    ordered = sorted(set(wanted) - known.keys())
    if not ordered:
        return
    await connection.execute(
        "INSERT INTO providers (slug, name) SELECT w.slug, w.slug FROM unnest(%s::text[]) WITH ORDINALITY AS w (slug, position)"
        " WHERE NOT EXISTS (SELECT FROM providers p WHERE p.slug = w.slug) ORDER BY w.position ON CONFLICT DO NOTHING",
        [ordered],
    )
    known.update(await _fetch_ids(connection, "SELECT slug, id FROM providers WHERE slug = ANY(%s)", [ordered]))


def implied_provider(model_id: str) -> str:
    """Return the provider that a model id names: what stands before the first slash; `unknown` if nothing does."""
    prefix, slash, _ = model_id.partition("/")
    return prefix if slash and prefix else UNKNOWN


async def _register_models(connection: Connection, wanted: Collection[ModelName], names: Names) -> list[str]:
    if not wanted:
        return []
    unseen = sorted(wanted)
    # All entries are found before the first model goes in: a look-up that meets the new ones would take longer with each.
    rows = await connection.execute(
        "INSERT INTO models (public_id, permaslug, name, provider_id, entry_id, is_listed, is_public, ranked_public)"
        " WITH w AS MATERIALIZED (SELECT *"
        "   FROM unnest(%s::text[], %s::text[], %s::integer[]) WITH ORDINALITY AS w (public_id, permaslug, provider_id, position)),"
        # Two joins by equality, which read the catalog once however many names there are; of each, the best entry.
        " listed AS ("
        "   SELECT w.position, c.id FROM w JOIN models c ON c.permaslug = w.permaslug WHERE c.is_listed UNION"
        "   SELECT w.position, c.id FROM w JOIN models c ON c.public_id = w.public_id WHERE c.is_listed),"
        " entries AS (SELECT DISTINCT ON (w.position) w.position, c.id, c.name, c.provider_id, c.is_public"
        "   FROM listed JOIN w USING (position) JOIN models c ON c.id = listed.id"
        f"   ORDER BY w.position, {_entry_order('w.public_id', 'w.permaslug')}),"
        " wanted AS MATERIALIZED ("
        "   SELECT w.public_id, w.permaslug, coalesce(e.name, w.public_id) AS name, coalesce(e.provider_id, w.provider_id) AS provider_id,"
        "     e.id AS entry_id, coalesce(e.is_public, false) AS is_public, w.position"
        "   FROM w LEFT JOIN entries e USING (position))"
        " SELECT public_id, permaslug, name, provider_id, entry_id, false, is_public, is_public FROM wanted ORDER BY position"
        " ON CONFLICT DO NOTHING RETURNING public_id, permaslug, id, is_public",
        [
            [model_id for model_id, _ in unseen],
            [permaslug for _, permaslug in unseen],
            [names.providers[implied_provider(model_id)] for model_id, _ in unseen],
        ],
    )
    inserted = await rows.fetchall()
    names.models.update({(model_id, permaslug): key for model_id, permaslug, key, _ in inserted})
    others = [name for name in unseen if name not in names.models]  # which another writer registered meanwhile
    if others:
        names.models.update(await _fetch_models(connection, others))
    return sorted(permaslug for _, permaslug, _, is_public in inserted if not is_public)


def entry_lookup(public_id: str, permaslug: str) -> str:
    """Return a SELECT of the catalog entry that holds for a model, given SQL for its public id and permaslug.

    The listed entry of the same permaslug; else, of those listed under the public id, the plain one, then one that is no variant, then
    the last by permaslug.
    """
    return (
        "SELECT c.id, c.name, c.provider_id, c.is_public FROM models c"
        f" WHERE c.is_listed AND (c.permaslug = {permaslug} OR c.public_id = {public_id})"
        f" ORDER BY {_entry_order(public_id, permaslug)} LIMIT 1"
    )


def _entry_order(public_id: str, permaslug: str) -> str:
    """Return what orders the listed entries `c` that may hold for a model, the best first."""
    return (
        f"c.permaslug = {permaslug} DESC, c.public_id = {public_id} DESC, c.permaslug = c.public_id DESC,"
        " position(':' IN c.permaslug) = 0 DESC, c.permaslug DESC"
    )


async def _fetch_models(connection: Connection, wanted: Sequence[ModelName]) -> dict[ModelName, int]:
    rows = await connection.execute(
        "SELECT public_id, permaslug, id FROM models JOIN unnest(%s::text[], %s::text[]) AS w (public_id, permaslug)"
        " USING (public_id, permaslug)",
        [[model_id for model_id, _ in wanted], [permaslug for _, permaslug in wanted]],
    )
    return {(model_id, permaslug): key for model_id, permaslug, key in await rows.fetchall()}


async def _fetch_ids(connection: Connection, statement: str, parameters: list[Any]) -> dict[str, int]:
    return dict(await (await connection.execute(statement, parameters)).fetchall())
