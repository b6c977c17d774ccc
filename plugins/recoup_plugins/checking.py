"""Looks at an installed plugin as Recoup would use it, without moving any money: what `recoup plugin check` says.

Nothing is sent to anybody. Only the health check of what is configured talks to a provider.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from recoup_core.domain.payment import RetryOwner
from recoup_core.domain.redact import redact
from recoup_core.ports import MAX_WEBHOOK_BYTES, Capabilities, FeedbackRefused, Gateway, Notifier, WebhookRefused
from recoup_plugins.apart import PluginFailed, PluginHung, run_apart, told
from recoup_plugins.contract import DECLARATION
from recoup_plugins.hosted import Hosted
from recoup_plugins.limits import Limits
from recoup_plugins.manager import EntryPointLike, GatewayBroken, LoadedPlugin, PluginManager
from recoup_plugins.notifier_building import NotifierBroken
from recoup_plugins.settings import (
    GatewayFactory,
    GatewaySettings,
    NotifierFactory,
    NotifierSettings,
    PluginMisconfigured,
)
from recoup_plugins.watching import reaching_out

if TYPE_CHECKING:
    from recoup_core.ports import FeedbackNotifier

Configured = TypeVar("Configured", GatewaySettings, NotifierSettings)
Made = TypeVar("Made")

WITHIN: Final = Limits(parse_s=1.0)
"""A webhook that strangers can make slow is a way to stop an installation; a second is a hundred times enough."""

LONGEST_KEY_LIFETIME: Final = timedelta(days=366)
SECRET_LENGTH: Final = 6
"""Shorter option values (`eu`, `v1`) are no secrets, and may be shown."""

DUMMY: Final = "dummy-check-secret"
MAX_DUMMIES: Final = 20
"""Required options that are made up before giving up."""

_MISSING: Final = re.compile(r"missing required field `(\w+)`")

HOSTILE: Final[Mapping[str, tuple[Mapping[str, str], bytes]]] = {
    "nothing at all": ({}, b""),
    "no signature": ({"content-type": "application/json"}, b'{"id": "evt_1", "type": "charge.paid"}'),
    "bytes that are no text": ({"content-type": "application/json"}, b"\xff\xfe\x00" * 1000),
    "JSON a hundred thousand deep": ({}, b"[" * 100_000 + b"]" * 100_000),
    "the largest body, all one word": ({}, b"a" * MAX_WEBHOOK_BYTES),
    "the largest body, a list": ({}, b"[" + b"0," * (MAX_WEBHOOK_BYTES // 2 - 2) + b"0]"),
    "the largest body, blanks": ({}, b" " * MAX_WEBHOOK_BYTES),
    "garbage in every header": (
        dict.fromkeys(("signature", "authorization", "x-signature"), "=,t=;v1=é\x00" * 500),
        b"{}",
    ),
}
"""What strangers may send to a webhook's address."""


class Verdict(StrEnum):
    """What came of one look."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    plugin: str
    check: str
    verdict: Verdict
    told: str = ""


def check_plugin(
    entry: EntryPointLike, configured: Sequence[GatewaySettings], notifiers: Sequence[NotifierSettings] = ()
) -> list[Finding]:
    """Return everything that was found about one plugin; `configured` and `notifiers` are the installation's own."""
    return [
        Finding(plugin=entry.name, check=check, verdict=verdict, told=redact(text))
        for check, verdict, text in _looks(entry, configured, notifiers)
    ]


Look = tuple[str, Verdict, str]


