"""Plugins are found, checked and isolated from one another."""

import types
from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib.metadata import EntryPoint
from typing import Any, Literal

import msgspec
import pytest

from recoup_plugins import (
    Capabilities,
    Gateway,
    GatewaySettings,
    Method,
    PluginMisconfigured,
    RetryOwner,
    hookimpl,
    read_options,
)
from recoup_plugins.gateways.sandbox import make_sandbox
from recoup_plugins.manager import GatewayBroken, load_plugins


class Found:
    """An entry point whose import does what the test says."""

    def __init__(self, name: str, load: Callable[[], object]) -> None:
        self.name, self.load = name, load


def a_module(**content: Any) -> types.ModuleType:
    module = types.ModuleType("acme")
    vars(module).update(content)
    return module


def a_plugin(*kinds: str, factory: Callable[[GatewaySettings], Gateway] = make_sandbox) -> types.ModuleType:
    @hookimpl
    def register_gateways(register: Any) -> None:
        for kind in kinds:
            register(kind, factory)

    return a_module(register_gateways=register_gateways)


def broken_import() -> object:
    raise ImportError("no module named provider_sdk, api_key=sk_live_hidden")


def test_the_built_in_kinds_are_there() -> None:
    """Nothing has to be installed for the sandbox and Stripe."""
    manager = load_plugins([])

    assert manager.kinds == ("adyen", "sandbox", "stripe")
    assert manager.problems == ()


def test_an_installed_plugin_adds_its_kinds() -> None:
    """One import, one hook: the kind can be configured."""
    manager = load_plugins([Found("acme", lambda: a_plugin("acme_cards", "acme_debit"))])

    gateways = manager.build_gateways([GatewaySettings(name="a", plugin="acme_debit")])

    assert list(gateways) == ["a"]
    assert gateways["a"].name == "a"


def test_a_real_entry_point_is_loaded() -> None:
    """What packages declare under `recoup.plugins` is what the manager takes: a module."""
    broken = EntryPoint("missing", "recoup_plugins.no_such_module", "recoup.plugins")

    manager = load_plugins([broken])

    assert [problem.plugin for problem in manager.problems] == ["missing"]
    assert "ModuleNotFoundError" in manager.problems[0].broke


def _raises_halfway(register: Any) -> None:
    register("halfway", make_sandbox)
    raise RuntimeError("no")


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (broken_import, "ImportError"),
        (a_module, "no hook of recoup"),
        (lambda: a_plugin("stripe"), "already registered by stripe"),
        (lambda: a_plugin("twice", "twice"), "already registered by acme"),
        (lambda: a_plugin(""), "non-empty str"),
        (lambda: a_plugin("acme", factory="not callable"), "callable"),
        (lambda: a_module(register_gateways=hookimpl(_raises_halfway)), "RuntimeError: no"),
        (lambda: a_module(register_gateways=hookimpl(lambda registrar: None)), "PluginValidationError"),
    ],
)
def test_a_broken_plugin_is_named_and_disables_only_itself(load: Callable[[], object], said: str) -> None:
    """Its neighbours load, nothing of it remains, and the operator reads what it broke, without secrets."""
    manager = load_plugins([Found("acme", load), Found("good", lambda: a_plugin("good"))])

    assert manager.kinds == ("adyen", "good", "sandbox", "stripe")
    (problem,) = manager.problems
    assert problem.plugin == "acme"
    assert said in problem.broke
    assert "hidden" not in problem.broke


def test_a_setting_that_names_a_disabled_plugin_says_why() -> None:
    """The start fails where the cause is told."""
    manager = load_plugins([Found("acme", broken_import)])

    with pytest.raises(PluginMisconfigured, match=r"known are adyen, sandbox, stripe.*acme is disabled: ImportError"):
        manager.build_gateways([GatewaySettings(name="a", plugin="acme")])


def test_two_gateways_of_one_name_are_refused() -> None:
    """Payments refer to a gateway by its name."""
    settings = [GatewaySettings(name="a", plugin="sandbox"), GatewaySettings(name="a", plugin="sandbox")]

    with pytest.raises(PluginMisconfigured, match="two gateways are named a"):
        load_plugins([]).build_gateways(settings)


OPTIONAL = {
    "lists_credentials": "list_credentials",
    "update_links": "update_link",
    "lists_events": "list_events",
    "reads_settlements": "read_settlement",
}
METHODS = (
    *("charge", "find_charge", "parse_event", "health", "refund", "find_refund", "cancel_refund"),
    *OPTIONAL.values(),
    "fetch_settlement",
)
MISSING = object()


def able(**to: bool) -> Capabilities:
    return Capabilities(methods=frozenset(Method), key_lifetime=timedelta(days=1), finds_charges=True, **to)


class Incomplete:
    """A gateway of which the test breaks one thing."""

    def __init__(self, **broken: Any) -> None:
        whole = make_sandbox(GatewaySettings(name="a", plugin="acme"))
        for part in ("name", "capabilities", *METHODS):
            given = broken.get(part, getattr(whole, part, MISSING))
            if given is not MISSING:
                setattr(self, part, given)


