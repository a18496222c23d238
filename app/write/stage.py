"""A batch as it travels to the server: its columns, derived from the record's fields. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from zlib import crc32

from app.domain.fields import Cost, Count, DisplayName, ModelName, Name, kinds_of
from app.domain.usage import FIELDS, name_of, names_of


@dataclass(frozen=True, slots=True)
class StageColumn:
    """A column of a batch as it travels to the server."""

    name: str
    type: str


DIGEST: Final = StageColumn("digest", "uuid")
"""What stands for the request id among the recent ones."""
PART: Final = StageColumn("part", "integer")
"""Number of the delivery that a record came with."""

TENANT_ID: Final = name_of(lambda record: record.tenant_id)
REQUEST_ID: Final = name_of(lambda record: record.request_id)
DISPLAY_NAMES: Final = kinds_of(FIELDS, DisplayName)
COUNTS: Final = tuple(kinds_of(FIELDS, Count))
_COSTS: Final = tuple(kinds_of(FIELDS, Cost))

CALLER: Final = names_of(lambda record: (record.tenant_id, record.project_id, record.user_id, record.api_key_id))
SERVED: Final = names_of(lambda record: (record.model_id, record.model_permaslug, record.provider))
"""The registered names of a record in two groups that recur: who called, and what served it."""

_SURROGATES: Final = {field.name: field.kind.column for field in FIELDS if isinstance(field.kind, Name | ModelName)}
if _SURROGATES.keys() != {*CALLER, *SERVED}:
    raise TypeError("a registered name of the record is in neither group")

IDENTITIES: Final = tuple(dict.fromkeys(_SURROGATES[name] for name in (*CALLER, *SERVED)))
"""The columns of surrogates, in the order of the groups."""

PLAIN: Final = tuple(field for field in FIELDS if not isinstance(field.kind, Name | ModelName | DisplayName))
"""The fields that records hold as they are."""

STAGE: Final = (
    *(StageColumn(name, Name.sql_type) for name in IDENTITIES),
    *(StageColumn(field.name, field.kind.sql_type) for field in PLAIN),
    *(StageColumn(name, kind.sql_type) for name, kind in DISPLAY_NAMES.items()),
    DIGEST,
    PART,
)
"""A batch, column by column. `provider_id` null: the model's; `cost_usd` null: priced from the catalog."""

STAGE_TABLE: Final = f"ingest_stage_{crc32(repr(STAGE).encode()):08x}"
"""Session-local staging table of many records, named after its columns, so that a pooled session never has an old shape."""

DERIVED: Final = ("provider_id", *_COSTS, "is_priced")
"""The columns of a record that are not always as they came: the model's provider, the catalog's price."""

STORED: Final = tuple(name for name in (*IDENTITIES, *(field.name for field in PLAIN)) if name not in DERIVED)
"""The columns of a record that are."""

STAGED: Final = tuple(column for column in STAGE if column is not DIGEST)
"""The columns of the staging table: of many records the keys travel apart."""


def copied_columns(*, with_names: bool, with_parts: bool) -> tuple[str, ...]:
    """Return the columns of a COPY into the staging table, in the order in which `columns.encode_copy` writes them."""
    return (
        *(field.name for field in PLAIN),
        *(DISPLAY_NAMES if with_names else ()),
        *IDENTITIES,
        *((PART.name,) if with_parts else ()),
    )