def _looks(
    entry: EntryPointLike, configured: Sequence[GatewaySettings], notifiers: Sequence[NotifierSettings]
) -> Iterator[Look]:
    manager = PluginManager(WITHIN)
    with reaching_out() as reached:
        manager.add(entry.name, entry.load)
    if manager.problems:
        yield "import", Verdict.FAILED, manager.problems[0].broke
        return
    (plugin,) = manager.plugins
    yield "import", Verdict.OK, f"registers {', '.join(_registered(plugin)) or 'nothing'}"
    yield _quiet("no I/O at import", reached)
    yield _contract(plugin)
    for kind, factory in plugin.factories.items():
        own = [one for one in configured if one.plugin == kind]
        # whose retries they are is for a configuration to say: here nobody contradicts the plugin
        made_up = GatewaySettings(name="checked", plugin=kind, retries_by=RetryOwner.GATEWAY)
        for settings in own or [made_up]:
            yield from _gateway(manager, factory, settings, is_configured=bool(own))
    for kind, maker in plugin.notifiers.items():
        ours = [one for one in notifiers if one.plugin == kind]
        for one in ours or [NotifierSettings(name="checked", plugin=kind)]:
            yield from _notifier(manager, maker, one, is_configured=bool(ours))


def _registered(plugin: LoadedPlugin) -> Sequence[str]:
    return [*plugin.factories, *(f"{kind} (notifier)" for kind in plugin.notifiers)]


def _contract(plugin: LoadedPlugin) -> Look:
    if plugin.fit.warning is not None:
        return "contract", Verdict.WARNING, plugin.fit.warning
    return "contract", Verdict.OK, f"{DECLARATION} is {plugin.fit.written_for}"


def _quiet(check: str, reached: Sequence[str]) -> Look:
    if reached:
        return check, Verdict.FAILED, f"it did {', '.join(sorted(set(reached)))}"
    return check, Verdict.OK, ""


def _gateway(
    manager: PluginManager, factory: GatewayFactory, settings: GatewaySettings, *, is_configured: bool
) -> Iterator[Look]:
    of = f"{settings.plugin} ({settings.name})" if is_configured else settings.plugin
    with reaching_out() as reached:
        gateway, settings, trouble = _build(_a_gateway(manager), settings, 0 if is_configured else MAX_DUMMIES)
    yield from _built(of, "gateway", trouble, reached, is_configured=is_configured)
    if gateway is None:
        return
    yield f"capabilities of {of}", *_sane(gateway.capabilities)
    yield f"repr of {of}", *_shows_no_secret(factory, settings)
    for name, (headers, body) in HOSTILE.items():
        yield f"webhook of {of}: {name}", *_refuses(gateway.parse_event, headers, body)
    if is_configured:
        yield f"health of {of}", *_healthy(gateway)
    if isinstance(gateway, Hosted):
        gateway.close()


def _notifier(
    manager: PluginManager, factory: NotifierFactory, settings: NotifierSettings, *, is_configured: bool
) -> Iterator[Look]:
    of = f"notifier {settings.plugin}{f' ({settings.name})' if is_configured else ''}"
    with reaching_out() as reached:
        notifier, settings, trouble = _build(_a_notifier(manager), settings, 0 if is_configured else MAX_DUMMIES)
    yield from _built(of, "notifier", trouble, reached, is_configured=is_configured)
    if notifier is None:
        return
    yield f"repr of {of}", *_shows_no_secret(factory, settings)
    if notifier.capabilities.feedback:
        parse = cast("FeedbackNotifier", notifier).parse_feedback
        for name, (headers, body) in HOSTILE.items():
            yield f"feedback of {of}: {name}", *_refuses(parse, headers, body)
    if is_configured:
        yield f"health of {of}", *_healthy(notifier)
    if isinstance(notifier, Hosted):
        notifier.close()


def _built(
    of: str, what: str, trouble: Exception | None, reached: Sequence[str], *, is_configured: bool
) -> Sequence[Look]:
    """Return what building it showed."""
    if trouble is None:
        told = "as configured" if is_configured else "with options made up"
        return [(f"build {of}", Verdict.OK, told), _quiet(f"no I/O when {of} is built", reached)]
    if is_configured or isinstance(trouble, GatewayBroken | NotifierBroken):
        return [(f"build {of}", Verdict.FAILED, str(trouble))]
    hint = f"configure a {what} of this kind and name the file by --config"
    return [(f"build {of}", Verdict.SKIPPED, f"{trouble}; {hint}")]


