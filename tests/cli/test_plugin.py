"""`recoup plugin`: a skeleton is written, what is installed is listed and looked at."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from recoup_plugins.manager import BUILT_IN
from recoup_plugins.scaffold import write_skeleton

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """`install("acme", "text of its module")` makes a distribution that Python finds; default: the skeleton."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    before = set(sys.modules)

    def put(name: str, source: str | None = None, *, notifier: bool = False) -> None:
        skeleton = write_skeleton(name, tmp_path / "written", notifier=notifier)
        package = f"recoup_{name}"
        shutil.copytree(skeleton / package, site / package)
        if source is not None:
            (site / package / "__init__.py").write_text(source)
        info = site / f"{package}-0.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: recoup-{name}\nVersion: 0.1.0\n")
        (info / "entry_points.txt").write_text(f"[recoup.plugins]\n{name} = {package}\n")

    yield put
    for module in set(sys.modules) - before:
        if module.startswith(("recoup_acme", "recoup_bad")):
            del sys.modules[module]


GOOD = """
from recoup_bad.gateway import BadGateway
from recoup_bad.options import BadOptions
from recoup_plugins import hookimpl, read_options
{before}
class Gateway(BadGateway):
    def __init__(self, settings):
        options = read_options(settings, BadOptions)
        super().__init__(settings.name, options)
{inside}

@hookimpl
def register_gateways(register):
    register("bad", Gateway)
"""


def nasty(before: str = "RECOUP_CONTRACT = (1, 1)", inside: str = "") -> str:
    indented = "".join(f"    {line}\n" for line in inside.splitlines())
    return GOOD.format(before=before, inside=indented)


def found(done: Any) -> dict[str, tuple[str, str]]:
    """The findings of a check told as JSON: verdict and text by what was looked at."""
    return {one["check"]: (one["verdict"], one.get("told", "")) for one in json.loads(done.out)}


def test_new_writes_a_skeleton_and_says_what_comes_next(recoup: Callable[..., Any], tmp_path: Path) -> None:
    """Into the folder that was named."""
    done = recoup("plugin", "new", "acme", "--into", tmp_path / "mine")

    assert done.code == 0
    assert (tmp_path / "mine/recoup-acme/recoup_acme/refunds.py").is_file()
    assert "pytest" in done.err


def test_new_can_leave_refunds_out(recoup: Callable[..., Any], tmp_path: Path) -> None:
    """A provider that can't give money back has a complete plugin all the same."""
    done = recoup("plugin", "new", "acme", "--into", tmp_path, "--no-refunds")

    assert done.code == 0
    assert not (tmp_path / "recoup-acme/recoup_acme/refunds.py").exists()


@pytest.mark.parametrize("name", ["Acme", "stripe", "core"])
def test_new_refuses_names_in_one_line(recoup: Callable[..., Any], name: str, tmp_path: Path) -> None:
    """With the reason, and nothing written."""
    done = recoup("plugin", "new", name)

    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert not list(tmp_path.glob("recoup-*"))


def test_list_names_kinds_versions_and_contracts(recoup: Callable[..., Any], install: Install) -> None:
    """What can be configured here, and from which distribution it comes."""
    install("acme")

    done = recoup("plugin", "list", "--format", "json")

    rows = {row["plugin"]: row for row in json.loads(done.out)}
    assert done.code == 0
    assert set(BUILT_IN) < set(rows)
    assert rows["acme"]["kinds"] == ["acme"]
    assert rows["acme"]["version"] == "recoup-acme 0.1.0"
    assert rows["acme"]["contract"] == "1.1"


def test_new_writes_a_notifier(recoup: Callable[..., Any], tmp_path: Path) -> None:
    """And no gateway beside it."""
    done = recoup("plugin", "new", "acme", "--into", tmp_path, "--notifier")

    assert done.code == 0
    assert (tmp_path / "recoup-acme/recoup_acme/notifier.py").is_file()
    assert not (tmp_path / "recoup-acme/recoup_acme/gateway.py").exists()


def test_new_refuses_the_name_of_a_notifier_that_is_there(recoup: Callable[..., Any]) -> None:
    """One `smtp` is enough."""
    assert recoup("plugin", "new", "smtp", "--notifier").code == 2


