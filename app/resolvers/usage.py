"""The `usageAnalytics` root: usage over time, by model, and the users who cost most."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from enum import Enum
from typing import Annotated, Any

import strawberry

from app.analytics.usage import UsageQuestion, fetch_usage, fetch_usernames, fill_gaps, rest_of
from app.cube.dimensions import Bucket
from app.db.pipeline import Rows
from app.domain.errors import BadInputError
from app.domain.principal import traffic_scope
from app.domain.time_range import resolve_usage_window
from app.execution.rows import RowList, RowShape, as_list
from app.execution.selection import selected_names
from app.money.rounding import usd
from app.resolvers.arguments import given_text
from app.resolvers.catalog import Model, Provider, load_model, load_provider
from app.resolvers.context import ResolverInfo
from app.resolvers.cost import summed_rows
from app.resolvers.identity import User, load_user
from app.resolvers.limits import DEFAULT_ROWS, check_limits, limit_description
from app.resolvers.scalars import BigInt, CalendarDate

MAX_TOP_USERS = 1000
DEFAULT_TOP_USERS = 100


@strawberry.enum(description="Width of the buckets of a time series.")
class Aggregation(Enum):
    DAY = strawberry.enum_value("day", description="UTC days, `2026-03-12`.")
    WEEK = strawberry.enum_value("week", description="Weeks from Monday on, `2026-W11`.")
    MONTH = strawberry.enum_value("month", description="Months, `2026-03`.")


@strawberry.enum(description="How weeks are numbered.")
class WeekNumbering(Enum):
    ISO = strawberry.enum_value("iso", description="ISO 8601: week 1 holds the year's first Thursday; a week may lie in two years.")
    MONDAY = strawberry.enum_value(
        "monday", description="`%W`: week 1 begins with the year's first Monday, days before it are week 00; no week lies in two years."
    )


@strawberry.type
class _PricedUsage:
    """What a point and a model's row share, by itself no type of the schema."""

    input_tokens: BigInt = strawberry.field(description="Prompt tokens, cached ones included.")
    output_tokens: BigInt = strawberry.field(description="Completion tokens, reasoning included.")
    cost: float = strawberry.field(description="US dollars, 6 decimal places; what is unpriced contributes 0.")
    request_count: BigInt = strawberry.field(description="Requests, failed ones included.")
    priced: bool = strawberry.field(description="Whether the cost of every request is known, so that free and unpriced differ.")


@strawberry.type(description="Usage in one bucket of time.")
class UsagePoint(_PricedUsage):
    period: str = strawberry.field(description="Label of the bucket: `2026-03-12`, `2026-W11` or `2026-03`.")


async def resolve_used_model(root: ModelUsage, info: ResolverInfo) -> Model | None:
    """Load the model of a row, with those of its neighbours."""
    return await load_model(info, root.model_id)


async def resolve_used_provider(root: ModelUsage, info: ResolverInfo) -> Provider | None:
    """Load the provider of a row, with those of its neighbours."""
    return await load_provider(info, root.provider)


async def resolve_using_user(root: UserUsage, info: ResolverInfo) -> User | None:
    """Load the user of a row, with those of its neighbours."""
    return await load_user(info, root.user_id)


@strawberry.type(description="Usage of one model at one provider.")
class ModelUsage(_PricedUsage):
    model_id: str = strawberry.field(description="Public model id; `unknown` for requests that failed before routing.")
    provider: str = strawberry.field(description="Provider that served it.")
    model: Model | None = strawberry.field(resolver=resolve_used_model, description="The model in the catalog.")
    served_by: Provider | None = strawberry.field(resolver=resolve_used_provider, description="The provider in the catalog.")


@strawberry.type(description="Usage of one end user over the whole window.")
class UserUsage:
    user_id: str = strawberry.field(description="Id of the user at the router.")
    username: str | None = strawberry.field(description="Newest name seen for the user; null if none was.")
    total_cost: float = strawberry.field(description="US dollars, 6 decimal places.")
    request_count: BigInt = strawberry.field(description="Requests, failed ones included.")
    user: User | None = strawberry.field(resolver=resolve_using_user, description="The user, with the tenants whose records name it.")


@strawberry.type(description="Usage that a list of models leaves out, all together.")
class ModelUsageRest(_PricedUsage):
    pass


@strawberry.type(description="Usage that a list of users leaves out, all together.")
class UserUsageRest:
    total_cost: float = strawberry.field(description="US dollars, 6 decimal places.")
    request_count: BigInt = strawberry.field(description="Requests, failed ones included.")


@strawberry.type(description="Usage analytics of one window. The time series sums to the same totals as the models with their rest.")
class UsageAnalytics:
    time_series: list[UsagePoint] = strawberry.field(
        description="By time, ascending; buckets without requests are left out. A point a day since 2020 at most."
    )
    by_model: list[ModelUsage] = strawberry.field(
        description="By model and provider, highest cost first, then by model id; `byModelLimit` at most."
    )
    by_model_rest: ModelUsageRest = strawberry.field(description="The usage of those that `byModel` leaves out.")
    top_users: list[UserUsage] = strawberry.field(
        description="Users, highest cost first, then most requests, then by id; `topUsersLimit` at most."
    )
    top_users_rest: UserUsageRest = strawberry.field(
        description="The usage of users that `topUsers` leaves out, and of requests that named no user."
    )


