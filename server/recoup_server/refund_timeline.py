"""A refund's story as one list in order: what the policy answered, what people said, and what became of each part."""

from collections.abc import Iterator

from recoup_core.domain.refund import PartState, RefundPart
from recoup_core.storage.refund_lists import RefundStory
from recoup_server.schemas_refunds_out import RefundEntry, RefundTimelineOut, approval_out, part_out, refund_out
from recoup_server.timeline import decision_out, event_out


def refund_timeline(story: RefundStory) -> RefundTimelineOut:
    """Return the story; every decision, verdict and part stands in it exactly once."""
    return RefundTimelineOut(
        refund=refund_out(story.file.refund),
        entries=sorted(_entries(story), key=lambda entry: (entry.future, entry.at)),
        events=[event_out(event) for event in story.events],
    )


def _entries(story: RefundStory) -> Iterator[RefundEntry]:
    for decision in story.decisions:
        yield RefundEntry(at=decision.decided_at, kind="decision", future=False, decision=decision_out(decision))
    for approval in story.file.approvals:
        yield RefundEntry(at=approval.decided_at, kind="approval", future=False, approval=approval_out(approval))
    for part in story.file.parts:
        yield _part(part)


def _part(part: RefundPart) -> RefundEntry:
    future = part.state is PartState.SCHEDULED
    at = (part.not_before if future else part.submitted_at) or part.created_at
    return RefundEntry(at=at, kind="part", future=future, part=part_out(part))
