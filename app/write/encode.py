"""A few records as the server reads them: each column of `stage.STAGE` an array literal. Pure. Many are encoded by `columns`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final

from app.domain.fields import Choice, Cost, DisplayName, Kind, ModelName, Name, Text
from app.domain.usage import FIELDS, UsageRecord, name_of
from app.write.identities import Names
from app.write.stage import DIGEST, IDENTITIES, PART, REQUEST_ID, STAGE

_FREE: Final = Decimal(0)
_CACHE_HIT: Final = name_of(lambda record: record.cache_hit)

Columns = Mapping[str, Sequence[Any]]
"""The values of some records, by field."""


def digest_of(request_id: str) -> bytes:
    """Return the 16 bytes that stand for a request id among the recent ones."""
    return blake2b(request_id.encode(), digest_size=16).digest()


def columns_of(records: Sequence[UsageRecord]) -> dict[str, Sequence[Any]]:
    """Return the values of at least one record, by field, in the order of the record."""
    return dict(zip(UsageRecord._fields, zip(*records, strict=True), strict=True))


def positions_of(kind: Choice) -> dict[str, int]:
    """Return the words of a choice with what records hold for each."""
    return {word: position for position, word in enumerate(kind.words)}


def costs_of(columns: Columns, name: str) -> list[Decimal | None]:
    """Return what is known of a cost before it is priced: where no provider was asked, the catalog's price of asking one does not apply."""
    return [_FREE if cost is None and hit else cost for cost, hit in zip(columns[name], columns[_CACHE_HIT], strict=True)]


def surrogates_of(record: UsageRecord, names: Names) -> dict[str, int | None]:
    """Return what stands for a record's names, which are all in `names`, by column. None: the model's provider."""
    tenant = names.tenants[record.tenant_id]
    return {
        "tenant_id": tenant,
        "project_id": 0 if record.project_id is None else names.projects[tenant, record.project_id],
        "user_id": 0 if record.user_id is None else names.users[record.user_id],
        "caller_key_id": 0 if record.api_key_id is None else names.caller_keys[tenant, record.api_key_id],
        "model_id": names.models[record.model_id, record.model_permaslug],
        "provider_id": None if record.provider is None else names.providers[record.provider],
    }


def _quote(cell: str) -> str:
    return '"' + cell.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _literal_of(kind: Kind) -> Callable[[Any], str]:
    match kind:
        case Text() | DisplayName():
            return _quote
        case Choice():
            positions = positions_of(kind)
            return lambda word: str(positions[word])
        case _:
            return str


_CELLS: Final = {field.name: _literal_of(field.kind) for field in FIELDS if not isinstance(field.kind, Name | ModelName)}
_COSTS: Final = tuple(field.name for field in FIELDS if isinstance(field.kind, Cost))


def encode_arrays(records: Sequence[UsageRecord], parts: Sequence[int], names: Names) -> list[str]:
    """Return each column of `STAGE` as a PostgreSQL array literal, of records whose names are all in `names`.

    `parts[i]`: which delivery `records[i]` came with.
    """
    columns = columns_of(records)
    for name in _COSTS:
        columns[name] = costs_of(columns, name)
    literals = {name: _join(cell, columns[name]) for name, cell in _CELLS.items()}
    keys = [surrogates_of(record, names) for record in records]
    for column in IDENTITIES:
        literals[column] = _join(str, [key[column] for key in keys])
    literals[DIGEST.name] = _join(bytes.hex, map(digest_of, columns[REQUEST_ID]))
    literals[PART.name] = _join(str, parts)
    return [literals[column.name] for column in STAGE]


def _join(write: Callable[[Any], str], cells: Iterable[Any]) -> str:
    return "{" + ",".join(["NULL" if cell is None else write(cell) for cell in cells]) + "}"
