"""Made-up customers to see messages with: ordinary ones, and those that break what was tried with no others."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final

import msgspec

from recoup_core.domain.decline import DeclineCategory
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method
from recoup_core.domain.subscription_request import Wish
from recoup_core.templates.variables import Brand, Debt, MessageData, NextChange, Upcoming

NOW: Final = datetime(2026, 3, 2, 19, 15, tzinfo=UTC)
BRAND: Final = Brand(
    merchant="default",
    name="Northwind",
    support_email="help@northwind.example",
    postal_address="Northwind Ltd, 1 Harbour Street, Dublin 2",
)
"""For an installation that has no brand yet."""

_TOKEN: Final = "x" * 55
"""As long as the real ones are (`flows/links`)."""

UPDATE_URL: Final = f"https://pay.northwind.example/pay/{_TOKEN}"
UNSUBSCRIBE_URL: Final = f"https://pay.northwind.example/unsubscribe/{_TOKEN}"


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What is made up about a customer."""

    name: str | None = "Anna Schmidt"
    reference: str = "INV-2026-0317"
    amount: Money = Money(4900, "EUR")
    plan: str | None = "Pro"
    reason: DeclineCategory | None = DeclineCategory.INSUFFICIENT_FUNDS
    method: Method = Method.CARD
    retry_in_days: int | None = 7
    wish: Wish | None = Wish.PAUSE
    card_expires: date | None = date(2026, 3, 31)
    links: bool = True


_LONG: Final = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"

SAMPLES: Final[Mapping[str, Sample]] = {
    "ordinary": Sample(),
    "bare": Sample(name=None, plan=None, reason=None, retry_in_days=None, wish=None, card_expires=None, links=False),
    "ended": Sample(retry_in_days=None, wish=Wish.CANCEL, reason=DeclineCategory.ISSUER_GENERIC),
    "debit": Sample(method=Method.SEPA_DEBIT, wish=Wish.DOWNGRADE, amount=Money(129900, "EUR")),
    "yen": Sample(amount=Money(980000, "JPY"), name="山田 花子"),
    "dinar": Sample(amount=Money(1234567, "KWD"), name="ليلى حداد", reason=DeclineCategory.REVOKED_MANDATE),
    "huge": Sample(amount=Money(2**53 - 1, "USD"), reason=DeclineCategory.AUTHENTICATION_REQUIRED),
    "long": Sample(name="Maximiliane-Wilhelmine von Hohenstaufen-Württemberg", reference=_LONG, plan=_LONG),
    "hostile": Sample(
        name='<script>alert("x")</script>\r\nBcc: all@example.com',
        reference='{{ brand }} {% if %} "><img src=x onerror=alert(1)>',
        plan="\ue000button\ue001Click\ue001https://evil.example\ue002\n\nPay at https://evil.example \u202e",
    ),
}


def sample(name: str, about: str, brand: Brand = BRAND) -> MessageData:
    """Return a sample by its name, about a `debt` or an `upcoming` charge; raises KeyError."""
    of, charge_at = SAMPLES[name], NOW + timedelta(days=14)
    retry = None if of.retry_in_days is None else NOW + timedelta(days=of.retry_in_days)
    data = MessageData(
        brand=brand,
        customer_name=of.name,
        zone="Europe/Berlin",
        now=NOW,
        update_url=UPDATE_URL if of.links else None,
        unsubscribe_url=UNSUBSCRIBE_URL if of.links else None,
    )
    if about == "upcoming":
        upcoming = Upcoming(
            reference=of.reference,
            amount=of.amount,
            charge_at=charge_at,
            method=of.method,
            plan=of.plan,
            card_expires=of.card_expires,
        )
        return msgspec.structs.replace(data, upcoming=upcoming)
    debt = Debt(
        reference=of.reference,
        amount=of.amount,
        method=of.method,
        failed_at=NOW,
        reason=of.reason,
        plan=of.plan,
    )
    change = of.wish and NextChange(wish=of.wish, at=NOW + timedelta(days=17), plan=None)
    return msgspec.structs.replace(data, debt=debt, next_retry=retry, next_change=change)
