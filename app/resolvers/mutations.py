"""The mutations of operators: keys and the catalog. One transaction each, in the order of the document, never by GET."""

from __future__ import annotations

from typing import Annotated

import strawberry
from strawberry import UNSET

from app.auth.store import KeyRequest, create_key, revoke_key
from app.domain.errors import BadInputError, ForbiddenError, NotFoundError
from app.domain.principal import Role
from app.ingest.fields import ID_PATTERN, ID_RULE
from app.resolvers.arguments import GraphQLSpelling, given_fields, read_instant_argument
from app.resolvers.catalog import Model, shape_model
from app.resolvers.context import ResolverInfo, loaders_of
from app.resolvers.cost import reads
from app.resolvers.identity import ApiKey, KeyRole, load_api_key
from app.resolvers.permissions import AdminOnly, OperatorOnly
from app.resolvers.scalars import ExactNumber, Instant
from app.write.catalog import (
    CATALOG_FIELDS,
    EARLIEST_PRICE,
    PRICES_AHEAD,
    check_valid_from,
    load_catalog,
    parse_catalog,
    publish_matching,
)

MAX_ENTRIES = 1_000
MAX_NAME = 256
MAX_PATTERN = 256

_spelling = GraphQLSpelling(CATALOG_FIELDS)


@strawberry.input(description="A new API key of this gateway.")
class ApiKeyInput:
    role: KeyRole = strawberry.field(description="Permissions of the key.")
    tenant_id: str | None = strawberry.field(
        default=None,
        description="The tenant of the key, created if new. Required for role TENANT, refused for GATEWAY. Default: the tenant of the "
        "caller's key, if it is bound to one.",
    )
    name: str = strawberry.field(default="", description=f"A note on the use of the key, at most {MAX_NAME} printable characters.")
    expires_at: Instant | None = strawberry.field(default=None, description="Time of expiry, with offset; default: never.")


@strawberry.type(description="A created key.")
class CreatedApiKey:
    secret: str = strawberry.field(description="The key. It is shown only here: only a hash is stored.")
    api_key: ApiKey = strawberry.field(description="The stored key.")


@strawberry.input(description="A catalog entry. Omitted fields of an existing entry are not changed.")
class ModelEntryInput:
    model_id: str = strawberry.field(description="Public model id.")
    permaslug: str | None = strawberry.field(default=UNSET, description="Dated model or variant; default: `modelId`.")
    name: str | None = strawberry.field(default=UNSET, description="Display name.")
    provider: str | None = strawberry.field(default=UNSET, description="Slug of the provider; default: the part of `modelId` before `/`.")
    provider_name: str | None = strawberry.field(default=UNSET, description="Display name of the provider.")
    cost_per_input_token: ExactNumber | None = strawberry.field(
        default=UNSET, description="US dollars per prompt token; null: no price. If only one of the two prices is set, the other is null."
    )
    cost_per_output_token: ExactNumber | None = strawberry.field(
        default=UNSET, description="US dollars per completion token; null: no price. If neither price is set, the prices are not changed."
    )
    public: bool | None = strawberry.field(
        default=UNSET, description="Whether rankings and network statistics show it; default for a new entry: false."
    )


@strawberry.type(description="Result of a change of the catalog.")
class CatalogReceipt:
    entries: int = strawberry.field(description="Entries in the request.")
    added: int = strawberry.field(description="Entries that are new in the catalog.")
    repriced: int = strawberry.field(description="Entries with a changed price.")
    models: list[Model] = strawberry.field(description="The models of the entries after the change, each once.")


KeyInput = Annotated[ApiKeyInput, strawberry.argument(name="input", description="Attributes of the key.")]
KeyId = Annotated[str, strawberry.argument(description="`keyId` of the key in `apiKeys`.")]
Entries = Annotated[list[ModelEntryInput], strawberry.argument(description=f"1 to {MAX_ENTRIES} entries, each model and permaslug once.")]
ValidFrom = Annotated[
    Instant | None,
    strawberry.argument(
        description=f"Start of the validity of the prices, until the next later price; in milliseconds, from {EARLIEST_PRICE.date()} to "
        f"{PRICES_AHEAD.days} days ahead. Default: now, and a first price then applies to all time. Stored records keep "
        "their cost."
    ),
]
Pattern = Annotated[
    str,
    strawberry.argument(
        description=f"A glob over model ids and permaslugs, case-sensitive, such as `openai/*`; at most {MAX_PATTERN} characters."
    ),
]


async def _load_models(info: ResolverInfo, model_ids: list[str]) -> list[Model]:
    """Return the models as they are after a change."""
    info.context.loaded.clear()
    rows = await loaders_of(info.context).models.load_many(list(dict.fromkeys(model_ids)))
    return [shape_model(row) for row in rows if row is not None]


