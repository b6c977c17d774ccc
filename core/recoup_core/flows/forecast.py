"""What is still to come for a case, told beforehand: its plan, played on in memory as if every retry were declined.

The very code that does due steps plays them here, on a case file whose changes nobody writes: so what it says about
policies, calendar and contact budget is what happens, unless the money, the customer or a person comes between.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.attempt import AttemptEvent, AttemptState
from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.customer import CustomerRecord
from recoup_core.domain.happened import HumanTask
from recoup_core.domain.message import Message, MessageState
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.recovery import CaseState, StepEvent, StepKind, StepState, TimelineStep
from recoup_core.flows.collect import new_attempt
from recoup_core.flows.context import Context
from recoup_core.flows.draft import POLICY, Draft, job_of
from recoup_core.flows.messages.contacts import ContactFile
from recoup_core.flows.operate import NotFound
from recoup_core.flows.outcomes import record_outcome
from recoup_core.flows.planning import plan_next
from recoup_core.flows.steps import Voice, run_due
from recoup_core.ports import Declined
from recoup_core.rules.engine.texts import Pinned, UnreadablePolicy
from recoup_core.storage.cases import load_cases, payments_of_cases
from recoup_core.storage.changes import Changes, JobRef
from recoup_core.storage.customers import CustomerFile, Told, read_files

MAX_TURNS: Final = 200
"""Steps that are played before the forecast ends; the longest shipped campaign has fifteen."""

_GOING_ON: Final = (CaseState.OPEN, CaseState.EXHAUSTED)
_UNSENT: Final = (MessageState.QUEUED, MessageState.SENDING)


class Certainty(StrEnum):
    """How firmly something stands."""

    PLANNED = "planned"
    """On the case's timeline now; it comes unless something else happens before."""
    PROJECTED = "projected"
    """What the case's policies will want if each retry until then is declined."""


class ForecastEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is to come."""

    at: datetime
    """When it really comes: hours, days of rest and the contact budget are counted in."""
    kind: StepKind
    certainty: Certainty
    step_id: UUID | None = None
    """The step on the timeline; None of what is only projected."""
    rule: str | None = None
    """The policy's rule that wants it; None for a task that something else leads to."""
    gateway: str | None = None
    """Of a retry."""
    template: str | None = None
    channels: tuple[str, ...] = ()
    """By which a message goes out: those that the customer can be reached by, and the budget has room for."""
    plan: str | None = None
    text: str | None = None
    """What a task says."""
    held_because: str | None = None
    """What moves it from when its policy wants it."""
    left_out: str | None = None
    """Why it will not come after all; None where it comes."""


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What is still to come for a case, in order, and what that supposes."""

    case_id: UUID
    state: CaseState
    made_at: datetime
    assumption: str | None
    """What the projected entries suppose; None where nothing is supposed, for nothing is to come."""
    entries: tuple[ForecastEntry, ...] = ()
    exhausted_at: datetime | None = None
    """When no retry follows any more, or since when none does; None where the forecast does not come so far."""
    stop_reason: str | None = None
    note: str | None = None
    """Why nothing is to come, or why the forecast ends early."""


async def forecast(context: Context, merchant_id: str, case_id: UUID) -> Forecast:
    """Return what is still to come for a case; nothing is stored, sent or locked. Raises `NotFound`."""
    now = context.clock.now()
    async with context.database.connection() as connection:
        payment_id = (await payments_of_cases(connection, [case_id])).get(case_id)
        file = None if payment_id is None else (await load_cases(connection, [payment_id], now)).get(payment_id)
        if file is None or file.payment.merchant_id != merchant_id:
            raise NotFound("recovery case", case_id)
        key = (merchant_id, file.payment.customer.ref)
        known = (await read_files(connection, [key], now)).get(key)
    pinned = await context.policies.pinned(file.case.digests)
    note = _idle(file, pinned.values())
    if note is not None:
        return Forecast(case_id=case_id, state=file.case.state, made_at=now, assumption=None, note=note)
    return _Playing(context, file, known or _nobody(key, now), pinned, now).forecast()


def _idle(file: CaseFile, policies: Iterable[Pinned]) -> str | None:
    """Return why nothing is to come."""
    if file.payment.state is not PaymentState.OWED:
        return f"the payment is {file.payment.state}: nothing more is to come"
    if file.case.state not in _GOING_ON:
        return f"the case is {file.case.state}: nothing comes as long as it is"
    for one in policies:
        if isinstance(one, UnreadablePolicy):
            return f"the policy {one.name} can't be read any more: {one.because}"
    return None


def _nobody(key: tuple[str, str], now: datetime) -> CustomerFile:
    """Return the file of a customer of whom nothing was told."""
    record = CustomerRecord(merchant_id=key[0], ref=key[1], created_at=now, changed_at=now)
    return CustomerFile(record=record, addresses=(), told=())


class _Playing:
    """One case on its way through time that has not come."""

    def __init__(
        self, context: Context, file: CaseFile, known: CustomerFile, pinned: Mapping[str, Pinned], now: datetime
    ) -> None:
        self.context, self.begin, self.pinned = context, file, pinned
        self.file, self.now, self.made_at = file, now, now
        self.stands = {step.id for step in file.steps}
        told = tuple(_as_sent(each, now) if each.state in _UNSENT else each for each in known.told)
        self.known = msgspec.structs.replace(known, told=told)
        self.entries: list[ForecastEntry] = []
        self.exhausted = file.case if file.case.state is CaseState.EXHAUSTED else None

    def forecast(self) -> Forecast:
        """Play to the end, and return what came."""
        self._answer_what_is_under_way()
        turns = 0
        while turns < MAX_TURNS and (step := self._next()) is not None:
            turns += 1
            self.now = max(self.now, step.due_at)
            if step.kind is StepKind.RETRY:
                self._decline(step)
            else:
                self._do(step)
        return Forecast(
            case_id=self.begin.case.id,
            state=self.begin.case.state,
            made_at=self.made_at,
            assumption=self._assumption(),
            entries=tuple(sorted(self.entries, key=lambda entry: entry.at)),
            exhausted_at=self.exhausted.closed_at if self.exhausted else None,
            stop_reason=self.exhausted.stop_reason if self.exhausted else None,
            note=None if self._next() is None else f"more is to come than the {MAX_TURNS} steps that were played",
        )

    def _next(self) -> TimelineStep | None:
        planned = (step for step in self.file.steps if step.state is StepState.PLANNED)
        return min(planned, key=lambda step: (step.due_at, step.id), default=None)

    def _draft(self) -> Draft:
        """Return the case as a worker would have it in its hands at this moment, with changes that nobody writes."""
        case, contact = self.file.case, self.context.messaging.contact
        return Draft(
            self.file,
            Changes(),
            self.now,
            POLICY,
            None,
            self.pinned.get(case.dunning_digest or ""),
            retry=self.pinned[case.policy_digest],
            contact=contact,
        )

    def _keep(self, draft: Draft, step: TimelineStep | None) -> None:
        """Go on with what a turn left, and note the tasks that it put before people."""
        tasks: list[HumanTask] = [task for task in draft.changes.rows(HumanTask) if task.resolved_at is None]
        self.file = msgspec.structs.replace(draft.file, open_tasks=(*draft.file.open_tasks, *tasks))
        if self.exhausted is None and self.file.case.state is CaseState.EXHAUSTED:
            self.exhausted = self.file.case
        if step is None or step.kind is not StepKind.HUMAN_TASK:
            for task in tasks:
                entry = ForecastEntry(
                    at=self.now, kind=StepKind.HUMAN_TASK, certainty=Certainty.PROJECTED, text=task.reason
                )
                self.entries.append(entry)

    def _answer_what_is_under_way(self) -> None:
        """Suppose that an attempt whose answer is open is declined at this moment."""
        attempt, draft = self.file.live_attempt, self._draft()
        if attempt is None:
            return
        if attempt.state is AttemptState.SCHEDULED:
            attempt = draft.move_attempt(attempt, AttemptEvent.SUBMIT, submitted_at=self.now, last_sent_at=self.now)
        self._declined(draft, attempt.id)
        self._keep(draft, None)

    def _decline(self, step: TimelineStep) -> None:
        """Suppose that a retry is made at its time, and declined as the last one was."""
        draft = self._draft()
        credential = next((c for c in self.file.usable() if c.id == step.credential_id), None)
        if self.file.case.state is not CaseState.OPEN or credential is None:
            draft.skip_step(step, "it can't be made")
            plan_next(draft, self.pinned[self.file.case.policy_digest])
            self._keep(draft, step)
            return
        attempt = new_attempt(draft, step, credential, _ref(step))
        draft.add_attempt(attempt)
        draft.move_step(step, StepEvent.START)
        self.entries.append(self._entry(step, gateway=attempt.gateway))
        self._declined(draft, attempt.id)
        self._keep(draft, step)

    def _declined(self, draft: Draft, attempt_id: UUID) -> None:
        failed = self.begin.last_declined
        assert failed is not None  # a case opens with a decline
        assert failed.decline is not None  # as above
        record_outcome(draft, attempt_id, Declined(decline=failed.decline), self.pinned[self.file.case.policy_digest])

    def _do(self, step: TimelineStep) -> None:
        """Do a due step, or see it move or be left out, just as its job would."""
        draft, about = self._draft(), (self.known.record.merchant_id, self.known.record.ref)
        voice = Voice(self.context.messaging, {about: ContactFile(self.known, self.now)})
        run_due(draft, _ref(step), draft.changes, voice)
        said: list[Message] = list(draft.changes.rows(Message))
        self._remember(said)
        for after in draft.file.steps:
            before = self.file.step(after.id)
            if before is None or before.state is not StepState.PLANNED or after.kind is StepKind.RETRY:
                continue
            channels = tuple(message.channel for message in said if message.step_id == after.id)
            if after.state is StepState.DONE:
                self.entries.append(self._entry(after, channels=channels))
            elif after.state is StepState.SKIPPED and after.id == step.id:
                channels = tuple(after.detail.get("channels", ()))
                self.entries.append(self._entry(after, channels=channels, left_out=after.skipped_because))
        if draft.file == self.file:  # it waits for something that never comes here
            draft.skip_step(step, "nothing came of it")
        self._keep(draft, step)

    def _remember(self, said: Iterable[Message]) -> None:
        """Count what was said for the contact budget of what follows: it leaves as soon as it is written down."""
        fresh = (
            Told(
                id=message.id,
                step_id=message.step_id,
                notice_id=message.notice_id,
                state=MessageState.SENT,
                created_at=self.now,
                sent_at=self.now,
                paid=False,
            )
            for message in said
        )
        self.known = msgspec.structs.replace(self.known, told=(*fresh, *self.known.told))

    def _entry(
        self,
        step: TimelineStep,
        *,
        gateway: str | None = None,
        channels: tuple[str, ...] = (),
        left_out: str | None = None,
    ) -> ForecastEntry:
        stands, detail = step.id in self.stands, step.detail
        return ForecastEntry(
            at=self.now,
            kind=step.kind,
            certainty=Certainty.PLANNED if stands else Certainty.PROJECTED,
            step_id=step.id if stands else None,
            rule=step.rule,
            gateway=gateway,
            channels=channels,
            template=detail.get("template"),
            plan=detail.get("plan"),
            text=detail.get("text"),
            held_because=step.held_because,
            left_out=left_out,
        )

    def _assumption(self) -> str | None:
        if not self.entries:
            return None
        unpaid = "the debt stays unpaid and nobody steps in"
        failed = self.begin.last_declined
        tried = any(entry.kind is StepKind.RETRY for entry in self.entries) or self.begin.live_attempt is not None
        if not tried or failed is None or failed.decline is None:
            return unpaid
        decline = failed.decline
        return f"{unpaid}; each retry is declined at its time, as the last one was ({decline.category}, {decline.code})"


def _as_sent(told: Told, now: datetime) -> Told:
    return msgspec.structs.replace(told, state=MessageState.SENT, sent_at=now)


def _ref(step: TimelineStep) -> JobRef:
    return JobRef(id=0, kind=job_of(step), subject_id=step.id, claim=0)
