"""Apollo Client, urql's graphcache and Relay's compiler take the schema as it is: no type policies, no keys, no exceptions."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    FieldNode,
    GraphQLObjectType,
    GraphQLOutputType,
    NameNode,
    OperationDefinitionNode,
    SelectionSetNode,
    Visitor,
    build_schema,
    get_named_type,
    is_leaf_type,
    is_required_argument,
    parse,
    print_ast,
    visit,
)

from app.resolvers.schema import print_schema
from tests.factories import make_record
from tests.gateway import Gateway

CLIENTS = Path(__file__).resolve().parents[2] / "frontend" / "clients"
SCHEMA = build_schema(print_schema())

set_up = pytest.mark.skipif(not (CLIENTS / "node_modules").is_dir(), reason="the GraphQL clients are not set up: make clients")

GRAPH = [
    """query Directory { tenants { nodes { id tenantId projects { edges { cursor node { id projectId tenant { id tenantId } } } }
      users { nodes { id userId username } } apiKeys { nodes { id keyId status } } callerKeys { nodes { id apiKeyId } } } } }""",
    """query Catalog { models { nodes { id modelId name provider { id providerId name } variants { id permaslug model { id name }
      prices { id validFrom costPerInputToken } } } pageInfo { hasNextPage endCursor } } viewer { id keyId role } }""",
    """query People { users { edges { node { id userId tenant { id tenantId } tenants { nodes { id tenantId } } } } }
      providers { nodes { id name models { nodes { id modelId isPublic } } } } }""",
    """query Requests { tenantRequests(tenantId: "acme") { edges { cursor node { id requestId outcome provider { id name } } } pageInfo { endCursor } }
      quarantinedRecords { nodes { id recordId } totalCount } }""",
    'query One { model(modelId: "lab/public") { id name isPublic } project: projects(first: 1) { nodes { id projectId } } }',
]

SUMS = [
    """query Sums { usage(range: {period: ALL_TIME}) { totals { requests cost { usd } } rows(by: [MODEL]) { nodes { label model { id name }
      metrics { totalTokens latency { p95 } } } } } network { totals { totalTokens } trend { d7 { bucket totalTokens } } } }""",
]
"""Sums, which are values."""


class _WithTypenames(Visitor):
    def leave_selection_set(self, node: SelectionSetNode, _key: Any, parent: Any, *_: Any) -> SelectionSetNode | None:
        """Add `__typename` where clients do: everywhere but at the root."""
        if isinstance(parent, OperationDefinitionNode):
            return None
        return SelectionSetNode(selections=(*node.selections, FieldNode(name=NameNode(value="__typename"))))


def with_typenames(text: str) -> str:
    return print_ast(visit(parse(text), _WithTypenames()))


def entities(value: Any) -> Iterator[tuple[str, str]]:
    """Give the type and id of every object of an answer that has an id."""
    if isinstance(value, list):
        for inner in value:
            yield from entities(inner)
    elif isinstance(value, dict):
        if "id" in value:
            yield value["__typename"], value["id"]
        for inner in value.values():
            yield from entities(inner)


async def answers_of(gateway: Gateway, documents: list[str]) -> list[dict[str, Any]]:
    await gateway.catalog({"model_id": "lab/public", "public": True, "cost_per_input_token": "0.1"})
    records = [
        make_record(
            request_id=f"r{number}", tenant_id=tenant, project_id="web", api_key_id="key", user_id=f"u{number}", model_id="lab/public"
        )
        for tenant in ("acme", "umbrella")
        for number in (1, 2)
    ]
    await gateway.store(records)
    await gateway.key("tenant", "acme")
    admin = await gateway.key("admin")
    answers = []
    for text in map(with_typenames, documents):
        answer = await gateway.graphql(text, admin)
        assert "errors" not in answer, answer
        answers.append({"query": text, "variables": {}, "data": answer["data"]})
    return answers


def run_node(*command: str, given: str = "", cwd: Path = CLIENTS) -> str:
    with_node = [str(CLIENTS.parent / "with-node"), "sh", "-c", 'cd "$0" && exec "$@"', str(cwd), *command]
    run = subprocess.run(with_node, input=given, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@set_up
async def test_apollo_and_urql_normalise_every_object_without_configuration(gateway: Gateway) -> None:
    answers = await answers_of(gateway, GRAPH)
    found = json.loads(run_node("node", "caches.mjs", given=json.dumps({"answers": answers, "values": []})))
    known = {f"{kind}:{key}" for answer in answers for kind, key in entities(answer["data"])}
    assert len({key.partition(":")[0] for key in known}) >= 10, "of most types there is one"
    assert found["apollo"]["warnings"] == []
    assert set(found["apollo"]["keys"]) - {"ROOT_QUERY", "__META"} == known
    assert found["apollo"]["missed"] == []
    assert found["urql"] == {"warnings": [], "missed": []}


@set_up
async def test_urql_keeps_values_once_it_is_told_which_types_they_are(gateway: Gateway) -> None:
    answers = await answers_of(gateway, SUMS)
    kinds = [kind for kind in SCHEMA.type_map.values() if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__")]
    values = [kind.name for kind in kinds if "id" not in kind.fields and kind not in (SCHEMA.query_type, SCHEMA.mutation_type)]
    for known in ([], values):
        found = json.loads(run_node("node", "caches.mjs", given=json.dumps({"answers": answers, "values": known})))["urql"]
        assert found["missed"] == []
        assert (found["warnings"] == []) == bool(known)


def _selection(kind: GraphQLOutputType) -> str:
    """Return a leaf of a type, and its id if it has one."""
    named = get_named_type(kind)
    assert isinstance(named, GraphQLObjectType)
    leaf = next(name for name, field in named.fields.items() if is_leaf_type(get_named_type(field.type)) and not field.args)
    return "id" if "id" in named.fields else leaf


def nodes() -> list[GraphQLObjectType]:
    return sorted(SCHEMA.get_possible_types(SCHEMA.type_map["Node"]), key=lambda kind: kind.name)  # type: ignore[arg-type]


def connections() -> Iterator[tuple[GraphQLObjectType, str, GraphQLObjectType]]:
    """Give every field that is a connection: its type's name, its own, and the connection."""
    for kind in (*nodes(), SCHEMA.query_type):
        assert kind is not None
        for name, field in kind.fields.items():
            inner = get_named_type(field.type)
            if isinstance(inner, GraphQLObjectType) and inner.name.endswith("Connection"):
                assert not any(is_required_argument(argument) for argument in field.args.values())
                yield kind, name, inner


