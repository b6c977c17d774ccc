"""A debt has one owner, who tries it again: what failures that are told mean for that, and what a report must say."""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from recoup_core.domain.errors import DomainError
from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.payment import RetryOwner
from recoup_core.domain.recovery import CASE, CaseEvent, CaseState
from recoup_core.flows.context import GatewayRules
from recoup_core.flows.draft import Draft
from recoup_core.flows.outcomes import cancel_unsent
from recoup_core.flows.planning import open_task, skip_planned
from recoup_core.flows.reports import FailureReport
from recoup_core.ports import GatewayEvent, ReportedFailure


class TwoOwners(DomainError):
    """Somebody else tries this debt again; two who do break network rules that each of them keeps."""

    code = "two_owners"

    def __init__(self, message: str, next_attempt_at: datetime | None = None) -> None:
        super().__init__(message)
        self.next_attempt_at = next_attempt_at


def check_owner(report: FailureReport, rules: GatewayRules, now: datetime) -> None:
    """Refuse (`TwoOwners`) a failed payment that somebody else is still going to try."""
    name, owner = report.gateway, rules.retries_by
    if report.retries_ended:
        return
    if owner is not RetryOwner.RECOUP:
        raise TwoOwners(
            f"the settings say that failed payments of the gateway {name!r} are tried again by the {owner}: report this"
            f" one with `retries_ended: true` once the {owner} has given up, or switch its retries off there and set"
            f' `retries_by = "recoup"` for the gateway'
        )
    if report.next_attempt_at is not None and report.next_attempt_at > now:
        raise TwoOwners(
            f"somebody else is going to try this payment again at {report.next_attempt_at.isoformat()}: switch those"
            f' retries off where they are made, or set `retries_by = "gateway"` or "biller" for the gateway {name!r}'
            " and report the payment with `retries_ended: true` once they are over",
            report.next_attempt_at,
        )


def with_owner(failure: ReportedFailure, told: Iterable[GatewayEvent]) -> ReportedFailure:
    """Return a failure with what was told last of who goes on with its debt, where it says nothing of that itself."""
    if failure.next_attempt_at is not None or failure.retries_ended:
        return failure
    saying = [e for e in told if e.failure and (e.failure.next_attempt_at is not None or e.failure.retries_ended)]
    last = max(saying, key=lambda event: event.occurred_at, default=None)
    if last is None or last.failure is None:
        return failure
    return msgspec.structs.replace(
        failure, next_attempt_at=last.failure.next_attempt_at, retries_ended=last.failure.retries_ended
    )


def why_not_opened(failure: ReportedFailure, rules: GatewayRules, now: datetime) -> str | None:
    """Return why a failure that a gateway tells of opens no case (yet); None where it does."""
    if not rules.opens_cases:
        return "failures of this gateway open no cases (`opens_cases`)"
    if tried_again(failure, now):
        return f"somebody else tries it again at {_next(failure)}"
    if rules.retries_by is not RetryOwner.RECOUP and not failure.retries_ended:
        return f"the {rules.retries_by} tries it again until it says that it has given up (`retries_by`)"
    return None


def tried_again(failure: ReportedFailure, now: datetime) -> bool:
    """Whether somebody else is still going to try this debt; what was announced for the past is over."""
    return failure.next_attempt_at is not None and failure.next_attempt_at > now and not failure.retries_ended


def two_owners(gateway: str, reference: str) -> str:
    """Return what is asked of a person where nobody knows who tries a debt again; the same for every event about it."""
    return (
        f"{gateway} tries the payment {reference} again by itself, and Recoup would as well: switch its"
        ' retries off there, or set `retries_by = "gateway"` or "biller" for this gateway'
    )


def leave_to_owner(draft: Draft, gateway: str, failure: ReportedFailure) -> bool:
    """Somebody else is going to try a debt that we collect: our case rests, and a person is asked once who goes on."""
    if not tried_again(failure, draft.now) or draft.file.case.state not in (CaseState.OPEN, CaseState.PAUSED):
        return False
    asked = any(task.kind is TaskKind.TWO_OWNERS for task in draft.file.open_tasks)
    if not asked:
        open_task(
            draft, TaskKind.TWO_OWNERS, f"{two_owners(gateway, failure.payment_reference)}; next at {_next(failure)}"
        )
    if CASE.allows(draft.file.case.state, CaseEvent.PAUSE):
        draft.move_case(CaseEvent.PAUSE, paused_at=draft.now)
        draft.tell(EventKind.CASE_PAUSED, because="two owners")
        skip_planned(draft, "the case is paused")
        cancel_unsent(draft, "the case is paused")
        return True
    return not asked


def _next(failure: ReportedFailure) -> str:
    return failure.next_attempt_at.isoformat() if failure.next_attempt_at else "a time that it doesn't say"
