"""The engine of this schema: the limits on what one document may ask, the scalars that compiled code may pass on, the words of errors."""

from __future__ import annotations

from datetime import date
from typing import Final

import strawberry
from graphql import GraphQLError
from strawberry.extensions.max_aliases import create_validator as limit_aliases
from strawberry.extensions.query_depth_limiter import create_validator as limit_depth

from app.execution.compiled import Dialect
from app.execution.engine import Engine, Rules
from app.resolvers.context import RequestContext
from app.resolvers.errors import public_error

MAX_DEPTH: Final = 16
MAX_ALIASES: Final = 100
MAX_TOKENS: Final = 4_000

DIALECT: Final = Dialect(unchanged={"BigInt": int, "DateTime": str, "Date": str}, remembered={"Date": date})
"""Of the scalars in `scalars.py`, those whose serializers return such values as they are; a test holds them to it."""


def _show(error: GraphQLError, context: RequestContext) -> GraphQLError:
    return public_error(error, context.request_id)


def build_engine(schema: strawberry.Schema, *, compiled: bool = True) -> Engine:
    """Return the engine. `compiled` False: completion by the stock executor."""
    rules = Rules((limit_depth(MAX_DEPTH, None), limit_aliases(MAX_ALIASES)), MAX_TOKENS)
    return Engine(schema, rules, DIALECT, _show, compiled=compiled)
