"""From what a source gives for one request to a record, or to the quarantine. Total: nothing is dropped, nothing is guessed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.domain.usage import ParsedBatch, Quarantined, Reason
from app.ingest.fields import FieldRules, check_record, find_implausible


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a source says of one request: values by the usage record's field names (None: not given), and what contradicts itself."""

    values: Mapping[str, object]
    contradictions: tuple[Reason, ...] = ()


def collect_candidates(candidates: Iterable[Candidate], source: str, rules: FieldRules, first_index: int = 0) -> ParsedBatch:
    """Return the batch: records of the candidates that are right, and the others quarantined with every reason.

    A candidate that names another tenant than the sender's key is bound to is quarantined too, with the key's tenant kept beside.
    """
    batch = ParsedBatch()
    for index, candidate in enumerate(candidates, first_index):
        batch.received += 1
        checked = check_record(candidate.values, rules)
        reasons = candidate.contradictions
        if isinstance(checked, dict):
            reasons += tuple(Reason(field, message) for field, message in checked.items())
        else:
            reasons += find_implausible(checked)
        if reasons or isinstance(checked, dict):
            given = {name: value for name, value in candidate.values.items() if value is not None}
            batch.quarantined.append(Quarantined(index, source, rules.now, rules.tenant_id, given, reasons))
            continue
        batch.records.append(checked)
        batch.indexes.append(index)
    return batch
