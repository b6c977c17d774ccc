"""What customers of the sandbox's bank have stored, what becomes of it, and the bank's pages for them.

How asking about a customer goes stands behind a `~` in the bank's own name of the customer
(`cus_anna~unreachable*2+renews_only`): faults and delays as everywhere, `no_page`, and `renews_only`.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from recoup_core.domain.payment import Method
from recoup_core.ports import (
    CredentialChange,
    CredentialNews,
    LinkAnswer,
    NoLink,
    StoredCredential,
    UpdateLink,
    UpdateLinkRequest,
)
from recoup_plugins.gateways.sandbox_holdings import NotHeld
from recoup_plugins.gateways.sandbox_refunds import RefundBooks
from recoup_plugins.gateways.sandbox_rows import new_name
from recoup_plugins.gateways.sandbox_words import Habits, ScriptUnreadable, read_step

SCRIPT: Final = "~"
"""Parts a customer's name from what happens when the bank is asked about them."""

PAGES: Final = "https://pages.sandbox.invalid"
"""Where the bank's pages would be: a name that never resolves (RFC 6761). `sandbox_pages` serves them for real."""

_PLAINLY: Final = Habits()


class Manner(Habits, frozen=True, kw_only=True):
    """How asking about one customer goes."""

    page: bool = True
    pays: bool = True


class HostedPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the bank, as its customer is shown it."""

    payment_reference: str
    amount_minor: int
    currency: str
    method: Method
    gateway_customer: str
    return_url: str | None = None


class WalletBooks(RefundBooks):
    """The part of the bank that keeps customers' means of payment, and makes pages for them."""

    pages_at: str = PAGES
    """Where the bank's pages are; their names follow."""

    def keep_credential(self, gateway_customer: str, stored: StoredCredential, *, tell: bool = True) -> None:
        """Let a customer store a further means of payment, and tell so unless it was long ago."""
        with self._transaction() as db:
            self._stow(db, gateway_customer, stored)
            if tell:
                self._tell_credential(db, CredentialChange.ADDED, None, gateway_customer, stored)

    def renew_credential(self, token: str, stored: StoredCredential | None = None) -> None:
        """Put a new card behind a token, as card updaters do, and tell so; also of a token that a merchant reported."""
        with self._transaction() as db:
            self._tell_credential(db, CredentialChange.UPDATED, token, None, stored)
            if stored is not None:
                self._swap(db, token, stored)

    def replace_credential(self, token: str, stored: StoredCredential) -> None:
        """Let another token take a token's place, and tell so."""
        with self._transaction() as db:
            self._swap(db, token, stored)
            self._tell_credential(db, CredentialChange.REPLACED, token, None, stored)

    def remove_credential(self, token: str) -> None:
        """Let a customer take a means of payment back, and tell so."""
        with self._transaction() as db:
            self._forget(db, token)
            self._tell_credential(db, CredentialChange.REMOVED, token, None, None)

    def suspect_credential(self, token: str | None = None, *, charge_ref: str | None = None) -> None:
        """Let the network warn of fraud about a token, or about what a charge was made with, and tell so."""
        if (token is None) == (charge_ref is None):
            raise NotHeld("name a token or a charge")
        with self._transaction() as db:
            self._tell_credential(db, CredentialChange.SUSPECTED, token, None, None, charge_ref)

    def stored_for(self, gateway_customer: str) -> tuple[Sequence[StoredCredential], Manner, int]:
        """Return what a customer has stored, how asking goes, and how often the bank was asked by now."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT stored FROM wallet WHERE gateway_customer = ? ORDER BY position", [gateway_customer]
            ).fetchall()
            asked = self._count_asking(db, gateway_customer, "list")
        stored = [msgspec.json.decode(row[0], type=StoredCredential) for row in rows]
        return stored, manner_of(gateway_customer), asked

    def page_for(self, request: UpdateLinkRequest) -> tuple[LinkAnswer, Manner, int]:
        """Return the page of a request, the same for the same key; how asking goes, and how often it was asked for."""
        manner = manner_of(request.gateway_customer or "")
        with self._transaction() as db:
            asked = self._count_asking(db, request.gateway_customer or "", "page")
            if not manner.page:
                return NoLink(reason="the customer has no account at the sandbox"), manner, asked
            name = new_name()
            row = [request.idempotency_key, f"{self.pages_at}/{name}", manner.pays, request.expires_at.isoformat()]
            if db.execute("INSERT INTO page VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", row).rowcount:
                db.execute("INSERT INTO hosted_page VALUES (?, ?)", [name, msgspec.json.encode(_hosted(request))])
            url, pays, expires_at = db.execute(
                "SELECT url, pays, expires_at FROM page WHERE idempotency_key = ?", [request.idempotency_key]
            ).fetchone()
        return UpdateLink(url=url, pays=bool(pays), expires_at=datetime.fromisoformat(expires_at)), manner, asked

    def hosted_page(self, name: str) -> HostedPage | None:
        """Return what stands on a page of the bank."""
        with self._transaction() as db:
            row = db.execute("SELECT page FROM hosted_page WHERE name = ?", [name]).fetchone()
        return msgspec.json.decode(row[0], type=HostedPage) if row else None

    def give_on_page(self, name: str, token: str) -> HostedPage | None:
        """Let the customer of a page store a means of payment there, and tell so; None where there is no such page."""
        page = self.hosted_page(name)
        if page is not None:
            customer = page.gateway_customer
            given = StoredCredential(
                token=token, gateway_customer=customer, method=page.method, fingerprint=f"given-{new_name()}"
            )
            self.keep_credential(customer, given)
        return page

    def times_asked(self, gateway_customer: str, what: str) -> int:
        """Return how often the bank was asked about a customer: for a `list`, or for a `page`."""
        with self._transaction() as db:
            row = db.execute(
                "SELECT times FROM asking WHERE gateway_customer = ? AND what = ?", [gateway_customer, what]
            ).fetchone()
        return int(row[0]) if row else 0

    def _count_asking(self, db: sqlite3.Connection, gateway_customer: str, what: str) -> int:
        db.execute(
            "INSERT INTO asking VALUES (?, ?, 1) ON CONFLICT (gateway_customer, what) DO UPDATE SET times = times + 1",
            [gateway_customer, what],
        )
        times: int = db.execute(
            "SELECT times FROM asking WHERE gateway_customer = ? AND what = ?", [gateway_customer, what]
        ).fetchone()[0]
        return times

    def _stow(self, db: sqlite3.Connection, gateway_customer: str, stored: StoredCredential) -> None:
        db.execute(
            "INSERT OR REPLACE INTO wallet (token, gateway_customer, stored) VALUES (?, ?, ?)",
            [stored.token, gateway_customer, msgspec.json.encode(stored)],
        )

    def _swap(self, db: sqlite3.Connection, token: str, stored: StoredCredential) -> None:
        row = db.execute("SELECT gateway_customer FROM wallet WHERE token = ?", [token]).fetchone()
        self._forget(db, token)
        self._stow(db, stored.gateway_customer or (row[0] if row else ""), stored)

    def _forget(self, db: sqlite3.Connection, token: str) -> None:
        db.execute("DELETE FROM wallet WHERE token = ?", [token])

    def _tell_credential(
        self,
        db: sqlite3.Connection,
        change: CredentialChange,
        token: str | None,
        gateway_customer: str | None,
        stored: StoredCredential | None,
        charge_ref: str | None = None,
    ) -> None:
        news = CredentialNews(
            change=change, token=token, gateway_customer=gateway_customer, charge_ref=charge_ref, now=stored
        )
        data: Mapping[str, object] = {"credential": msgspec.to_builtins(news)}
        self._post(db, f"evt_c_{new_name()}", f"credential.{change}", data, self._clock.now(), _PLAINLY)


def _hosted(request: UpdateLinkRequest) -> HostedPage:
    return HostedPage(
        payment_reference=request.payment_reference,
        amount_minor=request.amount.amount_minor,
        currency=request.amount.currency,
        method=request.method,
        gateway_customer=request.gateway_customer or "",
        return_url=request.return_url,
    )


def manner_of(gateway_customer: str) -> Manner:
    """Return how asking about a customer goes; a script that can't be read raises `ScriptUnreadable`."""
    _, _, script = gateway_customer.partition(SCRIPT)
    said = read_step(script, _own) if script else {}
    said.pop("approved", None)
    return msgspec.convert(said, type=Manner)


def _own(word: str) -> Mapping[str, object]:
    if word in _WORDS:
        return _WORDS[word]
    raise ScriptUnreadable(f"{word!r} is no word about a customer")


_WORDS: Final[Mapping[str, Mapping[str, object]]] = {"no_page": {"page": False}, "renews_only": {"pays": False}}
