"""The cluster's folder: initdb, all or nothing; checks before a start; our configuration files."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from app.embedded.account import Account, Binaries
from app.embedded.configuration import available_memory_bytes, render_settings, server_settings
from app.embedded.layout import ROLE, EmbeddedServerError, Layout, user_name
from app.embedded.process import command_environment, working_dir_path

SETTINGS_FILE = "tokengraph.conf"
_UNFINISHED = "cluster.new-"
_HBA = f"""# Written by tokengraph when the cluster was made.
local all all peer map={ROLE}
local replication all peer map={ROLE}
"""


def prepare_cluster(
    layout: Layout, account: Account, binaries: Binaries, memory_bytes: int | None, extra_settings: Mapping[str, str]
) -> None:
    """Create the cluster if there is none, check that these binaries can run it, and write its configuration files.

    Errors: EmbeddedServerError.
    """
    for leftover in layout.data_dir.glob(f"{_UNFINISHED}*"):  # of an initdb that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    if not layout.cluster.exists():
        # With fsync off, in tests, initdb does not wait for the disk either.
        _create(layout, account, binaries, wait_for_disk=extra_settings.get("fsync") != "off")
    _check_version(layout, binaries)
    method = next((name for name in ("lz4", "zstd") if binaries.compresses_with(name)), "pglz")
    settings = server_settings(memory_bytes or available_memory_bytes(), wal_compression=method)
    _put(layout.cluster / SETTINGS_FILE, render_settings({**settings, **extra_settings}), account)
    _put(layout.cluster / "pg_ident.conf", _identities(account), account)
    with contextlib.suppress(FileExistsError):
        layout.socket_dir.mkdir(mode=0o700)
        account.own(layout.socket_dir)


def _create(layout: Layout, account: Account, binaries: Binaries, *, wait_for_disk: bool) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=layout.data_dir))
    try:
        account.own(unfinished)
        _run_initdb(unfinished, account, binaries, wait_for_disk=wait_for_disk)
        original = (unfinished / "postgresql.conf").read_text()
        _put(unfinished / "postgresql.conf", f"{original}\ninclude = '{SETTINGS_FILE}'\n", account)
        _put(unfinished / "pg_hba.conf", _HBA, account)
        unfinished.rename(layout.cluster)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    folder = os.open(layout.data_dir, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _run_initdb(folder: Path, account: Account, binaries: Binaries, *, wait_for_disk: bool) -> None:
    command = [
        str(binaries.initdb),
        f"--pgdata={working_dir_path(folder)}",
        f"--username={ROLE}",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--locale=C",
        "--encoding=UTF8",
        "--auth-local=peer",
        "--auth-host=scram-sha-256",
        *([] if wait_for_disk else ["--no-sync"]),
    ]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=command_environment(),
            umask=0o077,
            check=False,
            **account.switch(),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedServerError(f"PostgreSQL's initdb cannot be run as the OS user {account.name}: {error}") from error
    if done.returncode != 0:
        words = done.stdout.decode(errors="replace").strip()
        raise EmbeddedServerError(f"PostgreSQL's initdb failed in {folder.parent}:\n{words[-2000:]}")


def _check_version(layout: Layout, binaries: Binaries) -> None:
    try:
        made_by = (layout.cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError as error:
        raise EmbeddedServerError(
            f"{layout.cluster} is there, and is no PostgreSQL cluster (it has no PG_VERSION). Move it away, "
            "or set TOKENGRAPH_DATA_DIR to another folder."
        ) from error
    if made_by != binaries.major():
        raise EmbeddedServerError(
            f"{layout.cluster} was made by PostgreSQL {made_by}, and this is PostgreSQL {binaries.major()}. Dump it with the "
            "version of tokengraph that made it and load it into a new data folder, or convert it with pg_upgrade."
        )


def _identities(account: Account) -> str:
    names = dict.fromkeys((user_name(os.geteuid()), _root_name(), account.name))
    rows = [f'{ROLE} "{name.replace(chr(34), chr(34) * 2)}" {ROLE}' for name in names]
    return "\n".join(("# Written by tokengraph at each start.", *rows)) + "\n"


def _root_name() -> str:
    try:
        return pwd.getpwuid(0).pw_name
    except KeyError:
        return "root"


def _put(path: Path, text: str, account: Account) -> None:
    """Write a file of the account atomically, unless it has that text already."""
    content = text.encode()
    with contextlib.suppress(OSError):
        if not path.is_symlink() and path.read_bytes() == content:
            return
    # Never through a name that the account could have replaced by a link: root writes here.
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        account.own(descriptor)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)
