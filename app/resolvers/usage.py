"""The `usageAnalytics` root: usage over time, by model, and the users who cost most."""

from __future__ import annotations

from datetime import date
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from app.analytics.usage import UsageQuestion, fetch_usage, fetch_usernames, fill_gaps, rest_of
from app.cube.dimensions import Bucket
from app.db.pipeline import Rows
from app.domain.errors import BadInputError
from app.domain.principal import traffic_scope
from app.execution.rows import RowList, as_list
from app.resolvers.arguments import given_text
from app.resolvers.catalog import Model, Provider, load_model, load_provider
from app.resolvers.context import ResolverInfo
from app.resolvers.identity import User, load_user
from app.resolvers.scalars import CalendarDate
from app.resolvers.surface_types import names_below, object_type, questions_of, rows_of
from app.surfaces.declare import nothing_of
from app.surfaces.limits import DEFAULT_ROWS, check_limits, limit_description
from app.surfaces.usage import (
    ANALYTICS,
    DEFAULT_TOP_USERS,
    MAX_TOP_USERS,
    MODEL_USAGE,
    MODEL_USAGE_REST,
    POINT,
    USAGE_ANALYTICS,
    USER_USAGE,
    USER_USAGE_REST,
)


@strawberry.enum(description="Bucket width of a time series.")
class Aggregation(Enum):
    DAY = strawberry.enum_value("day", description="UTC days: `2026-03-12`.")
    WEEK = strawberry.enum_value("week", description="Weeks, from Monday: `2026-W11`.")
    MONTH = strawberry.enum_value("month", description="Months: `2026-03`.")


@strawberry.enum(description="Numbering of weeks.")
class WeekNumbering(Enum):
    ISO = strawberry.enum_value(
        "iso", description="ISO 8601: week 1 contains the first Thursday of the year; a week may extend over two years."
    )
    MONDAY = strawberry.enum_value(
        "monday",
        description="`%W`: week 1 begins on the first Monday of the year, and days before it are week 00; no week extends over two years.",
    )


async def resolve_used_model(root: Any, info: ResolverInfo) -> Model | None:
    """Load the model of a row, with those of its neighbours."""
    return await load_model(info, root.model_id)


async def resolve_used_provider(root: Any, info: ResolverInfo) -> Provider | None:
    """Load the provider of a row, with those of its neighbours."""
    return await load_provider(info, root.provider_id)


async def resolve_using_user(root: Any, info: ResolverInfo) -> User | None:
    """Load the user of a row, with those of its neighbours."""
    return await load_user(info, root.user_id)


_MODELS = rows_of(
    MODEL_USAGE,
    {
        "model": (Model | None, strawberry.field(resolver=resolve_used_model, description="The model in the catalog.")),
        "provider": (Provider | None, strawberry.field(resolver=resolve_used_provider, description="The provider in the catalog.")),
    },
)
_USERS = rows_of(
    USER_USAGE,
    {
        "user": (
            User | None,
            strawberry.field(resolver=resolve_using_user, description="The user, with its tenants."),
        )
    },
)
_POINTS = rows_of(POINT)

if TYPE_CHECKING:
    UsageAnalytics = Any
    ModelUsageRest = Any
    UserUsageRest = Any
else:
    UsageAnalytics, ModelUsageRest, UserUsageRest = map(object_type, (ANALYTICS, MODEL_USAGE_REST, USER_USAGE_REST))

DateFrom = Annotated[CalendarDate | None, strawberry.argument(description="First UTC date, inclusive; default: the first record.")]
DateTo = Annotated[CalendarDate | None, strawberry.argument(description="Last UTC date, inclusive; default: the last record.")]
AggregationArgument = Annotated[Aggregation, strawberry.argument(description="Bucket width of the time series.")]
ModelIdArgument = Annotated[
    str | None, strawberry.argument(description="Only this model id, exact and case-sensitive, in all three lists.")
]
WeekNumberingArgument = Annotated[WeekNumbering, strawberry.argument(description="Numbering of weeks, with `aggregation: WEEK`.")]
FillGaps = Annotated[
    bool,
    strawberry.argument(
        name="fillGaps",
        description="Whether the time series has a point of zeros for each empty bucket, from `dateFrom` (or the first point) to "
        "`dateTo` (or the last point).",
    ),
]
ByModelLimit = Annotated[int, strawberry.argument(description=limit_description("rows of `byModel`"))]
TopUsersLimit = Annotated[int, strawberry.argument(description=f"Maximum number of users, 1 to {MAX_TOP_USERS}.")]


