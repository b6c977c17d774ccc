"""Asking a gateway what a customer has stored, or for a page of its own; a misbehaving plugin is `Unknown`.

Nothing moves money here, so whatever goes wrong only means: not now.
"""

import re
from collections.abc import Sequence
from typing import Final, cast
from urllib.parse import urlsplit

from recoup_core.domain.cardnumbers import refuse_card_numbers_in
from recoup_core.domain.errors import CardNumberRefused
from recoup_core.domain.redact import redact
from recoup_core.flows.guard import Unknown, ask_guarded, wrong_types
from recoup_core.ports import (
    CredentialGateway,
    Gateway,
    LinkAnswer,
    LinkGateway,
    NoLink,
    StoredCredential,
    UpdateLink,
    UpdateLinkRequest,
)

LIST_TIMEOUT_S: Final = 20.0
LINK_TIMEOUT_S: Final = 10.0
"""A person, or the API's caller, waits for a page; who can't wait longer asks again with the same key."""

MAX_LISTED: Final = 20
"""Means of payment of one customer that are looked at: the ones the customer prefers come first."""

MAX_TEXT: Final = 500
"""Characters of a token or a name of a gateway's; what the API takes in reports."""

MONTH: Final = re.compile(r"2[0-9]{3}-(0[1-9]|1[0-2])")
"""The month on a card."""

MAX_URL: Final = 4096
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_CONTROLS: Final = frozenset(map(chr, (*range(0x21), 0x7F)))
"""Characters that no address holds: blanks, line ends and the like."""


async def list_guarded(
    gateway: Gateway, gateway_customer: str, *, timeout_s: float = LIST_TIMEOUT_S
) -> Sequence[StoredCredential] | Unknown:
    """Return the first `MAX_LISTED` things that a gateway has stored for a customer."""
    source = cast("CredentialGateway", gateway)
    listed = await ask_guarded(lambda: source.list_credentials(gateway_customer), _broken_list, timeout_s)
    return listed if isinstance(listed, Unknown) else tuple(listed[:MAX_LISTED])


async def link_guarded(
    gateway: Gateway, request: UpdateLinkRequest, *, timeout_s: float = LINK_TIMEOUT_S
) -> LinkAnswer | Unknown:
    """Return the gateway's page; one whose address no customer should be sent to is `Unknown`."""
    source = cast("LinkGateway", gateway)
    answer = await ask_guarded(lambda: source.update_link(request), _broken_link, timeout_s)
    return NoLink(reason=redact(answer.reason)) if isinstance(answer, NoLink) else answer


def _broken_list(listed: object) -> str | None:
    if not isinstance(listed, list | tuple):
        return f"the plugin answered with a {type(listed).__name__}"
    problems = (broken_credential(each) for each in listed[:MAX_LISTED])
    return next((problem for problem in problems if problem is not None), None)


def broken_credential(stored: object) -> str | None:
    """Return why a stored means of payment that a plugin tells of can't be kept, or None."""
    if type(stored) is not StoredCredential:
        return f"the plugin listed a {type(stored).__name__}"
    wrong = wrong_types(stored)
    if wrong is not None:
        return wrong
    if not stored.token:
        return "the plugin listed a credential without a token"
    texts = (stored.token, stored.gateway_customer, stored.fingerprint, stored.country)
    if any(text and (len(text) > MAX_TEXT or "\0" in text) for text in texts):
        return "the plugin listed a credential with a text that can't be kept"
    if stored.expires_on is not None and not MONTH.fullmatch(stored.expires_on):
        return "the plugin listed a credential whose expires_on is no month (YYYY-MM)"
    try:
        refuse_card_numbers_in(stored)
    except CardNumberRefused as refused:
        return f"the plugin listed a credential that can't be kept: {refused}"
    return None


def _broken_link(answer: object) -> str | None:
    if type(answer) not in (UpdateLink, NoLink):
        return f"the plugin answered with a {type(answer).__name__}"
    wrong = wrong_types(answer)
    if wrong is not None or not isinstance(answer, UpdateLink):
        return wrong
    if answer.expires_at is not None and answer.expires_at.tzinfo is None:
        return "the plugin's UpdateLink expires at a time without its zone"
    return None if safe_address(answer.url) else "the plugin's page has an address that no customer is sent to"


def safe_address(url: str) -> bool:
    """Whether a customer may be sent there: https with a host, and nothing that hides where it leads.

    Plain http goes to this very machine only, for gateways that run beside it in tests.
    """
    if len(url) > MAX_URL or not _CONTROLS.isdisjoint(url) or "\\" in url:
        return False
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
