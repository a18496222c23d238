"""Files of the embedded server, their owners, and the path of its Unix socket. No processes, no SQL."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import secrets
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from app.domain.errors import TokengraphError

ROLE = DATABASE = "tokengraph"
PORT = 5432
SOCKET_NAME = f".s.PGSQL.{PORT}"
SOCKET_PATH_BYTES = 103  # macOS; Linux takes 107
LOG_BYTES = 16 * 1024 * 1024
LOG_KEPT_BYTES = 1024 * 1024


class EmbeddedServerError(TokengraphError):
    """The embedded PostgreSQL server cannot be used"""


@dataclass(frozen=True)
class Layout:
    """The files of one embedded server below `data_dir` (absolute)."""

    data_dir: Path

    @property
    def cluster(self) -> Path:
        """The output of initdb; only this folder belongs to the OS user of the server."""
        return self.data_dir / "cluster"

    @property
    def removed(self) -> Path:
        """A cluster that is being removed."""
        return self.data_dir / "cluster-removed"

    @property
    def socket_dir(self) -> Path:
        """Inside the cluster: the server uses a path relative to its folder, so the length of the path above does not matter."""
        return self.cluster / "run"

    @property
    def postmaster_pid(self) -> Path:
        """PostgreSQL's own lock file."""
        return self.cluster / "postmaster.pid"

    @property
    def log(self) -> Path:
        """The output of the server."""
        return self.data_dir / "server.log"

    @property
    def start_lock(self) -> Path:
        """Locked while the server is started or stopped, including the decision."""
        return self.data_dir / "start.lock"

    @property
    def users_lock(self) -> Path:
        """Shared by every process that uses the server."""
        return self.data_dir / "users.lock"

    @property
    def server_lock(self) -> Path:
        """Inherited only by the server's processes: free when the last of them, including orphaned backends, has ended."""
        return self.data_dir / "server.lock"


def user_name(uid: int) -> str:
    """Return the name of an OS user, or its number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def claim(layout: Layout) -> None:
    """Create the data folder (0700) if it does not exist.

    Errors: EmbeddedServerError if it belongs to another OS user, or cannot be made or written.
    """
    me = os.geteuid()
    try:
        layout.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(open_private(layout.start_lock, os.O_RDWR))
        owner = layout.start_lock.stat().st_uid
        if owner == me != 0 and layout.cluster.exists():
            owner = layout.cluster.stat().st_uid
    except OSError as error:
        owner = _owner(layout)
        if isinstance(error, PermissionError) and owner != me:
            raise _foreign(layout, owner) from error
        raise EmbeddedServerError(
            f"The data folder {layout.data_dir} cannot be used by the OS user {user_name(me)}: {error}. "
            "Set TOKENGRAPH_DATA_DIR to a folder that this user may write to."
        ) from error
    if owner != me:
        raise _foreign(layout, owner)


def _owner(layout: Layout) -> int:
    for path in (layout.start_lock, layout.data_dir):
        with contextlib.suppress(OSError):
            return path.stat().st_uid
    return os.geteuid()


def _foreign(layout: Layout, owner: int) -> EmbeddedServerError:
    me, them = user_name(os.geteuid()), user_name(owner)
    return EmbeddedServerError(
        f"The data folder {layout.data_dir} belongs to the OS user {them} (uid {owner}), and this process runs as {me} "
        f"(uid {os.geteuid()}). Run it as {them}; or, while no server runs on it, give the whole folder to {me} with chown -R; "
        f"or set TOKENGRAPH_DATA_DIR to a folder of {me}."
    )


def open_private(path: Path, flags: int) -> int:
    """Open a file of ours, made (0600) if there is none, and return its descriptor, which no child inherits."""
    # O_NOFOLLOW: root must not follow a link that another user made in a folder of that user.
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def server_url(host: Path, database: str = DATABASE) -> str:
    """Return the conninfo URL of a database, for psycopg; SQLAlchemy needs the scheme `postgresql+psycopg`."""
    # With the port, so that PGPORT has no effect.
    return f"postgresql://{ROLE}@/{database}?host={quote(os.fsencode(host), safe='/')}&port={PORT}"


def client_socket_dir(layout: Layout) -> Path:
    """Return the folder that clients use as host: the socket's folder, or a short private link to it if the path is too long.

    The link is created again if it was removed. Errors: EmbeddedServerError if no private folder is available.
    """
    if _fits(layout.socket_dir):
        return layout.socket_dir
    for folder in _link_folders(layout):
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            info = folder.lstat()
            if stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid() and not info.st_mode & 0o077:
                _point(folder / "run", layout.socket_dir)
                return folder / "run"
    raise EmbeddedServerError(
        f"The path {layout.data_dir} does not fit a Unix socket's address, and no private folder for a short link to it could "
        f"be made in {tempfile.gettempdir()}. Set TOKENGRAPH_DATA_DIR to a shorter path without a comma."
    )


def drop_client_link(layout: Layout) -> None:
    """Remove the short link to the socket, if there is one."""
    if _fits(layout.socket_dir):
        return
    for folder in _link_folders(layout):
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid == os.geteuid():
                (folder / "run").unlink()
                folder.rmdir()


def _fits(folder: Path) -> bool:
    address = os.fsencode(folder / SOCKET_NAME)
    try:
        address.decode()
    except UnicodeDecodeError:
        return False
    return len(address) <= SOCKET_PATH_BYTES and b"," not in address  # libpq takes a comma for a list of hosts


def _link_folders(layout: Layout) -> Iterator[Path]:
    digest = hashlib.sha256(os.fsencode(layout.data_dir.resolve())).hexdigest()[:16]
    first = Path("/run") if os.geteuid() == 0 else Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    for parent in dict.fromkeys((first, Path(tempfile.gettempdir()), Path("/tmp"))):  # noqa: S108
        folder = parent / f"tokengraph-{os.geteuid()}-{digest}"
        with contextlib.suppress(OSError):
            info = parent.stat()
            # No other user may be able to replace our folder.
            ours_stays = not info.st_mode & 0o022 or info.st_mode & stat.S_ISVTX
            if ours_stays and info.st_uid in (0, os.geteuid()) and _fits(folder / "run"):
                yield folder


def _point(link: Path, target: Path) -> None:
    with contextlib.suppress(OSError):
        if link.readlink() == target:
            return
    fresh = link.with_name(f".{secrets.token_hex(8)}")
    fresh.symlink_to(target)
    fresh.replace(link)


def bound_log(layout: Layout) -> None:
    """Keep the log under LOG_BYTES: move its last LOG_KEPT_BYTES to `server.log.1` and truncate it."""
    with contextlib.suppress(OSError):
        size = layout.log.stat().st_size
        if size <= LOG_BYTES:
            return
        older = layout.log.with_name("server.log.1")
        fresh = older.with_name(f".{secrets.token_hex(8)}")
        descriptor = open_private(fresh, os.O_WRONLY | os.O_EXCL)
        with os.fdopen(descriptor, "wb") as file:
            file.write(log_since(layout, size - LOG_KEPT_BYTES))
        fresh.replace(older)
        os.truncate(layout.log, 0)  # the server appends, and so continues at the new end


def log_since(layout: Layout, offset: int) -> bytes:
    """Return the log from a byte offset."""
    with contextlib.suppress(OSError), layout.log.open("rb") as log:
        log.seek(offset)
        return log.read()
    return b""
