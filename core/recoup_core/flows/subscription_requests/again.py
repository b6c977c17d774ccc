"""A request that the billing system has not answered is told again, and put before a person in the end."""

from collections.abc import Sequence

import msgspec

from recoup_core.domain.subscription_request import RequestEvent, RequestState, SubscriptionRequest
from recoup_core.flows.context import Context, locked_cases
from recoup_core.flows.draft import SYSTEM, Draft
from recoup_core.flows.subscription_requests.asking import (
    SUBSCRIPTION,
    WAITS,
    ask_person,
    keep_request,
    move_request,
    tell_request,
)
from recoup_core.storage.changes import JobRef
from recoup_core.storage.subscription_requests import payments_of_requests


async def run_requests(context: Context, refs: Sequence[JobRef]) -> None:
    """Tell requests once more whose answer is due, each with its own id: whoever reads one twice knows it again."""
    async with context.database.connection() as connection:
        payments = await payments_of_requests(connection, [ref.subject_id for ref in refs])
    async with locked_cases(context, set(payments.values())) as locked:
        for ref in refs:
            payment_id = payments.get(ref.subject_id)
            draft = locked.draft(payment_id, SYSTEM, ref.correlation_id) if payment_id else None
            request = draft.file.request(ref.subject_id) if draft else None
            if draft is None or request is None or request.state is not RequestState.ASKED:
                locked.changes.finish(ref)
            else:
                _ask_again(draft, request)


def _ask_again(draft: Draft, request: SubscriptionRequest) -> None:
    due_at = request.asked_at + WAITS[min(request.asked, len(WAITS)) - 1]
    if due_at > draft.now:
        draft.put_job(SUBSCRIPTION, request.id, due_at)
    elif request.asked < len(WAITS):
        again = msgspec.structs.replace(request, asked=request.asked + 1, asked_at=draft.now)
        keep_request(draft, again)
        tell_request(draft, again)
    else:
        move_request(draft, request, RequestEvent.GIVE_UP)
        since = f"{request.created_at:%Y-%m-%d %H:%M} UTC"
        ask_person(
            draft,
            request,
            f"the billing system was asked {request.asked} times since {since} to {request.wish} the subscription of"
            f" {draft.file.payment.reference}, and has not said that it did",
        )
