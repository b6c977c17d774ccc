"""The sandbox bank's own pages for its customers, as an ASGI application: what a gateway's hosted page is in real life.

A visitor chooses how the new means of payment will behave; the bank stores it and tells so by its webhook, as gateways
do. There is nothing to type in, and no card number anywhere.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from html import escape
from typing import Any, Final
from urllib.parse import parse_qs

from recoup_core.domain.money import Money
from recoup_plugins.gateways.sandbox_credentials import HostedPage, WalletBooks

CHOICES: Final[Mapping[str, tuple[str, str]]] = {
    "works": ("tok_approve", "A card that works"),
    "short": ("tok_insufficient_funds", "A card without enough money"),
    "slow": ("tok_pending:1m", "A bank account whose answer takes a minute"),
}
"""What a visitor may choose, by the name in the form: the token it becomes, and its words."""

MAX_BODY: Final = 1_000
"""Bytes of the form that are read."""

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_STYLE: Final = (
    "body{margin:0 auto;max-width:32rem;padding:2rem 1rem;font:1rem/1.5 system-ui,sans-serif;color:#1a1a1a}"
    "fieldset{border:1px solid #767676;border-radius:8px;margin:1rem 0;padding:1rem}"
    "label{display:block;padding:.4rem 0}"
    "button{font:inherit;font-weight:600;padding:.75rem 1.5rem;border:0;border-radius:8px;"
    "background:#1a1a1a;color:#fff}"
)


class SandboxPages:
    """Serves the pages of one bank; mounted wherever its option `pages` says."""

    def __init__(self, bank: WalletBooks) -> None:
        self._bank = bank

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request: GET shows a page, POST stores what was chosen and leads back."""
        name = str(scope["path"]).rstrip("/").rpartition("/")[2]
        if scope["method"] == "POST":
            chosen = parse_qs(await _body(receive)).get("choice", [""])[0]
            token = CHOICES[chosen][0] if chosen in CHOICES else None
            page = None if token is None else self._bank.give_on_page(name, token)
            if page is not None and page.return_url is not None:
                await _answer(send, 303, "", (b"location", page.return_url.encode()))
            else:
                await _answer(send, *_thanks(page))
            return
        page = self._bank.hosted_page(name)
        await _answer(send, *((200, _form(page)) if page is not None else _thanks(None)))


def _form(page: HostedPage) -> str:
    amount, reference = Money(page.amount_minor, page.currency), escape(page.payment_reference)
    choices = "".join(
        f'<label><input type="radio" name="choice" value="{name}"{" checked" * (place == 0)}> {words}</label>'
        for place, (name, (_, words)) in enumerate(CHOICES.items())
    )
    return _page(
        "Sandbox bank",
        f"<p>{amount} for {reference}. No real money is anywhere near: choose what you pay with from now on.</p>"
        f'<form method="post"><fieldset><legend>Pay with</legend>{choices}</fieldset>'
        "<button>Save and pay</button></form>",
    )


def _thanks(page: HostedPage | None) -> tuple[int, str]:
    if page is None:
        return 404, _page("Sandbox bank", "<p>There is no such page.</p>")
    return 200, _page("Sandbox bank", "<p>Thank you, this is stored. You can close this page.</p>")


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><meta name="viewport"'
        f' content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body><main><h1>{title}</h1>'
        f"{body}</main></body></html>"
    )


async def _body(receive: Receive) -> str:
    read = b""
    while len(read) <= MAX_BODY:
        message = await receive()
        read += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return read[:MAX_BODY].decode("latin-1")


async def _answer(send: Send, status: int, html: str, *more: tuple[bytes, bytes]) -> None:
    policy = b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self' https: http:; frame-ancestors 'none'"
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-security-policy", policy), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": html.encode()})
