"""Which source a table or a list of objects is from: named by the caller, or recognised by its columns; and its rows into a batch. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from app.domain.errors import BadInputError
from app.domain.usage import ParsedBatch, Reject
from app.ingest.fields import FieldRules
from app.ingest.parse import NOT_AN_OBJECT, Unreadable, count_unknown
from app.ingest.sources import exports, litellm_spend_logs, openrouter_activity
from app.ingest.sources.candidates import Candidate, collect_candidates
from app.ingest.sources.mapping import ColumnMap

SourceName = Literal["usage", "openrouter-activity", "litellm-spend-logs", "export"]

Row = Mapping[str, object] | Unreadable
Rows = Iterator[Row]

_GROUPED: Final = (
    "each row is many requests (it has the columns date and requests), and a usage record is one: "
    "take a request-level export, such as /v1/customer/billing/usage-statement.csv or /v1/customer/logs of a Tokengraph"
)


@dataclass(frozen=True, slots=True)
class RowSource:
    """A source of rows. `known`: the columns that it may read, None: any; `needed`: those without which a table is not of it."""

    name: str
    title: str
    read: Callable[[Mapping[str, object]], Candidate]
    needed: tuple[str, ...]
    known: frozenset[str] | None = None
    names_tenant: bool = False
    screen: Callable[[Rows], Rows] | None = None
    """What puts a reject in the place of each row that is no request."""
    proof: Callable[[Rows], Rows] | None = None
    """What gives the requests of a whole table, without the row that proves it whole. Raises BadInputError if that fails."""


ACTIVITY: Final = RowSource(
    openrouter_activity.NAME,
    "OpenRouter's activity export",
    openrouter_activity.activity_candidate,
    openrouter_activity.NEEDED,
    openrouter_activity.COLUMNS,
)
SPEND_LOGS: Final = RowSource(
    litellm_spend_logs.NAME,
    "LiteLLM's spend logs",
    litellm_spend_logs.spend_log_candidate,
    ("request_id", "startTime", "spend", "model"),
    names_tenant=True,
    screen=litellm_spend_logs.without_other_calls,
)
STATEMENT: Final = RowSource(
    exports.NAME,
    "a usage statement",
    exports.statement_candidate,
    exports.STATEMENT_COLUMNS,
    frozenset((*exports.STATEMENT_COLUMNS, *exports.LATER_COLUMNS)),
    proof=exports.without_closing_total,
)
REQUEST_LOG: Final = RowSource(
    exports.NAME,
    "a request log",
    exports.log_candidate,
    exports.LOG_COLUMNS,
    frozenset((*exports.LOG_COLUMNS, *exports.LATER_COLUMNS)),
)

_RECOGNISED: Final = (ACTIVITY, STATEMENT, REQUEST_LOG, SPEND_LOGS)
_NAMED: Final[dict[str, tuple[RowSource, ...]]] = {
    "openrouter-activity": (ACTIVITY,),
    "litellm-spend-logs": (SPEND_LOGS,),
    "export": (STATEMENT, REQUEST_LOG),
}
# A usage record has the one, and none of the sources has.
_OF_THE_RECORD: Final = "occurred_at"


def choose_source(asked: SourceName | ColumnMap | None, columns: Collection[str], tenant_id: str | None) -> RowSource | None:
    """Return the source of rows that have these columns; None: usage records.

    `asked` None: the one whose columns are all there, and usage records where `occurred_at` is there too or no source fits. BadInputError:
    the rows are aggregated or not of the source asked for, or name no tenant and `tenant_id` is None.
    """
    if isinstance(asked, ColumnMap):
        return _with_tenant(_mapped(asked), tenant_id)
    if set(columns) >= exports.GROUPED_COLUMNS and not {"request_id", "generation_id"} & set(columns):
        raise BadInputError(_GROUPED)
    if asked is None:
        fitting = () if _OF_THE_RECORD in columns else [source for source in _RECOGNISED if set(source.needed) <= set(columns)]
        return _with_tenant(fitting[0], tenant_id) if fitting else None
    if asked == "usage":
        return None
    sources = _NAMED[asked]
    for source in sources:
        if set(source.needed) <= set(columns):
            return _with_tenant(source, tenant_id)
    closest = min(sources, key=lambda source: len(set(source.needed) - set(columns)))
    missing = [name for name in closest.needed if name not in columns]
    raise BadInputError(f"there is no column {' and no column '.join(missing)}, which {closest.title} has")


def _mapped(column_map: ColumnMap) -> RowSource:
    return RowSource(
        "map", "the map", column_map.candidate, column_map.paths, frozenset(column_map.columns), names_tenant=column_map.names_tenant
    )


def _with_tenant(source: RowSource, tenant_id: str | None) -> RowSource:
    if tenant_id is None and not source.names_tenant:
        raise BadInputError(f"{source.title} names no tenant: give one with --tenant")
    return source


def collect_rows(rows: Iterable[object], source: RowSource, rules: FieldRules, first_index: int = 0) -> ParsedBatch:
    """Return the batch that a source's rows make: what contradicts itself is quarantined, what is no row at all is rejected."""
    batch = ParsedBatch()
    run: list[Candidate] = []
    index = first_index

    def take_run() -> None:
        part = collect_candidates(run, source.name, rules, index - len(run))
        batch.records += part.records
        batch.indexes += part.indexes
        batch.quarantined += part.quarantined
        run.clear()

    readable: Rows = (row if isinstance(row, Mapping | Unreadable) else Unreadable(NOT_AN_OBJECT) for row in rows)
    for row in readable if source.screen is None else source.screen(readable):
        if isinstance(row, Unreadable):
            take_run()
            batch.rejects.append(Reject(index, None, row.message))
        else:
            run.append(source.read(row))
        index += 1
    take_run()
    batch.received = index - first_index
    return batch


def count_unknown_of(row: Mapping[str, object], source: RowSource, counts: dict[str, int]) -> None:
    """Count the columns of a row that its source has no place for."""
    if source.known is not None:
        count_unknown((name for name in row if name not in source.known), counts)