def bucket_of(aggregation: Aggregation, numbering: WeekNumbering) -> Bucket:
    """Return the bucket that the two arguments mean."""
    if aggregation is Aggregation.WEEK:
        return Bucket.MONDAY_WEEK if numbering is WeekNumbering.MONDAY else Bucket.WEEK
    return Bucket.MONTH if aggregation is Aggregation.MONTH else Bucket.DAY


_NUMBERS = MODEL_USAGE_REST.metrics
_NOTHING = nothing_of(_NUMBERS)
_NO_MODELS = ModelUsageRest(**MODEL_USAGE_REST.row(_NOTHING))
_NO_USERS = UserUsageRest(**USER_USAGE_REST.row(_NOTHING, _NUMBERS))
"""What stands for a rest that is not selected."""


def _rest_of_models(totals: Rows, models: Rows) -> ModelUsageRest:
    return ModelUsageRest(**MODEL_USAGE_REST.row(rest_of(totals, models, 2)))


def _rest_of_users(totals: Rows, users: Rows) -> UserUsageRest:
    spent = tuple(totals[0][_NUMBERS.index(metric)] for metric in USER_USAGE.metrics)
    return UserUsageRest(**USER_USAGE_REST.row(rest_of([spent], users, 1)))


async def resolve_usage_analytics(
    info: ResolverInfo,
    date_from: DateFrom = None,
    date_to: DateTo = None,
    aggregation: AggregationArgument = Aggregation.DAY,
    model_id: ModelIdArgument = None,
    week_numbering: WeekNumberingArgument = WeekNumbering.ISO,
    fill_gaps_: FillGaps = False,
    by_model_limit: ByModelLimit = DEFAULT_ROWS,
    top_users_limit: TopUsersLimit = DEFAULT_TOP_USERS,
) -> UsageAnalytics:
    """Ask for the sections that are selected, and no others, of one instant of the database."""
    if not 1 <= top_users_limit <= MAX_TOP_USERS:
        raise BadInputError(f"top_users_limit must be an integer from 1 to {MAX_TOP_USERS}", "top_users_limit")
    check_limits(by_model_limit=by_model_limit)
    database = info.context.services.database
    window = USAGE_ANALYTICS.resolve_window(info.context.now, date_from, date_to)
    bucket = bucket_of(aggregation, week_numbering)
    selected = names_below(info)
    asked = UsageQuestion(
        window, questions_of(ANALYTICS, selected), bucket, given_text(model_id), by_model_limit, top_users_limit, _NUMBERS
    )
    scope = traffic_scope(await info.context.principal())
    rows = await fetch_usage(database, asked, scope)
    points = rows.get("time_series", [])
    models, users = rows.get("by_model", []), rows.get("top_users", [])
    names = await fetch_usernames(database, [user_id for user_id, *_ in users], scope) if users else {}
    start, end = (None if date_from is None else window.start_date), (None if date_to is None else window.end_date)
    series = fill_gaps(points, start, end, bucket, _NOTHING) if fill_gaps_ else points
    label = date.isoformat if bucket is Bucket.DAY else bucket.label
    return UsageAnalytics(
        time_series=as_list(RowList(_POINTS, POINT.cells(series, period=[label(row[0]) for row in series]))),
        by_model=as_list(RowList(_MODELS, MODEL_USAGE.cells(models))),
        by_model_rest=_rest_of_models(rows["totals"], models) if "byModelRest" in selected else _NO_MODELS,
        top_users=as_list(RowList(_USERS, USER_USAGE.cells(users, username=[names.get(row[0]) for row in users]))),
        top_users_rest=_rest_of_users(rows["totals"], users) if "topUsersRest" in selected else _NO_USERS,
    )
