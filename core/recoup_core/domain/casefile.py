"""Everything one decision about a payment needs, read together under the payment's lock."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from uuid import UUID

import msgspec

from recoup_core.domain.attempt import Attempt
from recoup_core.domain.customer import Standing
from recoup_core.domain.happened import HumanTask, TaskKind
from recoup_core.domain.ledger import LedgerEntry
from recoup_core.domain.payment import Credential, CredentialRole, Payment
from recoup_core.domain.recovery import RecoveryCase, StepKind, StepState, TimelineStep
from recoup_core.domain.subscription_request import SubscriptionRequest


class CaseFile(msgspec.Struct, frozen=True, kw_only=True):
    """One payment, its case, attempts and steps, the customer's credentials, and what was tried on their accounts."""

    payment: Payment
    case: RecoveryCase
    acquirer_country: str | None = None
    attempts: tuple[Attempt, ...] = ()
    """Of this payment, by number."""
    steps: tuple[TimelineStep, ...] = ()
    """Of this case, by due time."""
    credentials: tuple[Credential, ...] = ()
    """Of the customer, oldest first, the invalid ones included."""
    other_attempts: tuple[Attempt, ...] = ()
    """What was tried for other payments on the accounts behind these credentials."""

    standing: Standing = Standing()
    """What the customer's own record says, which holds for all their payments."""
    open_tasks: tuple[HumanTask, ...] = ()
    """What waits for a person about this payment."""
    requests: tuple[SubscriptionRequest, ...] = ()
    """What the billing system was asked for because of this debt, oldest first."""
    write_off: LedgerEntry | None = None
    """What the ledger has written off of this payment; None where nothing is, or it was taken back."""

    @property
    def customer_zone(self) -> str | None:
        """The customer's zone: as their record says, else as this payment was reported."""
        return self.standing.timezone or self.payment.customer.timezone

    @property
    def country(self) -> str | None:
        """The customer's country: as their record says, else as this payment was reported."""
        return self.standing.country or self.payment.customer.country

    @property
    def vulnerable(self) -> bool:
        """Whether the customer is vulnerable: their record or this payment's report says so."""
        return self.standing.vulnerable or self.payment.customer.vulnerable

    @property
    def account_attempts(self) -> tuple[Attempt, ...]:
        """Every known attempt on these accounts, this payment's own included: what network limits count."""
        return (*self.other_attempts, *(a for a in self.attempts if a.account_key is not None))

    @property
    def live_attempt(self) -> Attempt | None:
        """The attempt that holds the collection lease, if any."""
        return next((attempt for attempt in self.attempts if attempt.live), None)

    @property
    def planned_retry(self) -> TimelineStep | None:
        """The retry still to come, if any; a case has at most one."""
        return next((s for s in self.steps if s.kind is StepKind.RETRY and s.state is StepState.PLANNED), None)

    @property
    def planned_dunning(self) -> tuple[TimelineStep, ...]:
        """The dunning steps still to come."""
        return tuple(s for s in self.steps if s.kind is not StepKind.RETRY and s.state is StepState.PLANNED)

    @property
    def last_declined_retry(self) -> Attempt | None:
        """The attempt of our own that was made last and came to nothing."""
        declined = (a for a in self.attempts if a.failed and a.step_id is not None)
        return max(declined, key=lambda a: a.number, default=None)

    @property
    def last_declined(self) -> Attempt | None:
        """The attempt of any origin that failed last; it may have been told before an older one."""
        declined = (a for a in self.attempts if a.failed)
        return max(declined, key=lambda a: (a.failed_at, a.number), default=None)

    @property
    def rule_uses(self) -> Mapping[str, int]:
        """How many retries each rule has already led to; skipped steps don't count."""
        made = (s for s in self.steps if s.kind is StepKind.RETRY and s.state in (StepState.RUNNING, StepState.DONE))
        return Counter(step.rule for step in made if step.decision_id is not None)

    def request(self, request_id: UUID) -> SubscriptionRequest | None:
        """Return the request to the billing system of that id, if it is this case's."""
        return next((request for request in self.requests if request.id == request_id), None)

    def step(self, step_id: UUID) -> TimelineStep | None:
        """Return the step of that id, if it is this case's."""
        return next((step for step in self.steps if step.id == step_id), None)

    def attempt(self, attempt_id: UUID) -> Attempt | None:
        """Return the attempt of that id, if it is this payment's."""
        return next((attempt for attempt in self.attempts if attempt.id == attempt_id), None)

    def attempt_of_step(self, step_id: UUID) -> Attempt | None:
        """Return the attempt that a step led to, if any."""
        return next((attempt for attempt in self.attempts if attempt.step_id == step_id), None)

    def credential(self, credential_id: UUID | None) -> Credential | None:
        """Return the credential of that id, if it is the customer's."""
        return next((credential for credential in self.credentials if credential.id == credential_id), None)

    def usable(self) -> tuple[Credential, ...]:
        """The valid credentials, the newest primary first, then the backups, newest first.

        Of those that became known together, the one at the payment's own gateway stands first.
        """
        own = self.payment.gateway
        valid = sorted((c for c in reversed(self.credentials) if c.valid), key=lambda c: c.gateway != own)
        newest = sorted(valid, key=lambda c: c.created_at, reverse=True)
        return tuple(sorted(newest, key=lambda c: c.role is not CredentialRole.PRIMARY))

    def with_payment(self, payment: Payment) -> "CaseFile":
        """Return the file as it is after the payment changed."""
        return msgspec.structs.replace(self, payment=payment)

    def with_write_off(self, entry: LedgerEntry | None) -> "CaseFile":
        """Return the file as it is after the debt was written off, or the write-off taken back."""
        return msgspec.structs.replace(self, write_off=entry)

    def with_case(self, case: RecoveryCase) -> "CaseFile":
        """Return the file as it is after the case changed."""
        return msgspec.structs.replace(self, case=case)

    def with_attempt(self, attempt: Attempt) -> "CaseFile":
        """Return the file with this attempt added or replaced."""
        attempts = [*(a for a in self.attempts if a.id != attempt.id), attempt]
        return msgspec.structs.replace(self, attempts=tuple(sorted(attempts, key=lambda a: a.number)))

    def aware_of(self, attempts: Iterable[Attempt]) -> "CaseFile":
        """Return the file with what was meanwhile tried for other payments on the same accounts."""
        keys = {credential.account_key for credential in self.credentials}
        # the key first: of a large batch's attempts hardly any are on these accounts, and comparing UUIDs is slow
        fresh = {a.id: a for a in attempts if a.account_key in keys and a.payment_id != self.payment.id}
        if not fresh:
            return self
        kept = (a for a in self.other_attempts if a.id not in fresh)
        return msgspec.structs.replace(self, other_attempts=(*kept, *fresh.values()))

    def with_step(self, step: TimelineStep) -> "CaseFile":
        """Return the file with this step added or replaced."""
        steps = [*(s for s in self.steps if s.id != step.id), step]
        return msgspec.structs.replace(self, steps=tuple(sorted(steps, key=lambda s: (s.due_at, s.id))))

    def with_request(self, request: SubscriptionRequest) -> "CaseFile":
        """Return the file with this request to the billing system added, or in its own place."""
        if self.request(request.id) is None:
            return msgspec.structs.replace(self, requests=(*self.requests, request))
        kept = tuple(request if known.id == request.id else known for known in self.requests)
        return msgspec.structs.replace(self, requests=kept)

    def with_credential(self, credential: Credential) -> "CaseFile":
        """Return the file with this credential added or replaced."""
        others = [c for c in self.credentials if c.id != credential.id]
        return msgspec.structs.replace(self, credentials=(*others, credential))

    def without_tasks(self, kinds: Collection[TaskKind], attempt_id: UUID | None) -> "CaseFile":
        """Return the file after tasks of these kinds (about one attempt, if given) were resolved."""
        left = (t for t in self.open_tasks if t.kind not in kinds or attempt_id not in (None, t.attempt_id))
        return msgspec.structs.replace(self, open_tasks=tuple(left))
