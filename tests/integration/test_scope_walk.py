"""Walks the whole schema as a tenant, and as everybody else: no name and no number of another tenant may be anywhere in an answer.

Every root stands in `ROOTS` with arguments that try to reach over; a root or an argument that does not fails the test.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any

import pytest
from graphql import GraphQLInterfaceType, GraphQLObjectType, GraphQLSchema, build_schema, get_named_type, is_leaf_type
from strawberry.relay import to_base64

from app.auth.store import KeyRequest, create_key
from app.domain.principal import Role
from app.domain.usage import ParsedBatch, Quarantined, Reason, UsageRecord
from app.resolvers.schema import print_schema
from app.write.batch import Ingestor
from tests.clock import NOW
from tests.factories import make_record
from tests.gateway import Gateway

SCHEMA: GraphQLSchema = build_schema(print_schema())
DEPTH = 4

OWN, FOREIGN = "alpha", "bravo"
NUMBERS = {OWN: "5200000", FOREIGN: "7300000"}
"""How every number of a tenant's records begins; sums over both tenants begin otherwise."""

Arguments = dict[str, Any]


def names(kind: str) -> list[str]:
    return [f"{OWN}-{kind}", f"{FOREIGN}-{kind}", "no-such-thing"]


def cursor(*parts: str) -> str:
    return base64.urlsafe_b64encode(("[" + ",".join(f'"{part}"' for part in parts) + "]").encode()).decode().rstrip("=")


def pages(listing: str, *position: str) -> list[Arguments]:
    place = cursor(listing, *position)
    return [{"first": 100}, {"first": 1}, {"first": 100, "after": place}, {"last": 100}, {"last": 1, "before": place}]


def node_ids(tenant: str) -> list[str]:
    """Return global ids of what a tenant has, as anybody can make them."""
    of_tenant = f"{tenant}-tenant"
    request = base64.urlsafe_b64encode(f"@{of_tenant} 1782383400000000:{tenant}-request-1".encode()).decode().rstrip("=")
    names = {
        "Tenant": [of_tenant],
        "Project": [of_tenant, f"{tenant}-project"],
        "CallerKey": [of_tenant, f"{tenant}-caller-key"],
        "User": [f"{tenant}-user"],
        "Model": [f"{tenant}-lab/own"],
        "ModelVariant": [f"{tenant}-lab/own", f"{tenant}-lab/own"],
        "ModelPrice": [f"{tenant}-lab/own", f"{tenant}-lab/own", ""],
        "Provider": [f"{tenant}-provider"],
    }
    return [request, *(to_base64(kind, "\n".join(parts)) for kind, parts in names.items())]


def type_of(node_id: str) -> str:
    text = base64.urlsafe_b64decode(node_id + "=" * (-len(node_id) % 4)).decode()
    return "TenantRequest" if text.startswith("@") else text.partition(":")[0]


WINDOW = {"startDate": "2026-06-01", "endDate": "2026-06-26"}
OF_TENANTS: list[Arguments] = [
    {"tenantId": None},
    *({"tenantId": name} for name in names("tenant")),
    *({"apiKeyId": name} for name in names("caller-key")),
    {"tenantId": f"{FOREIGN}-tenant", "apiKeyId": f"{FOREIGN}-caller-key"},
]

