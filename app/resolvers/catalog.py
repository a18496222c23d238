"""The catalog's roots: models with their variants and prices, and providers. Public models for any key; more for who may see more."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.cube.usage_dimensions import BY_MODEL, BY_PROVIDER
from app.domain.time_range import format_instant
from app.execution.derived import derived_id
from app.graph.catalog import MODEL_VARIANTS, MODELS, PROVIDER_MODELS, PROVIDERS, EntryName, ModelRow, PriceRow, ProviderRow, VariantRow
from app.graph.listing import PageRequest
from app.query.filters import Condition, Match, Named
from app.resolvers.connections import After, Before, Connection, First, Last, PageArguments, page_rows, read_page
from app.resolvers.context import ResolverInfo, loaders_of
from app.resolvers.cost import reads
from app.resolvers.global_ids import GLOBAL_ID, Node, encode_id, named_id
from app.resolvers.permissions import AnyKey
from app.resolvers.scalars import ExactNumber, Instant
from app.resolvers.usage_arguments import OWN_USAGE, OwnUsage, resolve_own_usage

MAX_VARIANTS = 1_000
PRIVATE = "for a tenant's key, if private"

ModelId = Annotated[str, strawberry.argument(description="Public model id, exact and case-sensitive.")]
ProviderId = Annotated[str, strawberry.argument(description="Slug of the provider, exact and case-sensitive.")]


def _price_id(entry: EntryName, valid_from: Instant | None) -> str:
    return encode_id("ModelPrice", *entry, valid_from or "")


def _variant_id(model_id: str, permaslug: str) -> str:
    return encode_id("ModelVariant", model_id, permaslug)


@strawberry.type(description="A price of a model and its validity. Stored records keep the price that they were written with.")
class ModelPrice(Node):
    entry: strawberry.Private[EntryName]
    id: strawberry.ID = derived_id(_price_id, "entry", "valid_from", description=GLOBAL_ID)
    valid_from: Instant | None = strawberry.field(description="Start of the validity; null: unbounded.")
    valid_to: Instant | None = strawberry.field(description="Exclusive end of the validity; null: unbounded.")
    cost_per_input_token: ExactNumber | None = strawberry.field(description="US dollars per prompt token; null: no price.")
    cost_per_output_token: ExactNumber | None = strawberry.field(description="US dollars per completion token; null: no price.")
    priced: bool = strawberry.field(description="Whether both prices are known. A price of 0 is known.")


async def resolve_model_variant_prices(root: ModelVariant, info: ResolverInfo) -> list[ModelPrice]:
    """Return the price history."""
    rows = await loaders_of(info.context).prices.load(root.key)
    loaders_of(info.context).count(len(rows))
    return [shape_price(row) for row in rows]


async def resolve_model_variant_current_price(root: ModelVariant, info: ResolverInfo) -> ModelPrice | None:
    """Return the price in force at the request's instant."""
    row = await _price_in_force(info, root.key)
    return None if row is None else shape_price(row)


async def resolve_model_variant_priced(root: ModelVariant, info: ResolverInfo) -> bool:
    """Tell whether the price in force has both components."""
    row = await _price_in_force(info, root.key)
    return row is not None and _is_priced(row)


async def resolve_model_variant_model(root: ModelVariant, info: ResolverInfo) -> Model | None:
    """Load the model that a variant is one of, with those of its neighbours."""
    return await load_model(info, root.model_id)


