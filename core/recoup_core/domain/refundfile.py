"""What decisions about refunds need, read together under the payments' locks."""

from uuid import UUID

import msgspec

from recoup_core.domain.approval import Approval
from recoup_core.domain.capture import Capture, CaptureState, PaymentLine
from recoup_core.domain.dispute import Dispute, DisputeState
from recoup_core.domain.happened import HumanTask
from recoup_core.domain.payment import Payment
from recoup_core.domain.recovery import CaseState
from recoup_core.domain.refund import (
    IN_FLIGHT_PARTS,
    UNSENT,
    PartState,
    Refund,
    RefundLine,
    RefundPart,
)


class PaymentAccount(msgspec.Struct, frozen=True, kw_only=True):
    """One payment as refunds see it: what gateways hold, what of it is free, and what it was charged for."""

    payment: Payment
    captures: tuple[Capture, ...] = ()
    """Oldest first."""
    lines: tuple[PaymentLine, ...] = ()
    disputes: tuple[Dispute, ...] = ()
    """Oldest first."""
    refunds: int = 0
    """Refunds of it that were not denied, rejected, expired or canceled, those made elsewhere included."""
    case_id: UUID | None = None
    case_state: CaseState | None = None
    """Of its recovery case; None where it never failed."""
    live_attempt: bool = False
    """Whether a charge of it may be under way right now."""

    @property
    def free_minor(self) -> int:
        """What can still be asked back, over all its captures."""
        return sum(capture.free_minor for capture in self.captures)

    @property
    def held_minor(self) -> int:
        """What refunds have asked for or paid back, over all its captures."""
        return sum(capture.held_minor for capture in self.captures)

    @property
    def captured_minor(self) -> int:
        """What was charged, over all captures that were not voided."""
        return sum(each.amount_minor for each in self.captures if each.state is not CaptureState.VOIDED)

    @property
    def dispute_state(self) -> DisputeState | None:
        """The state of the dispute that matters most: open before lost, inquiry, won; closed inquiries don't count."""
        order = (DisputeState.OPEN, DisputeState.LOST, DisputeState.INQUIRY, DisputeState.WON)
        standing = {dispute.state for dispute in self.disputes}
        return next((state for state in order if state in standing), None)

    def capture(self, capture_id: UUID | None) -> Capture | None:
        """Return the capture of that id."""
        return next((capture for capture in self.captures if capture.id == capture_id), None)


class RefundFile(msgspec.Struct, frozen=True, kw_only=True):
    """One refund with its parts, lines and approvals of all revisions, and what waits for a person about it."""

    refund: Refund
    parts: tuple[RefundPart, ...] = ()
    """By number."""
    lines: tuple[RefundLine, ...] = ()
    approvals: tuple[Approval, ...] = ()
    """Oldest first."""
    open_tasks: tuple[HumanTask, ...] = ()

    @property
    def current_parts(self) -> tuple[RefundPart, ...]:
        """The parts that the present revision goes in: a revision that changes no money keeps those before it."""
        last = max((part.revision for part in self.parts), default=self.refund.revision)
        return tuple(part for part in self.parts if part.revision == last)

    @property
    def current_lines(self) -> tuple[RefundLine, ...]:
        """The lines that the present revision is about; kept like its parts."""
        last = max((line.revision for line in self.lines), default=self.refund.revision)
        return tuple(line for line in self.lines if line.revision == last)

    @property
    def last_parts(self) -> tuple[RefundPart, ...]:
        """The present revision's parts that no later one has replaced: one for each capture it goes over."""
        replaced = {part.follows for part in self.parts}
        return tuple(part for part in self.current_parts if part.id not in replaced)

    @property
    def unsent(self) -> bool:
        """Whether it is certain that nothing of it has ever left."""
        return not self.in_flight and all(
            part.state in UNSENT or (part.sends == 0 and part.successes == 0) for part in self.parts
        )

    @property
    def in_flight(self) -> bool:
        """Whether money of it may be moving."""
        return any(part.state in IN_FLIGHT_PARTS for part in self.parts)

    @property
    def succeeded_minor(self) -> int:
        """What went back for good, in all revisions."""
        return sum(part.amount_minor for part in self.parts if part.state is PartState.SUCCEEDED)

    def part(self, part_id: UUID) -> RefundPart | None:
        """Return the part of that id."""
        return next((part for part in self.parts if part.id == part_id), None)

    def with_refund(self, refund: Refund) -> "RefundFile":
        """Return the file as it is after the refund changed."""
        return msgspec.structs.replace(self, refund=refund)

    def with_part(self, part: RefundPart) -> "RefundFile":
        """Return the file with this part added or replaced."""
        parts = [*(p for p in self.parts if p.id != part.id), part]
        return msgspec.structs.replace(self, parts=tuple(sorted(parts, key=lambda p: p.number)))

    def with_line(self, line: RefundLine) -> "RefundFile":
        """Return the file with this line added or replaced."""
        return msgspec.structs.replace(self, lines=(*(known for known in self.lines if known.id != line.id), line))

    def with_approval(self, approval: Approval) -> "RefundFile":
        """Return the file with this approval added."""
        return msgspec.structs.replace(self, approvals=(*self.approvals, approval))

    def without_task(self, task_id: UUID) -> "RefundFile":
        """Return the file as it is after a task was resolved."""
        return msgspec.structs.replace(self, open_tasks=tuple(t for t in self.open_tasks if t.id != task_id))
