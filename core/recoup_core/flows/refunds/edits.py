"""A refund is changed, or tried again: what changes is decided on anew, what doesn't keeps its approvals."""

from typing import Any, Final
from uuid import UUID

import msgspec

from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.money import Money
from recoup_core.domain.refund import (
    UNDECIDED,
    UNSENT,
    Channel,
    Destination,
    PartEvent,
    PartState,
    Refund,
    RefundEvent,
    RefundPart,
    RefundState,
    Spread,
)
from recoup_core.domain.refundfile import PaymentAccount, RefundFile
from recoup_core.domain.shares import Share
from recoup_core.flows.context import Context
from recoup_core.flows.operate import By
from recoup_core.flows.refunds.ask import MAX_PAYMENTS, AskedPayment, RefundAsk, RefundEdit, check_edit
from recoup_core.flows.refunds.deciding import carry_out, judge, reopen
from recoup_core.flows.refunds.draft import SEND_REFUND, LockedRefunds, RefundDraft
from recoup_core.flows.refunds.lines import LineShares, require_room
from recoup_core.flows.refunds.making import accounts_of, check_customers, spread_of, write_down
from recoup_core.flows.refunds.refusals import (
    GoodwillExceedsPayment,
    RefundExceedsRefundable,
    RefundInFlight,
    RefundInvalid,
    RefundNotOpen,
)
from recoup_core.flows.refunds.sources import free_of, own_of, refusal_of
from recoup_core.flows.refunds.spread import Plan, following, spread
from recoup_core.flows.refunds.successors import chain
from recoup_core.flows.refunds.timers import put_timer
from recoup_core.flows.refunds.working import Act, found, person, require_version, run, touched_by
from recoup_core.storage.refunds import order_of_refund, payments_of_order

_EDITABLE: Final = UNDECIDED | {RefundState.APPROVED, RefundState.FAILED}

_GONE: Final = frozenset({PartState.FAILED, PartState.TAKEN_BACK, PartState.CANCELED})
"""States of parts whose money is missing from a refund that failed."""

_PLAIN: Final = ("reason", "note", "destination", "evidence")
"""Fields of an edit that are fields of the refund."""


async def edit_refund(context: Context, refund_id: UUID, edit: RefundEdit, by: By, if_match: int) -> RefundFile:
    """Change a refund of which nothing has left: approvals are void, and it is decided on anew (promise 8).

    Raises `NotFound`, `VersionConflict`, `RefundNotOpen`, `RefundInFlight`, and what `request_refund` raises.
    """
    check_edit(edit)

    async def act(locked: LockedRefunds, hold: bool) -> RefundFile:
        draft = found(locked, refund_id, by)
        require_version(draft.file.refund, if_match)
        _require_editable(draft.file)
        await _change(context, locked, draft, edit, by, hold)
        return draft.file

    return await _run(context, refund_id, by, act, edit)


async def retry_refund(
    context: Context,
    refund_id: UUID,
    by: By,
    destination: Destination | None = None,
    if_match: int | None = None,
) -> RefundFile:
    """Try a failed refund again: what is missing goes in new parts with keys of their own, under the same approvals.

    Another destination is another refund to decide on: it is an edit, and takes a refund of which nothing went back.
    Raises `NotFound`, `VersionConflict`, `RefundNotOpen`, `RefundExceedsRefundable`, `GatewayCannotRefund`,
    `RefundWindowOver`, and what `edit_refund` raises.
    """
    edit = RefundEdit(destination=destination)

    async def act(locked: LockedRefunds, hold: bool) -> RefundFile:
        draft = found(locked, refund_id, by)
        refund = draft.file.refund
        require_version(refund, if_match)
        _require_own(refund)
        if refund.state is not RefundState.FAILED:
            raise RefundNotOpen(refund.state, "retried")
        draft.close_tasks({TaskKind.REFUND_FAILED}, "the refund is tried again")
        if destination in (None, refund.destination):
            _try_again(context, draft, by)
        else:
            _require_editable(draft.file)
            await _change(context, locked, draft, edit, by, hold)
        return draft.file

    return await _run(context, refund_id, by, act, edit)


