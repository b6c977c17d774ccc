"""Which try of a payment an event is about: one of ours, one that was told before, or one that somebody else made.

Customers pay at a checkout on the very object that we tried, providers and billers try it again. Where a gateway names
each try (`try_ref`), that name decides; where it doesn't, the object and the moment do.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import msgspec

from recoup_core.domain.attempt import Attempt, AttemptState, Origin
from recoup_core.domain.casefile import CaseFile
from recoup_core.flows.reports import FailureReport, PriorAttempt
from recoup_core.ports import Declined, GatewayEvent, Succeeded

SAME_ATTEMPT: Final = timedelta(minutes=5)
"""A failure told twice, by merchant and gateway, differs by clocks and transport; two real tries lie further apart,
unless their names say that they are two."""

CLOCKS_DIFFER: Final = timedelta(minutes=5)
"""By how much a gateway's clock may be behind ours: what happened longer before an attempt left is not its answer."""


def own_try(file: CaseFile, event: GatewayEvent, gateway: str) -> Attempt | None:
    """Return the attempt of ours that an event answers; None where it tells of a try that somebody else made."""
    told = event.outcome.try_ref if event.outcome is not None else None
    ours = [a for a in file.attempts if a.gateway == gateway and a.origin is not Origin.REPORTED]
    if told is not None and (known := next((a for a in ours if a.try_ref == told), None)) is not None:
        return known
    named = next((a for a in ours if a.id == event.attempt_id), None)
    if named is None:
        named = _by_object(ours, event)
    elif told is None and _over(named):
        named = _later_on_it(ours, named, event) or named
    if named is None or (told is not None and named.try_ref is not None):
        return None  # another try on an object that we have tried: not the one whose name we know
    return named


def told_try(file: CaseFile, event: GatewayEvent, gateway: str) -> Attempt | None:
    """Return the try made elsewhere that an event tells of once more, where it was reported or told before.

    Names of tries are compared first: two with different names are two, however close in time.
    """
    told = event.outcome.try_ref if event.outcome is not None else None
    reported = [a for a in file.attempts if a.origin is Origin.REPORTED and a.gateway == gateway]
    if told is not None and (known := next((a for a in reported if a.try_ref == told), None)) is not None:
        return known
    unnamed = (a for a in reported if told is None or a.try_ref is None)
    return next((a for a in unnamed if _like(a, event)), None)


def with_told(report: FailureReport, told: Iterable[GatewayEvent], now: datetime) -> FailureReport:
    """Return a report with every failed try of the debt that its gateway told of before: limits count them all."""
    tokens = {credential.token for credential in report.credentials}
    attempts = list(report.attempts)
    for event in told:
        if not isinstance(event.outcome, Declined):
            continue
        token = event.failure.token if event.failure is not None else None
        prior = PriorAttempt(
            at=min(event.occurred_at, now),
            decline=event.outcome.decline,
            token=token if token in tokens else None,  # one that nobody reports counts for the primary
            gateway_ref=event.gateway_ref,
            try_ref=event.outcome.try_ref,
        )
        if not any(_same_prior(known, prior) for known in attempts):
            attempts.append(prior)
    return msgspec.structs.replace(report, attempts=tuple(attempts))


def _same_prior(known: PriorAttempt, told: PriorAttempt) -> bool:
    if known.try_ref is not None and told.try_ref is not None:
        return known.try_ref == told.try_ref
    return known.gateway_ref in (None, told.gateway_ref) and abs(known.at - told.at) < SAME_ATTEMPT


def _like(attempt: Attempt, event: GatewayEvent) -> bool:
    if attempt.submitted_at is None or attempt.gateway_ref not in (None, event.gateway_ref):
        return False
    if isinstance(event.outcome, Succeeded) or attempt.state is AttemptState.SUCCEEDED:
        # an object is collected once, until it comes back; what was told to have failed never made that money
        if attempt.state is not AttemptState.SUCCEEDED or not isinstance(event.outcome, Succeeded):
            return False
        collected_once = attempt.gateway_ref == event.gateway_ref and attempt.gateway_ref is not None
        return collected_once and (attempt.returned_at is None or event.occurred_at <= attempt.returned_at)
    return abs(attempt.submitted_at - event.occurred_at) < SAME_ATTEMPT


def _by_object(ours: list[Attempt], event: GatewayEvent) -> Attempt | None:
    """Of our attempts on the event's object, the last one that had left by then."""
    if event.gateway_ref is None:
        return None
    on_it = [a for a in ours if _on_object(a, event)]
    return max((a for a in on_it if _had_left(a, event.occurred_at)), key=lambda a: a.number, default=None)


def _later_on_it(ours: list[Attempt], named: Attempt, event: GatewayEvent) -> Attempt | None:
    """The gateway gives back the id that the object was made with, whichever try of it the event is about."""
    last = _by_object([a for a in ours if a.number > named.number], event)
    return last if named.gateway_ref == event.gateway_ref else None


def _on_object(attempt: Attempt, event: GatewayEvent) -> bool:
    """Whether the attempt was made on the event's object; one whose answer is lost may have been made on another.

    The debt's own object is no proof: others try it as well, and a lost attempt that is taken for collected by somebody
    else's money would never be looked for again.
    """
    return attempt.gateway_ref is not None and attempt.gateway_ref == event.gateway_ref


def _had_left(attempt: Attempt, at: datetime) -> bool:
    return attempt.submitted_at is not None and attempt.submitted_at - CLOCKS_DIFFER <= at


def _over(attempt: Attempt) -> bool:
    return attempt.state in (AttemptState.DECLINED, AttemptState.SUCCEEDED)
