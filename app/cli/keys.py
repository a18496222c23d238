"""`tokengraph keys`: create, import, list, revoke. A server may be running."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.auth.store import KeyRequest, create_key, import_keys, list_keys, revoke_key
from app.cli.main import keys
from app.cli.session import run_with_database
from app.domain.errors import BadInputError
from app.domain.principal import Role
from app.domain.time_range import format_seconds, system_clock
from app.settings import load

TENANT_PATTERN = re.compile(r"[A-Za-z0-9._:@/-]{1,128}")


def parse_expiry(text: str | None) -> datetime | None:
    """Parse an ISO 8601 instant; without an offset it is UTC. BadInputError: invalid."""
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise BadInputError(f"--expires must be an ISO 8601 instant such as 2027-01-31T00:00:00Z, not {text!r}") from None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _request(role: Role, tenant: str | None, name: str, expires: str | None) -> KeyRequest:
    if tenant is not None and TENANT_PATTERN.fullmatch(tenant) is None:
        raise BadInputError("--tenant must be 1 to 128 of A-Z a-z 0-9 . _ : @ / -")
    return KeyRequest(role=role, tenant_id=tenant, name=name, expires_at=parse_expiry(expires))


KeyRole = Annotated[Role, typer.Option("--role", help="Permissions of the key.")]
KeyTenant = Annotated[str | None, typer.Option("--tenant", help="The tenant of the key; created if new.")]
KeyName = Annotated[str, typer.Option("--name", help="A note on the use of the key.")]
KeyExpiry = Annotated[str | None, typer.Option("--expires", help="ISO 8601 instant at which the key expires.")]


@keys.command("create")
def create(
    role: KeyRole,
    tenant: KeyTenant = None,
    name: KeyName = "",
    expires: KeyExpiry = None,
    as_json: Annotated[bool, typer.Option("--json", help='Print {"id":...,"key":...}.')] = False,
) -> None:
    """Create a key. It is shown once: only a hash is stored."""
    request = _request(role, tenant, name, expires)
    made = run_with_database(load(), lambda database: create_key(database, request, system_clock()))
    if as_json:
        typer.echo(json.dumps({"id": made.id, "key": made.secret}))
    else:
        typer.echo(f"{made.secret}\n\nid {made.id}, role {role.value}. Save it: it cannot be shown again.")


@keys.command("import")
def import_all(
    role: KeyRole,
    tenant: KeyTenant = None,
    name: KeyName = "",
    expires: KeyExpiry = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the keys from standard input, one per line.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help='Print {"imported":[ids],"known":N}.')] = False,
) -> None:
    """Import keys of another system, with any prefix. Only hashes are stored. All keys or none; importing again changes nothing."""
    request = _request(role, tenant, name, expires)
    if not stdin:
        raise BadInputError("keys are read from standard input, because arguments are visible in process lists: add --stdin")
    lines = sys.stdin.read().splitlines()
    added, known = run_with_database(load(), lambda database: import_keys(database, request, lines, system_clock()))
    if as_json:
        typer.echo(json.dumps({"imported": [key.id for key in added], "known": known}))
        return
    for key in added:
        typer.echo(f"{key.id}\t{key.prefix}…")
    typer.echo(f"{len(added)} imported, {known} existed already", err=True)


@keys.command("list")
def list_all(as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False) -> None:
    """List the keys, without their secrets."""
    found = run_with_database(load(), list_keys)
    now = system_clock()
    if as_json:
        typer.echo(
            json.dumps(
                [
                    {
                        "id": key.id,
                        "prefix": key.prefix,
                        "name": key.name,
                        "role": key.role.value,
                        "tenant_id": key.tenant_id,
                        "status": key.status(now),
                        "created_at": format_seconds(key.created_at),
                        "expires_at": None if key.expires_at is None else format_seconds(key.expires_at),
                    }
                    for key in found
                ]
            )
        )
        return
    table = Table("id", "key", "role", "tenant", "name", "status", "created")
    for key in found:
        table.add_row(
            key.id, f"{key.prefix}…", key.role.value, key.tenant_id or "", key.name, key.status(now), format_seconds(key.created_at)
        )
    Console().print(table)


@keys.command("revoke")
def revoke(key_id: Annotated[str, typer.Argument(metavar="ID", help="The id that `keys list` shows.")]) -> None:
    """Revoke a key, immediately and permanently. Its past requests stay attributed to it."""
    run_with_database(load(), lambda database: revoke_key(database, key_id, system_clock()))
    typer.echo(f"{key_id} is revoked")
