"""The chart of accounts, and every way in which money moves over it: data that builders, pages and exports share."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec


class EntryKind(StrEnum):
    """Why money moved."""

    CAPTURE = "capture"
    """A gateway collected what a customer owed."""
    REFUND = "refund"
    """Money went back, to the customer's method or as store credit."""
    TAX = "tax"
    """The tax within a refund: owed to the state no longer."""
    FEE = "fee"
    """What a gateway charged: for a charge, a refund or a dispute, or by itself."""
    DISPUTE = "dispute"
    """A gateway took disputed money back, or a dispute was lost for good."""
    WRITE_OFF = "write_off"
    """A debt is no longer expected."""
    PAYOUT = "payout"
    """A gateway paid out to the bank, or collected from there."""
    EXCHANGE = "exchange"
    """A gateway settled in another currency than it charged in."""
    ADJUSTMENT = "adjustment"
    """Another movement of the balance at a gateway: a reserve, a correction, what it carried over."""
    SUSPENSE = "suspense"
    """A gateway settled what nothing here explains, or not yet."""
    REVERSAL = "reversal"
    """Takes one earlier entry back, posting by posting."""


class AccountKind(StrEnum):
    """Where an account stands in the merchant's own books."""

    ASSETS = "assets"
    LIABILITIES = "liabilities"
    INCOME = "income"
    EXPENSES = "expenses"


class Side(StrEnum):
    """Which sign a balance has: debits are positive, credits negative."""

    DEBIT = "debit"
    CREDIT = "credit"


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One account of the chart."""

    name: str
    """`gateway_clearing` stands for one account per gateway, `gateway_clearing:<gateway>`."""
    kind: AccountKind
    normal: Side
    """The side that its balance is on unless something unusual happened."""
    per_gateway: bool = False
    meaning: str


RECEIVABLE: Final = "receivable"
GATEWAY_CLEARING: Final = "gateway_clearing"
REFUNDS: Final = "refunds"
GOODWILL: Final = "goodwill"
TAX: Final = "tax"
FEES: Final = "fees"
STORE_CREDIT: Final = "store_credit"
DISPUTES: Final = "disputes"
WRITE_OFFS: Final = "write_offs"
BAD_DEBT: Final = "bad_debt"
BANK: Final = "bank"
EXCHANGE: Final = "exchange"
ADJUSTMENTS: Final = "adjustments"
SUSPENSE: Final = "suspense"

_A, _D, _C = AccountKind, Side.DEBIT, Side.CREDIT

CHART: Final[Mapping[str, Account]] = {
    account.name: account
    for account in (
        Account(
            name=RECEIVABLE,
            kind=_A.ASSETS,
            normal=_C,
            meaning="What Recoup's work took off the billing system's receivables: a change, not what customers owe.",
        ),
        Account(
            name=GATEWAY_CLEARING,
            kind=_A.ASSETS,
            normal=_D,
            per_gateway=True,
            meaning="What a gateway holds for us: collected, and not yet refunded, charged as a fee, disputed away or "
            "paid out.",
        ),
        Account(
            name=REFUNDS,
            kind=_A.INCOME,
            normal=_D,
            meaning="Revenue given back, without the tax in it.",
        ),
        Account(
            name=GOODWILL,
            kind=_A.EXPENSES,
            normal=_D,
            meaning="Money given beyond what a customer had a right to, without the tax in it.",
        ),
        Account(
            name=TAX,
            kind=_A.LIABILITIES,
            normal=_D,
            meaning="Tax within refunds: by so much less is owed to the state.",
        ),
        Account(
            name=FEES, kind=_A.EXPENSES, normal=_D, meaning="What gateways charged for refunds, disputes and charges."
        ),
        Account(
            name=STORE_CREDIT,
            kind=_A.LIABILITIES,
            normal=_C,
            meaning="Credit given instead of money; spending it is the billing system's business.",
        ),
        Account(
            name=DISPUTES,
            kind=_A.ASSETS,
            normal=_D,
            meaning="Money that gateways took back for open disputes and may return.",
        ),
        Account(
            name=WRITE_OFFS, kind=_A.EXPENSES, normal=_D, meaning="Debts given up: no customer has paid them so far."
        ),
        Account(name=BAD_DEBT, kind=_A.EXPENSES, normal=_D, meaning="Money lost in disputes."),
        Account(name=BANK, kind=_A.ASSETS, normal=_D, meaning="What gateways paid out, as their reports say."),
        Account(
            name=EXCHANGE,
            kind=_A.INCOME,
            normal=_D,
            meaning="What gateways changed into another currency: a debit in the one, a credit in the other.",
        ),
        Account(
            name=ADJUSTMENTS,
            kind=_A.EXPENSES,
            normal=_D,
            meaning="Reserves, corrections and balances carried over at gateways.",
        ),
        Account(
            name=SUSPENSE,
            kind=_A.LIABILITIES,
            normal=_C,
            meaning="What gateways settled and nothing here explains: each amount has a settlement exception, or is "
            "the business of others at the same gateway account.",
        ),
    )
}
"""Every account there is; a CHECK of the database knows the same names."""


def account_of(name: str) -> Account:
    """Return what the chart says about a posting's account; an unknown name raises KeyError."""
    return CHART[name.partition(":")[0]]


