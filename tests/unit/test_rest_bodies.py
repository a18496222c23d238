"""What derives from the stored documents: the documented form of answers, OpenAPI models, columns of CSV files."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from graphql import parse
from inline_snapshot import snapshot

from app.resolvers.schema import build_schema
from app.rest.bodies import Table, model_of, read_root, shaper_of
from app.rest.execute import load_document

GRAPH = build_schema()._schema


def read(text: str) -> Any:
    return read_root(GRAPH, parse(text))


def test_answers_that_are_documented_as_they_are_stay_as_they_are() -> None:
    for name in ("usage_analytics", "tenant_analytics", "rankings_daily"):
        assert shaper_of(read(load_document(name))) is None, name


def test_the_documented_form() -> None:
    shape = shaper_of(read(load_document("gateway_stats")))
    assert shape is not None
    row = {"name": "b", "requests": 2}
    assert list(shape({"total_requests": 3, "providers": [row, {"name": "a", "requests": 1}], "models": []}).items()) == [
        ("total_requests", 3),
        ("providers", {"b": {"requests": 2}, "a": {"requests": 1}}),
        ("models", {}),
    ]
    assert row == {"name": "b", "requests": 2}, "an answer may be given to others, too"
    network = shaper_of(read("{ network { totals { totalTokens } trend { h24 { bucket } d30 { totalTokens } } } }"))
    assert network is not None
    assert network({"totals": {"totalTokens": 1}, "trend": {"h24": [], "d30": [1]}}) == {
        "totals": {"totalTokens": 1},
        "trend": {"24h": [], "30d": [1]},
    }
    groups = shaper_of(read("{ tenantUsage { trafficMode spend } }"))
    assert groups is not None
    rows = [{"trafficMode": "BYOK", "spend": 1}]
    assert groups(rows) == [{"trafficMode": "byok", "spend": 1}]
    assert rows[0]["trafficMode"] == "BYOK", "an answer may be given to others, too"
    requests = shaper_of(read("{ tenantRequests { nodes { status: outcome model: modelId } pageInfo { endCursor } } }"))
    assert requests is not None
    page = {"nodes": [{"status": "SUCCESS", "model": "M"}], "pageInfo": {"endCursor": None}}
    assert requests(page) == {"nodes": [{"status": "success", "model": "M"}], "pageInfo": {"endCursor": None}}


def test_a_model_says_what_the_document_selects() -> None:
    model = model_of(read("{ gatewayStats { successRate providers { name failed } daily { date } } }"))
    assert model.model_json_schema() == snapshot(
        {
            "$defs": {
                "DailyOutcomes": {
                    "additionalProperties": False,
                    "description": "Outcomes of the requests of one day.",
                    "properties": {"date": {"description": "UTC date.", "examples": ["2026-06-25"], "title": "Date", "type": "string"}},
                    "required": ["date"],
                    "title": "DailyOutcomes",
                    "type": "object",
                },
                "Outcomes": {
                    "additionalProperties": False,
                    "description": "Outcomes of the requests under one name.",
                    "properties": {
                        "failed": {"description": "Requests without a 2xx status.", "minimum": 0, "title": "Failed", "type": "integer"}
                    },
                    "required": ["failed"],
                    "title": "Outcomes",
                    "type": "object",
                },
            },
            "additionalProperties": False,
            "description": "Request counts of the gateway. Each breakdown with its rest sums to the totals.",
            "properties": {
                "successRate": {
                    "description": "Successful divided by total, 0 to 1, 4 decimal places; 0 without requests.",
                    "maximum": 1,
                    "minimum": 0,
                    "title": "Successrate",
                    "type": "number",
                },
                "providers": {
                    "additionalProperties": {"$ref": "#/$defs/Outcomes"},
                    "description": "By provider, most requests first, then by name.",
                    "maxProperties": 10000,
                    "title": "Providers",
                    "type": "object",
                },
                "daily": {
                    "description": "By UTC date since 2020, ascending; dates without requests are omitted.",
                    "items": {"$ref": "#/$defs/DailyOutcomes"},
                    "title": "Daily",
                    "type": "array",
                },
            },
            "required": ["successRate", "providers", "daily"],
            "title": "GatewayStats",
            "type": "object",
        }
    )
    log = model_of(read("{ tenantRequests { nodes { status: outcome trafficMode latencyMs costUsd } } }").find("nodes"))
    assert log.model_json_schema()["properties"] == snapshot(
        {
            "status": {"description": "Whether it had a 2xx status.", "enum": ["error", "success"], "title": "Status", "type": "string"},
            "trafficMode": {
                "description": "Shared capacity or bring-your-own-key.",
                "enum": ["shared", "byok"],
                "title": "Trafficmode",
                "type": "string",
            },
            "latencyMs": {
                "anyOf": [{"type": "number"}, {"type": "null"}],
                "description": "Latency in milliseconds; null if unknown.",
                "title": "Latencyms",
            },
            "costUsd": {
                "description": "Cost in US dollars, 6 decimal places; 0 if unpriced.",
                "minimum": 0,
                "title": "Costusd",
                "type": "number",
            },
        }
    )


def test_descriptions_name_what_the_urls_call_it() -> None:
    assert "`generated_at`" in str(model_of(read("{ network { trend { h24 { bucket } } } }").find("trend")).__doc__)


def test_columns_are_those_of_the_document() -> None:
    row = read(
        "{ tenantRequests { nodes { id tokens { prompt total } costBreakdown { modelCharge } latencyMs costUsd status: outcome } } }"
    )
    table = Table(row.find("nodes"), frozenset({"status"}))
    assert table.names == ("id", "prompt_tokens", "total_tokens", "modelCharge", "latencyMs", "costUsd")
    node = {"id": "1", "tokens": {"prompt": 2, "total": 3}, "costBreakdown": {"modelCharge": 4}, "latencyMs": None, "costUsd": 1e-06}
    cells = table.cells(node)
    assert cells == ["1", 2, 3, 4, "", Decimal("0.000001")]
    assert table.total([]) == ["", 0, 0, 0, "", 0]
    assert table.total([cells, cells]) == ["", 4, 6, 8, "", Decimal("0.000002")]
    assert table.total([table.total([cells]), cells]) == table.total([cells, cells])