def _a_gateway(manager: PluginManager) -> Callable[[GatewaySettings], Gateway]:
    return lambda settings: manager.build_gateways([settings])[settings.name]


def _a_notifier(manager: PluginManager) -> Callable[[NotifierSettings], Notifier]:
    return lambda settings: manager.build_notifiers([settings])[settings.name]


def _build(
    build: Callable[[Configured], Made], settings: Configured, dummies: int
) -> tuple[Made | None, Configured, Exception | None]:
    """Build one; required options that are missing are made up, as many as `dummies`."""
    try:
        return build(settings), settings, None
    except PluginMisconfigured as wrong:
        missing = _MISSING.search(wrong.message)
        if missing is None or not dummies:
            return None, settings, wrong
        options = {**settings.options, missing[1]: f"{DUMMY}-{dummies}"}
        return _build(build, msgspec.structs.replace(settings, options=options), dummies - 1)
    except (GatewayBroken, NotifierBroken) as broken:
        return None, settings, broken


def _sane(can: Capabilities) -> tuple[Verdict, str]:
    broken = [
        text
        for holds, text in (
            (bool(can.methods), "it takes no method of payment"),
            (timedelta() < can.key_lifetime <= LONGEST_KEY_LIFETIME, "key_lifetime is not within a year"),
            (timedelta() <= can.find_lag < can.key_lifetime, "find_lag does not end before key_lifetime"),
            (timedelta() <= can.refund_find_lag < can.key_lifetime, "refund_find_lag does not end before key_lifetime"),
            (all(window > timedelta() for window in can.refund_windows.values()), "a refund window is not positive"),
            (200 <= can.webhook_answer.status < 300, "webhook_answer has a status that is no success"),
        )
        if not holds
    ]
    return (Verdict.FAILED, "; ".join(broken)) if broken else (Verdict.OK, "")


def _shows_no_secret(factory: Callable[[Configured], object], settings: Configured) -> tuple[Verdict, str]:
    """Logs and error pages print objects."""

    def shown() -> str:
        made = factory(settings)
        return f"{made!r} {made} {vars(made) if hasattr(made, '__dict__') else ''}"

    text = _apart(shown)
    if isinstance(text, tuple):
        return text
    hidden = [value for value in _leaves(settings.options) if len(value) >= SECRET_LENGTH and value in text]
    return (Verdict.FAILED, "an option's value is shown") if hidden else (Verdict.OK, "")


def _leaves(part: Any) -> Iterator[str]:
    """Yield every text in the options that may be a secret; addresses and paths are none."""
    if isinstance(part, str):
        if not part.startswith(("http://", "https://", "/")):
            yield part
    elif isinstance(part, Mapping):
        for value in part.values():
            yield from _leaves(value)
    elif isinstance(part, list | tuple):
        for value in part:
            yield from _leaves(value)


def _refuses(
    parse: Callable[[Mapping[str, str], bytes], Sequence[object]], headers: Mapping[str, str], body: bytes
) -> tuple[Verdict, str]:
    try:
        events = parse(headers, body)
    except (WebhookRefused, FeedbackRefused):
        return Verdict.OK, ""
    except PluginHung:
        return Verdict.FAILED, f"it took more than {WITHIN.parse_s:g} s"
    except Exception as other:  # whatever is no refusal is what is looked for
        return Verdict.FAILED, f"instead of a refusal it raised {told(other)}"
    return Verdict.FAILED, f"it was taken for {len(events)} events instead of being refused"


def _healthy(one: Gateway | Notifier) -> tuple[Verdict, str]:
    async def ask() -> None:
        async with asyncio.timeout(WITHIN.health_s):
            await one.health()

    try:
        asyncio.run(ask())
    except Exception as failure:  # whatever is raised means that it is not well
        return Verdict.FAILED, told(failure)
    return Verdict.OK, "it answers"


def _apart(work: Callable[[], str]) -> str | tuple[Verdict, str]:
    try:
        return run_apart(work, WITHIN.build_s, "plugin-check-build")
    except (PluginFailed, PluginHung) as broken:
        return Verdict.FAILED, str(broken)
