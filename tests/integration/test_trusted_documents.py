"""Trusted documents over HTTP: how clients name them, who is answered what, what caches may keep, and how they come and go beside a server."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from app.cli import main
from app.domain.errors import TokengraphError
from app.settings import Settings
from app.web.app import Wiring, create_app
from tests.clock import FakeClock
from tests.factories import make_record
from tests.gateway import Gateway

NETWORK = "query Network { network { totals { totalTokens requests } } }"
SPEND = "query Spend { tenantAnalytics { summary { totalTokens } } }"
MODEL = "query Model($id: String!) { model(modelId: $id) { name } }"
TWO = "query Totals { network { totals { totalTokens } } } mutation Revoke($id: String!) { revokeApiKey(keyId: $id) { keyId } }"
ADHOC = "{ network { totals { requests } } }"
NEWER = "application/graphql-response+json"

TRUSTED = {"network": NETWORK, "spend": SPEND, "two": TWO, "6a7a40eb1c06e7d0b3b35d2f4d9a8f2c": MODEL}

Opener = Callable[..., AbstractAsyncContextManager[Gateway]]


def digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def persisted(text: str) -> dict[str, Any]:
    """The extensions of Apollo's clients."""
    return {"persistedQuery": {"version": 1, "sha256Hash": digest(text)}}


