"""What came of the sample's refunds: read back from the database, and held against the bank's own books."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import msgspec

from recoup_core.domain.approval import Verdict
from recoup_core.domain.capture import Capture, CaptureState
from recoup_core.domain.dispute import Dispute
from recoup_core.domain.refund import (
    IN_FLIGHT_PARTS,
    UNDECIDED,
    Channel,
    PartState,
    RefundPart,
    RefundState,
)
from recoup_core.domain.refundfile import PaymentAccount, RefundFile
from recoup_core.storage.engine import Database
from recoup_core.storage.listing import MAX_PAGE
from recoup_core.storage.refund_lists import list_disputes, list_refunds
from recoup_core.storage.refunds import load_accounts, load_refunds
from recoup_plugins.gateways.sandbox_refund_rows import RefundTotal

_NO: tuple[RefundState, ...] = (RefundState.DENIED, RefundState.REJECTED, RefundState.EXPIRED, RefundState.CANCELED)


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """Refunds that were decided in the same way."""

    name: str
    refunds: int
    paid: int
    """Of which all went back."""
    under_way: int
    failed: int


class RefundOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the sample's refunds came to."""

    asked: int
    """Requests that were taken; those made elsewhere are none."""
    by_policy: int
    """Approved by the policy alone."""
    approved: int
    elsewhere: int
    """Made by other channels, and told by the gateway."""
    taken_back: int
    voided: int
    disputes: Mapping[str, int]
    """How many, by state."""
    captured_minor: Mapping[str, int]
    refunded_minor: Mapping[str, int]
    """By currency, as money and as store credit, those made elsewhere included."""
    ways: Sequence[Way]
    in_flight: int
    """Parts whose answer is still to come."""
    differences: Sequence[str]
    """Where the bank's books and ours disagree, in words."""
    example: str | None
    """A refund whose story is worth reading."""


Accounts = Mapping[UUID, PaymentAccount]


async def read_refunds(database: Database, merchant: str) -> tuple[list[RefundFile], Accounts, list[Dispute]]:
    """Return all refunds with the accounts of their payments, and all disputes."""
    files: list[RefundFile] = []
    accounts: dict[UUID, PaymentAccount] = {}
    before: UUID | None = None
    while page := await list_refunds(database, merchant, {}, before, MAX_PAGE):
        before = page[-1].id
        async with database.connection() as connection:
            found = (await load_refunds(connection, [refund.id for refund in page])).values()
            payments = {part.payment_id for file in found for part in file.parts}
            accounts |= await load_accounts(connection, payments - accounts.keys())
        files += found
    return files, accounts, await list_disputes(database, merchant, {}, None, MAX_PAGE)


def judge_refunds(
    files: Sequence[RefundFile], accounts: Accounts, disputes: Sequence[Dispute], bank: Mapping[str, RefundTotal]
) -> RefundOutcome:
    """Count what happened, and compare each charge with what the bank says went back over it."""
    ours = [file for file in files if file.refund.channel is not Channel.REPORTED]
    approved = [file for file in ours if file.refund.approved_at is not None]
    parts = [part for file in files for part in file.parts]
    captures = {capture.id: capture for account in accounts.values() for capture in account.captures}
    back = [part for part in parts if part.state is PartState.SUCCEEDED and not part.void]
    return RefundOutcome(
        asked=len(ours),
        by_policy=sum(1 for file in approved if not _approvers(file)),
        approved=len(approved),
        elsewhere=len(files) - len(ours),
        taken_back=sum(1 for part in parts if part.state is PartState.TAKEN_BACK),
        voided=sum(1 for part in parts if part.void and part.state is PartState.SUCCEEDED),
        disputes=Counter(str(dispute.state) for dispute in disputes),
        captured_minor=_sums(
            (each.currency, each.amount_minor) for each in captures.values() if each.state is CaptureState.CAPTURED
        ),
        refunded_minor=_sums((part.currency, part.amount_minor) for part in back),
        ways=_ways(ours),
        in_flight=sum(1 for part in parts if part.state in IN_FLIGHT_PARTS),
        differences=_differences(parts, captures, bank),
        example=_example(ours),
    )


def _ways(files: Sequence[RefundFile]) -> list[Way]:
    groups: dict[str, list[RefundFile]] = {}
    for file in files:
        groups.setdefault(_way(file), []).append(file)
    return [
        Way(
            name=name,
            refunds=len(members),
            paid=_count(members, RefundState.SUCCEEDED),
            under_way=_count(members, RefundState.APPROVED, *UNDECIDED),
            failed=_count(members, RefundState.FAILED),
        )
        for name, members in sorted(groups.items(), key=lambda group: -len(group[1]))
    ]


def _way(file: RefundFile) -> str:
    refund = file.refund
    if refund.state in _NO:
        return str(refund.state)
    if refund.approved_at is None:
        return "still to be decided"
    people = _approvers(file)
    if not people:
        return "approved by policy"
    return f"approved by {people} {'people' if people > 1 else 'person'}"


def _approvers(file: RefundFile) -> int:
    """Return how many approved what was done in the end; what was said to an earlier revision counts for nothing."""
    present = (a for a in file.approvals if a.revision == file.refund.revision)
    return sum(1 for approval in present if approval.verdict is Verdict.APPROVE)


def _count(files: Sequence[RefundFile], *states: RefundState) -> int:
    return sum(1 for file in files if file.refund.state in states)


def _sums(amounts: Iterable[tuple[str, int]]) -> Mapping[str, int]:
    sums: Counter[str] = Counter()
    for currency, amount_minor in amounts:
        sums[currency] += amount_minor
    return dict(sorted(sums.items()))


def _differences(
    parts: Sequence[RefundPart], captures: Mapping[UUID, Capture], bank: Mapping[str, RefundTotal]
) -> list[str]:
    """Hold each charge against the bank; while an answer is still to come the bank may know of more."""
    by_charge: dict[str, list[RefundPart]] = {str(capture.gateway_ref): [] for capture in captures.values()}
    for part in parts:
        if part.gateway is not None and part.capture_id is not None:
            by_charge[str(captures[part.capture_id].gateway_ref)].append(part)
    told = [f"{charge}: the bank gave money back that the books don't know of" for charge in bank.keys() - by_charge]
    for charge, asked in by_charge.items():
        if not any(part.state in IN_FLIGHT_PARTS for part in asked):
            told += _difference(charge, asked, bank.get(charge))
    return told


def _difference(charge: str, parts: Sequence[RefundPart], total: RefundTotal | None) -> list[str]:
    gone = [part for part in parts if part.state is PartState.SUCCEEDED]
    ours = sum(part.amount_minor for part in gone if not part.void)
    voided = sum(part.amount_minor for part in gone if part.void)
    theirs, theirs_voided = (total.back_minor, total.voided_minor) if total else (0, 0)
    if (ours, voided) == (theirs, theirs_voided):
        return []
    return [f"{charge}: the bank gave back {theirs} and voided {theirs_voided}, the books say {ours} and {voided}"]


def _example(files: Sequence[RefundFile]) -> str | None:
    """Prefer one in which much happened: people's decisions, parts that followed failed ones."""
    longest = max(files, key=lambda file: len(file.approvals) + len(file.parts), default=None)
    return None if longest is None else str(longest.refund.id)