_PRICED = ("input_tokens", "output_tokens", "cost", "request_count", "priced")
_POINT = RowShape(UsagePoint, "period", *_PRICED)
_MODEL = RowShape(ModelUsage, "model_id", "provider", *_PRICED)
_USER = RowShape(UserUsage, "user_id", "username", "total_cost", "request_count")

DateFrom = Annotated[CalendarDate | None, strawberry.argument(description="First UTC date, inclusive; from the first record if not given.")]
DateTo = Annotated[CalendarDate | None, strawberry.argument(description="Last UTC date, inclusive; to the last record if not given.")]
AggregationArgument = Annotated[Aggregation, strawberry.argument(description="Width of the time series' buckets.")]
ModelIdArgument = Annotated[
    str | None, strawberry.argument(description="Only this model id, exact and case-sensitive; in all three lists.")
]
WeekNumberingArgument = Annotated[WeekNumbering, strawberry.argument(description="Numbering of weeks, with `aggregation: WEEK`.")]
FillGaps = Annotated[
    bool,
    strawberry.argument(
        name="fillGaps",
        description="Give the time series a point of zeros for every empty bucket, from `dateFrom` (or the"
        " first point) to `dateTo` (or the last point).",
    ),
]
ByModelLimit = Annotated[int, strawberry.argument(description=limit_description("Rows of `byModel`"))]
TopUsersLimit = Annotated[int, strawberry.argument(description=f"Users at most, 1 to {MAX_TOP_USERS}.")]


def bucket_of(aggregation: Aggregation, numbering: WeekNumbering) -> Bucket:
    """Return the bucket that the two arguments mean."""
    if aggregation is Aggregation.WEEK:
        return Bucket.MONDAY_WEEK if numbering is WeekNumbering.MONDAY else Bucket.WEEK
    return Bucket.MONTH if aggregation is Aggregation.MONTH else Bucket.DAY


def names_below(info: ResolverInfo) -> frozenset[str]:
    """Return the names of the fields that are selected directly under the one being resolved."""
    raw = info._raw_info
    return selected_names([node.selection_set for node in raw.field_nodes], raw.fragments)


_SECTIONS = {
    "timeSeries": ("time_series",),
    "byModel": ("by_model",),
    "byModelRest": ("by_model", "totals"),
    "topUsers": ("top_users",),
    "topUsersRest": ("top_users", "totals"),
}
_NO_MODELS = ModelUsageRest(input_tokens=BigInt(0), output_tokens=BigInt(0), cost=0.0, request_count=BigInt(0), priced=True)
_NO_USERS = UserUsageRest(total_cost=0.0, request_count=BigInt(0))
"""What stands for a rest that is not selected."""


def _rest_of_models(totals: Rows, models: Rows) -> ModelUsageRest:
    input_tokens, output_tokens, cost, requests, priced = rest_of(totals, models, 2)
    return ModelUsageRest(
        input_tokens=input_tokens, output_tokens=output_tokens, cost=usd(cost), request_count=requests, priced=priced == requests
    )


def _rest_of_users(totals: Rows, users: Rows) -> UserUsageRest:
    cost, requests = rest_of([totals[0][2:4]], users, 1)
    return UserUsageRest(total_cost=usd(cost), request_count=requests)


def usage_rows(arguments: Mapping[str, Any], now: datetime) -> int:
    """Return the rows that usage analytics may read: the window's sums, and those of the users."""
    users: int = arguments["topUsersLimit"]
    window = resolve_usage_window(arguments.get("dateFrom"), arguments.get("dateTo"), now)
    return summed_rows(window) + max(0, min(users, MAX_TOP_USERS))


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
    window = resolve_usage_window(date_from, date_to, info.context.now)
    bucket = bucket_of(aggregation, week_numbering)
    selected = names_below(info)
    wanted = {section for name, sections in _SECTIONS.items() if name in selected for section in sections}
    asked = UsageQuestion(window, wanted, bucket, given_text(model_id), by_model_limit, top_users_limit)
    scope = traffic_scope(await info.context.principal())
    rows = await fetch_usage(database, asked, scope)
    points = rows.get("time_series", [])
    models, users = rows.get("by_model", []), rows.get("top_users", [])
    names = await fetch_usernames(database, [user_id for user_id, _, _ in users], scope) if users else {}
    start, end = (None if date_from is None else window.start_date), (None if date_to is None else window.end_date)
    series = fill_gaps(points, start, end, bucket) if fill_gaps_ else points
    label = date.isoformat if bucket is Bucket.DAY else bucket.label
    return UsageAnalytics(
        time_series=as_list(RowList(_POINT, [(label(start), i, o, usd(cost), n, known == n) for start, i, o, cost, n, known in series])),
        by_model=as_list(RowList(_MODEL, [(model, by, i, o, usd(cost), n, known == n) for model, by, i, o, cost, n, known in models])),
        by_model_rest=_rest_of_models(rows["totals"], models) if "byModelRest" in selected else _NO_MODELS,
        top_users=as_list(RowList(_USER, [(user_id, names.get(user_id), usd(cost), requests) for user_id, cost, requests in users])),
        top_users_rest=_rest_of_users(rows["totals"], users) if "topUsersRest" in selected else _NO_USERS,
    )