def as_url(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def put(folder: Path, name: str, value: object) -> None:
    """Put a manifest in place at once, as a deployment does."""
    draft = folder / f".{name}"
    draft.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    draft.replace(folder / name)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of manifests that is looked at with every request."""
    monkeypatch.setattr("app.web.documents.CHECK_SECONDS", 0.0)
    (tmp_path / "documents").mkdir()
    put(tmp_path / "documents", "default.json", TRUSTED)
    return tmp_path / "documents"


@pytest.fixture
def opened(database_url: str, folder: Path) -> Opener:
    """Open a gateway that trusts the folder."""

    @asynccontextmanager
    async def open_gateway(**settings: Any) -> AsyncIterator[Gateway]:
        clock = FakeClock()
        given: dict[str, Any] = {"database_url": database_url, "documents": folder, "failed_auth_rate_limit": "off"} | settings
        app = create_app(Settings(**given), Wiring(clock=clock, jobs=False))
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://gateway") as client,
        ):
            yield Gateway(app, client, app.state.services.database, clock)

    return open_gateway


@pytest.fixture
async def trusting(opened: Opener) -> AsyncIterator[Gateway]:
    """A gateway that trusts the folder, and has records and a snapshot."""
    async with opened() as gateway:
        await gateway.store(
            [
                make_record(tenant_id="acme", request_id="r1", prompt_tokens=5, completion_tokens=0),
                make_record(tenant_id="other", request_id="r2", prompt_tokens=70, completion_tokens=0),
            ]
        )
        await gateway.snapshot()
        yield gateway


async def get(gateway: Gateway, headers: dict[str, str] | None = None, **parameters: Any) -> httpx.Response:
    texts = {name: value if isinstance(value, str) else as_url(value) for name, value in parameters.items()}
    return await gateway.client.get("/graphql", params=texts, headers=headers)


async def post(gateway: Gateway, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    content = json.dumps(body)  # in ASCII, so that it can hold what has no UTF-8
    return await gateway.client.post("/graphql", content=content, headers={"Content-Type": "application/json"} | (headers or {}))


def error_of(response: httpx.Response) -> tuple[str, str]:
    (error,) = response.json()["errors"]
    return error["extensions"]["code"], error["message"]


async def test_a_document_is_named_by_its_id_or_by_the_hash_of_its_text(trusting: Gateway) -> None:
    expected = {"data": {"network": {"totals": {"totalTokens": 75, "requests": 2}}}}
    for name in ("network", f"sha256:{digest(NETWORK)}"):
        for response in (await post(trusting, documentId=name), await get(trusting, documentId=name)):
            assert (response.status_code, response.json()) == (200, expected)
    for extensions in (persisted(NETWORK), {"persistedQuery": {"version": 1, "sha256Hash": "network"}}):
        for response in (await post(trusting, extensions=extensions), await get(trusting, extensions=extensions)):
            assert (response.status_code, response.json()) == (200, expected)


async def test_variables_and_operation_names_go_with_an_id(trusting: Gateway) -> None:
    key = await trusting.key("admin")
    name = "6a7a40eb1c06e7d0b3b35d2f4d9a8f2c"
    await trusting.catalog({"model_id": "openai/gpt-4o", "name": "GPT-4o"})
    variables = {"id": "openai/gpt-4o"}
    for response in (
        await post(trusting, key, documentId=name, variables=variables),
        await get(trusting, key, documentId=name, variables=variables),
    ):
        assert response.json()["data"] == {"model": {"name": "GPT-4o"}}
    missing = await post(trusting, key, documentId=name)
    assert "$id" in error_of(missing)[1]
    totals = await get(trusting, documentId="two", operationName="Totals")
    assert totals.json() == {"data": {"network": {"totals": {"totalTokens": 75}}}}
    assert "operation name" in error_of(await get(trusting, documentId="two"))[1]
    assert "operation name" in error_of(await get(trusting, documentId="two", operationName=""))[1]
    assert "Nothing" in error_of(await post(trusting, documentId="two", operationName="Nothing"))[1]


async def test_a_mutation_runs_by_post_and_never_by_get(trusting: Gateway) -> None:
    admin = await trusting.key("admin")
    made = await trusting.key("tenant", "acme")
    listed = await trusting.graphql("{ apiKeys { nodes { keyId role revokedAt } } }", admin)
    (target,) = [node["keyId"] for node in listed["data"]["apiKeys"]["nodes"] if node["role"] == "TENANT"]
    asked = {"operationName": "Revoke", "variables": {"id": target}}
    for named in ({"documentId": "two"}, {"extensions": persisted(TWO)}):
        refused = await get(trusting, admin, **named, **asked)
        assert (refused.status_code, refused.headers["allow"], refused.headers["cache-control"]) == (405, "POST", "private, no-store")
        assert error_of(refused) == ("BAD_USER_INPUT", "mutations are not allowed when using GET")
    assert (await get(trusting, made, documentId="spend")).json()["data"]
    done = await post(trusting, admin, documentId="two", **asked)
    assert done.json()["data"] == {"revokeApiKey": {"keyId": target}}
    assert error_of(await get(trusting, made, documentId="spend"))[0] == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    "name",
    ["nothing", "../default.json", "__proto__", "sha256:", f"sha256:{digest(ADHOC)}", f"SHA256:{digest(NETWORK)}", "a\x00b", "é", "' OR 1"],
)
async def test_an_unknown_id_is_one_error_that_repeats_nothing(trusting: Gateway, name: str) -> None:
    for response in (await post(trusting, documentId=name), await get(trusting, documentId=name)):
        assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
        assert response.json() == {"errors": [{"message": "PersistedQueryNotFound", "extensions": {"code": "PERSISTED_QUERY_NOT_FOUND"}}]}
    newer = await post(trusting, {"Accept": NEWER}, documentId=name)
    assert (newer.status_code, newer.headers["content-type"]) == (404, NEWER)
    page = await get(trusting, {"Accept": "text/html,*/*"}, documentId=name)
    assert page.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"documentId": 1}, "documentId must be a string"),
        ({"documentId": ["network"]}, "documentId must be a string"),
        ({"documentId": ""}, "documentId must have 1 to 256 characters"),
        ({"documentId": "a" * 257}, "documentId must have 1 to 256 characters"),
        ({"documentId": None}, "No GraphQL query"),
        ({"documentId": "network", "query": NETWORK}, "one of them names the document"),
        ({"documentId": "network", "extensions": persisted(NETWORK)}, "one of them names the document"),
        ({"extensions": {}}, "No GraphQL query"),
        ({"extensions": {"persistedQuery": None}}, "No GraphQL query"),
        ({"extensions": {"persistedQuery": "network"}}, "extensions.persistedQuery must be an object"),
        ({"extensions": {"persistedQuery": {"sha256Hash": "network"}}}, "Unsupported persisted query version"),
        ({"extensions": {"persistedQuery": {"version": "1", "sha256Hash": "network"}}}, "Unsupported persisted query version"),
        ({"extensions": {"persistedQuery": {"version": True, "sha256Hash": "network"}}}, "Unsupported persisted query version"),
        ({"extensions": {"persistedQuery": {"version": 1}}}, "has no sha256Hash"),
        ({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": 5}}}, "sha256Hash must be a string"),
        ({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": ""}}}, "sha256Hash must have 1 to 256 characters"),
        ({"query": ADHOC, "extensions": persisted(NETWORK)}, "provided sha does not match query"),
        ({"query": "\ud800", "extensions": persisted(NETWORK)}, "provided sha does not match query"),
    ],
)
async def test_a_request_that_names_its_document_wrongly(trusting: Gateway, body: dict[str, Any], words: str) -> None:
    response = await post(trusting, **body)
    assert (response.status_code, response.headers["cache-control"]) == (400, "no-store")
    code, message = error_of(response)
    assert code == "BAD_USER_INPUT"
    assert words in message


@pytest.mark.parametrize("name", ["documentId", "extensions"])
async def test_a_parameter_that_is_there_but_empty_is_no_page(trusting: Gateway, name: str) -> None:
    response = await get(trusting, {"Accept": "text/html"}, **{name: ""})
    assert (response.status_code, error_of(response)[0]) == (400, "BAD_USER_INPUT")


async def test_apollos_flow_registers_a_query_by_its_hash(trusting: Gateway) -> None:
    first = await get(trusting, extensions=persisted(ADHOC), operationName="", variables={})
    assert (first.status_code, first.headers["cache-control"]) == (200, "no-store")
    assert error_of(first) == ("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound")
    newer = await post(trusting, {"Accept": f"{NEWER},application/json;q=0.9"}, extensions=persisted(ADHOC))
    assert (newer.status_code, newer.headers["content-type"]) == (200, NEWER)
    assert error_of(newer)[0] == "PERSISTED_QUERY_NOT_FOUND"
    registered = await post(trusting, query=ADHOC, extensions=persisted(ADHOC))
    assert registered.json() == {"data": {"network": {"totals": {"requests": 2}}}}
    again = await get(trusting, extensions=persisted(ADHOC))
    assert again.json() == registered.json()
    assert again.headers["etag"]
    assert error_of(await post(trusting, documentId=f"sha256:{digest(ADHOC)}"))[0] == "PERSISTED_QUERY_NOT_FOUND"


async def test_what_is_not_valid_is_not_registered(trusting: Gateway) -> None:
    for text in ("{ nothing }", "{", "{ network { totals { totalTokens } } } \x00", f"{ADHOC} # \ud800"):
        assert error_of(await post(trusting, query=text, extensions=persisted(text)))[0] == "BAD_USER_INPUT"
        assert error_of(await post(trusting, extensions=persisted(text)))[0] == "PERSISTED_QUERY_NOT_FOUND"


async def test_a_registered_mutation_does_not_run_by_get_either(trusting: Gateway) -> None:
    text = 'mutation { revokeApiKey(keyId: "x") { id } }'
    sent = await get(trusting, query=text, extensions=persisted(text))
    assert sent.status_code == 405
    asked = await get(trusting, extensions=persisted(text))
    assert asked.status_code == 405


async def test_registering_can_be_switched_off(opened: Opener, folder: Path) -> None:
    async with opened(automatic_persisted_queries=False) as gateway:
        for _ in range(2):  # an unknown hash is asked for again with its text, and stays unknown
            assert error_of(await post(gateway, extensions=persisted(ADHOC)))[0] == "PERSISTED_QUERY_NOT_FOUND"
            assert (await post(gateway, query=ADHOC, extensions=persisted(ADHOC))).json()["data"]
        assert (await post(gateway, extensions=persisted(NETWORK))).json()["data"]
        (folder / "default.json").unlink()
        unsupported = await post(gateway, extensions=persisted(ADHOC))
        assert unsupported.status_code == 200
        assert error_of(unsupported) == ("PERSISTED_QUERY_NOT_SUPPORTED", "PersistedQueryNotSupported")


async def test_a_public_answer_by_get_is_for_every_cache(trusting: Gateway) -> None:
    first = await get(trusting, documentId="network")
    etag = first.headers["etag"]
    assert first.headers["cache-control"] == "public, max-age=600, s-maxage=600"
    assert first.headers["vary"] == "Authorization, X-API-Key, Accept, Accept-Encoding"
    for sent in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        kept = await get(trusting, {"If-None-Match": sent}, documentId="network")
        assert (kept.status_code, kept.content, kept.headers["etag"]) == (304, b"", etag)
        assert {name: kept.headers[name] for name in ("cache-control", "vary")} == {
            name: first.headers[name] for name in ("cache-control", "vary")
        }
    assert (await get(trusting, {"If-None-Match": '"x"'}, documentId="network")).status_code == 200
    newer = await get(trusting, {"Accept": NEWER, "If-None-Match": etag}, documentId="network")
    assert newer.status_code == 200
    assert newer.headers["etag"] != etag
    await trusting.store([make_record(request_id="r3")])
    await trusting.snapshot()
    changed = await get(trusting, {"If-None-Match": etag}, documentId="network")
    assert (changed.status_code, changed.json()["data"]["network"]["totals"]["requests"]) == (200, 3)
    posted = await post(trusting, documentId="network")
    assert "etag" not in posted.headers
    assert posted.headers["cache-control"] == "private, no-store"


async def test_before_the_first_snapshot_nobody_keeps_zeros(opened: Opener) -> None:
    async with opened() as gateway:
        response = await get(gateway, documentId="network")
        assert response.json() == {"data": {"network": {"totals": {"totalTokens": 0, "requests": 0}}}}
        assert response.headers["cache-control"] == "public, no-cache"


@pytest.mark.parametrize(
    "header", [{"Authorization": "Bearer wrong"}, {"X-API-Key": "wrong"}, {"Authorization": "Basic x"}, {"X-API-Key": ""}]
)
async def test_no_answer_to_a_key_is_public_even_if_it_would_be_without(trusting: Gateway, header: dict[str, str]) -> None:
    response = await get(trusting, header, documentId="network")
    assert response.json()["data"]["network"]["totals"]["totalTokens"] == 75
    assert (response.headers["cache-control"], response.headers["vary"]) == (
        "private, no-cache",
        "Authorization, X-API-Key, Accept, Accept-Encoding",
    )


async def test_each_tenant_gets_its_own_answer_and_validator(trusting: Gateway) -> None:
    acme, other = await trusting.key("tenant", "acme"), await trusting.key("tenant", "other")
    answers = [await get(trusting, key, documentId="spend") for key in (acme, other)]
    assert [answer.json()["data"]["tenantAnalytics"]["summary"]["totalTokens"] for answer in answers] == [5, 70]
    assert {answer.headers["cache-control"] for answer in answers} == {"private, no-cache"}
    tags = [answer.headers["etag"] for answer in answers]
    assert tags[0] != tags[1]
    assert (await get(trusting, acme | {"If-None-Match": tags[0]}, documentId="spend")).status_code == 304
    crossed = await get(trusting, other | {"If-None-Match": tags[0]}, documentId="spend")
    assert (crossed.status_code, crossed.json()) == (200, answers[1].json())
    for headers in ({"If-None-Match": tags[0]}, {"If-None-Match": "*"}, {"If-None-Match": tags[0], "Authorization": "Bearer wrong"}):
        refused = await get(trusting, headers, documentId="spend")
        assert refused.status_code == 200
        assert refused.headers["cache-control"] in ("no-store", "private, no-store")
        assert error_of(refused)[0] == "UNAUTHENTICATED"
        assert "etag" not in refused.headers


async def test_only_mode_runs_trusted_documents_and_the_rest_urls(opened: Opener) -> None:
    async with opened(trusted_documents_only=True) as gateway:
        admin = await gateway.key("admin")
        assert (await get(gateway, documentId="network")).json()["data"]
        assert (await post(gateway, extensions=persisted(NETWORK))).json()["data"]
        assert (await post(gateway, query=NETWORK)).json()["data"]
        assert (await post(gateway, query=NETWORK, extensions=persisted(NETWORK))).json()["data"]
        refusals = [
            await post(gateway, admin, query=ADHOC),
            await get(gateway, admin, query=ADHOC),
            await post(gateway, admin, query=NETWORK + " "),
            await post(gateway, admin, query=ADHOC, extensions=persisted(ADHOC)),
            await post(gateway, admin, query="{ __schema { queryType { name } } }"),
            await post(gateway, admin, query="{"),
            await post(gateway, admin, query="\ud800"),
        ]
        for refused in refusals:
            assert (refused.status_code, refused.headers["cache-control"].endswith("no-store")) == (200, True)
            assert error_of(refused) == ("PERSISTED_QUERY_ONLY", "Only trusted documents may run: send the documentId of one")
        newer = await post(gateway, {"Accept": NEWER}, query=ADHOC)
        assert (newer.status_code, error_of(newer)[0]) == (403, "PERSISTED_QUERY_ONLY")
        assert error_of(await post(gateway, extensions=persisted(ADHOC)))[0] == "PERSISTED_QUERY_NOT_FOUND"
        assert (await gateway.client.get("/api/v1/analytics/network")).status_code == 200
        assert (await gateway.client.get("/v1/analytics", headers=admin)).status_code == 200


async def test_only_mode_without_any_document_runs_nothing_and_says_so(
    opened: Opener, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "default.json").unlink()
    with caplog.at_level(logging.WARNING):
        async with opened(trusted_documents_only=True) as gateway:
            assert error_of(await post(gateway, query=NETWORK))[0] == "PERSISTED_QUERY_ONLY"
    assert "there are none in" in caplog.text


async def test_documents_come_change_and_go_beside_the_server(opened: Opener, folder: Path) -> None:
    async with opened() as gateway:
        assert error_of(await get(gateway, documentId="late"))[0] == "PERSISTED_QUERY_NOT_FOUND"
        put(folder, "ios.json", {"late": ADHOC})
        assert (await get(gateway, documentId="late")).json()["data"]
        put(folder, "ios.json", {"later": ADHOC})
        assert error_of(await get(gateway, documentId="late"))[0] == "PERSISTED_QUERY_NOT_FOUND"
        assert (await get(gateway, documentId="later")).json()["data"]
        (folder / "ios.json").unlink()
        assert error_of(await get(gateway, documentId="later"))[0] == "PERSISTED_QUERY_NOT_FOUND"
        assert (await get(gateway, documentId="network")).json()["data"]


async def test_the_files_are_looked_at_once_in_a_while_only(opened: Opener, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.web.documents.CHECK_SECONDS", 3_600.0)
    async with opened() as gateway:
        put(folder, "ios.json", {"late": ADHOC})
        assert error_of(await get(gateway, documentId="late"))[0] == "PERSISTED_QUERY_NOT_FOUND"


async def test_a_broken_manifest_takes_nothing_away(opened: Opener, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(folder, "ios.json", "{")
    os.mkfifo(folder / "pipe.json")
    (folder / "gone.json").symlink_to(folder / "nowhere")
    async with opened() as gateway:
        assert "ios.json is not JSON" in caplog.text
        assert "pipe.json is no regular file" in caplog.text
        put(folder, "default.json", '{"network": ')
        assert (await get(gateway, documentId="network")).json()["data"]
        caplog.clear()
        assert (await get(gateway, documentId="spend")).json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        assert "not JSON" not in caplog.text
        put(folder, "default.json", {"network": NETWORK})
        assert error_of(await get(gateway, documentId="spend"))[0] == "PERSISTED_QUERY_NOT_FOUND"


async def test_of_two_files_that_contradict_each_other_the_first_counts(
    opened: Opener, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(folder, "ios.json", {"network": ADHOC, "ios": ADHOC})
    async with opened() as gateway:
        assert (await get(gateway, documentId="network")).json()["data"]["network"]["totals"] == {"totalTokens": 0, "requests": 0}
        assert (await get(gateway, documentId="ios")).json()["data"]
        assert "'network' is already trusted with another text" in caplog.text


async def test_a_document_that_does_not_fit_any_more_is_logged_and_refused(
    opened: Opener, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(folder, "old.json", {"old": "{ networkStats { tokens } }", "broken": "{"})
    async with opened(trusted_documents_only=True) as gateway:
        refused = await get(gateway, documentId="old")
        assert "trusted document old is invalid in this schema" in caplog.text
        assert (refused.status_code, refused.headers["cache-control"].endswith("no-store")) == (200, True)
        assert error_of(refused) == ("BAD_USER_INPUT", "Cannot query field 'networkStats' on type 'Query'. Did you mean 'network'?")
        for _ in range(2):
            assert error_of(await post(gateway, documentId="broken"))[0] == "BAD_USER_INPUT"
        assert caplog.text.count("trusted document broken is invalid in this schema") == 1
        assert (await get(gateway, documentId="network")).json()["data"]


async def test_one_file_in_place_of_a_folder_and_no_folder_at_all(opened: Opener, folder: Path, tmp_path: Path) -> None:
    async with opened(documents=folder / "default.json") as gateway:
        assert (await get(gateway, documentId="network")).json()["data"]
    async with opened(documents=None, data_dir=tmp_path) as gateway:
        assert (await get(gateway, documentId="network")).json()["data"]
    async with opened(documents=tmp_path / "not" / "there") as gateway:
        assert error_of(await get(gateway, documentId="network"))[0] == "PERSISTED_QUERY_NOT_FOUND"


async def sync(folder: Path, manifest: object, *options: str) -> tuple[int, str, str]:
    """Run `tokengraph documents sync` on a manifest, which is given as a value or as text."""
    put(folder.parent, "manifest.json", manifest)
    return await run(folder, "sync", str(folder.parent / "manifest.json"), *options)


async def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run the command in a thread. An error of ours is told as `main` does."""
    import_module("app.cli.documents")
    environment = {name: None for name in os.environ if name.startswith(("TOKENGRAPH_", "GATEWAY_"))} | {
        "TOKENGRAPH_DOCUMENTS": str(folder)
    }
    done = await asyncio.to_thread(CliRunner().invoke, main.app, ["documents", *arguments], env=environment)
    if isinstance(done.exception, TokengraphError):
        return 1, done.stdout, f"{done.stderr}error: {done.exception.message}\n"
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def stored(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.startswith(".")}


async def test_sync_makes_the_folder_stores_once_and_a_server_takes_it_up(opened: Opener, folder: Path) -> None:
    elsewhere = folder.parent / "new" / "documents"
    elsewhere.parent.mkdir()
    operations = [
        {"id": digest(ADHOC), "name": "", "type": "query", "body": ADHOC},
        {"id": "m", "name": "Model", "type": "query", "body": MODEL},
    ]
    manifest = {"format": "apollo-persisted-query-manifest", "version": 1, "operations": operations}
    async with opened(documents=elsewhere) as gateway:
        assert error_of(await get(gateway, documentId=digest(ADHOC)))[0] == "PERSISTED_QUERY_NOT_FOUND"
        assert await sync(elsewhere, manifest) == (0, "documents 2  added 2  unchanged 0  pruned 0\n", "")
        assert (await get(gateway, documentId=digest(ADHOC))).json()["data"]
    before = (elsewhere / "default.json").stat()
    code, told, _ = await sync(elsewhere, manifest, "--json", "--prune")
    assert (code, json.loads(told)) == (0, {"documents": 2, "added": 0, "unchanged": 2, "pruned": 0})
    assert (elsewhere / "default.json").stat() == before
    assert stored(elsewhere).keys() == {"default.json"}


async def test_sync_adds_and_prunes_what_is_the_clients_own(folder: Path) -> None:
    assert await sync(folder, {"ios": ADHOC}, "--client", "ios") == (0, "documents 1  added 1  unchanged 0  pruned 0\n", "")
    assert (await sync(folder, {"network": NETWORK, "new": ADHOC}))[1] == "documents 5  added 1  unchanged 1  pruned 0\n"
    assert (await sync(folder, {"network": NETWORK}, "--prune"))[1] == "documents 1  added 0  unchanged 1  pruned 4\n"
    assert {name: json.loads(content) for name, content in stored(folder).items()} == {
        "default.json": {"network": NETWORK},
        "ios.json": {"ios": ADHOC},
    }


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ({"good": ADHOC, "bad": "{ nothing { x } }", "worse": "{"}, "bad: Cannot query field 'nothing' on type 'Query'. (line 1)"),
        ({"good": ADHOC, "bad": "{ nothing }"}, "1 of 2 documents are invalid in the schema; nothing was stored"),
        ({"good": ADHOC, "type": "type Query { x: Int }"}, "is not executable"),
        ({"good": ADHOC, "many": "{ " + " ".join(f"x{number}: __typename" for number in range(101)) + " }"}, "root fields"),
        ({"good": ADHOC, "long": "{ " + "__typename " * 4_001 + "}"}, "tokens"),
        ({"good": ADHOC, "network": NETWORK + "\n"}, "'network' is already trusted with another text"),
        ({"good": ADHOC, "ios": NETWORK}, "ios.json); nothing was stored"),
        ({"good": ADHOC, "[/red]": ADHOC}, "'[/red]' is no id"),
        ({}, "has no documents; nothing was changed"),
        ("{", "is not JSON"),
        ({f"d{number}": ADHOC for number in range(5_001)}, "has more than 5,000 documents"),
    ],
)
async def test_sync_stores_all_or_none(folder: Path, manifest: object, words: str) -> None:
    put(folder, "ios.json", {"ios": ADHOC})
    before = stored(folder)
    for options in ((), ("--prune",)):
        code, told, errors = await sync(folder, manifest, *options)
        assert (code, told) == (1, "")
        assert words in errors
        assert stored(folder) == before


