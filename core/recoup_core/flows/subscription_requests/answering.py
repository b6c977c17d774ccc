"""The billing system answers: done, or refused."""

from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.cardnumbers import refuse_card_numbers
from recoup_core.domain.happened import EventKind
from recoup_core.domain.subscription_request import RequestEvent, RequestState, SubscriptionRequest
from recoup_core.flows.context import Context, locked_cases
from recoup_core.flows.draft import Draft
from recoup_core.flows.operate import By, NotAllowedNow, NotFound
from recoup_core.flows.subscription_requests.asking import OPEN, ask_person, close_tasks_about, move_request
from recoup_core.storage.calls import recall, remember
from recoup_core.storage.subscription_requests import payments_of_requests

MAX_NOTE: Final = 1_000
"""Characters of what the billing system has to say, as the table holds them."""

_ANSWERS: Final = {True: RequestState.ACKNOWLEDGED, False: RequestState.REFUSED}


async def acknowledge(
    context: Context, request_id: UUID, by: By, *, done: bool, note: str | None = None
) -> SubscriptionRequest:
    """Take in that the billing system did what it was asked for, or never will; return the request as it is now.

    The same answer again changes nothing. One that was withdrawn stays so, and the answer says it. Raises `NotFound`,
    `NotAllowedNow` where the other answer was given before, `CardNumberRefused`, `IdempotencyKeyReused`.
    """
    refuse_card_numbers(note, "note")
    async with context.database.connection() as connection:
        payment_id = (await payments_of_requests(connection, [request_id])).get(request_id)
    if payment_id is None:
        raise NotFound("subscription request", request_id)
    async with locked_cases(context, [payment_id]) as locked:
        draft = locked.draft(payment_id, by.actor, by.correlation_id)
        request = draft.file.request(request_id) if draft else None
        if draft is None or request is None or request.merchant_id != by.merchant_id:
            raise NotFound("subscription request", request_id)
        if by.call is not None:
            answered = await recall(locked.connection, by.merchant_id, by.call)
            if answered is not None:
                return msgspec.json.decode(answered, type=SubscriptionRequest)
        request = _answer(draft, request, by, done, note)
        if by.call is not None:
            draft.changes.add(remember(by.call, by.merchant_id, msgspec.json.encode(request), locked.now))
        return request


def _answer(draft: Draft, request: SubscriptionRequest, by: By, done: bool, note: str | None) -> SubscriptionRequest:
    if request.state in (RequestState.WITHDRAWN, _ANSWERS[done]):
        return request
    if request.state not in OPEN:
        raise NotAllowedNow(f"the request was answered before: it is {request.state}")
    event = RequestEvent.ACKNOWLEDGE if done else RequestEvent.REFUSE
    kind = EventKind.SUBSCRIPTION_REQUEST_ACKNOWLEDGED if done else EventKind.SUBSCRIPTION_REQUEST_REFUSED
    kept = None if note is None else note[:MAX_NOTE]
    moved = move_request(draft, request, event, answered_by=by.actor, note=kept, finished_at=draft.now)
    draft.tell(kind, request=str(request.id), wish=str(request.wish), note=kept)
    close_tasks_about(draft, request.id, f"the billing system answered: {moved.state}")
    if not done:
        why = f": {kept}" if kept else ""
        about = f"{request.wish} the subscription of {draft.file.payment.reference}"
        ask_person(draft, moved, f"the billing system refused to {about}{why}")
    return moved