ROOTS: dict[str, list[Arguments]] = {
    "viewer": [{}],
    "network": [{}],
    "rankingsDaily": [WINDOW],
    "models": pages("models", "a"),
    "model": [{"modelId": name} for name in [*names("lab/own"), "shared/model"]],
    "providers": pages("providers", "a"),
    "provider": [{"providerId": name} for name in [*names("provider"), f"{FOREIGN}-lab", "shared"]],
    "tenants": pages("tenants", "a"),
    "tenant": [{"tenantId": name} for name in names("tenant")],
    "projects": pages("projects", f"{OWN}-tenant", "z"),
    "users": pages("users", "a"),
    "user": [{"userId": name} for name in [*names("user"), "shared-user"]],
    "apiKeys": pages("api_keys", "a"),
    "usage": [
        {"range": {"dates": {"from": "2026-06-01", "to": "2026-06-26"}}, "timeZone": "Asia/Kathmandu", "compareTo": {"previous": "MONTH"}},
        *(
            {"range": {"period": "ALL_TIME"}, "where": where}
            for where in (
                {"tenant": {"eq": f"{FOREIGN}-tenant"}},
                {"or": [{"tenant": {"startsWith": FOREIGN}}, {"not": {"tenant": {"eq": f"{OWN}-tenant"}}}]},
                {"project": {"eq": f"{FOREIGN}-project"}},
                {"user": {"contains": FOREIGN}},
                {"apiKey": {"in": names("caller-key")}},
            )
        ),
    ],
    "node": [{"id": one} for tenant in (OWN, FOREIGN) for one in node_ids(tenant)],
    "nodes": [{"ids": [one]} for one in node_ids(FOREIGN)],
    "usageCatalog": [{}],
    "usageAnalytics": [
        {"topUsersLimit": 1000, "byModelLimit": 1000, "fillGaps": False},
        {"dateFrom": "2026-06-01", "dateTo": "2026-06-26", "aggregation": "WEEK", "weekNumbering": "MONDAY", "fillGaps": True},
        {"modelId": f"{FOREIGN}-lab/own"},
    ],
    "quarantinedRecords": [
        {"first": 100},
        {"first": 1},
        {"first": 100, "after": base64.urlsafe_b64encode(b"0:" + b"0" * 32).decode().rstrip("=")},
        {"last": 100},
        {"last": 1, "before": base64.urlsafe_b64encode(b"9999999999999999:" + b"f" * 32).decode().rstrip("=")},
        {"tenantId": f"{FOREIGN}-tenant", "includeResolved": True, "source": "otlp"},
    ],
    "gatewayStats": [{}, {"days": 30, "providersLimit": 1, "modelsLimit": 1000, "projectsLimit": 1}, {"projectId": f"{FOREIGN}-project"}],
    "tenantAnalytics": [{**WINDOW, **arguments} for arguments in OF_TENANTS],
    "tenantUsage": [
        *({"date": "2026-06-25", **arguments} for arguments in OF_TENANTS),
        {
            "date": "2026-06-24",
            "endDate": "2026-06-26",
            "limit": 1,
            "after": base64.urlsafe_b64encode(f'["2026-06-25","{FOREIGN}-lab/own","x","",0]'.encode()).decode(),
        },
    ],
    "tenantRequests": [
        *({"first": 100, **WINDOW, **arguments} for arguments in OF_TENANTS),
        {"modelId": f"{FOREIGN}-lab/own"},
        {"first": 1, "offset": 1, "outcome": "SUCCESS"},
        {"after": base64.urlsafe_b64encode(f"1782383400000000:{FOREIGN}-request-1".encode()).decode()},
    ],
}

GROUPED = {
    "rows": "(by: [TENANT, PROJECT, USER, API_KEY, PROVIDER, PERMASLUG, MODEL])",
}
"""Arguments of fields without which they tell too little."""

OWN_USAGE = """usage(range: {dates: {from: "2026-06-25", to: "2026-06-25"}}) {
  totals { requests promptTokens users tenants cost { usd } }
  rows(by: [TENANT, USER, PERMASLUG]) { nodes { label metrics { totalTokens } } rest { totalTokens } }
}"""
"""What is asked of the objects that have a usage of their own, which leads to objects again."""

SEES_EVERY_TENANT = {("gatewayStats", "gateway"), ("usageCatalog", "gateway")}
"""Documented: the gateway's key sees the projects and models of all traffic, by name."""


ALSO_TOLD = {"admin": ["BAD_USER_INPUT"], "unknown": ["RATE_LIMITED"]}
"""Errors that only some get: an admin has to name the tenant, and whoever tries many wrong keys has to wait."""


