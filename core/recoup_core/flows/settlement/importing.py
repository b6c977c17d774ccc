"""A report comes in: stored whole or not at all, once however often it is brought, in pieces or at once."""

from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from itertools import islice
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.cardnumbers import hide_card_numbers
from recoup_core.domain.happened import Event, EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.money import Money
from recoup_core.domain.redact import redact
from recoup_core.domain.settlement import Problem, SettlementKind, SettlementLine, SettlementReport
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.operate import By
from recoup_core.flows.settlement.exceptions import Found, Ledge, ledge_of
from recoup_core.flows.settlement.matching import MATCH
from recoup_core.flows.settlement.reading import MAX_REF, read_report, settling_gateway
from recoup_core.ports import ReportedSettlement, SettledLine, SettlementUnreadable
from recoup_core.storage.changes import Changes, NewJob
from recoup_core.storage.settlements import (
    extend_coverage,
    keep_content,
    lock_report,
    report_of_content,
    store_lines,
)

STORE_BATCH: Final = 2_000
"""Lines of one INSERT; all of a report's are one transaction."""

MAX_NAMED: Final = 100
"""Lines told differently than before that one report opens exceptions for; more say the same."""


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What an import came to."""

    report: SettlementReport
    fresh_lines: int
    """How many lines no report had told of before."""
    known: bool
    """Whether this very content had been taken in before: then nothing was done."""


async def import_report(context: Context, gateway_name: str, content: bytes, by: By) -> Imported:
    """Take in an uploaded report; its lines are matched by a job. The same content again changes nothing.

    Raises `UnknownGateway` and `SettlementUnreadable`.
    """
    gateway = settling_gateway(context, gateway_name, by.merchant_id)
    digest = sha256(content).digest()
    async with context.database.connection() as connection:
        known = await report_of_content(connection, by.merchant_id, gateway_name, digest)
    if known is not None:
        return Imported(report=known, fresh_lines=0, known=True)
    reported = await read_report(gateway, content)
    return await store_report(context, gateway_name, reported, digest, by)


async def store_report(
    context: Context, gateway: str, reported: ReportedSettlement, digest: bytes | None, by: By
) -> Imported:
    """Store a report that was read or fetched, with the job that matches it, in one transaction."""
    now = context.clock.now()
    changes = Changes()
    async with context.database.transaction() as connection:
        before = await lock_report(connection, _new_report(by, gateway, reported, now))
        subject = f"report:{before.id}"
        ledge = await ledge_of(context, connection, by.merchant_id, gateway, [subject], now, by.correlation_id)
        report, differing = await _store_lines(connection, before, reported)
        report = _with_payout(report, reported, ledge)
        for line_id in differing[:MAX_NAMED]:
            ledge.open(_told_differently(report, f"line:{line_id}", "a line", line_id))
        fresh = report.lines - before.lines
        changes.update(report)
        changes.add(_told(report, by, fresh, now))
        changes.add(NewJob(kind=MATCH, subject_id=report.id, due_at=now, correlation_id=by.correlation_id))
        await extend_coverage(connection, gateway, by.merchant_id, _earliest(reported))
        if digest is not None:
            await keep_content(connection, report, digest, now)
        await ledge.write_to(connection, changes)
        await changes.write(connection)
    count_events(context, changes)
    return Imported(report=report, fresh_lines=fresh, known=False)


async def _store_lines(
    connection: asyncpg.Connection, report: SettlementReport, reported: ReportedSettlement
) -> tuple[SettlementReport, list[UUID]]:
    """Insert the lines that are new; return the report as it has grown, and lines that were told differently before."""
    if report.currency != reported.currency:
        reason = f"the report {report.report_ref} came in {report.currency} before, and in {reported.currency} now"
        raise SettlementUnreadable(reason)
    first = report.told == 0
    differing: list[UUID] = []
    lines = _numbered(report, reported)
    while batch := tuple(islice(lines, STORE_BATCH)):
        stored = await store_lines(connection, report.id, batch, first=first)
        report = msgspec.structs.replace(
            report,
            told=report.told + len(batch),
            lines=report.lines + stored.fresh,
            borrowed=report.borrowed + stored.borrowed,
            earned_minor=report.earned_minor + stored.earned_minor,
            payouts_minor=report.payouts_minor + stored.payouts_minor,
        )
        differing += stored.differing
    return report, differing


def _numbered(report: SettlementReport, reported: ReportedSettlement) -> Iterator[SettlementLine]:
    """Give the report's lines as they are stored; the payout it names is a line, too, unless it has one."""
    told = [*reported.lines, _payout(reported)] if _needs_payout(reported) else reported.lines
    for number, line in enumerate(told, report.told + 1):
        yield _stored_line(report, number, line)


