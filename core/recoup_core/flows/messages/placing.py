"""Which hour a planned message gets: the calendar's part of the contact budget, so that forecasts tell the true time.

What else the budget says (how often, how close) is asked when the message is due.
"""

from datetime import datetime

import msgspec

from recoup_core.domain.recovery import StepKind, TimelineStep
from recoup_core.flows.draft import Draft
from recoup_core.rules.deciding.contact import calm_at, calm_before, customers_zone
from recoup_core.rules.deciding.dunning import WantedStep
from recoup_core.rules.language.actions.steps import LEAST_NOTICE


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A wanted step with the time it gets."""

    step: WantedStep
    at: datetime
    held_because: str | None = None
    """What moved it; None where it comes when its policy wants it."""

    @property
    def held_until(self) -> datetime | None:
        """The time before which it is not let out, where anything moved it."""
        return None if self.held_because is None else self.at


def place(draft: Draft, wanted: WantedStep, planned: TimelineStep | None) -> Placed | str:
    """Return a step with its time, or why its message must not come: it would be too late before its retry.

    A message that the budget holds back since its time came (`planned.held_until`) stays held.
    """
    if wanted.kind is not StepKind.MESSAGE or draft.contact is None:
        return Placed(step=wanted, at=wanted.at)
    latest = latest_of(draft, wanted.retry_step_id)
    zone, country = customers_zone(draft.file.customer_zone, draft.file.country), draft.file.country
    at, because = calm_at(wanted.at, draft.contact, zone, country)
    if latest is not None and because is not None:
        before = calm_before(wanted.at, draft.contact, zone, country)
        at = before if before >= draft.now else at
    held = planned.held_until if planned is not None and wanted.at <= draft.now else None
    if planned is not None and held is not None and held > at:
        at, because = held, planned.held_because
    if latest is not None and because is not None and at > latest:
        return f"left out: held back until it would come too late before its retry ({because})"
    return Placed(step=wanted, at=at, held_because=because)


def latest_of(draft: Draft, retry_step_id: object) -> datetime | None:
    """Return when at the latest a message about the planned retry comes; None where it is about no such one."""
    retry = draft.file.planned_retry
    return retry.due_at - LEAST_NOTICE if retry is not None and retry.id == retry_step_id else None
