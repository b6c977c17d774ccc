"""One configured gateway: its settings, and how a factory reads its own options without repeating a secret."""

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, TypeVar

import msgspec

from recoup_core.domain.errors import DomainError
from recoup_core.ports import Gateway


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """One gateway instance as the operator configured it; `options` hold secrets that are already resolved."""

    name: str
    """The instance's name, unique among all (`stripe-eu`); payments refer to it."""
    plugin: str
    """The kind a plugin registered (`stripe`)."""
    merchant: str = "default"
    options: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return f"GatewaySettings(name={self.name!r}, plugin={self.plugin!r}, merchant={self.merchant!r})"


GatewayFactory = Callable[[GatewaySettings], Gateway]
"""Makes one gateway without I/O; a wrong option raises `PluginMisconfigured`."""

RegisterGateway = Callable[[str, GatewayFactory], None]


class PluginMisconfigured(DomainError):
    """A plugin's options can't be used; the message names the field, never its value."""

    code: ClassVar[str] = "plugin_misconfigured"

    def __init__(self, plugin: str, field: str, message: str) -> None:
        super().__init__(f"the plugin {plugin} is misconfigured at {field}: {message}")
        self.plugin, self.field, self.message = plugin, field, message


_QUOTED: Final = re.compile(r"'[^']*'")
"""msgspec puts given values between single quotes (and types and names between backquotes)."""

_AT: Final = re.compile(r"\s*- at `\$?\.?(?P<path>[^`]*)`$")

Options = TypeVar("Options", bound=msgspec.Struct)


def read_options(settings: GatewaySettings, shape: type[Options]) -> Options:
    """Read `settings.options` as the plugin's own struct; declare it with `forbid_unknown_fields=True`."""
    try:
        return msgspec.convert(settings.options, type=shape)
    except msgspec.ValidationError as refusal:
        text = _QUOTED.sub("'...'", str(refusal))
        at = _AT.search(text)
        field = at["path"] if at else ""
        raise PluginMisconfigured(settings.plugin, field or "options", _AT.sub("", text)) from None
