"""What answers about the future of a case carry."""

from datetime import datetime
from uuid import UUID

import msgspec

from recoup_core.domain.recovery import CaseState, StepKind
from recoup_core.flows.forecast import Certainty, Forecast
from recoup_server.schemas_out import Out


class ForecastEntryOut(Out, frozen=True, kw_only=True):
    """One thing that is to come."""

    at: datetime
    """When it really comes: hours, days of rest and the contact budget are counted in."""
    kind: StepKind
    certainty: Certainty
    """`planned`: on the timeline now. `projected`: wanted if each retry until then is declined."""
    step_id: UUID | None
    """The step on the timeline; null of what is projected."""
    rule: str | None
    """The policy's rule that wants it; null for a task that something else leads to."""
    gateway: str | None
    """Of a retry."""
    template: str | None
    channels: list[str]
    """By which a message goes out, as far as the customer can be reached and the contact budget has room."""
    plan: str | None
    text: str | None
    """What a task says."""
    held_because: str | None
    """What moves it from when its policy wants it."""
    left_out: str | None
    """Why it will not come after all; null where it comes."""


class ForecastOut(Out, frozen=True, kw_only=True):
    """What is still to come for a case, in order."""

    case_id: UUID
    state: CaseState
    made_at: datetime
    assumption: str | None
    """What the projected entries suppose; null where nothing is to come."""
    entries: list[ForecastEntryOut]
    exhausted_at: datetime | None
    """When no retry follows any more, or since when none does."""
    stop_reason: str | None
    note: str | None
    """Why nothing is to come, or why the forecast ends early."""


def forecast_out(told: Forecast) -> ForecastOut:
    """Return a forecast as callers see it."""
    return msgspec.convert(told, ForecastOut, from_attributes=True)
