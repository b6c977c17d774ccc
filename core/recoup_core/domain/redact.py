"""Texts that came from outside (a provider, a plugin) made fit for logs and errors: short, and without secrets."""

import re
from typing import Final, TypeVar

import msgspec

from recoup_core.domain.cardnumbers import holds_card_number
from recoup_core.domain.decline import Decline
from recoup_core.domain.refund import RefundFailure

MAX_TEXT: Final = 200
"""Characters kept of a foreign text."""

_SECRETS: Final = (
    # Stripe's key prefixes (docs.stripe.com/keys): secret, restricted, publishable, webhook; masked ones carry stars
    re.compile(r"\b(?:sk|rk|pk)_(?:live|test)_[\w*]+|\bwhsec_[\w+/=*-]+"),
    re.compile(r"(?i)\b(?:bearer|basic)\s+[\w.~+/=-]+"),
    re.compile(r"(?i)(?:api[-_ ]?key|secret|password|token)\s*[=:]\s*\S+"),
    re.compile(r"(?<=//)[^/@\s]+:[^/@\s]+(?=@)"),
)


def redact(text: str) -> str:
    """Return the text without keys, credentials or card numbers, on one line of at most `MAX_TEXT` characters."""
    for secret in _SECRETS:
        text = secret.sub("[redacted]", text)
    if holds_card_number(text):
        text = re.sub(r"\d", "#", text)
    line = " ".join(text.split())
    return line if len(line) <= MAX_TEXT else f"{line[: MAX_TEXT - 1]}…"


_ADDRESSES: Final = (
    re.compile(r"[^\s<>\"'(),:;]+@[^\s<>\"'(),:;]+"),
    re.compile(r"\+?\d(?:[ ()/.-]?\d){6,}"),
)
"""E-mail addresses, and runs of digits as long as the shortest phone numbers."""


def hide_addresses(text: str, *known: str | None) -> str:
    """Return the text without the known addresses, nor anything that looks like an e-mail address or phone number."""
    for address in known:
        if address:
            text = re.sub(re.escape(address), "[address]", text, flags=re.IGNORECASE)
    for shape in _ADDRESSES:
        text = shape.sub("[address]", text)
    return text


Told = TypeVar("Told", Decline, RefundFailure)


def redacted(told: Told) -> Told:
    """Return what a provider gives as its reason with its code and message redacted."""
    message = None if told.message is None else redact(told.message)
    return msgspec.structs.replace(told, code=redact(told.code), message=message)
