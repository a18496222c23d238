"""Requests that should cost little and break nothing, as data: a test sends them in process, and `make adversary` to a live gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

from app.web.graphql_bodies import ANONYMOUS_BYTES

REFUSED = frozenset({400})
"""Refused before anything is resolved, with its reason."""
ANSWERED = frozenset({200})
UNKNOWN = frozenset({401})
MISSING = frozenset({404})
TOO_LARGE = frozenset({413})
"""Refused before it is read: it came without a key."""

DIGITS = "7" * 5_000
SURROGATE = "\ud800"

_GRAPHQL = "/graphql"
_ACCEPT = {"Accept": "application/graphql-response+json"}
"""The media type that tells by its status whether a request was refused."""
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class HostileRequest:
    """`headers`: sent as latin-1. `statuses`: those that may answer it. `role`: of the key that it is sent with; None: without one."""

    name: str
    method: str
    path: str
    statuses: frozenset[int]
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    role: str | None = None

    @property
    def is_graphql(self) -> bool:
        """Whether the answer has the body of a GraphQL response."""
        return self.path.partition("?")[0] == _GRAPHQL


def doubling(levels: int, leaf: str = "network { generatedAt }", spread: str = "...F{0} ...F{0}") -> str:
    """Return a document of fragments that spread the next one twice: 2 ** levels leaves in a text of 40 bytes a level."""
    fragments = (f"fragment F{level} on Query {{ {spread.format(level + 1)} }}" for level in range(levels))
    return " ".join(["{ ...F0 }", *fragments, f"fragment F{levels} on Query {{ {leaf} }}"])


def doubling_fields(levels: int) -> str:
    """Return the same over fields: each level is selected twice below the one before, under two aliases."""
    fragments = (f"fragment F{level} on Model {{ a: provider {{ ...P{level} }} b: provider {{ ...P{level} }} }}" for level in range(levels))
    providers = (f"fragment P{level} on Provider {{ models {{ nodes {{ ...F{level + 1} }} }} }}" for level in range(levels))
    return " ".join(["{ models { nodes { ...F0 } } }", *fragments, *providers, f"fragment F{levels} on Model {{ modelId }}"])


def _repeated(count: int, piece: str) -> str:
    return " ".join(piece.format(number) for number in range(count))


_TYPE = "kind name ofType { kind name ofType { kind name ofType { kind name } } }"
_SCHEMA = f"__schema {{ types {{ name description fields {{ name description args {{ name type {{ {_TYPE} }} }} type {{ {_TYPE} }} }} }} }}"

DOCUMENTS: dict[str, str] = {
    "fragments doubled 40 times": doubling(40),
    "fragments doubled 40 times, empty": doubling(40, ""),
    "fragments doubled 40 times, misspelt": doubling(40, "nothing"),
    "fragments doubled 40 times, of aliases": doubling(40, "a: network { generatedAt }"),
    "fragments doubled 40 times, in inline fragments": doubling(40, spread="... on Query {{ ...F{0} }} ... {{ ...F{0} }}"),
    "fragments doubled 40 times, under a condition": doubling(40, spread="...F{0} @include(if: true) ...F{0} @skip(if: false)"),
    "fragments doubled 40 times, in a circle": doubling(40, "...F0 ...F0"),
    "fragments doubled 40 times, unused": "{ network { generatedAt } } " + doubling(40).partition("}")[2],
    "fields doubled 6 times": doubling_fields(6),
    "fields doubled 40 times": doubling_fields(40),
    "fragments in a row": "{ ...F0 } "
    + _repeated(500, "fragment F{0} on Query {{ ...N{0} }}").replace("N", "M")
    + " fragment M on Query { network { generatedAt } }",
    "fragments in a chain": "{ ...F0 } "
    + " ".join(f"fragment F{number} on Query {{ ...F{number + 1} }}" for number in range(450))
    + " fragment F450 on Query { network { generatedAt } }",
    "fragments of one name": "{ ...F } " + _repeated(400, "fragment F on Query {{ ...F ...F a{0}: network {{ generatedAt }} }}"),
    "fragments compared in pairs": "{ models { "
    + _repeated(150, "...F{0}")
    + " } } "
    + _repeated(150, "fragment F{0} on ModelConnection {{ nodes {{ modelId name }} }}"),
    "a field selected 1,300 times": "{ network { " + "totals { totalTokens } " * 900 + " } }",
    "a leaf selected 3,900 times": "{ network { " + "generatedAt " * 3_900 + "} }",
    "a root selected 900 times": "{ " + "network { generatedAt } " * 900 + "}",
    "a root under 101 aliases": "{ " + _repeated(101, "a{0}: network {{ generatedAt }}") + " }",
    "introspection under 10 aliases": "{ " + _repeated(10, f"a{{0}}: {_SCHEMA.replace('{', '{{').replace('}', '}}')}") + " }",
    "introspection under 10 aliases inside": "{ __schema { " + _repeated(10, "a{0}: types {{ ...T }}") + " } } fragment T on __Type"
    " { " + _SCHEMA.partition("types {")[2].removesuffix(" } }") + " }",
    "introspection under long aliases": "{ __schema { types { fields { " + _repeated(90, f"{'a' * 98}{{0}}: name") + " } } } }",
    "introspection of descriptions 90 times": "{ __schema { types { fields { " + _repeated(90, "a{0}: description") + " } } } }",
    "a long alias for every point": "{ network { trend { d30 { " + "a" * 60_000 + ": date } } } }",
    "introspection doubled 40 times": doubling(40, "__schema { types { name } }"),
    "introspection in circles": "{ __schema { types { fields { type { fields { type { fields { type { name } } } } } } } } }",
    "introspection of one type 40 times": "{ "
    + _repeated(40, '__type(name: "Query") {{ a{0}: fields {{ args {{ type {{ fields {{ name args {{ name }} }} }} }} }} }}')
    + " }",
    "levels of fields": "{ network " + "{ trend " * 60 + "}" * 61,
    "levels of fields for the stack": "{ network " + "{ trend " * 1_900,
    "levels of inline fragments": "{ " + "... { " * 190 + "network { generatedAt }" + " }" * 191,
    "levels of lists": "{ model(modelId: " + "[" * 1_900 + "]" * 1_900 + ") { name } }",
    "levels of objects": "mutation { upsertModels(entries: " + "{a: " * 150 + "1" + "}" * 150 + ") { total } }",
    "operations": _repeated(550, "query q{0} {{ ...F }}") + " fragment F on Query { network { generatedAt } }",
    "operations with fragments": _repeated(280, "query q{0} {{ ...F{0} }}") + _repeated(280, "fragment F{0} on Query {{ a }}"),
    "variables": "query (" + _repeated(900, "$v{0}: Int") + ") { network { generatedAt } }",
    "variables in fragments": "query (" + _repeated(300, "$v{0}: ID!") + ") { ...F } fragment F on Query { "
    "models { " + _repeated(300, "...G") + " } } fragment G on ModelConnection { nodes { modelId } }",
    "unknown fields": "{ network { " + _repeated(1_900, "x{0}") + " } }",
    "unknown fields on many lines": "{ network {" + "\n" * 50_000 + _repeated(1_500, "x{0}") + " } }",
    "a long unknown name": "{ network { " + "generatedA" * 6_000 + " } }",
    "a long name in many errors": "query " + "q" * 50_000 + " { network { " + _repeated(900, "x{0}(a: $a)") + " } }",
    "more tokens than may be": "{ network { generatedAt } } " + "# comment\n" * 4_001,
    "more characters than may be": "{ network { generatedAt } } #" + "x" * 70_000,
    "a string of 60,000 characters": '{ model(modelId: "' + "\\u0041" * 10_000 + '") { nothing } }',
    "an integer of 5,000 digits": f"{{ models(first: {DIGITS}) {{ nodes {{ modelId }} }} }}",
    "a float of 5,000 digits": f"{{ models(first: {DIGITS}.{DIGITS}e{DIGITS}) {{ nodes {{ modelId }} }} }}",
    "5,000 digits for a date": f"{{ usageAnalytics(dateFrom: {DIGITS}) {{ byModel {{ costUsd }} }} }}",
    "5,000 digits for an enum value": f"{{ usageAnalytics(aggregation: {DIGITS}) {{ byModel {{ costUsd }} }} }}",
    "5,000 digits for a boolean": f"{{ network @include(if: {DIGITS}) {{ generatedAt }} }}",
    "5,000 digits in an unknown argument": f"{{ network(x: [{{y: {DIGITS}}}]) {{ generatedAt }} }}",
    "5,000 digits for a whole number of any size": f'mutation {{ ingestUsage(records: [{{requestId: "r", occurredAt: "2026-06-26T00:00:00Z",'
    f" promptTokens: {DIGITS}}}]) {{ received }} }}",
    "5,000 digits as a default": f"query ($n: Int = {DIGITS}) {{ models(first: $n) {{ nodes {{ modelId }} }} }}",
    "half a character escaped in a string": '{ model(modelId: "\\ud800") { name } }',
    "a subscription": "subscription { network { generatedAt } }",
    "a schema": "type Query { a: Int } " * 300,
}
"""Documents that are refused, by what they try."""


def _documents() -> Iterator[HostileRequest]:
    for name, text in DOCUMENTS.items():
        if len(text) < 8_000:
            yield HostileRequest(f"document by GET: {name}", "GET", f"{_GRAPHQL}?query={quote(text)}", REFUSED, _ACCEPT)
        body = json.dumps({"query": text}).encode()
        statuses = REFUSED if len(body) <= ANONYMOUS_BYTES else TOO_LARGE
        yield HostileRequest(f"document: {name}", "POST", _GRAPHQL, statuses, {**_ACCEPT, **_JSON}, body)
    body = json.dumps({"query": doubling(40)}).encode()
    yield HostileRequest("document: 40 levels, for Apollo's clients", "POST", _GRAPHQL, ANSWERED, _JSON, body)


_ENUM = "query ($a: Aggregation) { usageAnalytics(aggregation: $a) { byModel { costUsd } } }"
_DATE = "query ($a: Date) { usageAnalytics(dateFrom: $a) { byModel { costUsd } } }"
_FIRST = "query ($a: Int!) { models(first: $a) { nodes { modelId } } }"
_ID = "query ($a: String!) { model(modelId: $a) { name } }"
_IDS = "mutation ($a: [String!]!) { dropQuarantinedRecords(recordIds: $a) { dropped } }"
_RECORDS = "mutation ($a: [UsageRecordInput!]!) { ingestUsage(records: $a) { received } }"
_PUBLIC = "{ network { generatedAt } }"
_UNUSED = "query ($a: Int) { network { generatedAt } models(first: $a) { nodes { modelId } } }"


def _nested(levels: int) -> str:
    return "[" * levels + "]" * levels


BODIES: dict[str, str] = {
    "half a character as an operation's name": json.dumps({"query": _PUBLIC, "operationName": SURROGATE}),
    "an unknown operation": json.dumps({"query": _PUBLIC, "operationName": "x" * 50_000}),
    "half a character for an enum value": json.dumps({"query": _ENUM, "variables": {"a": SURROGATE}}),
    "half a character for a number": json.dumps({"query": _FIRST, "variables": {"a": f"1{SURROGATE}"}}),
    "half a character as a variable's name": json.dumps({"query": _FIRST, "variables": {SURROGATE: 1}}),
    "half a character as a field's name": json.dumps({"query": _RECORDS, "variables": {"a": [{SURROGATE: 1}]}}),
    "half a character in a document": json.dumps({"query": f"{{ network {{ {SURROGATE} }} }}"}),
    "half a character in a string of a document": json.dumps({"query": f'{{ model(modelId: "{SURROGATE}") {{ name }} }}'}),
    "5,000 digits for a number": f'{{"query": "{_FIRST}", "variables": {{"a": {DIGITS}}}}}',
    "5,000 digits for an id": f'{{"query": "{_ID}", "variables": {{"a": {DIGITS}}}}}',
    "5,000 digits for a date": f'{{"query": "{_DATE}", "variables": {{"a": {DIGITS}}}}}',
    "5,000 digits for an enum value": f'{{"query": "{_ENUM}", "variables": {{"a": {DIGITS}}}}}',
    "5,000 digits in a string for a number": json.dumps({"query": _FIRST, "variables": {"a": DIGITS}}),
    "5,000 digits for a query": f'{{"query": {DIGITS}}}',
    "5,000 digits for everything": DIGITS,
    "variables in 17 levels": f'{{"query": "{_IDS}", "variables": {{"a": {_nested(17)}}}}}',
    "variables in 900 levels": f'{{"query": "{_IDS}", "variables": {{"a": {_nested(900)}}}}}',
    "variables in 900 levels that nobody asks for": f'{{"query": "{_PUBLIC}", "variables": {{"a": {_nested(900)}}}}}',
    "variables in 30,000 levels": f'{{"query": "{_PUBLIC}", "variables": {{"a": {_nested(30_000)}}}}}',
    "extensions in 30,000 levels": f'{{"query": "{_PUBLIC}", "extensions": {{"a": {_nested(30_000)}}}}}',
    "objects in 10,000 levels": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "large variables of a query": json.dumps({"query": _ID, "variables": {"a": "x", "b": ["y" * 64] * 1_500}}),
    "variables of the wrong kind": json.dumps({"query": _PUBLIC, "variables": [1]}),
    "a list of requests": json.dumps([{"query": _PUBLIC}] * 1_000),
    "no number": f'{{"query": "{_FIRST}", "variables": {{"a": NaN}}}}',
    "infinity": f'{{"query": "{_FIRST}", "variables": {{"a": 1e999}}}}',
    "no JSON": "{" * 50_000,
    "an id of half a character": json.dumps({"documentId": SURROGATE}),
    "a hash of half a character": json.dumps({"query": _PUBLIC, "extensions": {"persistedQuery": {"version": 1, "sha256Hash": SURROGATE}}}),
    "no query": "{}",
    "null": "null",
}
"""Bodies of `POST /graphql` that are refused."""


def _bodies() -> Iterator[HostileRequest]:
    for name, text in BODIES.items():
        statuses = MISSING if name == "an id of half a character" else REFUSED if len(text) <= ANONYMOUS_BYTES else TOO_LARGE
        yield HostileRequest(f"body: {name}", "POST", _GRAPHQL, statuses, {**_ACCEPT, **_JSON}, text.encode())
    yield HostileRequest("body: no UTF-8", "POST", _GRAPHQL, REFUSED, {**_ACCEPT, **_JSON}, b'{"query": "\xff"}')
    for name, variables in (
        ("5,000 digits", f'{{"a": {DIGITS}}}'),
        ("half a character", f'{{"a": "{chr(92)}ud800"}}'),
        ("900 levels", _nested(900)),
    ):
        path = f"{_GRAPHQL}?query={quote(_ENUM)}&variables={quote(variables)}"
        yield HostileRequest(f"variables by GET: with {name}", "GET", path, REFUSED, _ACCEPT)
    for name, value in (("a broken character", "%ED%A0%80"), ("a NUL", "%00")):
        yield HostileRequest(
            f"operation by GET: named by {name}", "GET", f"{_GRAPHQL}?query={quote(_PUBLIC)}&operationName={value}", REFUSED, _ACCEPT
        )


_TEXTS = {
    "5,000 digits": DIGITS,
    "a NUL": "%00",
    "a broken character": "%ED%A0%80",
    "a date of digits": f"{DIGITS}-01-01",
    "other digits": quote("٣٠"),
}
_PARAMETERS = {
    "tenant": {
        "/v1/customer/analytics": ("start_date", "end_date", "api_key_id"),
        "/v1/customer/analytics/export.csv": ("start_date", "end_date", "api_key_id"),
        "/v1/customer/logs": ("limit", "offset", "cursor", "status", "model", "start_date", "end_date", "api_key_id"),
        "/v1/customer/billing/usage-statement.csv": ("month",),
    },
    "admin": {
        "/api/usage/analytics": ("date_from", "date_to", "aggregation", "week_numbering", "model_id", "top_users_limit"),
        "/v1/analytics": ("project_id", "days"),
        "/api/v1/datasets/rankings-daily": ("start_date", "end_date"),
    },
}
_FREE_TEXT = frozenset({"api_key_id", "model", "model_id", "project_id"})
"""Parameters that may name anything: what is not known gives an empty answer, or is not found."""


def _query_strings() -> Iterator[HostileRequest]:
    for role, paths in _PARAMETERS.items():
        for path, names in paths.items():
            for name in names:
                for what, text in _TEXTS.items():
                    statuses = REFUSED | ANSWERED | MISSING if name in _FREE_TEXT else REFUSED
                    if name == "top_users_limit":
                        statuses = REFUSED | ANSWERED
                    yield HostileRequest(f"{path}: {what} as {name}", "GET", f"{path}?{name}={text}", statuses, role=role)


_INGEST = "/v1/ingest/usage"
_RECORD = '{"request_id": "hostile-1", "occurred_at": "2026-06-25T10:30:00Z", "tenant_id": "acme", '
_INGESTED = {
    "5,000 digits of tokens": _RECORD + f'"prompt_tokens": {DIGITS}}}',
    "5,000 digits of latency": _RECORD + f'"latency_ms": {DIGITS}.{DIGITS}e{DIGITS}}}',
    "5,000 digits as a name": _RECORD + f'"model_id": {DIGITS}}}',
    "5,000 digits in an unknown field": _RECORD + f'"more": {DIGITS}}}',
    "half a character as a name": _RECORD + '"model_id": "\\ud800"}',
    "half a character as a field": _RECORD + '"\\ud800": 1}',
    "no number": _RECORD + '"prompt_tokens": NaN}',
    "900 levels": _RECORD + f'"model_id": {_nested(900)}}}',
    "30,000 levels": _RECORD + f'"more": {_nested(30_000)}}}',
    "a NUL": _RECORD + '"username": "a\\u0000b"}',
}


def _ingest() -> Iterator[HostileRequest]:
    for name, record in _INGESTED.items():
        for kind, body in (("application/json", f"[{record}]"), ("application/x-ndjson", record)):
            headers = {"Content-Type": kind}
            yield HostileRequest(f"{kind}: {name}", "POST", _INGEST, ANSWERED | REFUSED, headers, body.encode(), "ingest")
            yield HostileRequest(f"{kind}: {name}, without a key", "POST", _INGEST, UNKNOWN, headers, body.encode())
    for name, record in _INGESTED.items():
        camel = record.replace("request_id", "requestId").replace("occurred_at", "occurredAt").replace("tenant_id", "tenantId")
        camel = camel.replace("prompt_tokens", "promptTokens").replace("latency_ms", "latencyMs").replace("model_id", "modelId")
        body = f'{{"query": "{_RECORDS}", "variables": {{"a": [{camel}]}}}}'
        yield HostileRequest(f"GraphQL: {name}", "POST", _GRAPHQL, ANSWERED | REFUSED, {**_ACCEPT, **_JSON}, body.encode(), "ingest")


_SENDERS = {
    "/v1/ingest/litellm": (
        '[{{"id": "hostile", "call_type": "completion", {} }}]',
        ("prompt_tokens", "startTime", "response_cost", "model", "metadata"),
    ),
    "/v1/ingest/openrouter": (
        '{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{{"name": "hostile", {} }}]}}]}}]}}',
        ("startTimeUnixNano", "traceId", "attributes", "status"),
    ),
    "/v1/traces": (
        '{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{{"name": "hostile", "attributes": [{{"key": "gen_ai.request.model", "value": {{ {} }} }}] }}]}}]}}]}}',
        ("intValue", "stringValue", "arrayValue", "doubleValue"),
    ),
    _INGEST: ('{{"records": [{{ {} }}]}}', ("request_id", "occurred_at", "cost_usd", "username", "status_code")),
}
_VALUES = {
    "5,000 digits": DIGITS,
    "5,000 digits in a string": f'"{DIGITS}"',
    "a float of 15,000 digits": f"{DIGITS}.{DIGITS}e{DIGITS}",
    "half a character": '"\\ud800"',
    "a NUL": '"\\u0000"',
    "no number": "NaN",
    "900 levels": _nested(900),
    "30,000 levels": _nested(30_000),
    "900 levels of objects": '{"a":' * 900 + "1" + "}" * 900,
}


def _senders() -> Iterator[HostileRequest]:
    for path, (body, names) in _SENDERS.items():
        for name in names:
            for what, value in _VALUES.items():
                content = body.format(f'"{name}": {value}').encode()
                yield HostileRequest(f"{path}: {what} as {name}", "POST", path, ANSWERED | REFUSED, _JSON, content, "ingest")
        for what, value in _VALUES.items():
            yield HostileRequest(f"{path}: {what}", "POST", path, ANSWERED | REFUSED, _JSON, value.encode(), "ingest")


_DAYS = 'dates: {from: "2026-06-01", to: "2026-06-26"}'
_NUMBERS = {
    "5,000 digits": f'"{DIGITS}"',
    "a huge exponent": '"1e999999999"',
    "a tiny exponent": '"1e-999999999"',
    "300 digits": "7" * 300,
    "a float of 300 digits": "1e300",
    "not a number": '"NaN"',
    "infinity": '"-Infinity"',
    "underscores": '"1_000"',
    "other digits": '"٣٠"',
}
_STRINGS = {
    "5,000 digits": f'"{DIGITS}"',
    "a NUL": '"a\\u0000b"',
    "a path": '"../../../etc/passwd"',
    "nothing": '""',
    "a pattern": '"%_\\\\%"',
}


def _usage() -> Iterator[HostileRequest]:
    """Questions of one's own, by which more can be said than by any other root."""
    texts: dict[str, str] = {}
    for what, value in _NUMBERS.items():
        texts[f"{what} as a bound"] = f"{{ usage(range: {{{_DAYS}}}, where: {{cost: {{gt: {value}}}}}) {{ totals {{ requests }} }} }}"
        texts[f"{what} as a condition"] = (
            f"{{ usage(range: {{{_DAYS}}}) {{ rows(by: [MODEL], having: [{{metric: COST, gt: {value}}}]) {{ nodes {{ metrics {{ requests }} }} }} }} }}"
        )
    for what, value in _STRINGS.items():
        for operator in ("eq", "contains"):
            texts[f"{what} for {operator}"] = (
                f"{{ usage(range: {{{_DAYS}}}, where: {{model: {{{operator}: {value}}}}}) {{ totals {{ requests }} }} }}"
            )
        texts[f"{what} as a time zone"] = f"{{ usage(range: {{{_DAYS}}}, timeZone: {value}) {{ totals {{ requests }} }} }}"
        texts[f"{what} as a date"] = f"{{ usage(range: {{dates: {{from: {value}, to: {value}}}}}) {{ totals {{ requests }} }} }}"
        texts[f"{what} as a cursor"] = (
            f"{{ usage(range: {{{_DAYS}}}) {{ rows(by: [MODEL], after: {value}) {{ nodes {{ metrics {{ requests }} }} }} }} }}"
        )
    nested = "{not: " * 40 + "{cacheHit: true}" + "}" * 40
    texts["40 levels of conditions"] = f"{{ usage(range: {{{_DAYS}}}, where: {nested}) {{ totals {{ requests }} }} }}"
    wide = " ".join('{model: {contains: "x"}}' for _ in range(380))
    texts["380 conditions"] = f"{{ usage(range: {{{_DAYS}}}, where: {{or: [{wide}]}}) {{ totals {{ requests }} }} }}"
    texts["ends of time"] = '{ usage(range: {dates: {from: "0001-01-01", to: "9999-12-31"}}) { totals { requests } } }'
    for name, text in texts.items():
        body = json.dumps({"query": text}).encode()
        yield HostileRequest(f"usage: {name}", "POST", _GRAPHQL, ANSWERED | REFUSED, {**_ACCEPT, **_JSON}, body, "admin")


_HEADERS = {
    "a key of other letters": ({"Authorization": "Bearer \xff\xfe"}, UNKNOWN),
    "a key of 7,000 digits": ({"X-API-Key": "7" * 7_000}, UNKNOWN),
    "another scheme": ({"Authorization": "Digest " + "a=b, " * 1_000}, UNKNOWN),
    "a request id of other letters": ({"X-Request-ID": "\xff" * 100}, UNKNOWN),
    "a tenant of other letters": ({"X-Tenant-ID": "\xff" * 100}, UNKNOWN),
    "validators": ({"If-None-Match": ", ".join(['W/"x"'] * 1_000)}, UNKNOWN),
}


def _headers() -> Iterator[HostileRequest]:
    for name, (headers, statuses) in _HEADERS.items():
        yield HostileRequest(f"headers: {name}", "GET", "/v1/customer/analytics", statuses, headers)


HOSTILE: tuple[HostileRequest, ...] = (*_documents(), *_bodies(), *_query_strings(), *_ingest(), *_senders(), *_usage(), *_headers())
"""All of them, by unique names."""
