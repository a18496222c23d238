"""The engine of this schema: the limits on what one document may ask, the scalars that compiled code may pass on, the words of errors."""

from __future__ import annotations

from datetime import date
from typing import Final

import strawberry
from graphql import GraphQLError

from app.execution.compiled import Dialect
from app.execution.engine import Engine
from app.execution.limits import Limits
from app.request.context import RequestContext
from app.resolvers.cost import charge
from app.resolvers.errors import public_error

LIMITS: Final = Limits()

DIALECT: Final = Dialect(unchanged={"BigInt": int, "DateTime": str, "Date": str}, remembered={"Date": date})
"""Of the scalars in `scalars.py`, those whose serializers return such values as they are; a test holds them to it."""


def _show(error: GraphQLError, context: RequestContext) -> GraphQLError:
    return public_error(error, context.request_id)


def build_engine(schema: strawberry.Schema, *, compiled: bool = True) -> Engine:
    """Return the engine. `compiled` False: completion by the stock executor."""
    return Engine(schema, LIMITS, DIALECT, _show, toll=charge, compiled=compiled)
