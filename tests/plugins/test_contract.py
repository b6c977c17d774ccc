"""The contract has a version: who fits is decided by it, and what it promises changes only with it."""

import os
import re
import types
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.plugins.nasty import Found, a_plugin, foreign
from tests.plugins.public_face_lines import public_face

import recoup_plugins
from recoup_plugins.contract import CONTRACT, DECLARATION, OLDEST, ContractVersion, PluginUnfit, fit_of
from recoup_plugins.manager import load_plugins

FACES = Path(__file__).with_name("public_face")
RENEW = "RECOUP_RENEW_PUBLIC_FACE"
HOW = (
    f"the public face differs from {FACES.name}/{CONTRACT}.txt. Something added: raise the minor of"
    " `recoup_plugins.contract.CONTRACT`. Something gone or changed: raise the major, and keep the old one working as"
    f" docs/plugins.md promises. Then run this test once with {RENEW}=1 and commit the new file."
)


def declaring(version: Any) -> types.ModuleType:
    module = types.ModuleType("acme")
    setattr(module, DECLARATION, version)
    return module


@pytest.mark.parametrize("written_for", [CONTRACT, tuple(OLDEST), list(CONTRACT)])
def test_a_plugin_of_this_contract_fits(written_for: Any) -> None:
    """Everything from the oldest one kept to the present one, without a word."""
    fit = fit_of(declaring(written_for))

    assert (fit.declared, fit.warning) == (True, None)
    assert fit.written_for == tuple(written_for)


@pytest.mark.parametrize(
    ("written_for", "said"),
    [
        ((3, 0), "upgrade Recoup"),
        ((2, 5), "upgrade Recoup"),
        ((0, 9), "upgrade the plugin"),
        ("2.4", "not two whole numbers"),
        ((2,), "not two whole numbers"),
        ((2, "4"), "not two whole numbers"),
        ((True, False), "not two whole numbers"),
    ],
)
def test_a_plugin_of_another_contract_is_refused_with_the_reason(written_for: Any, said: str) -> None:
    """Newer in any part, too old, or nothing that can be read: who has to upgrade is said."""
    with pytest.raises(PluginUnfit, match=said):
        fit_of(declaring(written_for), ContractVersion(2, 4), ContractVersion(1, 0))


def test_a_plugin_of_the_last_major_is_deprecated_and_works() -> None:
    """It hears before it is disabled."""
    fit = fit_of(declaring((1, 7)), ContractVersion(2, 0), ContractVersion(1, 0))

    assert fit.warning is not None
    assert "deprecated" in fit.warning


def test_a_plugin_that_says_nothing_is_taken_for_the_oldest() -> None:
    """And is told how to say it."""
    fit = fit_of(types.ModuleType("acme"))

    assert (fit.written_for, fit.declared) == (OLDEST, False)
    assert DECLARATION in (fit.warning or "")


def test_the_manager_refuses_warns_and_goes_on() -> None:
    """A plugin of another contract disables itself by name; one that is only doubtful is there."""
    new, silent = a_plugin(foreign(), "new"), a_plugin(foreign(), "silent")
    vars(new)[DECLARATION] = (CONTRACT.major + 1, 0)
    del vars(silent)[DECLARATION]

    manager = load_plugins([Found("new_plugin", lambda: new), Found("silent_plugin", lambda: silent)])

    assert "upgrade Recoup" in {problem.plugin: problem.broke for problem in manager.problems}["new_plugin"]
    assert [doubt.plugin for doubt in manager.warnings] == ["silent_plugin"]
    assert "silent" in manager.kinds
    assert "new" not in manager.kinds


def test_the_public_face_changes_only_with_its_version() -> None:
    """Whoever changes what plugins rely on does it on purpose."""
    face = "\n".join(public_face(recoup_plugins)) + "\n"
    stored = FACES / f"{CONTRACT}.txt"
    if os.environ.get(RENEW):
        stored.write_text(face)

    assert stored.exists(), HOW
    assert stored.read_text() == face, HOW


def test_a_minor_only_adds() -> None:
    """Within a major every line of an older face is in the newer one."""
    versions = sorted(
        (ContractVersion(*map(int, path.stem.split("."))), set(path.read_text().splitlines()))
        for path in FACES.glob("*.txt")
    )

    assert versions[-1][0] == CONTRACT
    for (old, before), (new, after) in pairwise(versions):
        assert old.major != new.major or before - after == set()


def test_a_face_shows_what_authors_rely_on() -> None:
    """Else the tests above could not fail: a method, a field with its default, a member, an alternative, an error."""
    face = "\n".join(public_face(recoup_plugins))

    for line in (
        r"async Gateway\.charge\(self, request: ChargeRequest\) -> ChargeOutcome",
        r"Gateway\.parse_event\(self, headers: Mapping\[str, str\], body: bytes\) -> Sequence\[GatewayEvent\]",
        r"ChargeRequest\.amount: Money",
        r"ChargeRequest\.number: int = 1",
        r"Method\.CARD = 'card'",
        r"ChargeOutcome may be NotSent",
        r"WebhookRefused\.__init__\(self, reason: str\) -> None",
    ):
        assert re.search(f"^{line}$", face, re.MULTILINE), line
