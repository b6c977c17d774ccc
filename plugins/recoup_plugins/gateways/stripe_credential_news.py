"""What Stripe's events say about stored payment methods: renewed, added, taken back, suspected of fraud.

`payment_method.automatically_updated` is the card updater's and the network tokens' doing; `payment_method.updated` may
be about an address alone, and is news only where the card or account itself changed.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from recoup_core.ports import CredentialChange, CredentialNews
from recoup_plugins.gateways.stripe_customers import stored_credential
from recoup_plugins.gateways.stripe_objects import METHODS, StripeMethod, ref


class _Data(msgspec.Struct, frozen=True):
    object: msgspec.Raw = msgspec.Raw(b"{}")
    previous_attributes: Mapping[str, Any] | None = None


class _Mandate(msgspec.Struct, frozen=True):
    id: str
    status: str
    payment_method: str | Mapping[str, Any] | None = None


class _Warning(msgspec.Struct, frozen=True):
    charge: str | Mapping[str, Any]
    payment_intent: str | Mapping[str, Any] | None = None
    fraud_type: str | None = None


def credential_news(kind: str, data: msgspec.Raw) -> CredentialNews | None:
    """Return what an event's `data` tells; None for other kinds, and for objects that say nothing of these."""
    tell = _KINDS.get(kind)
    if tell is None:
        return None
    try:
        return tell(msgspec.json.decode(data, type=_Data))
    except (msgspec.MsgspecError, RecursionError):
        return None


def _of_updated(data: _Data) -> CredentialNews | None:
    changed = data.previous_attributes
    method = msgspec.json.decode(data.object, type=StripeMethod)
    if changed is not None and method.type not in changed:
        return None
    return _renewed(CredentialChange.UPDATED, method)


def _of_automatically_updated(data: _Data) -> CredentialNews | None:
    return _renewed(CredentialChange.UPDATED, msgspec.json.decode(data.object, type=StripeMethod))


def _of_attached(data: _Data) -> CredentialNews | None:
    return _renewed(CredentialChange.ADDED, msgspec.json.decode(data.object, type=StripeMethod))


def _renewed(change: CredentialChange, method: StripeMethod) -> CredentialNews | None:
    now = stored_credential(method)
    if now is None:
        return None
    return CredentialNews(change=change, token=now.token, gateway_customer=now.gateway_customer, now=now)


def _of_detached(data: _Data) -> CredentialNews | None:
    """Told after the fact: only what it was before still names the customer."""
    method = msgspec.json.decode(data.object, type=StripeMethod)
    if method.type not in METHODS or method.id is None:
        return None
    before = (data.previous_attributes or {}).get("customer")
    customer = ref(method.customer) or (before if isinstance(before, str) else None)
    return CredentialNews(
        change=CredentialChange.REMOVED, token=method.id, gateway_customer=customer, reason="detached"
    )


def _of_mandate(data: _Data) -> CredentialNews | None:
    mandate = msgspec.json.decode(data.object, type=_Mandate)
    token = ref(mandate.payment_method)
    if mandate.status != "inactive" or token is None:
        return None
    return CredentialNews(change=CredentialChange.REMOVED, token=token, reason="mandate_inactive")


def _of_warning(data: _Data) -> CredentialNews | None:
    warning = msgspec.json.decode(data.object, type=_Warning)
    refs = [one for one in (ref(warning.payment_intent), ref(warning.charge)) if one]
    if not refs:
        return None
    return CredentialNews(
        change=CredentialChange.SUSPECTED,
        charge_ref=refs[0],
        other_charge_refs=tuple(refs[1:]),
        reason=warning.fraud_type,
    )


_KINDS: Final[Mapping[str, Callable[[_Data], CredentialNews | None]]] = {
    "payment_method.updated": _of_updated,
    "payment_method.automatically_updated": _of_automatically_updated,
    "payment_method.attached": _of_attached,
    "payment_method.detached": _of_detached,
    "mandate.updated": _of_mandate,
    "radar.early_fraud_warning.created": _of_warning,
}

KINDS: Final = frozenset(_KINDS)