async def _load_changed_key(info: ResolverInfo, key_id: str) -> ApiKey:
    info.context.loaded.clear()
    api_key = await load_api_key(info, key_id)
    if api_key is None:
        raise NotFoundError(f"no key has the id {key_id}")
    return api_key


async def resolve_create_api_key(info: ResolverInfo, key_input: KeyInput) -> CreatedApiKey:
    """Make a key. BadInputError: it could not be right; ForbiddenError: it would reach further than the caller's."""
    bound = (await info.context.principal()).tenant_id
    tenant_id = key_input.tenant_id if bound is None or key_input.tenant_id is not None else bound
    if bound is not None and (tenant_id != bound or key_input.role is KeyRole.GATEWAY):
        raise ForbiddenError("This key is bound to a tenant, and makes keys of that tenant only", "tenant_id")
    if key_input.tenant_id is not None and ID_PATTERN.fullmatch(key_input.tenant_id) is None:
        raise BadInputError(f"tenant_id {ID_RULE}", "tenant_id")
    if len(key_input.name) > MAX_NAME or not key_input.name.isprintable():
        raise BadInputError(f"name must be at most {MAX_NAME} printable characters", "name")
    expires_at = None if key_input.expires_at is None else read_instant_argument(key_input.expires_at, "expires_at")
    request = KeyRequest(role=Role[key_input.role.name], tenant_id=tenant_id, name=key_input.name, expires_at=expires_at)
    made = await create_key(info.context.services.database, request, info.context.now)
    return CreatedApiKey(secret=made.secret, api_key=await _load_changed_key(info, made.id))


async def resolve_revoke_api_key(info: ResolverInfo, key_id: KeyId) -> ApiKey:
    """Revoke a key. NotFoundError: no such id."""
    principal = await info.context.principal()
    await revoke_key(info.context.services.database, key_id, info.context.now, principal.tenant_key)
    return await _load_changed_key(info, key_id)


async def resolve_upsert_models(info: ResolverInfo, entries: Entries, valid_from: ValidFrom = None) -> CatalogReceipt:
    """Store entries. BadInputError names the entry and its field, by its name in GraphQL; nothing is stored then."""
    if not 1 <= len(entries) <= MAX_ENTRIES:
        raise BadInputError(f"entries must be 1 to {MAX_ENTRIES}", "entries")
    now = info.context.now
    since = None if valid_from is None else read_instant_argument(valid_from, "valid_from")
    if since is not None:
        check_valid_from(since, now)
    try:
        parsed = parse_catalog([given_fields(entry) for entry in entries])
    except BadInputError as error:
        raise BadInputError(_spelling.sentence(error.message), "entries") from None
    change = await load_catalog(info.context.services.database, parsed, now, since)
    models = await _load_models(info, [entry.model_id for entry in parsed])
    return CatalogReceipt(entries=change.entries, added=change.added, repriced=change.repriced, models=models)


async def resolve_publish_models(info: ResolverInfo, pattern: Pattern) -> list[Model]:
    """Publish what matches, and return the first of it."""
    if not 1 <= len(pattern) <= MAX_PATTERN:
        raise BadInputError(f"pattern must be 1 to {MAX_PATTERN} characters", "pattern")
    published = await publish_matching(info.context.services.database, pattern)
    return await _load_models(info, sorted({model.model_id for model in published})[:MAX_ENTRIES])


@strawberry.type
class AdminMutation:
    """The mutations of operators."""

    create_api_key: CreatedApiKey | None = strawberry.mutation(
        resolver=resolve_create_api_key,
        metadata=reads(1),
        permission_classes=[AdminOnly],
        description="Create an API key of this gateway. Requires role admin; a key that is bound to a tenant creates keys of that "
        "tenant only.",
    )
    revoke_api_key: ApiKey | None = strawberry.mutation(
        resolver=resolve_revoke_api_key,
        metadata=reads(1),
        permission_classes=[AdminOnly],
        description="Revoke a key immediately and permanently. Its past requests stay attributed to it. Revoking it again is no error. "
        "Requires role admin; a key that is bound to a tenant revokes keys of that tenant only.",
    )
    upsert_models: CatalogReceipt | None = strawberry.mutation(
        resolver=resolve_upsert_models,
        metadata=reads(MAX_ENTRIES),
        permission_classes=[OperatorOnly],
        description="Add and update catalog entries, all or none. Idempotent. Requires role admin and a key that is not bound to a tenant.",
    )
    publish_models: list[Model] | None = strawberry.mutation(
        resolver=resolve_publish_models,
        metadata=reads(1_000),
        permission_classes=[OperatorOnly],
        description=f"Make matching known models public. Returns the changed models by id, at most {MAX_ENTRIES:,}. Requires role admin "
        "and a key that is not bound to a tenant.",
    )
