"""From settings to a gateway."""

from typing import Final

from recoup_gocardless.gateway import GoCardlessGateway
from recoup_gocardless.options import GoCardlessOptions
from recoup_plugins import GatewaySettings, PluginMisconfigured, read_options

MAX_TIMEOUT_S: Final = 9.0
"""A charge may take three calls one after the other, and Recoup waits 30 s for all of them."""


def make_gocardless(settings: GatewaySettings) -> GoCardlessGateway:
    """Make a GoCardless gateway; options as in `GoCardlessOptions`."""
    options = read_options(settings, GoCardlessOptions)
    wrong = _wrong(options)
    if wrong is not None:
        raise PluginMisconfigured(settings.plugin, *wrong)
    return GoCardlessGateway(settings.name, options)


def _wrong(options: GoCardlessOptions) -> tuple[str, str] | None:
    """Return the field that can't be used and why; never its value."""
    if not options.access_token.strip():
        return "access_token", "is empty"
    if not 0 < options.timeout_s <= MAX_TIMEOUT_S:
        return "timeout_s", f"must lie between 0 and {MAX_TIMEOUT_S:g} s"
    if not all(options.webhook_secrets):
        return "webhook_secrets", "holds an empty secret"
    if options.api_base is not None and not options.api_base.startswith(("https://", "http://127.0.0.1:")):
        return "api_base", "must be an https address (or one of this machine's own, for tests)"
    return None