async def _run(context: Context, refund_id: UUID, by: By, act: Act, edit: RefundEdit) -> RefundFile:
    """Run an edit under the locks of all payments that the refund may then go over."""
    async with context.database.connection() as connection:
        order = await order_of_refund(connection, refund_id)
        payments = [] if order is None else await payments_of_order(connection, *order, MAX_PAYMENTS)
    return await run(
        context, by, act, refunds=[refund_id], payments=[*payments, *(each.payment_id for each in edit.payments or ())]
    )


def _require_own(refund: Refund) -> None:
    """Raise `RefundInvalid` for a refund that others made: nobody has approved it here, so nothing is sent for it."""
    if refund.channel is Channel.REPORTED:
        raise RefundInvalid("refund", "it was made elsewhere; ask for one of your own")


def _require_editable(file: RefundFile) -> None:
    _require_own(file.refund)
    if file.refund.state not in _EDITABLE:
        raise RefundNotOpen(file.refund.state, "edited")
    if file.in_flight:
        raise RefundInFlight
    if file.succeeded_minor:
        back = Money(file.succeeded_minor, file.refund.currency)
        raise RefundInvalid("refund", f"{back} of it went back already; cancel the rest and ask for it anew")


async def _change(
    context: Context, locked: LockedRefunds, draft: RefundDraft, edit: RefundEdit, by: By, hold: bool
) -> None:
    """Go on under the next revision with what is changed; where money or lines change, it is spread anew."""
    before = draft.file
    fields = _changed(before.refund, edit)
    spread_anew = edit.lines is not None or edit.payments is not None
    if not fields and not spread_anew:
        raise RefundInvalid("body", "changes nothing")
    ask = _ask_of(before, edit)
    await reopen(
        locked.connection,
        draft,
        touched_by=touched_by(before.refund, by),
        spread=spread_of(ask),
        **fields,
    )
    moved = spread_anew or fields.keys() & {"amount_minor", "destination"} or not _reserved(before)
    plan = _spread_anew(context, draft, before, ask, edit, by) if moved else None
    judged = await judge(context, locked.connection, draft, hold=hold)
    if plan is not None:
        write_down(draft, plan, judged)
    changed = [*fields, *(name for name in ("lines", "payments") if getattr(edit, name) is not None)]
    draft.tell(
        EventKind.REFUND_EDITED,
        changed=changed,
        edited_by=person(by),
        before_minor=before.refund.amount_minor,
        revision=draft.file.refund.revision,
    )
    draft.close_tasks({TaskKind.REFUND_FAILED}, "the refund was changed")
    await carry_out(locked.connection, draft, judged)


def _changed(refund: Refund, edit: RefundEdit) -> dict[str, Any]:
    given = {name: getattr(edit, name) for name in ("amount_minor", *_PLAIN)}
    return {name: value for name, value in given.items() if value is not None and value != getattr(refund, name)}


def _reserved(file: RefundFile) -> bool:
    """Whether parts stand for the whole refund; of one that failed, none do."""
    return sum(part.amount_minor for part in file.parts if part.state in UNSENT) == file.refund.amount_minor


def _spread_anew(
    context: Context, draft: RefundDraft, before: RefundFile, ask: RefundAsk, edit: RefundEdit, by: By
) -> Plan:
    """Let go of what the refund holds and return what it would hold instead, already in the draft's file."""
    for part in draft.file.parts:
        if part.state in UNSENT:
            draft.move_part(part, PartEvent.CANCEL)
    draft.release_lines()
    accounts = accounts_of(ask, draft.accounts, by)
    plan = spread(
        ask,
        draft.file.refund,
        accounts,
        context.gateways,
        draft.now,
        own_of(before),
        number=1 + max((part.number for part in before.parts), default=0),
        kept=_kept_lines(before, draft.account, edit),
    )
    check_customers([draft.account, *(draft.accounts[part.payment_id] for part in plan.parts)])
    draft.file = msgspec.structs.replace(
        draft.file, parts=(*draft.file.parts, *plan.parts), lines=(*draft.file.lines, *plan.lines)
    )
    return plan


