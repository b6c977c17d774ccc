"""From settings to a gateway: what is refused, by field, and without repeating a secret."""

import re
from pathlib import Path
from typing import Any

import pytest

import recoup_gocardless
from gocardless_fake import TOKEN
from recoup_gocardless.making import make_gocardless
from recoup_gocardless.options import GoCardlessOptions
from recoup_plugins import GatewaySettings, PluginMisconfigured, RetryOwner
from recoup_plugins.manager import broken_contract, load_plugins


def settings(retries_by: RetryOwner = RetryOwner.RECOUP, **options: Any) -> GatewaySettings:
    given = {"access_token": TOKEN, "environment": "sandbox", **options}
    return GatewaySettings(name="debits", plugin="gocardless", retries_by=retries_by, options=given)


def test_the_entry_point_registers_the_kind() -> None:
    """Installed beside Recoup, the plugin is found by its name alone."""
    manager = load_plugins()

    assert "gocardless" in manager.kinds
    assert not [problem for problem in manager.problems if problem.plugin == "gocardless"]


def test_it_says_what_contract_it_was_written_for() -> None:
    """A release of Recoup that no longer keeps it says so instead of failing half way."""
    assert recoup_gocardless.RECOUP_CONTRACT == (1, 1)


@pytest.mark.parametrize(("options", "field"), [
    ({"access_token": " "}, "access_token"),
    ({"environment": "production"}, "environment"),
    ({"timeout_s": 0}, "timeout_s"),
    ({"timeout_s": 30}, "timeout_s"),
    ({"webhook_secrets": ["good", ""]}, "webhook_secrets"),
    ({"api_base": "http://evil.example"}, "api_base"),
    ({"api_key": "x"}, "options"),
])  # fmt: skip
def test_what_can_not_be_used_is_named(options: dict[str, Any], field: str) -> None:
    """The operator reads the field; the log never reads a secret."""
    with pytest.raises(PluginMisconfigured) as refusal:
        make_gocardless(settings(**options))

    assert refusal.value.field == field
    assert TOKEN not in str(refusal.value)


def test_options_do_not_print_their_secrets() -> None:
    """Tracebacks may show locals."""
    assert TOKEN not in repr(GoCardlessOptions(access_token=TOKEN, environment="live"))


@pytest.mark.parametrize(("owner", "fits"), [(RetryOwner.RECOUP, False), (RetryOwner.GATEWAY, True)])
def test_success_plus_needs_an_owner(owner: RetryOwner, fits: bool) -> None:
    """Two who retry one debt break rules that each of them keeps: such a start is refused."""
    given = settings(owner, success_plus=True)

    broke = broken_contract(make_gocardless(given), given)

    assert (broke is None) is fits
    assert fits or "two owners" in str(broke)


def test_it_imports_the_public_face_alone() -> None:
    """Built as anybody would build one (the import rules hold it as well)."""
    sources = Path(recoup_gocardless.__file__).parent.glob("*.py")
    imported = {
        name
        for source in sources
        for name in re.findall(r"^(?:from|import) (recoup\S*)", source.read_text("utf-8"), re.M)
    }

    assert {name for name in imported if not name.startswith("recoup_gocardless")} == {"recoup_plugins"}