@strawberry.type(description="A dated version or a variant of a model.")
class ModelVariant(Node):
    key: strawberry.Private[int]
    model_id: strawberry.Private[str]
    id: strawberry.ID = derived_id(_variant_id, "model_id", "permaslug", description=GLOBAL_ID)
    permaslug: str = strawberry.field(description="Permaslug, such as `openai/gpt-4o-2024-05-13:free`.")
    model: Model | None = strawberry.field(resolver=resolve_model_variant_model, description="The model that it belongs to.")
    name: str = strawberry.field(description=f"Display name; {PRIVATE}: its permaslug.")
    is_public: bool = strawberry.field(description="Whether rankings and network statistics show it.")
    is_listed: bool = strawberry.field(
        description=f"Whether it has its own catalog entry; else the entry of its model applies. {PRIVATE.capitalize()}: false."
    )
    prices: list[ModelPrice] = strawberry.field(
        resolver=resolve_model_variant_prices,
        description=f"Price history of its catalog entry, newest first; {PRIVATE}: empty.",
    )
    current_price: ModelPrice | None = strawberry.field(
        resolver=resolve_model_variant_current_price, description="The current price; null if there is none."
    )
    priced: bool = strawberry.field(
        resolver=resolve_model_variant_priced, description="Whether both current prices are known. A price of 0 is known."
    )


async def resolve_model_variants(root: Model, info: ResolverInfo) -> list[ModelVariant]:
    """Return the variants that the caller sees."""
    rows = await loaders_of(info.context).children(MODEL_VARIANTS).load(PageRequest(root.model_id, MAX_VARIANTS))
    loaders_of(info.context).count(len(rows))
    return [shape_variant(row) for row in rows]


@strawberry.type(description="A model by its public id.")
class Model(Node):
    id: strawberry.ID = named_id("Model", "model_id")
    model_id: str = strawberry.field(description="Public catalog id: `openai/gpt-4o`.")
    name: str = strawberry.field(description=f"Display name; {PRIVATE}: its id.")
    is_public: bool = strawberry.field(description="Whether rankings and network statistics show it or a variant of it.")
    provider: Provider | None = strawberry.field(description=f"The provider in the catalog; {PRIVATE}: null.")
    variants: list[ModelVariant] = strawberry.field(
        resolver=resolve_model_variants,
        description=f"Its permaslugs in requests: itself, dated versions, variants; by permaslug, at most {MAX_VARIANTS}.",
    )
    usage: OwnUsage | None = strawberry.field(resolver=resolve_own_usage, description=OWN_USAGE)

    def requests_of_it(self) -> Condition:
        """Return the condition that its requests meet."""
        return Named(BY_MODEL, Match.IN, (self.model_id,))


