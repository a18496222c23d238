"""A few records as the server reads them: each column of `stage.STAGE` an array literal. Pure. Many are encoded by `columns`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final

from app.domain.fields import Choice, Cost, DisplayName, Kind, Text
from app.domain.usage import FIELDS, UsageRecord, name_of
from app.write.identities import Names
from app.write.stage import DIGEST, DISPLAY_NAMES, IDENTITIES, PART, PLAIN, STAGE

_FREE: Final = Decimal(0)
CACHE_HIT: Final = UsageRecord._fields.index(name_of(lambda record: record.cache_hit))
"""Where a record says that no provider was asked: the catalog's price of asking one does not apply then."""


def digest_of(request_id: str) -> bytes:
    """Return the 16 bytes that stand for a request id among the recent ones."""
    return blake2b(request_id.encode(), digest_size=16).digest()


def positions_of(kind: Choice) -> dict[str, int]:
    """Return the words of a choice with what records hold for each."""
    return {word: position for position, word in enumerate(kind.words)}


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


_ENCODED: Final = (*PLAIN, *(field for field in FIELDS if field.name in DISPLAY_NAMES))
_POSITIONS: Final = tuple(UsageRecord._fields.index(field.name) for field in _ENCODED)
_COSTS: Final = tuple(number for number, field in enumerate(_ENCODED) if isinstance(field.kind, Cost))
_WRITERS: Final[tuple[Callable[[Any], str], ...]] = (
    *([str] * len(IDENTITIES)),
    *(_literal_of(field.kind) for field in _ENCODED),
    bytes.hex,
    str,
)
if [*IDENTITIES, *(field.name for field in _ENCODED), DIGEST.name, PART.name] != [column.name for column in STAGE]:
    raise TypeError("the columns of a batch are not written in the order of the stage")


def encode_arrays(records: Sequence[UsageRecord], parts: Sequence[int], names: Names) -> list[str]:
    """Return each column of `STAGE` as a PostgreSQL array literal, of records whose names are all in `names`.

    `parts[i]`: which delivery `records[i]` came with.
    """
    fields: list[Sequence[Any]] = list(zip(*records, strict=True))
    encoded = [fields[position] for position in _POSITIONS]
    for number in _COSTS:
        encoded[number] = [_FREE if cost is None and hit else cost for cost, hit in zip(encoded[number], fields[CACHE_HIT], strict=True)]
    keys = [surrogates_of(record, names) for record in records]
    digests = [digest_of(record.request_id) for record in records]
    columns = [*([key[column] for key in keys] for column in IDENTITIES), *encoded, digests, parts]
    return [
        "{" + ",".join(["NULL" if cell is None else write(cell) for cell in column]) + "}"
        for write, column in zip(_WRITERS, columns, strict=True)
    ]
