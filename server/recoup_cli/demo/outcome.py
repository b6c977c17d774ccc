"""What came of the sample: read back from the database, and held against the bank's own books."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from recoup_core.domain.attempt import IN_FLIGHT, Attempt, AttemptState, Origin
from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.decline import DeclineCategory, Retryable
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.recovery import CaseState
from recoup_core.storage.cases import load_cases
from recoup_core.storage.lookups import payment_by_reference
from recoup_core.wiring import Service
from recoup_plugins.gateways.sandbox_rows import PaymentTotal

BATCH: Final = 200
"""Case files read at a time."""


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Payments whose first failure had the same cause."""

    category: DeclineCategory
    payments: int
    recovered: int
    still_open: int
    attempts: int
    """Ours, on all of these payments."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the sample came to."""

    payments: int
    recovered: int
    still_open: int
    attempts: int
    attempts_on_recovered: int
    owed_minor: Mapping[str, int]
    collected_minor: Mapping[str, int]
    tallies: Sequence[Tally]
    hard: int
    """Payments whose first decline was final."""
    hard_untouched: int
    """Those of them whose account was never tried again."""
    in_flight: int
    """Attempts whose answer is still to come."""
    differences: Sequence[str]
    """Where the bank's books and ours disagree, in words."""
    example: str | None
    """A payment whose story is worth reading."""


async def read_files(service: Service, merchant: str, references: Iterable[str]) -> list[CaseFile]:
    """Return the case files of these payments; those that were never reported are left out."""
    files: list[CaseFile] = []
    async with service.database.connection() as connection:
        found = [await payment_by_reference(connection, merchant, each) for each in references]
        known = [payment_id for payment_id in found if payment_id is not None]
        for start in range(0, len(known), BATCH):
            batch = known[start : start + BATCH]
            files.extend((await load_cases(connection, batch, service.clock.now())).values())
    return sorted(files, key=lambda file: file.payment.reference)


def judge(files: Sequence[CaseFile], bank: Mapping[str, PaymentTotal]) -> Outcome:
    """Count what happened and compare each payment with what the bank says it moved."""
    recovered = [file for file in files if _recovered(file)]
    hard = [file for file in files if _first(file).decline_is(Retryable.NO)]
    return Outcome(
        payments=len(files),
        recovered=len(recovered),
        still_open=sum(1 for file in files if _open(file)),
        attempts=sum(len(_ours(file)) for file in files),
        attempts_on_recovered=sum(len(_ours(file)) for file in recovered),
        owed_minor=_sums((f.payment.currency, f.payment.amount_minor) for f in files),
        collected_minor=_sums((f.payment.currency, f.payment.captured_minor) for f in files),
        tallies=_tallies(files),
        hard=len(hard),
        hard_untouched=sum(1 for file in hard if not _account_tried_again(file)),
        in_flight=sum(1 for file in files for attempt in file.attempts if attempt.state in IN_FLIGHT),
        differences=[text for file in files for text in _differences(file, bank.get(file.payment.reference))],
        example=_example(recovered),
    )


class _First(msgspec.Struct, frozen=True):
    attempt: Attempt

    @property
    def category(self) -> DeclineCategory:
        decline = self.attempt.decline
        return DeclineCategory.UNKNOWN if decline is None else decline.category

    def decline_is(self, retryable: Retryable) -> bool:
        decline = self.attempt.decline
        return decline is not None and decline.retryable is retryable


def _first(file: CaseFile) -> _First:
    return _First(file.attempts[0])


def _ours(file: CaseFile) -> list[Attempt]:
    """The attempts that Recoup made and that left it."""
    return [a for a in file.attempts if a.origin is not Origin.REPORTED and a.sends > 0]


def _recovered(file: CaseFile) -> bool:
    return file.payment.state is PaymentState.PAID


def _open(file: CaseFile) -> bool:
    return file.case.state in (CaseState.OPEN, CaseState.PAUSED)


def _account_tried_again(file: CaseFile) -> bool:
    return any(attempt.account_key == file.attempts[0].account_key for attempt in _ours(file))


def _sums(amounts: Iterable[tuple[str, int]]) -> Mapping[str, int]:
    sums: Counter[str] = Counter()
    for currency, amount_minor in amounts:
        sums[currency] += amount_minor
    return dict(sorted(sums.items()))


def _tallies(files: Sequence[CaseFile]) -> list[Tally]:
    groups: dict[DeclineCategory, list[CaseFile]] = {}
    for file in files:
        groups.setdefault(_first(file).category, []).append(file)
    return [
        Tally(
            category=category,
            payments=len(members),
            recovered=sum(1 for file in members if _recovered(file)),
            still_open=sum(1 for file in members if _open(file)),
            attempts=sum(len(_ours(file)) for file in members),
        )
        for category, members in sorted(groups.items(), key=lambda group: -len(group[1]))
    ]


def _differences(file: CaseFile, total: PaymentTotal | None) -> list[str]:
    """Hold one payment against the bank; while an answer is still to come the bank may know of more."""
    payment = file.payment
    moved = 0 if total is None else total.moved_minor
    told = [f"{payment.reference}: the bank charged it {total.charges} times"] if total and total.charges > 1 else []
    ahead = file.live_attempt is not None and file.live_attempt.state is not AttemptState.SCHEDULED
    if moved != payment.captured_minor and not ahead:
        told.append(f"{payment.reference}: the bank moved {moved}, the books say {payment.captured_minor}")
    return told


def _example(recovered: Sequence[CaseFile]) -> str | None:
    """Prefer a payment that took several attempts."""
    longest = max(recovered, key=lambda file: len(file.attempts), default=None)
    return None if longest is None else longest.payment.reference