async def _never(request: Any) -> None: ...


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"name": "b"}, "its name must be"),
        ({"capabilities": None}, "capabilities"),
        ({"charge": lambda request: None}, "`charge` must be an `async def`"),
        ({"find_charge": None}, "`find_charge` must be an `async def`"),
        ({"health": lambda: None}, "`health` must be an `async def`"),
        ({"parse_event": _never}, "`parse_event` must be a plain method"),
        ({"refund": MISSING}, "`refund` must be an `async def`"),
        ({"find_refund": lambda request: None}, "`find_refund` must be an `async def`"),
        ({"cancel_refund": MISSING}, "`cancel_refund` must be an `async def`"),
        ({"capabilities": able(voids=True)}, "`refunds` is not set"),
        ({"capabilities": able(cancels_refunds=True)}, "`refunds` is not set"),
        *(
            ({"capabilities": able(**{can: True}), method: MISSING}, f"`{method}` must be")
            for can, method in OPTIONAL.items()
        ),
        ({"capabilities": able(reads_settlements=True), "read_settlement": _never}, "must be a plain method"),
        ({"capabilities": able(fetches_settlements=True)}, "`reads_settlements` is not set"),
        ({"capabilities": able(retries_itself=True)}, "two owners"),
    ],
)
def test_a_gateway_that_breaks_the_contract_is_refused_when_built(broken: dict[str, Any], said: str) -> None:
    """Named with its plugin and what it broke, before any money could move."""
    plugin = a_plugin("acme", factory=lambda settings: Incomplete(**broken))
    manager = load_plugins([Found("acme_package", lambda: plugin)])

    with pytest.raises(GatewayBroken) as refusal:
        manager.build_gateways([GatewaySettings(name="a", plugin="acme")])

    assert refusal.value.plugin == "acme_package"
    assert said in refusal.value.broke


@pytest.mark.parametrize(
    ("can", "missing"),
    [
        (able(), ("refund", "find_refund", "cancel_refund")),
        (able(refunds=True), ("cancel_refund",)),
    ],
)
def test_a_gateway_need_not_do_what_it_does_not_promise(can: Capabilities, missing: tuple[str, ...]) -> None:
    """A plugin without refunds, or one whose refunds can't be canceled, is fine."""
    broken = {"capabilities": can, **dict.fromkeys(missing, MISSING)}
    plugin = a_plugin("acme", factory=lambda settings: Incomplete(**broken))

    gateways = load_plugins([Found("acme", lambda: plugin)]).build_gateways([GatewaySettings(name="a", plugin="acme")])

    assert gateways["a"].capabilities == can


@pytest.mark.parametrize("owner", [RetryOwner.GATEWAY, RetryOwner.BILLER])
def test_a_provider_that_retries_by_itself_is_fine_where_the_settings_say_so(owner: RetryOwner) -> None:
    """Then Recoup waits until it gives up."""
    plugin = a_plugin("acme", factory=lambda settings: Incomplete(capabilities=able(retries_itself=True)))
    manager = load_plugins([Found("acme", lambda: plugin)])

    gateways = manager.build_gateways([GatewaySettings(name="a", plugin="acme", retries_by=owner)])

    assert gateways["a"].capabilities.retries_itself


def test_settings_never_show_their_options() -> None:
    """Secrets are in there."""
    shown = repr(GatewaySettings(name="a", plugin="stripe", options={"api_key": "sk_live_hidden"}))

    assert "hidden" not in shown


class Choosy(msgspec.Struct, forbid_unknown_fields=True):
    mode: Literal["test", "live"]
    nested: Mapping[str, int] = {}


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"mode": "sk_live_hidden"}, "mode"),
        ({"mode": "live", "nested": {"a": "hidden"}}, "nested[...]"),
        ({}, "options"),
    ],
)
def test_wrong_options_name_the_field_and_never_the_value(options: dict[str, Any], field: str) -> None:
    """msgspec repeats a value that is no member of a choice; the refusal does not."""
    with pytest.raises(PluginMisconfigured) as refusal:
        read_options(GatewaySettings(name="a", plugin="acme", options=options), Choosy)

    assert refusal.value.field == field
    assert "hidden" not in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"mode": "tset"}, "it takes test, live"),
        ({"mode": "live", "neste": {}}, "`neste` (did you mean nested?)"),
    ],
)
def test_wrong_options_are_told_with_what_may_have_been_meant(options: dict[str, Any], hint: str) -> None:
    """And with the gateway, of which there may be several of one kind."""
    plugin = a_plugin("acme", factory=lambda settings: Incomplete(capabilities=read_options(settings, Choosy)))
    settings = GatewaySettings(name="acme-eu", plugin="acme", options=options)

    with pytest.raises(PluginMisconfigured) as refusal:
        load_plugins([Found("acme", lambda: plugin)]).build_gateways([settings])

    assert hint in str(refusal.value)
    assert "(gateway acme-eu)" in str(refusal.value)
