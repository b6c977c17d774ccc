"""Lines of reports are matched and booked, a batch a transaction; killed anywhere, the next run goes on from there.

First what the batch's lines lack is recorded (`acting`), then all of them are judged once more under the payments'
locks and booked together. Lines are judged by what the ledger saw, so their order doesn't matter.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
import structlog

from recoup_core.domain.ledger import LedgerEntry
from recoup_core.domain.settlement import (
    LINE,
    LineEvent,
    LineState,
    Problem,
    SettlementKind,
    SettlementLine,
    SettlementReport,
)
from recoup_core.domain.settlement_entries import About, cleared, doubted_entries, matched_entries
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.settlement import exceptions
from recoup_core.flows.settlement.acting import act
from recoup_core.flows.settlement.exceptions import Ledge, ledge_of
from recoup_core.flows.settlement.judging import Doubt, Lacks, Later, Seen, Settles, judge
from recoup_core.storage.cases import lock_payments
from recoup_core.storage.changes import Changes, JobRef, NewJob
from recoup_core.storage.engine import DatabaseUnavailable
from recoup_core.storage.ledger import entries_of_lines
from recoup_core.storage.settlement_matching import Found, find_lines, waiting_lines
from recoup_core.storage.settlements import find_report, report_standing

MATCH: Final = "match_settlement"
"""Job kind: match the lines of a report. Subject: the report."""

BATCH: Final = 250
"""Lines of one transaction: it holds the locks of as many payments, for some tens of milliseconds."""

RUN_BATCHES: Final = 40
"""Batches of one run of the job: well within its lease; the next run goes on."""

STEPS: Final = 3
"""What one line may lack: an answer, then its return, for instance."""

LOCK_ROUNDS: Final = 5
"""Times that a line may turn out to be about a payment that is not locked yet: one that was just reported."""

AGAIN: Final = timedelta(hours=1)
"""An unmatched line is looked at again after this, then after twice as long, and so on."""

TRIES: Final = 10
"""How often: for some six weeks altogether. Then it stays as it is, for a person."""

log = structlog.get_logger(__name__)


async def run_matches(context: Context, refs: Sequence[JobRef]) -> None:
    """Match what reports have brought, a bounded number of lines each; what is left gets a job of its own."""
    for ref in refs:
        done = await match_report(context, ref.subject_id, RUN_BATCHES)
        changes = Changes()
        if done:
            changes.finish(ref)
        else:
            changes.add(NewJob(kind=MATCH, subject_id=ref.subject_id, due_at=context.clock.now()))
        async with context.database.transaction() as connection:
            await changes.write(connection)


async def match_report(context: Context, report_id: UUID, batches: int) -> bool:
    """Match at most so many batches of a report's waiting lines; return whether none waits any more."""
    after, progress = 0, False
    for _ in range(batches):
        async with context.database.connection() as connection:
            found = await waiting_lines(connection, report_id, after, BATCH)
        if not found and not progress:
            break
        if not found:  # lines that waited for others of their batch
            after, progress = 0, False
            continue
        progress |= await settle_lines(context, found) > 0
        after = found[-1].line.number
    else:
        return False
    await _conclude(context, report_id)
    return True


async def settle_lines(context: Context, found: Sequence[Found]) -> int:
    """Record what lines lack, then book all of them; return for how many anything was booked anew."""
    ids = [each.line.id for each in found]
    for _ in range(STEPS):
        if not await _record_missing(context, found):
            break
        async with context.database.connection() as connection:
            found = await find_lines(connection, ids)
    payments = {each.payment_id for each in found if each.payment_id is not None}
    for _ in range(LOCK_ROUNDS):
        async with context.database.transaction() as connection:
            await lock_payments(connection, payments)
            found = await find_lines(connection, ids)
            named = {each.payment_id for each in found if each.payment_id is not None}
            if named <= payments:
                changes = Changes()
                booked = await _book(context, connection, changes, found)
                await changes.write(connection)
                break
            payments |= named
    else:
        raise RuntimeError(f"{len(ids)} settlement lines turn out to be about other payments without end")
    count_events(context, changes)
    return booked


async def _record_missing(context: Context, found: Sequence[Found]) -> bool:
    """Record what the gateway says has happened; return whether anything was lacking."""
    seen, lacked = Seen(), False
    for each in found:
        verdict = judge(each, seen)
        seen.add(each, verdict)
        if isinstance(verdict, Lacks):
            lacked = True
            try:
                await act(context, each, verdict.step)
            except DatabaseUnavailable:
                raise
            except Exception as failure:  # one line must not keep the others from being booked
                log.error("settlement_step_failed", line=str(each.line.id), step=verdict.step, error=repr(failure))
    return lacked


async def _book(context: Context, connection: asyncpg.Connection, changes: Changes, found: Sequence[Found]) -> int:
    if not found:
        return 0
    now = context.clock.now()
    again = [each.line.id for each in found if each.line.state is LineState.UNMATCHED]
    standing = await entries_of_lines(connection, again) if again else []
    ledges: dict[str, Ledge] = {}
    for gateway in {each.line.gateway for each in found}:
        of_it = [each for each in found if each.line.gateway == gateway]
        subjects = {name for each in of_it for name in _subjects(each)}
        merchant = of_it[0].line.merchant_id
        ledges[gateway] = await ledge_of(context, connection, merchant, gateway, subjects, now, None)
    booking = _Booking(context, changes, ledges, standing, now)
    for each in found:
        booking.take(each)
    for ledge in ledges.values():
        await ledge.write_to(connection, changes)
    return booking.booked