def test_list_names_notifiers(recoup: Callable[..., Any], install: Install) -> None:
    """Apart from gateways: settings name them elsewhere."""
    install("acme", notifier=True)

    rows = {row["plugin"]: row for row in json.loads(recoup("plugin", "list", "--format", "json").out)}

    assert (rows["acme"]["kinds"], rows["acme"]["notifiers"]) == ([], ["acme"])
    assert rows["smtp"]["notifiers"] == ["smtp"]
    assert "acme (notifier)" in recoup("plugin", "list").out


def test_check_is_content_with_a_notifier_s_skeleton(recoup: Callable[..., Any], install: Install) -> None:
    """Its feedback is looked at like a gateway's webhooks."""
    install("acme", notifier=True)

    done = recoup("plugin", "check", "acme", "--format", "json")

    assert done.code == 0, done.out
    assert {verdict for verdict, _ in found(done).values()} == {"ok"}
    assert "feedback of notifier acme: no signature" in found(done)


NOISY = """
from recoup_bad.notifier import BadNotifier
from recoup_bad.options import BadOptions
from recoup_plugins import hookimpl, read_notifier_options
RECOUP_CONTRACT = (1, 2)

class Notifier(BadNotifier):
    def __init__(self, settings):
        options = read_notifier_options(settings, BadOptions)
        super().__init__(settings.name, options)
        {line}

    def parse_feedback(self, headers, body):
        return {told}

@hookimpl
def register_notifiers(register):
    register("bad", Notifier)
"""


@pytest.mark.parametrize(
    ("line", "told", "check"),
    [
        ("pass", "[]", "feedback of notifier bad: no signature"),
        ("pass", "1 // 0", "feedback of notifier bad: nothing at all"),
        ("self.key = options.api_key", "[]", "repr of notifier bad"),
        ("__import__('socket').create_connection(('127.0.0.1', 1))", "[]", "build notifier bad"),
        ("self.name = 'other'", "[]", "build notifier bad"),
    ],
)
def test_check_finds_what_a_notifier_does_wrong(
    recoup: Callable[..., Any], install: Install, line: str, told: str, check: str
) -> None:
    """Feedback of strangers that is believed, secrets that are shown, I/O where none belongs."""
    install("bad", NOISY.format(line=line, told=told), notifier=True)

    done = recoup("plugin", "check", "bad", "--format", "json")

    assert (done.code, found(done)[check][0]) == (1, "failed")


def test_check_asks_a_configured_notifier_how_it_is(
    recoup: Callable[..., Any], install: Install, tmp_path: Path
) -> None:
    """Its provider is out of reach here: that is told, and the key is not."""
    install("acme", notifier=True)
    config = tmp_path / "elsewhere.toml"
    config.write_text(
        '[[notifiers]]\nname = "texts"\nplugin = "acme"\n'
        '[notifiers.options]\napi_key = "hidden-key"\nbase_url = "http://127.0.0.1:1"\n'
    )

    done = recoup("plugin", "check", "acme", "--config", config, "--format", "json")

    verdict, told = found(done)["health of notifier acme (texts)"]
    assert (done.code, verdict) == (1, "failed")
    assert "ConnectError" in told
    assert "hidden-key" not in done.out


def test_list_tells_what_is_disabled_and_why(recoup: Callable[..., Any], install: Install) -> None:
    """And ends with 1, for scripts."""
    install("bad", "raise ImportError('no module named provider_sdk')")

    done = recoup("plugin", "list")

    assert done.code == 1
    assert "disabled: ImportError: no module named provider_sdk" in done.out


def test_check_is_content_with_a_skeleton(recoup: Callable[..., Any], install: Install) -> None:
    """Nothing failed and nothing was left out."""
    install("acme")

    done = recoup("plugin", "check", "acme", "--format", "json")

    assert done.code == 0, done.out
    assert {verdict for verdict, _ in found(done).values()} == {"ok"}


def test_check_tells_as_a_table_too(recoup: Callable[..., Any], install: Install) -> None:
    """For people."""
    install("acme")

    done = recoup("plugin", "check", "acme")

    assert (done.code, done.out.splitlines()[0].split()) == (0, ["plugin", "check", "verdict"])