async def test_sync_refuses_what_it_cannot_keep(folder: Path) -> None:
    for client in ("../ios", "", ".hidden", "a" * 65, "a/b"):
        assert "--client must be" in (await sync(folder, {"a": ADHOC}, "--client", client))[2]
    assert "is a single manifest" in (await sync(folder / "default.json", {"a": ADHOC}))[2]
    under_a_file = folder / "default.json" / "deeper"
    assert "cannot be written" in (await run(under_a_file, "sync", str(folder / "manifest.json")))[2]
    assert "cannot be read" in (await run(folder, "sync", str(folder / "nothing.json")))[2]
    put(folder, "broken.json", "[")
    assert "broken.json is not JSON" in (await sync(folder, {"a": ADHOC}))[2]
    (folder / "broken.json").unlink()
    put(folder, "default.json", {f"d{number}": ADHOC for number in range(5_000)})
    assert "has more than 5,000 documents; nothing was stored" in (await sync(folder, {"a": ADHOC}))[2]


async def test_two_that_sync_at_once_lose_nothing(folder: Path) -> None:
    put(folder.parent, "left.json", {"left": ADHOC})
    put(folder.parent, "right.json", {"right": ADHOC})
    environment = {**os.environ, "TOKENGRAPH_DOCUMENTS": str(folder)}
    command = [sys.executable, "-m", "app", "documents", "sync"]
    both = [
        await asyncio.create_subprocess_exec(*command, str(folder.parent / name), env=environment) for name in ("left.json", "right.json")
    ]
    assert [await process.wait() for process in both] == [0, 0]
    assert json.loads(stored(folder)["default.json"]).keys() == {*TRUSTED, "left", "right"}


async def test_list_shows_what_is_trusted_and_what_would_be_refused(folder: Path) -> None:
    code, told, _ = await run(folder, "list")
    assert code == 0
    assert "query Totals, mutation Revoke" in told
    assert told.endswith("4 documents\n")
    put(folder, "ios.json", {"old": "{ gone }"})
    code, told, _ = await run(folder, "list", "--json")
    assert code == 1
    old = next(item for item in json.loads(told) if item["client"] == "ios")
    assert old == {
        "id": "old",
        "client": "ios",
        "operations": [{"name": None, "type": "query"}],
        "characters": 8,
        "error": "Cannot query field 'gone' on type 'Query'. Did you mean 'node'?",
    }
    assert (await run(folder.parent / "nowhere", "list"))[:2][0] == 0


async def test_a_setting_that_is_empty_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from app.settings import load

    monkeypatch.setenv("TOKENGRAPH_DOCUMENTS", "")
    assert load().documents is None