def _subjects(found: Found) -> list[str]:
    capture, part, dispute = found.capture, found.part, found.dispute
    named = [("charge", capture), ("refund", part), ("dispute", dispute)]
    return [f"line:{found.line.id}", *(f"{name}:{known.id}" for name, known in named if known is not None)]


_SETTLED_SUBJECT: Final = {
    SettlementKind.CHARGE: "charge",
    SettlementKind.REFUND: "refund",
    SettlementKind.DISPUTE: "dispute",
}


class _Booking:
    """The lines of one batch, judged for the last time and booked."""

    def __init__(
        self,
        context: Context,
        changes: Changes,
        ledges: dict[str, Ledge],
        standing: Collection[LedgerEntry],
        now: datetime,
    ) -> None:
        self._context = context
        self._changes = changes
        self._ledges = ledges
        self._standing = standing
        self._now = now
        self._seen = Seen()
        self.booked = 0

    def take(self, found: Found) -> None:
        """Book one line."""
        verdict = judge(found, self._seen)
        self._seen.add(found, verdict)
        if isinstance(verdict, Settles):
            self._settle(found, verdict)
        elif not isinstance(verdict, Later):
            self._doubt(found, verdict.otherwise if isinstance(verdict, Lacks) else verdict)

    def _settle(self, found: Found, verdict: Settles) -> None:
        line = msgspec.structs.replace(
            found.line,
            state=LINE.after(found.line.state, LineEvent.MATCH),
            payment_id=verdict.payment_id,
            capture_id=verdict.capture_id,
            part_id=verdict.part_id,
            dispute_id=verdict.dispute_id,
            booked_minor=verdict.booked_minor,
            fee_booked_minor=verdict.fee_booked_minor,
            next_try_at=None,
        )
        about = About(payment_id=verdict.payment_id, capture_id=verdict.about_capture, refund_id=verdict.about_refund)
        before = [entry for entry in self._standing if entry.settlement_line_id == line.id]
        self._changes.update(line)
        self._changes.add(*cleared(before, at=self._now), *matched_entries(line, about, at=self._now))
        self.booked += 1
        ledge = self._ledges[line.gateway]
        ledge.explain(f"line:{line.id}", "the line is matched")
        if (name := _SETTLED_SUBJECT.get(line.kind)) is not None:
            subject = line.capture_id or line.part_id or line.dispute_id
            ledge.explain(f"{name}:{subject}", f"settled by the line {line.ref}", {Problem.NOT_SETTLED})
        if verdict.differs:
            self._open(line, Problem.AMOUNT_DIFFERS, _difference(line))

    def _doubt(self, found: Found, doubt: Doubt) -> None:
        line = found.line
        if line.state is LineState.WAITING:
            self._changes.add(*doubted_entries(line, at=self._now))
            self.booked += 1
        tries = line.tries if line.state is LineState.WAITING else line.tries + 1
        again = self._now + AGAIN * 2**tries if tries < TRIES else None
        state = LINE.after(line.state, LineEvent.DOUBT)
        self._changes.update(msgspec.structs.replace(line, state=state, tries=tries, next_try_at=again))
        if not self._is_others(line, doubt):
            self._open(line, doubt.problem, doubt.reason)

    def _is_others(self, line: SettlementLine, doubt: Doubt) -> bool:
        """Whether it is nobody's concern here: the gateway's account carries what others charge, too."""
        unknown = doubt.problem in (Problem.UNKNOWN_CHARGE, Problem.UNKNOWN_REFUND, Problem.UNKNOWN_DISPUTE)
        ours = line.attempt_ref is not None or line.part_ref is not None
        return unknown and not ours and self._context.rules_of(line.gateway).settles_others

    def _open(self, line: SettlementLine, problem: Problem, reason: str) -> None:
        found = exceptions.Found(
            kind=problem,
            subject=f"line:{line.id}",
            reason=reason,
            report_id=line.report_id,
            line_id=line.id,
            payment_id=line.payment_id,
            amount_minor=line.settled_minor,
            currency=line.settled_currency,
        )
        self._ledges[line.gateway].open(found)


def _difference(line: SettlementLine) -> str:
    told = f"{line.gateway} line {line.ref}: {line.amount}, settled as {line.settled}"
    return f"{told}; booked is {msgspec.structs.replace(line.amount, amount_minor=line.booked_minor)}"


async def _conclude(context: Context, report_id: UUID) -> None:
    """Once all lines are booked, a report either adds up or is put before a person."""
    now = context.clock.now()
    changes = Changes()
    async with context.database.transaction() as connection:
        report = await find_report(connection, report_id)
        if report is None or (await report_standing(connection, report_id)).waiting:
            return
        subject = f"report:{report.id}"
        ledge = await ledge_of(context, connection, report.merchant_id, report.gateway, [subject], now, None)
        if report.adds_up:
            ledge.explain(subject, "the report adds up now", {Problem.DOES_NOT_ADD_UP})
        else:
            ledge.open(_off(report, subject))
        await ledge.write_to(connection, changes)
        await changes.write(connection)
    count_events(context, changes)


def _off(report: SettlementReport, subject: str) -> exceptions.Found:
    assert report.paid_out_minor is not None  # without it there is nothing to compare with
    reason = (
        f"{report.gateway} report {report.report_ref}: its lines come to {report.earned_minor} and its payouts to"
        f" {-report.payouts_minor}, it says {report.paid_out_minor} (minor units of {report.currency})"
    )
    return exceptions.Found(
        kind=Problem.DOES_NOT_ADD_UP,
        subject=subject,
        reason=reason,
        report_id=report.id,
        amount_minor=report.paid_out_minor - report.earned_minor,
        currency=report.currency,
    )
