"""The sample: failed payments of one month, made up and always the same for the same seed.

Why they fail follows Recurly's public figures (836 businesses, recurring payments, 2014-2016; info.recurly.com,
"how do you compare", credit and debit cards blended 61 to 39): over 80 % vague or temporary refusals and insufficient
funds, some 5 % fraud and stolen cards, the rest broken details. How many of them come back is the sandbox's own
guess (`recoup_plugins.gateways.sandbox_odds`). Nothing here is a forecast for anybody's real payments.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Final, TypeVar

import msgspec

from recoup_cli.demo.letters import reader
from recoup_core.domain.decline import DeclineSource
from recoup_core.domain.payment import CredentialRole, Customer, Method, Network, Segment
from recoup_core.flows.reports import FailureReport, PriorAttempt, ReportedCredential
from recoup_core.reference import classify

MONTH: Final = timedelta(days=30)
EARLY: Final = 1.7
"""Bends the even spread of failures over the month; 1 would leave it even."""

GATEWAY: Final = "sandbox"

T = TypeVar("T")


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """One reason for failing: its weight among 1,000 payments and what its tokens may do when tried again."""

    code: str
    weight: int
    tokens: tuple[tuple[str, int], ...]
    """Sandbox tokens with their weights; `{seed}` is filled in."""
    network_code: str | None = None


_LUCK: Final = "random:{seed}:100:"

CARD_CAUSES: Final = (
    Cause(code="generic_decline", weight=430, tokens=((_LUCK + "generic_decline", 70), ("generic_decline", 30))),
    Cause(
        code="do_not_honor",
        weight=200,
        network_code="05",
        tokens=((_LUCK + "do_not_honor", 65), ("do_not_honor", 25), ("do_not_honor|lost_card", 10)),
    ),
    Cause(
        code="insufficient_funds",
        weight=170,
        network_code="51",
        tokens=(
            (_LUCK + "insufficient_funds", 80),
            ("insufficient_funds", 12),
            ("lose+" + _LUCK + "insufficient_funds", 5),
            ("busy+" + _LUCK + "insufficient_funds", 3),
        ),
    ),
    Cause(
        code="issuer_not_available",
        weight=35,
        network_code="91",
        tokens=(
            (_LUCK + "issuer_not_available", 80),
            ("lose+" + _LUCK + "issuer_not_available", 10),
            ("unreachable*2+approve", 10),
        ),
    ),
    Cause(code="processing_error", weight=25, tokens=(("processing_error|approve", 70), ("error500+approve", 30))),
    Cause(code="expired_card", weight=50, network_code="54", tokens=(("expired_card", 1),)),
    Cause(code="stolen_card", weight=25, network_code="43", tokens=(("stolen_card", 1),)),
    Cause(code="fraudulent", weight=25, tokens=(("fraudulent", 1),)),
    Cause(code="authentication_required", weight=25, tokens=(("authentication_required", 1),)),
    Cause(code="transaction_not_allowed", weight=15, network_code="57", tokens=(("transaction_not_allowed", 1),)),
)

DEBIT_CAUSES: Final = (
    Cause(
        code="insufficient_funds",
        weight=800,
        tokens=(("pending:6h+" + _LUCK + "insufficient_funds", 85), ("pending:6h+insufficient_funds", 15)),
    ),
    Cause(code="no_account", weight=100, tokens=(("decline:no_account", 1),)),
    Cause(code="debit_not_authorized", weight=100, tokens=(("decline:debit_not_authorized", 1),)),
)
"""Over 80 % of failed bank debits lack funds, then come cancelled mandates (GoCardless)."""

SCHEME_CODES: Final = {
    Method.SEPA_DEBIT: (DeclineSource.SEPA, {"insufficient_funds": "AM04", "no_account": "AC01"}, "MD01"),
    Method.ACH_DEBIT: (DeclineSource.ACH, {"insufficient_funds": "R01", "no_account": "R03"}, "R07"),
    Method.BACS_DEBIT: (DeclineSource.BACS, {"insufficient_funds": "0", "no_account": "5"}, "1"),
}
"""The first failure of a debit is reported in its scheme's own code; the last one stands for a revoked mandate."""


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """Where some of the customers live, and how they pay there."""

    country: str
    currency: str
    weight: int
    prices_minor: tuple[int, ...]
    debit: Method | None = None
    zone: str | None = None