def relay_documents() -> list[str]:
    """Return a fragment that can be refetched of each type of node, and one that pages of each of its connections."""
    documents = [
        f'fragment Clients_{kind.name} on {kind.name} @refetchable(queryName: "Clients{kind.name}RefetchQuery") {{ id }}'
        for kind in nodes()
    ]
    for kind, name, connection in connections():
        edge = get_named_type(connection.fields["edges"].type)
        assert isinstance(edge, GraphQLObjectType)
        documents.append(
            f"fragment Clients_{kind.name}_{name} on {kind.name} "
            f'@refetchable(queryName: "Clients{kind.name}{name}PaginationQuery") '
            '@argumentDefinitions(count: {type: "Int", defaultValue: 10}, cursor: {type: "String"}) '
            f'{{ {name}(first: $count, after: $cursor) @connection(key: "Clients_{kind.name}_{name}") '
            f"{{ edges {{ node {{ {_selection(edge.fields['node'].type)} }} }} }} }}"
        )
    return documents


@set_up
def test_relay_refetches_every_node_and_pages_every_connection(tmp_path: Path) -> None:
    documents = relay_documents()
    assert len(documents) > len(nodes()) + 10
    (tmp_path / "schema.graphql").write_text(print_schema(), encoding="utf-8")
    (tmp_path / "src").mkdir()
    source = "\n".join(f"graphql`{text}`;" for text in documents)
    (tmp_path / "src" / "Clients.js").write_text(f"import {{graphql}} from 'relay-runtime';\n{source}\n", encoding="utf-8")
    config = {"src": "./src", "schema": "./schema.graphql", "language": "javascript", "eagerEsModules": True}
    (tmp_path / "relay.config.json").write_text(json.dumps(config), encoding="utf-8")
    run_node(str(CLIENTS / "node_modules" / ".bin" / "relay-compiler"), "relay.config.json", cwd=tmp_path)
    made = {path.name for path in (tmp_path / "src" / "__generated__").iterdir()}
    assert len(made) >= 2 * len(documents)


@set_up
def test_the_schema_and_the_stored_documents_keep_the_rules_of_graphql_eslint() -> None:
    run_node("npm", "run", "--silent", "lint")