async def resolve_provider_models(
    root: Provider, info: ResolverInfo, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[Model]:
    """Return a page of the models that the caller sees."""
    return await read_page(info, PROVIDER_MODELS, PageArguments(first, after, last, before)).of_children(root.key, shape_model)


@strawberry.type(description="A company that serves models.")
class Provider(Node):
    key: strawberry.Private[int]
    id: strawberry.ID = named_id("Provider", "provider_id")
    provider_id: str = strawberry.field(description="Slug in records.")
    name: str = strawberry.field(description="Display name. For a tenant's key, the slug if none of its models is public.")
    models: Connection[Model] = strawberry.field(resolver=resolve_provider_models, description="Its models, by id.")
    usage: OwnUsage | None = strawberry.field(resolver=resolve_own_usage, description=OWN_USAGE)

    def requests_of_it(self) -> Condition:
        """Return the condition that its requests meet."""
        return Named(BY_PROVIDER, Match.IN, (self.provider_id,))


def shape_model(row: ModelRow) -> Model:
    """Return the GraphQL object of a row."""
    provider = None
    if row.provider_key is not None and row.provider_slug is not None and row.provider_name is not None:
        provider = Provider(key=row.provider_key, provider_id=row.provider_slug, name=row.provider_name)
    return Model(model_id=row.public_id, name=row.name, is_public=row.is_public, provider=provider)


def shape_provider(row: ProviderRow) -> Provider:
    """Return the GraphQL object of a row."""
    return Provider(key=row.key, provider_id=row.slug, name=row.name)


def shape_variant(row: VariantRow) -> ModelVariant:
    """Return the GraphQL object of a row."""
    return ModelVariant(
        key=row.key, model_id=row.public_id, permaslug=row.permaslug, name=row.name, is_public=row.is_public, is_listed=row.is_listed
    )


def _is_priced(row: PriceRow) -> bool:
    return row.cost_per_input_token is not None and row.cost_per_output_token is not None


def shape_price(row: PriceRow) -> ModelPrice:
    """Return the GraphQL object of a row."""
    return ModelPrice(
        entry=row.entry,
        valid_from=None if row.valid_from is None else Instant(format_instant(row.valid_from)),
        valid_to=None if row.valid_to is None else Instant(format_instant(row.valid_to)),
        cost_per_input_token=None if row.cost_per_input_token is None else ExactNumber(row.cost_per_input_token),
        cost_per_output_token=None if row.cost_per_output_token is None else ExactNumber(row.cost_per_output_token),
        priced=_is_priced(row),
    )


async def _price_in_force(info: ResolverInfo, variant: int) -> PriceRow | None:
    now = info.context.now
    for row in await loaders_of(info.context).prices.load(variant):
        if (row.valid_from is None or row.valid_from <= now) and (row.valid_to is None or now < row.valid_to):
            return row
    return None


async def load_model(info: ResolverInfo, model_id: str) -> Model | None:
    """Return a model by its public id; None if the caller sees none of that id."""
    row = await loaders_of(info.context).models.load(model_id)
    return None if row is None else shape_model(row)


async def load_variant(info: ResolverInfo, model_id: str, permaslug: str) -> ModelVariant | None:
    """Return a variant by its model's public id and its permaslug; None if the caller sees none of these names."""
    row = await loaders_of(info.context).variants.load((model_id, permaslug))
    return None if row is None else shape_variant(row)


async def load_price(info: ResolverInfo, model_id: str, permaslug: str, valid_from: str) -> ModelPrice | None:
    """Return a price by its entry and by when it comes into force, empty: from the beginning; None if the caller sees none such."""
    entry = await loaders_of(info.context).variants.load((model_id, permaslug))
    rows = [] if entry is None else await loaders_of(info.context).prices.load(entry.key)
    prices = [shape_price(row) for row in rows if row.entry == (model_id, permaslug)]
    return next((price for price in prices if (price.valid_from or "") == valid_from), None)


async def load_provider(info: ResolverInfo, slug: str) -> Provider | None:
    """Return a provider by its slug; None if the caller sees none of that slug."""
    row = await loaders_of(info.context).providers.load(slug)
    return None if row is None else shape_provider(row)


async def resolve_models(
    info: ResolverInfo, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[Model]:
    """Return a page of models."""
    return await read_page(info, MODELS, PageArguments(first, after, last, before)).of_all(shape_model)


async def resolve_model(info: ResolverInfo, model_id: ModelId) -> Model | None:
    """Return one model."""
    return await load_model(info, model_id)


async def resolve_providers(
    info: ResolverInfo, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[Provider]:
    """Return a page of providers."""
    return await read_page(info, PROVIDERS, PageArguments(first, after, last, before)).of_all(shape_provider)


async def resolve_provider(info: ResolverInfo, provider_id: ProviderId) -> Provider | None:
    """Return one provider."""
    return await load_provider(info, provider_id)


@strawberry.type
class CatalogQuery:
    """The roots of the catalog."""

    models: Connection[Model] | None = strawberry.field(
        resolver=resolve_models,
        metadata=reads(page_rows),
        permission_classes=[AnyKey],
        description="Models by id. Requires a valid key: public models; for a tenant's key also the ids of private models in its "
        "records; for role admin all models.",
    )
    model: Model | None = strawberry.field(
        resolver=resolve_model,
        metadata=reads(1),
        permission_classes=[AnyKey],
        description="A model; null if `models` does not list it for this key. Requires a valid key.",
    )
    providers: Connection[Provider] | None = strawberry.field(
        resolver=resolve_providers,
        metadata=reads(page_rows),
        permission_classes=[AnyKey],
        description="Providers by slug. Requires a valid key: providers of public models; for a tenant's key also those in its records; "
        "for role admin all providers.",
    )
    provider: Provider | None = strawberry.field(
        resolver=resolve_provider,
        metadata=reads(1),
        permission_classes=[AnyKey],
        description="A provider; null if `providers` does not list it for this key. Requires a valid key.",
    )
