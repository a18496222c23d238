"""Processes of an embedded server: locks and socket that show which of them run, start and stop.

Locks are flock()s, which the kernel drops however a process ends. A process id read from a file is never believed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.embedded.account import Account
from app.embedded.layout import SOCKET_NAME, EmbeddedServerError, Layout, log_since, open_private

LOG_LINES_SHOWN = 20
_MACOS_LOCAL_PEERPID = 2


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock, waiting without limit: its holder may be in a crash recovery."""
    descriptor = open_private(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def try_exclusive(path: Path) -> int | None:
    """Take a lock if it is free, and return the descriptor that holds it, else None."""
    descriptor = open_private(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_held(path: Path) -> bool:
    """Whether a lock is held."""
    descriptor = try_exclusive(path)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None


def share(path: Path) -> int:
    """Take a shared lock and return the descriptor that holds it."""
    descriptor = open_private(path, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def listener_pid(host: Path) -> int | None:
    """Return the id of the process that listens on the socket, 0 if it is unknown, None if no process listens."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(os.fsencode(host / SOCKET_NAME))
        except (BlockingIOError, TimeoutError):
            return 0  # the queue is full: a process listens
        except OSError:
            return None
        # From the kernel: the process that called listen(), 0 if it is in another container.
        with contextlib.suppress(OSError):
            if sys.platform == "linux":
                size = struct.calcsize("3i")
                return int(struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[0])
            if sys.platform == "darwin":
                return client.getsockopt(0, _MACOS_LOCAL_PEERPID)
    return 0


def is_between_states(layout: Layout) -> bool:
    """Whether the server reports that it starts, recovers or stops. A server that has ended does not count."""
    try:
        lines = layout.postmaster_pid.read_text(errors="replace").splitlines()
    except OSError:
        return False
    return len(lines) > 7 and lines[7].strip() in ("starting", "stopping")


def clear_stale_files(layout: Layout) -> None:
    """Remove lock files that are empty or name a process that is no server of this cluster: PostgreSQL refuses to start with them.

    Call it when the server's lock is free and no process listens. PostgreSQL handles the file of an ended process itself.
    """
    for path in (layout.postmaster_pid, layout.socket_dir / f"{SOCKET_NAME}.lock"):
        with contextlib.suppress(FileNotFoundError):
            first = path.read_text(errors="replace").split("\n", 1)[0].strip().removeprefix("-")
            if not first.isdecimal() or (_is_alive(int(first)) and not _works_in(int(first), layout.cluster)):
                path.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _works_in(pid: int, folder: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").samefile(folder)
    except OSError:  # no such process, a zombie, no /proc, or no permission
        return False


def processes_of(layout: Layout) -> list[int]:
    """Return the ids of the visible processes with the cluster's folder as working directory."""
    with contextlib.suppress(OSError):
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
        return [pid for pid in pids if _works_in(pid, layout.cluster)]
    return []


def working_dir_path(folder: Path) -> str:
    """Return a path by which a process started in a folder finds it, even below folders that its user may not traverse."""
    # The link in /proc leads to the folder itself, not through its parents.
    return "/proc/self/cwd" if Path("/proc/self/cwd").exists() else str(folder)


def command_environment() -> dict[str, str]:
    """Return the environment of PostgreSQL's programs: without PG* settings and secrets of the gateway."""
    passed = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {"PATH": os.defpath, **passed, "LC_ALL": "C"}


class ServerProcess:
    """A server that this process started."""

    def __init__(self, command: Sequence[str], layout: Layout, account: Account, lock: int) -> None:
        """Start it in a session of its own; `lock`, a descriptor that holds the server's lock, goes to it.

        Errors: EmbeddedServerError.
        """
        log = open_private(layout.log, os.O_WRONLY | os.O_APPEND)
        self._log_start = os.lseek(log, 0, os.SEEK_END)
        self._layout = layout
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=layout.cluster,
                env=command_environment(),
                umask=0o077,
                start_new_session=True,  # Ctrl-C must not reach the server
                pass_fds=(lock,),
                **account.switch(),
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedServerError(f"PostgreSQL cannot be run as the OS user {account.name}: {error}") from error
        finally:
            os.close(log)
        self.pid = process.pid
        # The server may outlive this process, and Popen would warn: is_gone() reaps it instead.
        process.returncode = 0
        self._gone = False
        self._exit_code = 0

    def is_gone(self) -> bool:
        """Whether it has ended."""
        if not self._gone:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # reaped elsewhere
                self._gone = True
            else:
                self._gone = pid != 0
                self._exit_code = os.waitstatus_to_exitcode(status) if self._gone else 0
        return self._gone

    def end(self) -> str:
        """Describe how it ended."""
        return f"was killed by signal {-self._exit_code}" if self._exit_code < 0 else "ended"

    def log_tail(self) -> str:
        """Return the last lines of its output."""
        lines = log_since(self._layout, self._log_start).decode(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES_SHOWN:])


def shut_down(layout: Layout, host: Path, process: ServerProcess | None, wait_seconds: float) -> None:
    """Stop the server, if one runs, in fast mode (open transactions are rolled back), and wait for its end.

    Errors: EmbeddedServerError if it cannot be stopped from here or does not end in time.
    """
    pid = listener_pid(host) if process is None or process.is_gone() else process.pid
    if pid is None:
        return
    if pid == 0:
        raise EmbeddedServerError(f"The PostgreSQL server of {layout.data_dir} was started in another container: stop it there")
    try:
        os.kill(pid, signal.SIGINT)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise EmbeddedServerError(f"The PostgreSQL server of {layout.data_dir} (pid {pid}) may not be stopped: {error}") from error
    deadline = time.monotonic() + wait_seconds
    pause = 0.002
    while (process is not None and not process.is_gone()) or is_held(layout.server_lock) or listener_pid(host) is not None:
        if time.monotonic() > deadline:
            raise EmbeddedServerError(
                f"The PostgreSQL server of {layout.data_dir} (pid {pid}) has been told to stop and has not ended "
                f"after {wait_seconds:.0f} s; its log is {layout.log}"
            )
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
