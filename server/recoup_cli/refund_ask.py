"""What a refund is asked for with: options of the command line become the request that the flows take."""

from uuid import UUID

import click
import msgspec

from recoup_cli.refund_desk import AMOUNT, Command, money, pairs, uuid_or_none
from recoup_cli.refusals import Refused
from recoup_core.domain.refund import Destination, Evidence, Purpose, Spread
from recoup_core.flows.context import Context
from recoup_core.flows.refunds.ask import AskedLine, AskedPayment, RefundAsk
from recoup_core.storage.lookups import payment_by_reference

_line_options = (
    click.option("--line", "whole", multiple=True, metavar="REF", help="All that is left of a line of the payment."),
    click.option("--pieces", multiple=True, type=(str, int), metavar="REF COUNT", help="So many pieces of a line."),
    click.option(
        "--money",
        "parts",
        multiple=True,
        type=(str, str),
        metavar="REF AMOUNT",
        help="So much of a line, with its tax.",
    ),
    click.option("--tax", multiple=True, metavar="REF", help="Only the tax of a line: what is left, or its --money."),
)
evidence_option = click.option(
    "--evidence", multiple=True, metavar="KIND=REF", help="What supports the reason: a link, or a file's name."
)
shares_option = click.option(
    "--share",
    "shares",
    multiple=True,
    metavar="PAYMENT=AMOUNT",
    help="Of an order: what goes back over this payment; give one for each.",
)
note_option = click.option("--note", help="For those who decide, up to 1000 characters.")


class Lines(msgspec.Struct, frozen=True, kw_only=True):
    """What was said about lines."""

    whole: tuple[str, ...]
    pieces: tuple[tuple[str, int], ...]
    parts: tuple[tuple[str, str], ...]
    tax: tuple[str, ...]

    def asked(self, currency: str) -> tuple[AskedLine, ...]:
        """Return the lines as the flows take them, amounts in minor units; what is said of one line goes together."""
        pieces, parts = dict(self.pieces), dict(self.parts)
        named = dict.fromkeys((*self.whole, *pieces, *parts, *self.tax))
        return tuple(
            AskedLine(
                line=ref,
                quantity=pieces.get(ref),
                amount_minor=money((parts[ref], currency)).amount_minor if ref in parts else None,
                tax_only=ref in self.tax,
            )
            for ref in named
        )

    def __bool__(self) -> bool:
        return bool(self.whole or self.pieces or self.parts or self.tax)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """All that was said on the command line about a new refund."""

    payment: str | None
    order: str | None
    shares: tuple[str, ...]
    amount: tuple[str, str]
    reason: str
    note: str | None
    goodwill: bool
    store_credit: bool
    evidence: tuple[str, ...]
    answers: UUID | None
    whole: tuple[str, ...]
    pieces: tuple[tuple[str, int], ...]
    parts: tuple[tuple[str, str], ...]
    tax: tuple[str, ...]

    @property
    def lines(self) -> Lines:
        """What was said about lines."""
        return Lines(whole=self.whole, pieces=self.pieces, parts=self.parts, tax=self.tax)


def line_options(command: Command) -> Command:
    """Add the options that name lines of the payment."""
    for option in reversed(_line_options):
        command = option(command)
    return command


def asks(command: Command) -> Command:
    """Add all that says what is asked for."""
    options = (
        click.argument("payment", required=False, metavar="[PAYMENT]"),
        click.option("--order", metavar="REF", help="Instead of one payment: over the payments of an order."),
        shares_option,
        click.option(
            "--amount",
            type=AMOUNT,
            required=True,
            metavar="AMOUNT CURRENCY",
            help="In major units: 12.50 EUR, 1200 JPY. Always said, never guessed.",
        ),
        click.option("--reason", required=True, help="One of the policy's reasons."),
        note_option,
        click.option("--goodwill", is_flag=True, help="Money that the customer has no claim to."),
        click.option("--store-credit", is_flag=True, help="Not back to the original method."),
        evidence_option,
        click.option("--answers", type=click.UUID, metavar="DISPUTE", help="The bank's inquiry that this answers."),
    )
    command = line_options(command)
    for option in reversed(options):
        command = option(command)
    return command


async def ask_of(context: Context, merchant: str, wanted: Wanted) -> RefundAsk:
    """Return the request; `Refused` where neither or both of payment and order are named, or a payment isn't known."""
    if (wanted.payment is None) == (wanted.order is None):
        raise click.UsageError("name one payment, or an --order")
    if wanted.shares and wanted.order is None:
        raise click.UsageError("--share goes with --order")
    asked = money(wanted.amount)
    payments = await asked_payments(context, merchant, wanted.shares, asked.currency)
    return RefundAsk(
        payment_id=await payment_id_of(context, merchant, wanted.payment) if wanted.payment else None,
        order_ref=wanted.order,
        payments=payments,
        spread=None if wanted.order is None else Spread.AS_GIVEN if payments else Spread.NEWEST_FIRST,
        amount_minor=asked.amount_minor,
        currency=asked.currency,
        reason=wanted.reason,
        note=wanted.note,
        purpose=Purpose.GOODWILL if wanted.goodwill else Purpose.REFUND,
        destination=Destination.STORE_CREDIT if wanted.store_credit else Destination.ORIGINAL_METHOD,
        lines=wanted.lines.asked(asked.currency),
        evidence=evidence_of(wanted.evidence),
        answers_dispute_id=wanted.answers,
    )


async def asked_payments(
    context: Context, merchant: str, shares: tuple[str, ...], currency: str
) -> tuple[AskedPayment, ...]:
    """Return what goes back over each payment that was named."""
    return tuple(
        [
            AskedPayment(
                payment_id=await payment_id_of(context, merchant, name),
                amount_minor=money((amount, currency)).amount_minor,
            )
            for name, amount in pairs(shares, "--share")
        ]
    )


def evidence_of(texts: tuple[str, ...]) -> tuple[Evidence, ...]:
    """Return KIND=REF texts as evidence."""
    return tuple(Evidence(kind=kind, ref=ref) for kind, ref in pairs(texts, "--evidence"))


async def payment_id_of(context: Context, merchant: str, wanted: str) -> UUID:
    """Return the payment that is meant: by reference first, for a reference may look like anything."""
    async with context.database.connection() as connection:
        found = await payment_by_reference(connection, merchant, wanted)
    found = found or uuid_or_none(wanted)
    if found is None:
        raise Refused(f"the merchant {merchant} has no payment {wanted}")
    return found