@pytest.mark.parametrize(
    ("source", "check", "said"),
    [
        ("raise SystemExit(1)", "import", "SystemExit"),
        ("RECOUP_CONTRACT = (1, 1)", "import", "no hook"),
        (nasty("RECOUP_CONTRACT = (9, 0)"), "import", "upgrade Recoup"),
        (nasty("import socket\nsocket.getaddrinfo('127.0.0.1', 9)"), "no I/O at import", "socket.getaddrinfo"),
        (
            nasty(inside="    import socket\n    socket.getaddrinfo('127.0.0.1', 9)"),
            "no I/O when bad is built",
            "socket.getaddrinfo",
        ),
        (nasty(inside="charge = None"), "build bad", "`charge` must be"),
        (nasty(inside="    self.key = options.api_key"), "repr of bad", "is shown"),
        (
            nasty(inside="def parse_event(self, headers, body):\n    return []"),
            "webhook of bad: nothing at all",
            "instead of being refused",
        ),
        (
            nasty(inside="def parse_event(self, headers, body):\n    return body[0]"),
            "webhook of bad: nothing at all",
            "IndexError",
        ),
        (
            nasty(
                inside="def parse_event(self, headers, body):\n    while len(body) > 9**6: pass\n    raise SystemExit"
            ),
            "webhook of bad: the largest body, blanks",
            "more than 1 s",
        ),
    ],
    ids=["exits", "no hook", "contract", "import I/O", "build I/O", "broken", "repr", "trusts", "raises", "hangs"],
)
def test_check_finds(recoup: Callable[..., Any], install: Install, source: str, check: str, said: str) -> None:
    """Each thing that would harm an installation, by its name, with exit code 1."""
    install("bad", source)

    done = recoup("plugin", "check", "bad", "--format", "json")

    verdict, told = found(done)[check]
    assert (done.code, verdict) == (1, "failed")
    assert said in told
    assert "dummy-check-secret" not in done.out


def test_check_lets_a_plugin_look_for_a_library(recoup: Callable[..., Any], install: Install) -> None:
    """`ctypes.util.find_library` starts `ldconfig`; libraries such as `trio` do so where they are imported."""
    install("bad", nasty(inside="    import ctypes.util\n    ctypes.util.find_library('pthread')"))

    done = recoup("plugin", "check", "bad", "--format", "json")

    assert done.code == 0, done.out


def test_check_warns_of_what_is_not_declared(recoup: Callable[..., Any], install: Install) -> None:
    """It works today; a warning is no failure."""
    install("bad", nasty(before=""))

    done = recoup("plugin", "check", "bad", "--format", "json")

    assert done.code == 0
    assert found(done)["contract"][0] == "warning"


def test_check_takes_a_provider_that_retries_by_itself(recoup: Callable[..., Any], install: Install) -> None:
    """Two owners are a mistake of a configuration, not of a plugin."""
    line = "    self.capabilities = msgspec.structs.replace(self.capabilities, retries_itself=True)"
    install("bad", nasty("import msgspec\nRECOUP_CONTRACT = (1, 1)", line))

    done = recoup("plugin", "check", "bad", "--format", "json")

    assert (done.code, found(done)["build bad"][0]) == (0, "ok")


def test_check_asks_a_configured_gateway_how_it_is(
    recoup: Callable[..., Any], install: Install, tmp_path: Path
) -> None:
    """Its provider is out of reach here: that is told, and the key is not."""
    install("acme")
    config = tmp_path / "elsewhere.toml"
    config.write_text(
        '[[gateways]]\nname = "acme-eu"\nplugin = "acme"\n'
        '[gateways.options]\napi_key = "hidden-key"\nbase_url = "http://127.0.0.1:1"\n'
    )

    done = recoup("plugin", "check", "acme", "--config", config, "--format", "json")

    verdict, told = found(done)["health of acme (acme-eu)"]
    assert (done.code, verdict) == (1, "failed")
    assert "ConnectError" in told
    assert "hidden-key" not in done.out


def test_check_of_what_is_not_installed_is_misuse(recoup: Callable[..., Any]) -> None:
    """Scripts can tell it from a plugin that failed."""
    done = recoup("plugin", "check", "nothing_like_it")

    assert done.code == 2
    assert "no plugin nothing_like_it is installed" in done.err
