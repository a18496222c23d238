"""A few records as the server reads them: rows with surrogate ids, then array literals. Pure. Many are encoded by `columns`."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from app.domain.usage import TRAFFIC_MODES, UsageRecord
from app.write.identities import Names

Row = tuple[Any, ...]
"""A record as `rollup.STAGE` lists it."""

MODE_KEYS = {name: key for key, name in enumerate(TRAFFIC_MODES)}
_FREE = Decimal(0)
_REQUEST_ID, _USERNAME = 2, 6
_TEXTS = (_REQUEST_ID, _USERNAME)


def digest_of(request_id: str) -> bytes:
    """Return the 16 bytes that stand for a request id among the recent ones."""
    return blake2b(request_id.encode(), digest_size=16).digest()


def encode_rows(records: Sequence[UsageRecord], parts: Sequence[int], names: Names) -> list[Row]:
    """Return the rows of records whose names are all in `names`; `parts[i]`: which delivery `records[i]` came with."""
    tenants, projects, users, keys, models, providers = (
        names.tenants,
        names.projects,
        names.users,
        names.caller_keys,
        names.models,
        names.providers,
    )
    rows = []
    for record, part in zip(records, parts, strict=True):
        tenant = tenants[record.tenant_id]
        cost = record.cost_usd
        rows.append(
            (
                record.occurred_at,
                tenant,
                record.request_id,
                digest_of(record.request_id).hex(),
                0 if record.project_id is None else projects[(tenant, record.project_id)],
                0 if record.user_id is None else users[record.user_id],
                record.username,
                0 if record.api_key_id is None else keys[(tenant, record.api_key_id)],
                models[(record.model_id, record.model_permaslug)],
                None if record.provider is None else providers[record.provider],
                record.status_code,
                MODE_KEYS[record.traffic_mode],
                record.prompt_tokens,
                record.completion_tokens,
                record.cached_tokens,
                record.reasoning_tokens,
                record.shared_model_spend,
                record.byok_platform_fee,
                record.managed_tool_fee,
                record.agent_runtime_fee,
                record.search_requests,
                # No provider was asked, so that the catalog's price of asking one does not apply.
                _FREE if cost is None and record.cache_hit else cost,
                record.latency_ms,
                record.ttft_ms,
                record.attempt,
                record.cache_hit,
                record.interrupted,
                part,
            )
        )
    return rows


def array_literals(rows: Sequence[Row]) -> list[str]:
    """Return each column of the rows as a PostgreSQL array literal."""
    literals = []
    for position, column in enumerate(zip(*rows, strict=True)):
        quote = _quote_text if position in _TEXTS else str
        literals.append("{" + ",".join(["NULL" if cell is None else quote(cell) for cell in column]) + "}")
    return literals


def _quote_text(cell: str) -> str:
    return '"' + cell.replace("\\", "\\\\").replace('"', '\\"') + '"'
