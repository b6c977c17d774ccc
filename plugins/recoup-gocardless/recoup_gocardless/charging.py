"""Collecting: the failed payment itself once more where that is possible, else a new payment on the mandate.

  a payment that failed, of just this amount on just this mandate   payments.retry: no second object that could be paid
  it was tried three times already, canceled, or is another amount   payments.create
  somebody else is collecting it, or GoCardless will (Success+)      Owned: nothing is sent
  it is paid                                                         Succeeded

`payments.create` keeps idempotency keys: a used one leads to the payment that it made. `payments.retry` documents none,
and GoCardless keeps whatever metadata come with it on the event that it causes: so before anything is sent the events
of the payment are looked at for our attempt, and its state (only a failed payment is taken) lets one of many through.

Answers: under way is Pending, nearly always. What was refused is Declined; 401 and 403 are NotSent, since a wrong token
is no reason to give up a debt. Whatever leaves it open is raised.
"""

from datetime import timedelta
from typing import Any, Final

from recoup_gocardless.calls import (
    PAGE,
    UNAUTHORIZED,
    Calls,
    GoCardlessAnswerLost,
    GoCardlessNotAsked,
    GoCardlessRefused,
    nothing_else_is_certain,
    read,
)
from recoup_gocardless.declines import own_decline, refused_decline
from recoup_gocardless.objects import (
    AMOUNT_KEY,
    ATTEMPT_KEY,
    MAX_METADATA,
    PAYMENT_KEY,
    GoEvent,
    GoPayment,
    money_text,
)
from recoup_gocardless.tries import IN, UNDER_WAY, Try, by_state, collected, found, tries_of
from recoup_plugins import (
    ChargeOutcome,
    ChargeRequest,
    Decline,
    DeclineCategory,
    Declined,
    FoundCharge,
    NotFound,
    NotSent,
    Owned,
    Pending,
    Retryable,
    Succeeded,
)

FIRST: Final = 1
MAX_RETRIES: Final = 3
"""How often a payment can be retried (developer.gocardless.com/api-reference: retry a payment)."""

CLOCK_SLACK: Final = timedelta(minutes=1)
"""By how much our clock may be ahead of GoCardless's."""

LOOK_UP_PAGES: Final = 10


async def charge(calls: Calls, request: ChargeRequest, *, success_plus: bool) -> ChargeOutcome:
    """Collect once; see the module for what each answer means."""
    try:
        debt = _payment_id(request.debt_ref)
        if debt and (outcome := await _collect_debt(calls, request, debt, success_plus=success_plus)) is not None:
            return outcome
        return await _create(calls, request)
    except GoCardlessNotAsked as unsent:
        return NotSent(reason=unsent.reason, retry_after_s=unsent.wait_s)
    except GoCardlessRefused as refused:
        if refused.status in UNAUTHORIZED:
            return NotSent(reason=f"GoCardless does not let us in ({refused.reason})")
        return Declined(decline=refused_decline(refused, request.method))


async def find(calls: Calls, request: ChargeRequest) -> FoundCharge:
    """Look for the attempt: on the payment it was told of, on the debt, and among what was made since."""
    with nothing_else_is_certain():
        told, debt = _payment_id(request.gateway_ref), _payment_id(request.debt_ref)
        if told:
            outcome = await _on(calls, request, told)
            if outcome is None:  # GoCardless told us this id: not finding the attempt on it is no "never happened"
                raise GoCardlessAnswerLost("the payment's events don't tell of the attempt")
            return outcome
        if debt and (outcome := await _on(calls, request, debt)) is not None:
            return outcome
        return await _among_the_new(calls, request)


async def events_of(calls: Calls, payment_id: str) -> list[GoEvent]:
    """Return all events of a payment, the oldest first."""
    listed = await calls.whole("events", {"payment": payment_id}, GoEvent)
    return [each for each in reversed(listed) if each.resource_type == "payments"]


async def outcome_of(calls: Calls, payment: GoPayment, request: ChargeRequest) -> Succeeded | Declined | Pending | None:
    """Say what became of our attempt on a payment; None where it is not among the payment's tries."""
    tries = tries_of(payment, await events_of(calls, payment.id))
    ours = _ours(tries, request)
    return None if ours is None else _told(payment, tries, ours, request)


async def _on(calls: Calls, request: ChargeRequest, payment_id: str) -> Succeeded | Declined | Pending | None:
    return await outcome_of(calls, await calls.get("payments", payment_id, GoPayment), request)


async def _collect_debt(
    calls: Calls, request: ChargeRequest, payment_id: str, *, success_plus: bool
) -> ChargeOutcome | None:
    """Collect the payment that failed once more; None where a new payment has to be made."""
    payment = await calls.get("payments", payment_id, GoPayment)
    tries = tries_of(payment, await events_of(calls, payment_id))
    ours = _ours(tries, request)
    if ours is not None:  # sent before; its answer was lost
        return _told(payment, tries, ours, request)
    if payment.status in UNDER_WAY:
        return _owned_by_others(tries)
    if payment.status == "charged_back":
        return Declined(decline=_charged_back(request))
    if payment.status in IN:  # also where less is asked by now: all of the debt came in
        return collected(payment, tries[-1].number)
    if payment.money != request.amount:
        return None
    if payment.status != "failed" or payment.links.mandate != request.token or len(tries) > MAX_RETRIES:
        return None
    if _tried_by_gocardless(payment, tries[-1], success_plus=success_plus):
        return Owned(reason="GoCardless is going to try this payment again by itself (Success+)")
    return await _retry(calls, request, payment_id, len(tries) + 1)


