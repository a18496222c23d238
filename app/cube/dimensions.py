"""What usage can be grouped and filtered by: dimensions (a key column of the facts, a label in an identity table) and time grains."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Privacy(Enum):
    """Who may group or filter by a dimension."""

    PUBLIC = "public"
    """Everybody: the catalog's own names."""
    TENANT = "tenant"
    """The tenant it belongs to, and operators."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """`key`: the column of facts and rollups; `table`.`label`: where its public name stands (None: the key is the name)."""

    name: str
    key: str
    table: str | None
    label: str | None
    privacy: Privacy
    description: str
    key_type: str = "integer"


MODEL = Dimension("model", "model_id", "models", "public_id", Privacy.PUBLIC, "Public model id; variants and dated permaslugs are one.")
PERMASLUG = Dimension("permaslug", "model_id", "models", "permaslug", Privacy.PUBLIC, "Dated model and variant, as served.")
PROVIDER = Dimension("provider", "provider_id", "providers", "slug", Privacy.PUBLIC, "Provider that served the request.")
TENANT = Dimension("tenant", "tenant_id", "tenants", "external_id", Privacy.TENANT, "Tenant that made the request.")
PROJECT = Dimension("project", "project_id", "projects", "external_id", Privacy.TENANT, "Project within the tenant.")
USER = Dimension("user", "user_id", "users", "external_id", Privacy.TENANT, "End user.")
CALLER_KEY = Dimension("caller_key", "caller_key_id", "caller_keys", "external_id", Privacy.TENANT, "The caller's API key at the router.")
TRAFFIC_MODE = Dimension(
    "traffic_mode", "traffic_mode", None, None, Privacy.TENANT, "Shared capacity or bring-your-own-key.", key_type="smallint"
)

DIMENSIONS = (MODEL, PERMASLUG, PROVIDER, TENANT, PROJECT, USER, CALLER_KEY, TRAFFIC_MODE)

TRAFFIC_MODES = ("shared", "byok")
"""The names of the `traffic_mode` keys 0 and 1."""


class Grain(Enum):
    """A bucket of UTC time that a rollup stores. The value is its name in table and column."""

    HOUR = "hour"
    DAY = "day"

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
