"""The options of a Stripe gateway, and what is refused at start."""

from typing import Any

import msgspec

from recoup_core.ports import CHARGE_TIMEOUT_S
from recoup_plugins import GatewaySettings, PluginMisconfigured, read_options
from recoup_plugins.settings import keeps_secrets


class StripeOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a `stripe` gateway."""

    api_key: str
    webhook_secrets: tuple[str, ...] = ()
    """The endpoint's signing secrets (`whsec_...`): two while one is rolled. Without any, every webhook is refused."""
    api_base: str | None = None
    """Another address of the API, for tests."""
    api_version: str | None = None
    """The `Stripe-Version` to ask for (`2025-03-31.basil`); without one, the version this SDK is made for."""
    timeout_s: float = 20.0
    """How long to wait for one answer; below the flows' own limit, so that ours tells the reason."""
    same_intent: bool = True
    """Whether a failed payment's own PaymentIntent is tried again where it fits; else each try makes a new one."""
    portal_return_url: str | None = None
    """Where Stripe's billing portal leads the customer back to."""
    portal_configuration: str | None = None
    """The portal's configuration (`bpc_...`); without one, the account's default."""
    clock: Any = None
    """A `recoup_plugins.Clock`, for tests of webhook age."""

    def __repr__(self) -> str:
        return "StripeOptions(...)"  # holds secrets; tracebacks may show locals


def stripe_options(settings: GatewaySettings) -> StripeOptions:
    """Read and check the options; what can't be used is refused with the field's name, never its value."""
    options = read_options(settings, StripeOptions)

    def refuse(field: str, message: str) -> PluginMisconfigured:
        return PluginMisconfigured(settings.plugin, field, message)

    if not options.api_key.startswith(("sk_", "rk_")):
        raise refuse("api_key", "must be a secret or restricted key (sk_..., rk_...)")
    if not 0 < options.timeout_s < CHARGE_TIMEOUT_S:
        raise refuse("timeout_s", f"must lie between 0 and {CHARGE_TIMEOUT_S:g} s")
    if not all(options.webhook_secrets):
        raise refuse("webhook_secrets", "holds an empty secret")
    if options.api_base is not None and not keeps_secrets(options.api_base):
        raise refuse("api_base", "must be an https address (or http on this very machine, for tests)")
    if options.portal_return_url is not None and not options.portal_return_url.startswith(("https://", "http://")):
        raise refuse("portal_return_url", "must be an address (https://...)")
    if options.portal_configuration is not None and not options.portal_configuration.startswith("bpc_"):
        raise refuse("portal_configuration", "must be the id of a portal configuration (bpc_...)")
    if options.clock is not None and not callable(getattr(options.clock, "now", None)):
        raise refuse("clock", "must be a Clock (an object with `now()`)")
    return options
