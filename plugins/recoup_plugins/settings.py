"""One configured gateway or notifier: its settings, and how a factory reads its options without repeating a secret."""

import difflib
import re
from collections.abc import Callable, Mapping
from enum import EnumMeta
from typing import Any, ClassVar, Final, Literal, TypeVar, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from recoup_core.domain.errors import DomainError
from recoup_core.domain.payment import RetryOwner
from recoup_core.ports import Gateway, Notifier


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """One gateway instance as the operator configured it; `options` hold secrets that are already resolved."""

    name: str
    """The instance's name, unique among all (`stripe-eu`); payments refer to it."""
    plugin: str
    """The kind a plugin registered (`stripe`)."""
    merchant: str = "default"
    retries_by: RetryOwner = RetryOwner.RECOUP
    """Who tries failed payments of this account again."""
    options: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return f"GatewaySettings(name={self.name!r}, plugin={self.plugin!r}, merchant={self.merchant!r})"


GatewayFactory = Callable[[GatewaySettings], Gateway]
"""Makes one gateway without I/O; a wrong option raises `PluginMisconfigured`."""

RegisterGateway = Callable[[str, GatewayFactory], None]


class NotifierSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One notifier instance as the operator configured it; `options` hold secrets that are already resolved."""

    name: str
    """The instance's name, unique among all notifiers (`mail`)."""
    plugin: str
    """The kind a plugin registered (`smtp`)."""
    merchant: str | None = None
    """Whose messages it carries; None: every merchant's that has none of its own."""
    options: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return f"NotifierSettings(name={self.name!r}, plugin={self.plugin!r}, merchant={self.merchant!r})"


NotifierFactory = Callable[[NotifierSettings], Notifier]
"""Makes one notifier without I/O; a wrong option raises `PluginMisconfigured`."""

RegisterNotifier = Callable[[str, NotifierFactory], None]


class PluginMisconfigured(DomainError):
    """A plugin's options can't be used; the message names the field, never its value."""

    code: ClassVar[str] = "plugin_misconfigured"

    def __init__(self, plugin: str, field: str, message: str) -> None:
        super().__init__(f"the plugin {plugin} is misconfigured at {field}: {message}")
        self.plugin, self.field, self.message = plugin, field, message


_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_QUOTED: Final = re.compile(r"'[^']*'")
"""msgspec puts given values between single quotes (and types and names between backquotes)."""

_UNKNOWN: Final = re.compile(r"^Object contains unknown field `(?P<name>[^`]*)`$")

_AT: Final = re.compile(r"\s*- at `\$?\.?(?P<path>[^`]*)`$")

Options = TypeVar("Options", bound=msgspec.Struct)


def read_options(settings: GatewaySettings, shape: type[Options]) -> Options:
    """Read `settings.options` as the plugin's own struct; declare it with `forbid_unknown_fields=True`."""
    return _read(settings.plugin, settings.options, shape)


def read_notifier_options(settings: NotifierSettings, shape: type[Options]) -> Options:
    """Read a notifier's options as `read_options` does a gateway's."""
    return _read(settings.plugin, settings.options, shape)


def _read(plugin: str, options: Mapping[str, Any], shape: type[Options]) -> Options:
    try:
        return msgspec.convert(options, type=shape)
    except msgspec.ValidationError as refusal:
        text = _QUOTED.sub("'...'", str(refusal))
        at = _AT.search(text)
        field = at["path"] if at else ""
        message = _AT.sub("", text)
        raise PluginMisconfigured(plugin, field or "options", message + _hint(shape, field, message)) from None


def _hint(shape: type[msgspec.Struct], field: str, message: str) -> str:
    """Say what may have been meant: the nearest option's name, or the words that an option takes."""
    types = {each.encode_name: each.type for each in msgspec.structs.fields(shape)}
    if not field and (unknown := _UNKNOWN.match(message)):
        near = difflib.get_close_matches(unknown["name"], types, n=1)
        return f" (did you mean {near[0]}?)" if near else ""
    taken = types.get(field)
    words = get_args(taken) if get_origin(taken) is Literal else taken if isinstance(taken, EnumMeta) else ()
    return f"; it takes {', '.join(str(word) for word in words)}" if words else ""


def keeps_secrets(address: str) -> bool:
    """Whether an account's key may be sent there: by https, or by plain http on this very machine, for tests."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