MARKETS: Final = (
    Market(
        country="US",
        currency="USD",
        weight=34,
        prices_minor=(999, 1900, 4900, 9900, 49900),
        debit=Method.ACH_DEBIT,
        zone="America/Chicago",
    ),
    Market(country="DE", currency="EUR", weight=20, prices_minor=(990, 1990, 4900, 24900), debit=Method.SEPA_DEBIT),
    Market(country="GB", currency="GBP", weight=14, prices_minor=(899, 1799, 4500, 19900), debit=Method.BACS_DEBIT),
    Market(country="FR", currency="EUR", weight=10, prices_minor=(990, 1990, 4900), debit=Method.SEPA_DEBIT),
    Market(country="BR", currency="BRL", weight=8, prices_minor=(2990, 5990, 14900), zone="America/Sao_Paulo"),
    Market(country="JP", currency="JPY", weight=6, prices_minor=(1200, 2400, 9800)),
    Market(country="PL", currency="PLN", weight=5, prices_minor=(3999, 7999)),
    Market(country="KW", currency="KWD", weight=3, prices_minor=(3250, 14900)),
)

NETWORKS: Final = ((Network.VISA, 55), (Network.MASTERCARD, 38), (Network.AMERICAN_EXPRESS, 7))


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One failed payment and the moment at which the merchant reports it."""

    at: datetime
    report: FailureReport


def reference(number: int) -> str:
    """Return the merchant's name of the sample payment with this number."""
    return f"INV-{number:04d}"


def make_samples(count: int, seed: str, start: datetime) -> tuple[Sample, ...]:
    """Return `count` failures of the month that begins at `start`, in the order in which they happen.

    More of them lie in its first half, so that most have had their time when the month is over.
    """
    random = Random(seed)  # noqa: S311 # a sample that must repeat, not a secret
    moments = sorted(start + random.random() ** EARLY * MONTH for _ in range(count))
    return tuple(Sample(at=at, report=_report(random, number, seed, at)) for number, at in enumerate(moments, 1))


def _report(random: Random, number: int, seed: str, at: datetime) -> FailureReport:
    market = _pick(random, [(market, market.weight) for market in MARKETS])
    method = market.debit if market.debit is not None and random.random() < 0.15 else Method.CARD
    cause = _pick(random, [(c, c.weight) for c in (CARD_CAUSES if method is Method.CARD else DEBIT_CAUSES)])
    token = _pick(random, cause.tokens).format(seed=seed)
    network = _pick(random, NETWORKS) if method is Method.CARD else None
    business = random.random() < 0.25
    failed_at = at - timedelta(minutes=random.randint(1, 45))
    credentials = [_credential(number, method, network, market, token, CredentialRole.PRIMARY)]
    if method is Method.CARD and random.random() < 0.3:
        backup = _pick(random, [("approve", 6), (f"random:{seed}:80", 4)])
        credentials.append(_credential(number, method, Network.VISA, market, backup, CredentialRole.BACKUP))
    amount_minor = random.choice(market.prices_minor) * (4 if business else 1)
    customer = Customer(
        ref=f"customer-{number:04d}",
        country=market.country,
        timezone=market.zone,
        segment=Segment.BUSINESS if business else Segment.CONSUMER,
        tenure_days=random.randint(20, 1500),
    )
    return FailureReport(
        merchant_id="default",
        reference=reference(number),
        amount_minor=amount_minor,
        currency=market.currency,
        customer=customer,
        contact=reader(customer, number),
        gateway=GATEWAY,
        method=method,
        subscription={"plan": "team" if business else "solo", "interval": _pick(random, [("month", 5), ("year", 1)])},
        credentials=tuple(credentials),
        attempts=(_first_failure(method, network, cause, failed_at),),
    )


def _credential(
    number: int, method: Method, network: Network | None, market: Market, token: str, role: CredentialRole
) -> ReportedCredential:
    return ReportedCredential(
        gateway=GATEWAY,
        token=token,
        gateway_customer=f"cus_{number:04d}",
        fingerprint=f"{role}-of-customer-{number:04d}",  # many share a token, which is a script; none an account
        method=method,
        network=network,
        role=role,
        issuer_country=market.country,
    )


def _first_failure(method: Method, network: Network | None, cause: Cause, at: datetime) -> PriorAttempt:
    if method is Method.CARD:
        decline = classify(DeclineSource.STRIPE, cause.code, network=network, network_code=cause.network_code)
    else:
        source, codes, revoked = SCHEME_CODES[method]
        decline = classify(source, codes.get(cause.code, revoked))
    return PriorAttempt(at=at, decline=decline)


def _pick(random: Random, choices: Sequence[tuple[T, int]]) -> T:
    return random.choices([choice for choice, _ in choices], [weight for _, weight in choices])[0]


def references(count: int) -> Iterator[str]:
    """Return the references of a sample of this size."""
    return (reference(number) for number in range(1, count + 1))
