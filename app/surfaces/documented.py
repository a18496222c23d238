"""All documented surfaces. Pure."""

from __future__ import annotations

from typing import Final

from app.surfaces.gateway import GATEWAY_STATS
from app.surfaces.network import NETWORK
from app.surfaces.rankings import RANKINGS_DAILY
from app.surfaces.tenant import TENANT_ANALYTICS, TENANT_REQUESTS, TENANT_USAGE
from app.surfaces.usage import USAGE_ANALYTICS

SURFACES: Final = (NETWORK, RANKINGS_DAILY, USAGE_ANALYTICS, GATEWAY_STATS, TENANT_ANALYTICS, TENANT_USAGE, TENANT_REQUESTS)