def roots() -> dict[str, Any]:
    query = SCHEMA.query_type
    assert query is not None
    return dict(query.fields)


def test_every_root_and_every_argument_is_walked() -> None:
    assert set(ROOTS) == set(roots()), "give the root arguments in ROOTS that try to reach over to another tenant"
    for name, field in roots().items():
        walked = {argument for arguments in ROOTS[name] for argument in arguments}
        assert walked == set(field.args), f"{name}: give every argument a value in ROOTS"


def select(kind: Any, depth: int) -> str:
    """Return a selection of every field to a depth; what a connection consists of adds none."""
    kind = get_named_type(kind)
    assert isinstance(kind, GraphQLObjectType), f"{kind}: teach the walk to select it"
    selected = []
    for name, field in kind.fields.items():
        inner = get_named_type(field.type)
        if is_leaf_type(inner):
            selected.append(f"{name}(of: REQUESTS)" if "of" in field.args else name)
            continue
        glue = inner.name.endswith(("Connection", "PageInfo"))
        if inner.name.endswith("Edge"):
            selected.append(f"{name} {{ cursor }}")
        elif glue or depth > 0:
            if name == "usage":
                selected.append(OWN_USAGE)
                continue
            fields = select(inner, depth if glue else depth - 1)
            selected += [f"{name}{GROUPED.get(name, '')} {{ {fields} }}"] if fields else []
    return " ".join(selected)


def document(name: str, arguments: Arguments) -> str:
    field = roots()[name]
    declared = ", ".join(f"${argument}: {field.args[argument].type}" for argument in arguments)
    given = ", ".join(f"{argument}: ${argument}" for argument in arguments)
    inner = get_named_type(field.type)
    if isinstance(inner, GraphQLInterfaceType):
        kind = type_of(arguments["id"] if "id" in arguments else arguments["ids"][0])
        selection = f" {{ id ... on {kind} {{ {select(SCHEMA.type_map[kind], DEPTH)} }} }}"
    else:
        selection = "" if is_leaf_type(inner) else f" {{ {select(inner, DEPTH)} }}"
    return f"query{f' ({declared})' if declared else ''} {{ {name}{f'({given})' if given else ''}{selection} }}"


def texts(value: Any) -> Iterator[str]:
    """Give every name and value of an answer, and what is written in base 64 also as it reads."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    else:
        text = str(value)
        yield text
        with contextlib.suppress(ValueError, binascii.Error):
            yield base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


def named(answer: Any, tenant: str) -> list[str]:
    """Return what an answer holds of a tenant's names."""
    return [text for text in texts(answer) if tenant in text]


def counted(answer: Any, tenant: str) -> list[str]:
    """Return what an answer holds of a tenant's numbers: those of its records, their sums, and sums of several kinds of them."""
    sums = figures(records_of(tenant))
    return [text for text in texts(answer) if NUMBERS[tenant] in text or text.removesuffix(".0") in sums]


def marks(answer: Any, tenant: str) -> list[str]:
    """Return what an answer tells of a tenant."""
    return named(answer, tenant) + counted(answer, tenant)


def figures(records: list[UsageRecord]) -> set[str]:
    """Return the numbers that somebody who sees just these records could compute."""
    kinds: list[Callable[[UsageRecord], Any]] = [
        lambda record: record.prompt_tokens,
        lambda record: record.completion_tokens,
        lambda record: record.cached_tokens,
        lambda record: record.prompt_tokens + record.completion_tokens,
        lambda record: record.prompt_tokens - record.cached_tokens,
        lambda record: record.cost_usd,
        lambda record: record.shared_model_spend,
        lambda record: record.byok_platform_fee,
        lambda record: record.managed_tool_fee,
        lambda record: record.agent_runtime_fee,
        lambda record: record.shared_model_spend + record.byok_platform_fee + record.managed_tool_fee + record.agent_runtime_fee,
        lambda record: record.search_requests,
        lambda record: record.latency_ms,
    ]
    found = [value for kind in kinds for values in [[kind(record) for record in records]] for value in (*values, sum(values))]
    return {format(value, "f").removesuffix(".0") for value in map(Decimal, found)}


