"""Refunds in words and columns that people read."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import click

from recoup_cli.refund_desk import print_json
from recoup_cli.refund_events import comes_first, event_words
from recoup_cli.refund_preview import line_words, way_words
from recoup_core.domain.approval import Approval, Delegation, Verdict
from recoup_core.domain.dispute import Dispute
from recoup_core.domain.happened import EventKind
from recoup_core.domain.refund import (
    UNDECIDED,
    Destination,
    Purpose,
    Refund,
    RefundPart,
    RefundState,
)
from recoup_core.domain.refundfile import RefundFile
from recoup_core.rules.deciding.words import moment, stored_words
from recoup_core.storage.listing import DecisionRow
from recoup_core.storage.refund_lists import Decidable, RefundStory

_TOLD_BY_APPROVALS: Final = frozenset(
    {EventKind.REFUND_LEVEL_APPROVED, EventKind.REFUND_SENT_BACK, EventKind.REFUND_REJECTED}
)
_VERDICTS: Final = {Verdict.APPROVE: "approved", Verdict.REJECT: "rejected", Verdict.SEND_BACK: "sent back"}


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows whose columns stand below one another."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def tell_refund(file: RefundFile, as_json: bool) -> None:
    """Print how a refund stands after a change, and what comes next."""
    if as_json:
        print_json(file)
        return
    refund = file.refund
    click.echo(f"refund {refund.id}  version {refund.version}  {refund.amount}  {state_words(refund)}")
    if hint := _hint(refund):
        click.echo(f"next: {hint}", err=True)


def refund_rows(refunds: Sequence[Refund]) -> Iterator[str]:
    """Yield refunds, one line each: id, amount, state, reason, who asked, when."""
    yield from columns(
        [
            (
                str(refund.id),
                str(refund.amount),
                state_words(refund),
                _plain(refund.reason),
                refund.requested_by,
                moment(refund.created_at),
            )
            for refund in refunds
        ]
    )


def decidable_rows(queue: Sequence[Decidable]) -> Iterator[str]:
    """Yield what waits for a decision, oldest first: id, version, amount, payment, reason, who asked, until when."""
    yield from columns(
        [
            (
                str(waiting.refund.id),
                f"version {waiting.refund.version}",
                str(waiting.refund.amount),
                f"order {waiting.refund.order_ref}" if waiting.refund.order_ref else waiting.reference,
                _wish(waiting.refund),
                f"asked by {waiting.refund.requested_by}",
                _until(waiting.refund),
                "" if waiting.own else f"on behalf of {' or '.join(waiting.owners)}",
            )
            for waiting in queue
        ]
    )


def delegation_rows(delegations: Sequence[Delegation], now: datetime) -> Iterator[str]:
    """Yield delegations, one line each."""
    yield from columns(
        [
            (
                str(each.id),
                f"{each.owner} -> {each.delegate}",
                ", ".join(each.roles),
                f"{moment(each.starts_at)} to {moment(each.ends_at)}",
                _standing(each, now),
            )
            for each in delegations
        ]
    )


def dispute_rows(disputes: Sequence[Dispute]) -> Iterator[str]:
    """Yield disputes, one line each."""
    yield from columns(
        [
            (
                str(each.id),
                str(each.amount),
                str(each.state),
                f"{each.gateway} {each.gateway_ref}",
                _plain(each.reason or "no reason given"),
                moment(each.opened_at),
                f"evidence by {moment(each.evidence_due_at)}" if each.evidence_due_at else "",
            )
            for each in disputes
        ]
    )


def story_lines(story: RefundStory, *, full: bool) -> Iterator[str]:
    """Yield the whole of a refund; `full` explains the rules that did not fire, too."""
    refund = story.file.refund
    yield f"refund   {refund.id}  version {refund.version}, revision {refund.revision}"
    yield f"         {refund.amount} of {_of(story)} to {_plain(refund.destination)}, {_plain(refund.purpose)}"
    yield f"state    {state_words(refund)}{_until_words(refund)}"
    yield f"reason   {_plain(refund.reason)}" + (f": {refund.note}" if refund.note else "")
    for evidence in refund.evidence:
        yield f"evidence {evidence.kind}: {evidence.ref}"
    yield f"asked by {refund.requested_by} at {moment(refund.created_at)} ({refund.channel})"
    if others := [person for person in refund.touched_by if person != refund.requested_by]:
        yield f"touched  also by {', '.join(others)}; none of them may decide it"
    yield from _parts(story)
    yield from _lines(story)
    yield ""
    for at, _, told in sorted(_moments(story, full), key=lambda entry: entry[:2]):
        yield f"{moment(at)}  {told[0]}"
        yield from (f"    {line}" for line in told[1:])


def _parts(story: RefundStory) -> Iterator[str]:
    for part in story.file.current_parts:
        yield f"part {part.number}   {_part_words(part)}{_whose(story, part.payment_id)}"


def _part_words(part: RefundPart) -> str:
    why = f": {_plain(part.failure.category)} (code {part.failure.code})" if part.failure else ""
    sent = f", sent {part.sends} times with one key" if part.sends > 1 else ""
    waits = f", not before {moment(part.not_before)}" if part.not_before and part.finished_at is None else ""
    return f"{part.amount}  {_plain(part.state)}{why}, {way_words(part)}{sent}{waits}"


def _lines(story: RefundStory) -> Iterator[str]:
    known = {line.id: line for line in story.background.lines}
    for line in story.file.current_lines:
        of = known[line.payment_line_id]
        words = line_words(line, story.file.refund.currency)
        yield f"line     {of.ref}: {words}{_whose(story, of.payment_id)}"


def _whose(story: RefundStory, payment_id: UUID) -> str:
    """Return which payment is meant, where the refund goes over several."""
    several = len({part.payment_id for part in story.file.current_parts}) > 1
    return f"  of payment {story.background.references[payment_id]}" if several else ""


def _moments(story: RefundStory, full: bool) -> Iterator[tuple[datetime, int, list[str]]]:
    """Yield what happened when; the number orders what happened in one transaction, cause before effect."""
    for decision in story.decisions:
        yield decision.decided_at, 1, _decision_lines(decision, full)
    for approval in story.file.approvals:
        yield approval.decided_at, 1, [_approval_words(approval)]
    for event in story.events:
        if event.kind not in _TOLD_BY_APPROVALS:
            yield event.at, 0 if comes_first(event.kind) else 2, [event_words(event)]


def _decision_lines(decision: DecisionRow, full: bool) -> list[str]:
    outcome, *why = stored_words(decision.kind, decision.outcome, decision.explanation, full=full)
    return [f"decided: {outcome}", *why]


def _approval_words(approval: Approval) -> str:
    behalf = f" on behalf of {approval.on_behalf_of}" if approval.on_behalf_of else ""
    said = f": {approval.comment}" if approval.comment else ""
    level = f"level {approval.level + 1} of revision {approval.revision}"
    return f"{_VERDICTS[approval.verdict]} by {approval.principal}{behalf} as {_plain(approval.role)} ({level}){said}"


def state_words(refund: Refund) -> str:
    """Return the state with what belongs to it: whom it waits for, why it ended."""
    if refund.state is RefundState.IN_REVIEW:
        escalated = ", escalated" if refund.escalated_at else ""
        return f"in review by {' or '.join(map(_plain, refund.open_roles))}{escalated}"
    if refund.stop_reason not in (None, refund.state) and refund.state not in (
        RefundState.APPROVED,
        RefundState.SUCCEEDED,
    ):
        return f"{_plain(refund.state)} ({_plain(refund.stop_reason)})"
    return _plain(refund.state)


def _wish(refund: Refund) -> str:
    """Return the reason, and what is not as usual: money beyond the claim, or no money at all."""
    goodwill = ", goodwill" if refund.purpose is Purpose.GOODWILL else ""
    credit = ", as store credit" if refund.destination is Destination.STORE_CREDIT else ""
    return f"{_plain(refund.reason)}{goodwill}{credit}"


def _until(refund: Refund) -> str:
    return f"until {moment(refund.decide_by)}" if refund.decide_by else ""


def _until_words(refund: Refund) -> str:
    """Return by when people are to decide, where it is their turn, and when an undecided refund is closed."""
    decided_by = refund.decide_by if refund.state is RefundState.IN_REVIEW else None
    times = (("to be decided by", decided_by), ("closed at", refund.expires_at if refund.state in UNDECIDED else None))
    return "".join(f", {word} {moment(at)}" for word, at in times if at is not None)


def _of(story: RefundStory) -> str:
    refund = story.file.refund
    return f"order {refund.order_ref}" if refund.order_ref else f"payment {story.background.reference}"


def _standing(delegation: Delegation, now: datetime) -> str:
    if delegation.revoked_at is not None:
        return "revoked"
    if delegation.valid(now):
        return "valid"
    return "to come" if now < delegation.starts_at else "over"


def _hint(refund: Refund) -> str | None:
    match refund.state:
        case RefundState.IN_REVIEW:
            return f"recoup refund approve {refund.id} --version {refund.version}  by somebody who never touched it"
        case RefundState.INCOMPLETE:
            command = f"recoup refund edit {refund.id} --version {refund.version} --evidence KIND=REF"
            return f"{command}  (`recoup refund show` says which kind)"
        case RefundState.SENT_BACK:
            return f"recoup refund submit {refund.id} --version {refund.version}  once it is as the approver wants it"
        case RefundState.FAILED:
            return f"recoup refund retry {refund.id}  or another way: --store-credit"
        case RefundState.DENIED:
            return f"recoup refund show {refund.id} --why"
        case _:
            return None


def _plain(word: str) -> str:
    return str(word).replace("_", " ")