async def _retry(calls: Calls, request: ChargeRequest, payment_id: str, number: int) -> ChargeOutcome:
    metadata = {ATTEMPT_KEY: str(request.attempt_id), PAYMENT_KEY: request.payment_reference[:MAX_METADATA]}
    try:
        payment = await calls.retry_payment(payment_id, metadata, request.idempotency_key, GoPayment)
    except GoCardlessRefused as refused:
        if refused.reason != "retry_failed":
            raise
        return await _overtaken(calls, request, payment_id)
    return await _just_sent(calls, request, payment, number)


async def _overtaken(calls: Calls, request: ChargeRequest, payment_id: str) -> ChargeOutcome:
    """The payment is no longer to be retried: somebody was faster, perhaps ourselves."""
    with nothing_else_is_certain():
        payment = await calls.get("payments", payment_id, GoPayment)
        tries = tries_of(payment, await events_of(calls, payment_id))
    ours = _ours(tries, request)
    if ours is not None:
        return _told(payment, tries, ours, request)
    if payment.status in UNDER_WAY:
        return _owned_by_others(tries)
    raise GoCardlessAnswerLost(f"the payment can't be retried, and is {payment.status}")


async def _create(calls: Calls, request: ChargeRequest) -> ChargeOutcome:
    try:
        payment = await calls.create("payments", _params(request), request.idempotency_key, GoPayment)
    except GoCardlessRefused as refused:
        if refused.conflict is None:
            raise
        with nothing_else_is_certain():  # the payment exists: whatever keeps us from reading it, it is on its way
            made = await _on(calls, request, refused.conflict)
        if made is None:
            raise GoCardlessAnswerLost("the key made another payment than this one") from None
        return made
    if payment.attempt_id != request.attempt_id or payment.money != request.amount:
        raise GoCardlessAnswerLost("the key made another payment than this one")
    return await _just_sent(calls, request, payment, FIRST)


async def _just_sent(calls: Calls, request: ChargeRequest, payment: GoPayment, number: int) -> ChargeOutcome:
    """Say what the answer to our own call means; only a bank that answers at once leaves anything to look up."""
    said = by_state(payment, number)
    if said is not None:
        return said
    with nothing_else_is_certain():
        outcome = await outcome_of(calls, payment, request)
    if outcome is None:
        raise GoCardlessAnswerLost(f"the payment was sent and is {payment.status}, and no event tells of it")
    return outcome


def _params(request: ChargeRequest) -> dict[str, Any]:
    return {
        "amount": request.amount.amount_minor,
        "currency": request.amount.currency,
        "links": {"mandate": request.token},
        "metadata": {
            ATTEMPT_KEY: str(request.attempt_id),
            PAYMENT_KEY: request.payment_reference[:MAX_METADATA],
            AMOUNT_KEY: money_text(request.amount),
        },
        "retry_if_possible": False,  # ours to try again; Success+ keeps off
    }


async def _among_the_new(calls: Calls, request: ChargeRequest) -> FoundCharge:
    """Lists are asked page by page, the newest first; NotFound only where all was seen."""
    since = (request.first_sent_at - CLOCK_SLACK).isoformat()
    params: dict[str, Any] = {"mandate": request.token, "created_at[gte]": since, "limit": PAGE}
    for _ in range(LOOK_UP_PAGES):
        page = await calls.page("payments", params)
        for payment in (read(item, GoPayment) for item in page.items):
            if payment.attempt_id == request.attempt_id:
                return await _on(calls, request, payment.id) or NotFound()
        if page.after is None or not page.items:
            return NotFound()
        params["after"] = page.after
    raise GoCardlessAnswerLost(f"not among the first {LOOK_UP_PAGES * PAGE} payments; there are more")


def _told(
    payment: GoPayment, tries: tuple[Try, ...], ours: Try, request: ChargeRequest
) -> Succeeded | Declined | Pending:
    outcome = found(payment, tries, ours, request.method)
    if outcome is None:
        raise GoCardlessAnswerLost(f"the payment is {payment.status}, and no event says why yet")
    return outcome


def _owned_by_others(tries: tuple[Try, ...]) -> Owned:
    """Somebody else's try is under way; where none is seen, it may be our own that the list doesn't show yet."""
    if tries[-1].last_word is not None:
        raise GoCardlessAnswerLost("the payment is under way, and no event says who asked for it")
    return Owned(reason="somebody else is collecting this payment at GoCardless")


def _tried_by_gocardless(payment: GoPayment, last: Try, *, success_plus: bool) -> bool:
    """GoCardless says with each failure whether it tries again; where it doesn't, what the payment was made for."""
    word = last.last_word
    told = word.details.will_attempt_retry if word is not None else None
    return told if told is not None else success_plus or payment.retry_if_possible is True


def _ours(tries: tuple[Try, ...], request: ChargeRequest) -> Try | None:
    return next((each for each in tries if each.attempt_id == request.attempt_id), None)


def _charged_back(request: ChargeRequest) -> Decline:
    return own_decline(
        "charged_back",
        "the customer took the money back",
        request.method,
        DeclineCategory.REVOKED_MANDATE,
        Retryable.NO,
    )


def _payment_id(ref: str | None) -> str | None:
    """Return a reference that is a payment's; others are names of the merchant's own."""
    return ref if ref is not None and ref.startswith("PM") else None
