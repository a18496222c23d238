"""A body of traces to a batch: which spans are calls of models, and who reads each. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from operator import itemgetter
from typing import Final

from app.domain.usage import ParsedBatch
from app.ingest.fields import FieldRules
from app.ingest.sources.candidates import Candidate, collect_candidates
from app.ingest.sources.conventions import CONVENTIONS, TokenConvention
from app.ingest.sources.genai import Facts, Reading, is_inference, read_span
from app.ingest.sources.genai_attributes import FIRST_TOKEN_EVENTS, GENAI, names_of
from app.ingest.sources.openrouter import OPENROUTER, SERVICE, is_from_openrouter, is_generation, read_generation
from app.ingest.sources.otlp import Span, Wanted, parse_json, parse_protobuf

WANTED: Final = Wanted(names_of(GENAI, OPENROUTER), FIRST_TOKEN_EVENTS)
_SOURCE: Final = "otlp"


class Encoding(Enum):
    """How a body is written, by its media type."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a sender says beside the body: `convention` of the token counts of its spans, `default_tenant` of those that name none.

    `all_openrouter`: it is OpenRouter, whatever the spans say of themselves. OpenRouter's own convention is known and stays.
    """

    encoding: Encoding
    convention: TokenConvention = CONVENTIONS[_SOURCE]
    default_tenant: str | None = None
    all_openrouter: bool = False


def parse_traces(body: bytes, delivery: Delivery, rules: FieldRules) -> ParsedBatch:
    """Read the calls of models out of a body: one candidate each; every other span is passed over, and is in no count.

    Positions in the batch count the calls, from 0. BadInputError and BodyTooLargeError as `parse_protobuf` and `parse_json`.
    """
    spans = (parse_json if delivery.encoding is Encoding.JSON else parse_protobuf)(body, WANTED)
    batch = ParsedBatch()
    for source, group in groupby(_read(spans, delivery, rules), itemgetter(0)):
        part = collect_candidates((candidate for _, candidate in group), source, rules, batch.received)
        batch.received += part.received
        batch.records += part.records
        batch.indexes += part.indexes
        batch.quarantined += part.quarantined
    return batch


def _read(spans: Iterator[Span], delivery: Delivery, rules: FieldRules) -> Iterator[tuple[str, Candidate]]:
    own = Reading(delivery.convention, delivery.default_tenant, rules.tenant_id)
    openrouter = Reading(CONVENTIONS[SERVICE], delivery.default_tenant, rules.tenant_id)
    for span in spans:
        if delivery.all_openrouter or is_from_openrouter(span):
            facts = Facts(span, OPENROUTER)
            if is_generation(facts):
                yield SERVICE, read_generation(facts, openrouter)
        else:
            facts = Facts(span, GENAI)
            if is_inference(facts):
                yield _SOURCE, read_span(facts, own)