@lru_cache
def records_of(tenant: str) -> list[UsageRecord]:
    """Return a tenant's records: one of the public model, one of a model of its own."""
    number = NUMBERS[tenant]
    return [
        make_record(
            request_id=f"{tenant}-request-{position}",
            tenant_id=f"{tenant}-tenant",
            project_id=f"{tenant}-project",
            api_key_id=f"{tenant}-caller-key",
            user_id="shared-user" if position == 1 else f"{tenant}-user",
            username=f"{tenant} calls it so",
            model_id="shared/model" if position == 1 else f"{tenant}-lab/own",
            provider=None if position == 1 else f"{tenant}-provider",
            prompt_tokens=int(f"{number}{position}9"),
            completion_tokens=int(f"{number}{position}"),
            cached_tokens=int(f"{number}{position}"),
            cost_usd=Decimal(f"{number}{position}.5"),
            shared_model_spend=int(f"{number}{position}1"),
            byok_platform_fee=int(f"{number}{position}2"),
            managed_tool_fee=int(f"{number}{position}3"),
            agent_runtime_fee=int(f"{number}{position}4"),
            search_requests=int(f"{number}{position}5"),
            latency_ms=Decimal(f"{number}{position}.5"),
        )
        for position in (1, 2)
    ]


async def fill(gateway: Gateway) -> None:
    """Both tenants with the same kinds of records, each with its names and numbers; one public model and one user are shared."""
    await gateway.catalog(
        {"model_id": "shared/model", "public": True},
        *(
            {"model_id": f"{tenant}-lab/own", "name": f"{tenant} codename", "cost_per_input_token": f"0.{number}1"}
            for tenant, number in NUMBERS.items()
        ),
    )
    for tenant in NUMBERS:
        await gateway.store(records_of(tenant))
        for role in (Role.TENANT, Role.INGEST):
            await create_key(gateway.database, KeyRequest(role, tenant_id=f"{tenant}-tenant", name=f"{tenant} key"), NOW)
        await Ingestor(gateway.database).ingest(ParsedBatch(received=1, quarantined=[quarantined_of(tenant)]))
    await gateway.snapshot()


def quarantined_of(tenant: str) -> Quarantined:
    """Return a record of a tenant that contradicts itself."""
    values = {"request_id": f"{tenant}-odd-request", "tenant_id": f"{tenant}-tenant", "prompt_tokens": int(f"{NUMBERS[tenant]}9")}
    return Quarantined(0, "otlp", NOW, None, values, (Reason("cached_tokens", f"is more than {NUMBERS[tenant]}"),))


async def walk(gateway: Gateway, headers: dict[str, str], role: str) -> dict[str, list[Any]]:
    """Ask every root with all its arguments; return the answers by root."""
    answers: dict[str, list[Any]] = {}
    for name, variations in ROOTS.items():
        for arguments in variations:
            answer = await gateway.graphql(document(name, arguments), headers, **arguments)
            codes = {error["extensions"]["code"] for error in answer.get("errors", [])}
            allowed = {"UNAUTHENTICATED", "FORBIDDEN", "NOT_FOUND", *ALSO_TOLD.get(role, ())}
            assert codes <= allowed, (name, arguments, answer)
            answers.setdefault(name, []).append(answer)
    return answers


