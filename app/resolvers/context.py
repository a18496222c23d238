"""What a resolver is given: the request's context, and the loaders of related objects in the caller's scope."""

from __future__ import annotations

from strawberry.types import Info

from app.request.context import RequestContext
from app.resolvers.loaders import Loaders

ResolverInfo = Info[RequestContext, None]


def loaders_of(context: RequestContext) -> Loaders:
    """Return the loaders of a request, made when they are first needed, and anew after a change."""
    loaders: Loaders | None = context.loaded.get(Loaders)
    if loaders is None:
        loaders = context.loaded[Loaders] = Loaders(context.services.database, context.scope, context.pay)
    return loaders