class Movement(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which money moves: which account is debited, which credited."""

    name: str
    kind: EntryKind
    debit: str
    credit: str
    meaning: str


CAPTURED: Final = Movement(
    name="captured", kind=EntryKind.CAPTURE, debit=GATEWAY_CLEARING, credit=RECEIVABLE, meaning="A charge came in."
)
REFUND_PAID: Final = Movement(
    name="refund_paid",
    kind=EntryKind.REFUND,
    debit=REFUNDS,
    credit=GATEWAY_CLEARING,
    meaning="A refund went back to the customer's method. Voiding an authorisation books nothing.",
)
REFUND_CREDITED: Final = Movement(
    name="refund_credited",
    kind=EntryKind.REFUND,
    debit=REFUNDS,
    credit=STORE_CREDIT,
    meaning="A refund was given as store credit.",
)
GOODWILL_PAID: Final = Movement(
    name="goodwill_paid",
    kind=EntryKind.REFUND,
    debit=GOODWILL,
    credit=GATEWAY_CLEARING,
    meaning="Goodwill went to the customer's method.",
)
GOODWILL_CREDITED: Final = Movement(
    name="goodwill_credited",
    kind=EntryKind.REFUND,
    debit=GOODWILL,
    credit=STORE_CREDIT,
    meaning="Goodwill was given as store credit.",
)
REFUND_TAX: Final = Movement(
    name="refund_tax", kind=EntryKind.TAX, debit=TAX, credit=REFUNDS, meaning="The tax within a refund."
)
GOODWILL_TAX: Final = Movement(
    name="goodwill_tax", kind=EntryKind.TAX, debit=TAX, credit=GOODWILL, meaning="The tax within goodwill."
)
FEE_CHARGED: Final = Movement(
    name="fee_charged",
    kind=EntryKind.FEE,
    debit=FEES,
    credit=GATEWAY_CLEARING,
    meaning="A gateway charged a fee; it keeps one for a refund or a dispute when the money comes back.",
)
DISPUTE_TAKEN: Final = Movement(
    name="dispute_taken",
    kind=EntryKind.DISPUTE,
    debit=DISPUTES,
    credit=GATEWAY_CLEARING,
    meaning="A dispute opened: the gateway took the money back for now.",
)
DISPUTE_LOST: Final = Movement(
    name="dispute_lost",
    kind=EntryKind.DISPUTE,
    debit=BAD_DEBT,
    credit=DISPUTES,
    meaning="An open dispute was lost.",
)
DISPUTE_LOST_AT_ONCE: Final = Movement(
    name="dispute_lost_at_once",
    kind=EntryKind.DISPUTE,
    debit=BAD_DEBT,
    credit=GATEWAY_CLEARING,
    meaning="A dispute was lost that nothing was taken for before.",
)
WRITTEN_OFF: Final = Movement(
    name="written_off",
    kind=EntryKind.WRITE_OFF,
    debit=WRITE_OFFS,
    credit=RECEIVABLE,
    meaning="A debt was given up: all that was outstanding.",
)
PAID_OUT: Final = Movement(
    name="paid_out",
    kind=EntryKind.PAYOUT,
    debit=BANK,
    credit=GATEWAY_CLEARING,
    meaning="A gateway paid out to the bank.",
)
EXCHANGED: Final = Movement(
    name="exchanged",
    kind=EntryKind.EXCHANGE,
    debit=EXCHANGE,
    credit=GATEWAY_CLEARING,
    meaning="A gateway settled in another currency: booked in both, each way round, as one entry of four postings.",
)
ADJUSTED: Final = Movement(
    name="adjusted",
    kind=EntryKind.ADJUSTMENT,
    debit=GATEWAY_CLEARING,
    credit=ADJUSTMENTS,
    meaning="A gateway moved its balance for another reason.",
)
SUSPENDED: Final = Movement(
    name="suspended",
    kind=EntryKind.SUSPENSE,
    debit=GATEWAY_CLEARING,
    credit=SUSPENSE,
    meaning="A gateway settled what nothing here explains; reversed once something does.",
)

MOVEMENTS: Final = (
    CAPTURED,
    REFUND_PAID,
    REFUND_CREDITED,
    GOODWILL_PAID,
    GOODWILL_CREDITED,
    REFUND_TAX,
    GOODWILL_TAX,
    FEE_CHARGED,
    DISPUTE_TAKEN,
    DISPUTE_LOST,
    DISPUTE_LOST_AT_ONCE,
    WRITTEN_OFF,
    PAID_OUT,
    EXCHANGED,
    ADJUSTED,
    SUSPENDED,
)
"""Everything that is ever booked, besides reversals: those negate every posting of the entry that they name."""