def _needs_payout(reported: ReportedSettlement) -> bool:
    return bool(reported.paid_out_minor) and all(line.kind is not SettlementKind.PAYOUT for line in reported.lines)


def _payout(reported: ReportedSettlement) -> SettledLine:
    minor = reported.paid_out_minor or 0
    at = reported.paid_out_at or max((line.occurred_at for line in reported.lines), default=None)
    if at is None:
        raise SettlementUnreadable("it has no lines, and doesn't say when it was paid out")
    return SettledLine(
        ref=f"payout/{reported.payout_ref or reported.report_ref}"[:MAX_REF],
        kind=SettlementKind.PAYOUT,
        amount=Money(abs(minor), reported.currency),
        settled_minor=-minor,
        occurred_at=at,
        description="as the report says",
    )


def _stored_line(report: SettlementReport, number: int, line: SettledLine) -> SettlementLine:
    refs = [line.charge_ref, *line.other_charge_refs]
    return SettlementLine(
        id=new_id(),
        merchant_id=report.merchant_id,
        report_id=report.id,
        gateway=report.gateway,
        number=number,
        ref=line.ref,
        kind=line.kind,
        amount_minor=line.amount.amount_minor,
        currency=line.amount.currency,
        settled_minor=line.settled_minor,
        settled_currency=report.currency,
        fee_minor=line.fee_minor,
        charge_refs=tuple(each for each in refs if each is not None),
        operation_ref=line.operation_ref,
        attempt_ref=line.attempt_id,
        part_ref=line.part_id,
        payment_reference=None if line.payment_reference is None else hide_card_numbers(line.payment_reference),
        occurred_at=line.occurred_at,
        description="".join(each for each in redact(line.description) if each.isprintable()),
    )


def _new_report(by: By, gateway: str, reported: ReportedSettlement, now: datetime) -> SettlementReport:
    return SettlementReport(
        id=new_id(),
        merchant_id=by.merchant_id,
        gateway=gateway,
        report_ref=reported.report_ref,
        currency=reported.currency,
        received_at=now,
        received_from=by.actor,
    )


def _with_payout(report: SettlementReport, reported: ReportedSettlement, ledge: Ledge) -> SettlementReport:
    """Take in what the report says of its payout; what it said before stays, and a person hears of the difference."""
    pairs = (
        (report.payout_ref, reported.payout_ref),
        (report.paid_out_minor, reported.paid_out_minor),
    )
    if any(None not in pair and pair[0] != pair[1] for pair in pairs):
        ledge.open(_told_differently(report, f"report:{report.id}", "its payout", None))
    return msgspec.structs.replace(
        report,
        payout_ref=report.payout_ref or reported.payout_ref,
        paid_out_minor=reported.paid_out_minor if report.paid_out_minor is None else report.paid_out_minor,
        paid_out_at=report.paid_out_at or reported.paid_out_at,
    )


def _told_differently(report: SettlementReport, subject: str, what: str, line_id: UUID | None) -> Found:
    reason = f"{report.gateway} report {report.report_ref} tells {what} differently than it was told before"
    return Found(kind=Problem.TOLD_DIFFERENTLY, subject=subject, reason=reason, report_id=report.id, line_id=line_id)


def _told(report: SettlementReport, by: By, fresh: int, now: datetime) -> Event:
    return Event(
        at=now,
        merchant_id=report.merchant_id,
        kind=EventKind.SETTLEMENT_IMPORTED,
        actor=by.actor,
        correlation_id=by.correlation_id,
        data={
            "report_id": str(report.id),
            "gateway": report.gateway,
            "report_ref": report.report_ref,
            "currency": report.currency,
            "fresh_lines": fresh,
            "paid_out_minor": report.paid_out_minor,
        },
    )


def _earliest(reported: ReportedSettlement) -> datetime | None:
    return min((line.occurred_at for line in reported.lines), default=None)
