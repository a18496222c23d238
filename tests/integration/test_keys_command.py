"""`tokengraph keys`: keys of another system are taken over, all or none, and once."""

from __future__ import annotations

import asyncio
import json
import secrets
from datetime import timedelta
from typing import Any

import pytest

from app.auth.authenticate import Authenticator
from app.auth.store import KeyRequest, import_keys, list_keys, revoke_key
from app.db.engine import Database
from app.domain.errors import BadInputError
from app.domain.principal import Role
from app.domain.time_range import system_clock
from tests.clock import NOW
from tests.command import run_command


def old_keys(count: int) -> list[str]:
    return [f"arb_live_{secrets.token_hex(16)}" for _ in range(count)]


async def run_import(url: str, text: str, *arguments: str) -> Any:
    code, told, _ = await run_command(url, "keys", "import", "--stdin", "--json", *arguments, stdin=text)
    assert code == 0, told
    return json.loads(told)


async def test_old_keys_open_and_are_kept_as_hashes(database: Database, database_url: str) -> None:
    old = old_keys(3)
    text = "\r\n".join(["", *old, old[0], "  "])
    first = await run_import(database_url, text, "--role", "tenant", "--tenant", "acme", "--name", "old system")
    assert (len(first["imported"]), first["known"]) == (3, 0)
    for secret, key_id in zip(old, first["imported"], strict=True):
        principal = await Authenticator(database, None).authenticate(secret, system_clock())
        assert (principal.key_id, principal.role, principal.tenant_id) == (key_id, Role.TENANT, "acme")
    assert await run_import(database_url, text, "--role", "tenant", "--tenant", "acme") == {"imported": [], "known": 3}
    listed = await list_keys(database)
    assert [(key.name, key.tenant_id) for key in listed] == [("old system", "acme")] * 3
    async with database.read_connection() as connection:
        stored = str(await (await connection.execute("SELECT array_agg(k::text) FROM api_keys k")).fetchone())
    assert not any(secret in stored for secret in old)


async def test_a_bad_line_takes_over_none(database: Database, database_url: str) -> None:
    good = old_keys(1)[0]
    code, told, said = await run_command(
        database_url, "keys", "import", "--role", "gateway", "--stdin", stdin=f"{good}\npassword-password-password\n"
    )
    assert (code, told) == (1, "")
    assert "line 2: a key must not be guessable" in said
    assert "password" not in said
    assert await list_keys(database) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--role", "gateway"), "add --stdin"),
        (("--role", "tenant", "--stdin"), "needs a tenant"),
        (("--role", "gateway", "--tenant", "acme", "--stdin"), "cannot belong to a tenant"),
        (("--role", "ingest", "--tenant", "a b", "--stdin"), "--tenant must be"),
        (("--role", "ingest", "--expires", "2020-01-01T00:00:00Z", "--stdin"), "in the future"),
    ],
)
async def test_what_cannot_be_asked_is_refused(database_url: str, arguments: tuple[str, ...], words: str) -> None:
    code, told, said = await run_command(database_url, "keys", "import", *arguments, stdin=old_keys(1)[0])
    assert (code, told) == (1, "")
    assert words in said


async def test_a_key_means_one_thing(database: Database) -> None:
    old = old_keys(2)
    acme = KeyRequest(Role.INGEST, tenant_id="acme")
    (first, second), known = await import_keys(database, acme, old, NOW)
    assert known == 0
    for other in (KeyRequest(Role.INGEST), KeyRequest(Role.ADMIN), KeyRequest(Role.INGEST, tenant_id="beta")):
        with pytest.raises(BadInputError, match=f"line 2: this key exists already, as {second.id} of role ingest of tenant acme"):
            await import_keys(database, other, [*old_keys(1), old[1]], NOW)
    await revoke_key(database, first.id, NOW)
    with pytest.raises(BadInputError, match=f"line 1: this key exists as {first.id} and is not active"):
        await import_keys(database, acme, old, NOW)
    assert len(await list_keys(database)) == 2


async def test_a_key_that_expired_does_not_open_again(database: Database) -> None:
    old = old_keys(1)
    await import_keys(database, KeyRequest(Role.ADMIN, expires_at=NOW + timedelta(hours=1)), old, NOW)
    with pytest.raises(BadInputError, match="is not active"):
        await import_keys(database, KeyRequest(Role.ADMIN), old, NOW + timedelta(hours=1))


async def test_two_imports_at_once_take_each_key_over_once(database: Database) -> None:
    old = old_keys(200)
    request = KeyRequest(Role.TENANT, tenant_id="new tenant")
    done = await asyncio.gather(*(import_keys(database, request, order, NOW) for order in (old, old[::-1], old)))
    assert sum(len(added) for added, _ in done) == len(await list_keys(database)) == 200
    assert sum(known for _, known in done) == 400
