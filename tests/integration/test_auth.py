"""Keys against the database: whom they open for, and that a refused key cannot be told from an unknown one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from app.auth.authenticate import GUESSES_AT_ONCE, Authenticator, presented_key
from app.auth.store import KeyRequest, create_key, list_keys, revoke_key
from app.db import pipeline
from app.db.engine import Connection, Database
from app.db.pipeline import Select
from app.domain.errors import BadInputError, NotFoundError, UnauthenticatedError, UnavailableError
from app.domain.principal import Principal, Role
from tests.clock import NOW
from tests.gateway import Gateway
from tests.recorder import recorded

RANKINGS = "/api/v1/datasets/rankings-daily"


async def test_a_key_opens_for_its_role_and_tenant(database: Database) -> None:
    authenticator = Authenticator(database, "the secret")
    for role, tenant in ((Role.ADMIN, None), (Role.GATEWAY, None), (Role.TENANT, "acme"), (Role.INGEST, "acme"), (Role.INGEST, None)):
        made = await create_key(database, KeyRequest(role, tenant_id=tenant), NOW)
        principal = await authenticator.authenticate(made.secret, NOW)
        assert (principal.key_id, principal.role, principal.tenant_id) == (made.id, role, tenant)
        assert (principal.tenant_key is None) == (tenant is None)
    assert await authenticator.authenticate("the secret", NOW) == Principal("gateway-secret", Role.GATEWAY)


async def test_no_secret_is_stored(database: Database) -> None:
    made = await create_key(database, KeyRequest(Role.ADMIN, name="ops"), NOW)
    async with database.read_connection() as connection:
        row = await (await connection.execute("SELECT k::text FROM api_keys k")).fetchone()
    assert row is not None
    assert made.secret not in row[0]
    assert made.secret.encode().hex() not in row[0]


@pytest.mark.parametrize("state", ["unknown", "expired", "disabled", "revoked"])
async def test_every_closed_key_gets_the_same_answer(gateway: Gateway, state: str) -> None:
    made = await create_key(gateway.database, KeyRequest(Role.ADMIN, expires_at=NOW + timedelta(hours=1)), NOW)
    headers = {"Authorization": f"Bearer {made.secret}"}
    assert (await gateway.client.get(RANKINGS, headers=headers)).status_code == 200
    match state:
        case "unknown":
            headers = {"Authorization": f"Bearer {made.secret}x"}
        case "expired":
            gateway.clock.advance(timedelta(hours=1))
        case "disabled":
            async with gateway.database.transaction() as connection:
                await connection.execute("UPDATE api_keys SET disabled_at = %s", [NOW])
        case "revoked":
            await revoke_key(gateway.database, made.id, NOW)
    response = await gateway.client.get(RANKINGS, headers=headers)
    assert (response.status_code, response.json()) == (401, {"error": {"code": 401, "message": "Invalid credentials"}})
    assert "data" not in response.json()


async def test_the_gateways_secret_works_with_no_key_in_the_database(gateway: Gateway) -> None:
    assert (await gateway.client.get(RANKINGS, headers={"Authorization": "Bearer gateway-secret"})).status_code == 200
    assert (await gateway.client.get(RANKINGS, headers={"X-API-Key": "gateway-secre"})).status_code == 401


async def test_keys_are_listed_with_their_state_and_revoked_once(database: Database) -> None:
    made = [
        await create_key(database, KeyRequest(Role.ADMIN, expires_at=NOW + timedelta(days=1)), NOW + timedelta(seconds=at)) for at in (0, 1)
    ]
    await revoke_key(database, made[0].id, NOW)
    await revoke_key(database, made[0].id, NOW + timedelta(days=3))
    listed = await list_keys(database)
    assert [(key.id, key.status(NOW), key.revoked_at) for key in listed] == [(made[0].id, "revoked", NOW), (made[1].id, "active", None)]
    assert listed[1].status(NOW + timedelta(days=2)) == "expired"
    with pytest.raises(NotFoundError):
        await revoke_key(database, "key_none", NOW)


@pytest.mark.parametrize(
    "request_",
    [KeyRequest(Role.TENANT), KeyRequest(Role.GATEWAY, tenant_id="acme"), KeyRequest(Role.ADMIN, expires_at=NOW)],
)
async def test_keys_that_cannot_be_right_are_not_made(database: Database, request_: KeyRequest) -> None:
    with pytest.raises(BadInputError):
        await create_key(database, request_, NOW)
    assert await list_keys(database) == []


async def test_who_asks_at_once_is_looked_up_at_once(database: Database) -> None:
    authenticator = Authenticator(database, None)
    made = [await create_key(database, KeyRequest(Role.ADMIN, expires_at=NOW + timedelta(hours=number)), NOW) for number in (1, 2)]
    asked = [made[0].secret, made[1].secret, "tg_wrong", made[0].secret]
    with recorded() as statements:
        found = await asyncio.gather(*(authenticator.authenticate(secret, NOW) for secret in asked), return_exceptions=True)
    assert statements.names() == ["authenticate"]
    assert [getattr(one, "key_id", type(one)) for one in found] == [made[0].id, made[1].id, UnauthenticatedError, made[0].id]
    at_once = NOW + timedelta(hours=1)
    found = await asyncio.gather(*(authenticator.authenticate(key.secret, at_once) for key in made), return_exceptions=True)
    assert [type(one) for one in found] == [UnauthenticatedError, Principal]


async def test_guesses_are_looked_up_few_at_a_time_and_behind_everybody_else(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    authenticator = Authenticator(database, None)
    made = [await create_key(database, KeyRequest(Role.ADMIN), NOW) for _ in range(3)]
    asked: list[int] = []

    async def ask(connection: Connection, questions: list[Select]) -> Any:
        asked.append(len(questions[0].values["digests"]))
        return await pipeline.ask(connection, questions)

    monkeypatch.setattr("app.auth.authenticate.ask", ask)
    guesses = [f"guess {number}" for number in range(50)] + [made[0].secret, made[1].secret]
    order: list[str] = []

    async def look_up(secret: str, *, guessed: bool) -> str:
        try:
            return (await authenticator.authenticate(secret, NOW, guessed=guessed)).key_id
        except UnauthenticatedError:
            return ""
        finally:
            order.append(secret)

    guessing = [asyncio.create_task(look_up(secret, guessed=True)) for secret in guesses]
    await asyncio.sleep(0)  # they wait before the others come
    found = await asyncio.gather(look_up(made[2].secret, guessed=False), look_up(made[1].secret, guessed=False), *guessing)
    assert found == [made[2].id, made[1].id, *[""] * 50, made[0].id, made[1].id], "a right key opens, whoever shows it"
    assert asked[:2] == [GUESSES_AT_ONCE, 2 + GUESSES_AT_ONCE]
    assert sum(asked) == 53
    assert {made[1].secret, made[2].secret} <= set(order[: 2 * GUESSES_AT_ONCE + 3])


@pytest.mark.parametrize(
    ("authorization", "api_key", "key"),
    [
        ("Bearer one", None, "one"),
        ("bEARER  one ", "two", "one"),
        ("Basic dXNlcjpwdw==", "two", "two"),
        ("Bearer", "two", "two"),
        ("Negotiate x", " two ", "two"),
        ("", "two", "two"),
        (None, "two", "two"),
        (None, " ", None),
        (None, None, None),
    ],
)
def test_a_key_is_found_beside_what_a_proxy_sends(authorization: str | None, api_key: str | None, key: str | None) -> None:
    assert presented_key(authorization, api_key) == key


@pytest.mark.parametrize(("authorization", "api_key"), [("Basic dXNlcjpwdw==", None), ("Bearer ", ""), ("", None)])
def test_an_authorization_that_holds_no_key_is_not_taken_for_none(authorization: str, api_key: str | None) -> None:
    with pytest.raises(UnauthenticatedError):
        presented_key(authorization, api_key)


async def test_a_key_that_was_revoked_opens_nothing_from_then_on_whoever_asks_beside(database: Database) -> None:
    """Callers that keep a look-up running must not hand their older answer to one who comes after the revocation."""
    authenticator = Authenticator(database, None)
    made = await create_key(database, KeyRequest(Role.ADMIN), NOW)
    stopped = asyncio.Event()

    async def keep_asking() -> None:
        while not stopped.is_set():
            with contextlib.suppress(UnauthenticatedError):
                await authenticator.authenticate(made.secret, NOW)

    asking = [asyncio.create_task(keep_asking()) for _ in range(4)]
    await asyncio.sleep(0.05)
    await revoke_key(database, made.id, NOW)
    for _ in range(20):
        with pytest.raises(UnauthenticatedError):
            await authenticator.authenticate(made.secret, NOW)
    stopped.set()
    await asyncio.gather(*asking)


async def test_a_caller_that_goes_away_takes_nothing_from_the_others(database: Database) -> None:
    authenticator = Authenticator(database, None)
    made = await create_key(database, KeyRequest(Role.ADMIN), NOW)
    asking = [asyncio.create_task(authenticator.authenticate(made.secret, NOW)) for _ in range(3)]
    await asyncio.sleep(0)
    asking[0].cancel()
    assert [(await task).key_id for task in asking[1:]] == [made.id] * 2
    assert (await authenticator.authenticate(made.secret, NOW)).key_id == made.id


async def test_whoever_asks_while_the_database_is_away_is_told_so_and_none_waits_for_ever(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    authenticator = Authenticator(database, None)
    made = await create_key(database, KeyRequest(Role.ADMIN), NOW)
    away = asyncio.Event()

    @contextlib.asynccontextmanager
    async def unreachable(_: Database) -> AsyncIterator[Connection]:
        await away.wait()
        raise UnavailableError
        yield

    with monkeypatch.context() as patch:
        patch.setattr(Database, "read_connection", unreachable)
        first = [asyncio.create_task(authenticator.authenticate(made.secret, NOW)) for _ in range(3)]
        await asyncio.sleep(0.01)
        later = [asyncio.create_task(authenticator.authenticate(secret, NOW)) for secret in (made.secret, made.secret, "tg_other")]
        await asyncio.sleep(0.01)
        away.set()
        found = await asyncio.wait_for(asyncio.gather(*first, *later, return_exceptions=True), 5)
    assert [type(one) for one in found] == [UnavailableError] * 6
    assert (await authenticator.authenticate(made.secret, NOW)).key_id == made.id
