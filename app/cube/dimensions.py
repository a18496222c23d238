"""What usage can be grouped and filtered by: dimensions (a key column of the facts, a label in an identity table) and time grains."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum

from app.domain.usage import TRAFFIC_MODES, UNKNOWN


class Privacy(Enum):
    """Who may group or filter by a dimension."""

    PUBLIC = "public"
    """Everybody: the catalog's own names."""
    TENANT = "tenant"
    """The tenant it belongs to, and operators."""


@dataclass(frozen=True, slots=True, eq=False)
class Dimension:
    """`key`: the column of facts and rollups; `table`.`label`: where its public name stands (None: the key is the name).

    `absent`: the name under which records that have none count; None: they are in no row by this dimension.
    `choices`: the names of its keys from 0 on, where there is no table.
    `in_tenant`: whether the identity table's key contains the tenant. The same name in two tenants is two things: who asks of all tenants
    gets such names as `tenant/name`, and may filter by that, or by the name alone, which then means all of them.
    """

    name: str
    key: str
    table: str | None
    label: str | None
    privacy: Privacy
    description: str
    key_type: str = "integer"
    absent: str | None = None
    in_tenant: bool = False
    choices: tuple[str, ...] = ()

    def key_of(self, choice: str) -> int:
        """Return the key of a choice; -1, which nothing has, if it is none."""
        return self.choices.index(choice) if choice in self.choices else -1


MODEL = Dimension("model", "model_id", "models", "public_id", Privacy.PUBLIC, "Public model id; variants and dated permaslugs are one.")
PERMASLUG = Dimension("permaslug", "model_id", "models", "permaslug", Privacy.PUBLIC, "Dated model and variant, as served.")
PROVIDER = Dimension("provider", "provider_id", "providers", "slug", Privacy.PUBLIC, "Provider that served the request.")
TENANT = Dimension("tenant", "tenant_id", "tenants", "external_id", Privacy.TENANT, "Tenant that made the request.")
PROJECT = Dimension(
    "project", "project_id", "projects", "external_id", Privacy.TENANT, "Project of the tenant.", absent=UNKNOWN, in_tenant=True
)
USER = Dimension("user", "user_id", "users", "external_id", Privacy.TENANT, "End user.")
CALLER_KEY = Dimension(
    "caller_key",
    "caller_key_id",
    "caller_keys",
    "external_id",
    Privacy.TENANT,
    "The API key at the router.",
    absent="",
    in_tenant=True,
)
TRAFFIC_MODE = Dimension(
    "traffic_mode",
    "traffic_mode",
    None,
    None,
    Privacy.TENANT,
    "Shared capacity or bring-your-own-key.",
    key_type="smallint",
    choices=TRAFFIC_MODES,
)

DIMENSIONS = (MODEL, PERMASLUG, PROVIDER, TENANT, PROJECT, USER, CALLER_KEY, TRAFFIC_MODE)


class Grain(Enum):
    """A bucket of UTC time that a rollup stores. The value is its name in table and column."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    """Its first date. Of closed days only, as EVER."""
    EVER = "ever"
    """All time: no column."""

    @property
    def column_type(self) -> str:
        """Type of the bucket column."""
        return "timestamptz" if self is Grain.HOUR else "date"

    @property
    def record_expression(self) -> str:
        """SQL over `usage_records` giving the bucket that a record falls in."""
        if self is Grain.HOUR:
            return "date_trunc('hour', occurred_at, 'UTC')"
        return "(occurred_at AT TIME ZONE 'UTC')::date"

    @property
    def day_expression(self) -> str:
        """SQL over a column `day` giving the bucket that the day falls in, a date."""
        return "date_trunc('month', day::timestamp)::date" if self is Grain.MONTH else "day"


class Bucket(Enum):
    """A bucket of UTC time that a question may ask for. Its rows carry the bucket's first instant or date, and `label` names it."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    """ISO 8601 weeks."""
    MONDAY_WEEK = "monday_week"
    """Weeks that begin on Monday and at New Year, as `%W` counts them."""
    MONTH = "month"

    @property
    def grain(self) -> Grain:
        """The finest grain from which it can be summed."""
        return Grain.HOUR if self is Bucket.HOUR else Grain.DAY

    @property
    def expression(self) -> str:
        """SQL giving the bucket's start from `{column}`, a column of its grain."""
        return {
            Bucket.HOUR: "{column}",
            Bucket.DAY: "{column}",
            Bucket.WEEK: "date_trunc('week', {column}::timestamp)::date",
            Bucket.MONDAY_WEEK: "greatest(date_trunc('week', {column}::timestamp), date_trunc('year', {column}::timestamp))::date",
            Bucket.MONTH: "date_trunc('month', {column}::timestamp)::date",
        }[self]

    def start_of(self, day: date) -> date:
        """Return the start of the bucket of days that `day` falls in."""
        monday = day - timedelta(days=day.weekday())
        match self:
            case Bucket.WEEK:
                return monday
            case Bucket.MONDAY_WEEK:
                return max(monday, date(day.year, 1, 1))
            case Bucket.MONTH:
                return day.replace(day=1)
            case _:
                return day

    def label(self, start: date) -> str:
        """Return the documented label of the bucket that begins at `start`."""
        match self:
            case Bucket.HOUR:
                return start.strftime("%Y-%m-%d %H:00")
            case Bucket.WEEK:
                year, week, _ = start.isocalendar()
                return f"{year:04d}-W{week:02d}"
            case Bucket.MONDAY_WEEK:
                return f"{start.year:04d}-W{start.strftime('%W')}"
            case Bucket.MONTH:
                return f"{start.year:04d}-{start.month:02d}"
            case _:
                return start.isoformat()