def _kept_lines(file: RefundFile, account: PaymentAccount, edit: RefundEdit) -> LineShares:
    """Return the lines that the refund is about, where the edit leaves them and their amount as they are."""
    amount = edit.amount_minor
    if edit.lines is not None or file.refund.order_ref is not None or amount not in (None, file.refund.amount_minor):
        return ()
    require_room(account.lines, file.current_lines, own_of(file).lines)
    return tuple(
        (
            line.payment_line_id,
            Share(quantity=line.quantity, amount_minor=line.amount_minor, tax_minor=line.tax_minor),
        )
        for line in file.current_lines
    )


def _ask_of(file: RefundFile, edit: RefundEdit) -> RefundAsk:
    """Return the refund as if it were asked for anew with what is changed."""
    refund = file.refund
    if edit.payments and refund.order_ref is None:
        raise RefundInvalid("payments", "the refund is of one payment")
    payments = edit.payments
    if payments is None:
        payments = _payments_as_given(file, edit)
    return RefundAsk(
        payment_id=refund.payment_id if refund.order_ref is None else None,
        order_ref=refund.order_ref,
        payments=payments,
        amount_minor=edit.amount_minor or refund.amount_minor,
        currency=refund.currency,
        reason=edit.reason or refund.reason,
        purpose=refund.purpose,
        destination=edit.destination or refund.destination,
        lines=edit.lines or (),
    )


def _payments_as_given(file: RefundFile, edit: RefundEdit) -> tuple[AskedPayment, ...]:
    refund = file.refund
    if refund.spread is not Spread.AS_GIVEN:
        return ()
    if edit.amount_minor not in (None, refund.amount_minor):
        raise RefundInvalid("payments", "must be given with the new amount: the refund goes over them as given")
    amounts: dict[UUID, int] = {}
    for part in file.last_parts:
        amounts[part.payment_id] = amounts.get(part.payment_id, 0) + part.amount_minor
    return tuple(AskedPayment(payment_id=each, amount_minor=amount) for each, amount in amounts.items())


def _try_again(context: Context, draft: RefundDraft, by: By) -> None:
    """Put new parts in place of those whose money is missing; the approvals stand, since nothing else changes."""
    refund = draft.file.refund
    missing = _missing(draft.file)
    if not missing:
        raise RefundNotOpen(refund.state, "retried")
    draft.move(RefundEvent.RETRY, stop_reason=None, touched_by=touched_by(refund, by))
    draft.tell(
        EventKind.REFUND_RETRIED,
        retried_by=person(by),
        missing_minor=sum(part.amount_minor for part in missing),
        parts=len(missing),
    )
    number = max(part.number for part in draft.file.parts)
    for place, part in enumerate(missing, 1):
        _require_free(context, draft, part)
        let_go = [line for line in draft.file.current_lines if not line.holds]
        require_room(draft.accounts[part.payment_id].lines, let_go, {})
        again = following(part, number + place, draft.now)
        draft.add_part(again)
        draft.put_job(SEND_REFUND, again.id, draft.now)
    put_timer(draft)


def _missing(file: RefundFile) -> list[RefundPart]:
    """Return the parts whose money is to be sent again; never more than the refund comes to.

    What went back by an earlier try, told late, is not missing.
    """
    room = file.refund.amount_minor - file.succeeded_minor
    missing: list[RefundPart] = []
    for part in file.last_parts:
        paid = any(tried.state is PartState.SUCCEEDED for tried in chain(file, part))
        if part.state in _GONE and not paid and part.amount_minor <= room:
            missing.append(part)
            room -= part.amount_minor
    return missing


def _require_free(context: Context, draft: RefundDraft, part: RefundPart) -> None:
    """Raise why a part can't be sent again: others have taken what it had let go of, or the gateway can't any more."""
    account = draft.accounts[part.payment_id]
    capture = account.capture(part.capture_id)
    if capture is None:
        left = Money(account.payment.amount_minor - account.payment.goodwill_minor, part.currency)
        if left < part.amount:
            raise GoodwillExceedsPayment(part.amount, left)
        return
    free = Money(free_of(capture, {}), part.currency)
    if free < part.amount:
        raise RefundExceedsRefundable(part.amount, free)
    refusal = refusal_of(capture, part.destination, context.gateways, draft.now)
    if refusal is not None:
        raise refusal