@pytest.mark.parametrize("role", ["tenant", "ingest", "bound admin", "gateway", "unbound ingest", "secret", "anonymous", "unknown"])
async def test_nothing_of_another_tenant_is_anywhere(gateway: Gateway, role: str) -> None:
    await fill(gateway)
    headers = {
        "secret": {"Authorization": "Bearer gateway-secret"},
        "anonymous": {},
        "unknown": {"X-API-Key": "tg_wrong"},
    }.get(role)
    if headers is None:
        headers = await gateway.key(role.split()[-1], f"{OWN}-tenant" if role in ("tenant", "ingest", "bound admin") else None)
    kind = "gateway" if role == "secret" else role
    answers = await walk(gateway, headers, role)
    for name, found in answers.items():
        if (name, kind) in SEES_EVERY_TENANT:
            assert marks(found, FOREIGN)
        else:
            assert marks(found, FOREIGN) == [], name
    own = {name for name, found in answers.items() if marks(found, OWN)}
    of_tenants = {"node", "models", "model", "providers", "provider", "tenants", "tenant", "projects", "users", "user", "apiKeys"}
    expected = {
        "tenant": of_tenants | {"viewer", "usage", "usageCatalog", "tenantAnalytics", "tenantUsage", "tenantRequests"},
        "bound admin": set(ROOTS) - {"network", "rankingsDaily", "nodes"},
        "ingest": {"viewer"},
        "gateway": {"gatewayStats", "usageCatalog"},
    }.get(kind, set())
    assert own == expected


CUSTOMER = ("/v1/customer/analytics", "/v1/customer/analytics/export.csv", "/v1/customer/logs", "/v1/customer/billing/usage-statement.csv")


def secrets(answer: Any) -> list[str]:
    """Return what an answer holds of what the catalog alone says of private entries, whoever uses them: names and prices."""
    prices = [f"0.{number}1" for number in NUMBERS.values()]
    return [text for text in texts(answer) if "codename" in text or any(price in text for price in prices)]


@pytest.mark.parametrize("role", ["tenant", "ingest", "gateway"])
async def test_what_the_catalog_says_of_private_entries_is_nowhere(gateway: Gateway, role: str) -> None:
    """Not by any root, and not by any URL that a tenant's key opens, though the tenant's own records name its entry."""
    await fill(gateway)
    headers = await gateway.key(role, None if role == "gateway" else f"{OWN}-tenant")
    for name, found in (await walk(gateway, headers, role)).items():
        assert secrets(found) == [], name
    for path in CUSTOMER:
        assert secrets((await gateway.client.get(path, headers=headers)).text) == [], path
    if role != "gateway":
        return
    answers = await walk(gateway, await gateway.key("admin"), "admin")
    assert {name for name, found in answers.items() if secrets(found)} >= {"models", "model", "providers"}


async def test_an_admin_sees_both(gateway: Gateway) -> None:
    await fill(gateway)
    answers = await walk(gateway, await gateway.key("admin"), "admin")
    public = {"viewer", "network", "rankingsDaily"}
    for name, found in answers.items():
        for tenant in NUMBERS:
            assert bool(marks(found, tenant)) == (name not in public), (name, tenant)
    for name in ("tenantAnalytics", "tenantUsage", "tenantRequests", "usageAnalytics", "model"):
        for tenant in NUMBERS:
            assert counted(answers[name], tenant), (name, tenant)


@pytest.mark.parametrize("name", ["model", "provider", "tenant", "user", "tenantAnalytics", "tenantUsage", "tenantRequests"])
async def test_what_is_foreign_is_answered_as_what_is_not_there(gateway: Gateway, name: str) -> None:
    await fill(gateway)
    headers = await gateway.key("tenant", f"{OWN}-tenant")
    for argument in [
        argument for argument in ("modelId", "providerId", "userId", "tenantId", "apiKeyId") if argument in roots()[name].args
    ]:
        missing, foreign = [
            await gateway.graphql(document(name, arguments), headers, **arguments)
            for arguments in (
                {**({"date": "2026-06-25"} if name == "tenantUsage" else {}), argument: given} for given in _pair(name, argument)
            )
        ]
        assert foreign == missing


def _pair(name: str, argument: str) -> tuple[str, str]:
    kind = {"model": "lab/own", "provider": "provider", "user": "user"}.get(name, "tenant")
    return "no-such-thing", f"{FOREIGN}-{'caller-key' if argument == 'apiKeyId' else kind}"
