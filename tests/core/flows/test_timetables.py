"""Exact retry times: for each shipped policy and failure, the instants at which it tries, written out and reasoned.

Each row gives wall-clock times of the customer's zone. `+j2` means the jitter of the decision after the second failure;
the case id is fixed, so the jitters are, too (`JITTER`). A wait counts from the try before it, jitter included, which
is why jitters add up in a row like `+j1+j2`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest

from recoup_core.domain.attempt import Attempt, AttemptState, Origin
from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.decline import DeclineSource
from recoup_core.domain.ids import new_id
from recoup_core.domain.payment import Credential, CredentialRole, Customer, Method, Network, Payment, Segment
from recoup_core.domain.recovery import RecoveryCase, StepKind, StepState, TimelineStep
from recoup_core.flows.situation import facts_of, situation_of
from recoup_core.reference import classify
from recoup_core.rules.deciding.decide import Retry, Stop, decide_retry, when_late

CASE = UUID("01938000-0000-7000-8000-000000000001")
MAX_TRIES = 20
ZONES = {"DE": "Europe/Berlin", "US": "America/New_York", "GB": "Europe/London"}


def jitter(attempts: int) -> timedelta:
    """The share of half an hour that the seed `case:attempts` names, worked out here once more from its definition."""
    share = int.from_bytes(sha256(f"{CASE}:{attempts}".encode()).digest())
    return timedelta(microseconds=share * 30 * 60 * 1_000_000 // 2**256)


def instant(text: str, country: str) -> datetime:
    """Read `2026-12-01 06:00+j1`; `02:15 again` is the second 02:15 of a night in which the clock goes back."""
    wall, *jitters = text.split("+j")
    local = datetime.fromisoformat(wall.removesuffix(" again"))
    at = local.replace(tzinfo=ZoneInfo(ZONES[country]), fold=int(wall.endswith(" again")))
    return sum((jitter(int(number)) for number in jitters), start=at.astimezone(ZoneInfo("UTC")))


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """One case: which failure, when and where, and what is expected of it."""

    failed: str
    """Local time of the first failure."""
    code: str
    times: Sequence[str]
    stop: str = "exhausted"
    country: str = "DE"
    source: DeclineSource = DeclineSource.STRIPE
    method: Method = Method.CARD
    network: Network = Network.VISA
    segment: Segment | None = None
    backup: bool = False
    down: tuple[str, str] | None = None
    """Nothing is executed in between; what came due is made at the end."""


def a_file(story: Story) -> CaseFile:
    at = instant(story.failed, story.country)
    payment = Payment(
        id=new_id(),
        merchant_id="default",
        reference="inv-1",
        customer=Customer(ref="cus-1", country=story.country, segment=story.segment),
        amount_minor=1999,
        currency="EUR",
        gateway="sandbox",
        method=story.method,
        first_failed_at=at,
        created_at=at,
    )
    case = RecoveryCase(
        id=CASE, merchant_id="default", payment_id=payment.id, policy_name="", policy_digest="", opened_at=at
    )
    roles = (CredentialRole.PRIMARY, CredentialRole.BACKUP)[: 1 + story.backup]
    cards = tuple(
        Credential(
            id=new_id(),
            merchant_id="default",
            customer_ref="cus-1",
            gateway="sandbox",
            token=f"tok_{role}",
            account_key=f"fp:{role}",
            method=story.method,
            network=story.network if story.method is Method.CARD else None,
            role=role,
            created_at=at,
        )
        for role in roles
    )
    return failed_again(CaseFile(payment=payment, case=case, credentials=cards), story, at, cards[0])


def failed_again(file: CaseFile, story: Story, at: datetime, card: Credential) -> CaseFile:
    """The file after one more attempt that was declined as the first one."""
    decline = classify(story.source, story.code, network=card.network)
    number = len(file.attempts) + 1
    return file.with_attempt(
        Attempt(
            id=new_id(),
            merchant_id="default",
            payment_id=file.payment.id,
            case_id=CASE,
            number=number,
            origin=Origin.POLICY if number > 1 else Origin.REPORTED,
            gateway="sandbox",
            credential_id=card.id,
            account_key=card.account_key,
            method=card.method,
            network=card.network,
            amount_minor=1999,
            currency="EUR",
            state=AttemptState.DECLINED,
            decline=decline,
            created_at=at,
            submitted_at=at,
            finished_at=at,
        )
    )


def with_step_done(file: CaseFile, rule: str, at: datetime) -> CaseFile:
    step = TimelineStep(
        id=new_id(),
        merchant_id="default",
        case_id=CASE,
        payment_id=file.payment.id,
        kind=StepKind.RETRY,
        state=StepState.DONE,
        due_at=at,
        rule=rule,
        decision_id=new_id(),
        planned_by="policy",
        created_at=at,
        finished_at=at,
    )
    return file.with_step(step)


def played(book: Any, story: Story) -> tuple[list[datetime], str]:
    """Let every try fail as the first did; return when they were planned, and why it ended."""
    file, times = a_file(story), []
    now = instant(story.failed, story.country)
    policy = book.choose("retry", facts_of(file, now))
    for _ in range(MAX_TRIES):
        decision = decide_retry(policy, facts_of(file, now), situation_of(file, now))
        if isinstance(decision.outcome, Stop):
            return times, decision.outcome.reason
        assert isinstance(decision.outcome, Retry)
        times.append(decision.outcome.at)
        now = executed_at(story, decision.outcome.at)
        if now > decision.outcome.at:
            late = when_late(policy, decision.rule, situation_of(file, now))
            assert late is not None
            now = late
        card = next(c for c in file.credentials if c.id == decision.outcome.credential_id)
        file = failed_again(with_step_done(file, decision.rule, now), story, now, card)
    raise AssertionError("the policy never gives up")


def executed_at(story: Story, due: datetime) -> datetime:
    if story.down is None:
        return due
    start, end = (instant(each, story.country) for each in story.down)
    return end if start <= due < end else due


CONSUMER = {
    "funds, ordinary week: the last of the month; the first brings no more money; 30 October is beyond 35 days": Story(
        failed="2026-09-08 10:00", code="insufficient_funds", times=["2026-09-30 06:00+j1"]
    ),
    "funds, month end on a Sunday: Monday the 1st; 28 February is a Sunday, so Friday the 26th": Story(
        failed="2027-01-31 10:00", code="insufficient_funds", times=["2027-02-01 06:00+j1", "2027-02-26 06:00+j2"]
    ),
    "funds over the spring change: six o'clock is summer time": Story(
        failed="2027-03-10 10:00", code="insufficient_funds", times=["2027-03-31 06:00+j1"]
    ),
    "funds over the autumn change: 31 October is a Saturday and 1 November a Sunday, both are paid on Friday": Story(
        failed="2026-10-20 10:00", code="insufficient_funds", times=["2026-10-30 06:00+j1"]
    ),
    "funds, leap year: the last of February is the 29th": Story(
        failed="2028-02-20 10:00", code="insufficient_funds", times=["2028-02-29 06:00+j1"]
    ),
    "funds, Christmas: 1 January is a holiday and is paid on 31 December, which is a payday anyhow": Story(
        failed="2026-12-20 10:00", code="insufficient_funds", times=["2026-12-31 06:00+j1"]
    ),
    "funds, USA, Thanksgiving: paid on the 1st, 15th and last; the 1st is the same money as the last": Story(
        failed="2026-11-18 10:00",
        code="insufficient_funds",
        country="US",
        times=["2026-11-30 06:00+j1", "2026-12-15 06:00+j2"],
    ),
    "funds, USA, spring change on 14 March": Story(
        failed="2027-03-05 10:00",
        code="insufficient_funds",
        country="US",
        times=["2027-03-15 06:00+j1", "2027-03-31 06:00+j2"],
    ),
    "funds, scheduler down over payday: made good on the next morning, 2 October; the next payday is too late": Story(
        failed="2026-09-08 10:00",
        code="insufficient_funds",
        down=("2026-09-30 00:00", "2026-10-01 12:00"),
        times=["2026-09-30 06:00+j1"],
    ),
    "generic, ordinary week: 3, 5, 7, 7 days": Story(
        failed="2026-09-08 10:00",
        code="generic_decline",
        times=[
            "2026-09-11 10:00+j1", "2026-09-16 10:00+j1+j2", "2026-09-23 10:00+j1+j2+j3",
            "2026-09-30 10:00+j1+j2+j3+j4",
        ],
    ),
    "generic, late in the evening: 23:30 is no time to try, six in the morning is": Story(
        failed="2026-09-08 23:30",
        code="generic_decline",
        times=[
            "2026-09-12 06:00+j1", "2026-09-17 06:00+j1+j2", "2026-09-24 06:00+j1+j2+j3",
            "2026-10-01 06:00+j1+j2+j3+j4",
        ],
    ),
    "generic, spring: 72 hours after 23:00 are 00:00 on the wall, outside the hours": Story(
        failed="2027-03-25 23:00",
        code="generic_decline",
        times=[
            "2027-03-29 06:00+j1", "2027-04-03 06:00+j1+j2", "2027-04-10 06:00+j1+j2+j3",
            "2027-04-17 06:00+j1+j2+j3+j4",
        ],
    ),
    "generic, autumn: 72 hours after ten o'clock are nine on the wall": Story(
        failed="2026-10-22 10:00",
        code="generic_decline",
        times=[
            "2026-10-25 09:00+j1", "2026-10-30 09:00+j1+j2", "2026-11-06 09:00+j1+j2+j3",
            "2026-11-13 09:00+j1+j2+j3+j4",
        ],
    ),
    "generic, USA, spring: eleven on the wall": Story(
        failed="2027-03-11 10:00",
        code="generic_decline",
        country="US",
        times=[
            "2027-03-14 11:00+j1", "2027-03-19 11:00+j1+j2", "2027-03-26 11:00+j1+j2+j3",
            "2027-04-02 11:00+j1+j2+j3+j4",
        ],
    ),
    "generic, USA, autumn: nine on the wall": Story(
        failed="2026-10-29 10:00",
        code="generic_decline",
        country="US",
        times=[
            "2026-11-01 09:00+j1", "2026-11-06 09:00+j1+j2", "2026-11-13 09:00+j1+j2+j3",
            "2026-11-20 09:00+j1+j2+j3+j4",
        ],
    ),
    "generic, leap day: three days after the 26th are the 29th": Story(
        failed="2028-02-26 10:00",
        code="generic_decline",
        times=[
            "2028-02-29 10:00+j1", "2028-03-05 10:00+j1+j2", "2028-03-12 10:00+j1+j2+j3",
            "2028-03-19 10:00+j1+j2+j3+j4",
        ],
    ),
    "generic, scheduler down for a day: made at six, when the hours allow it, and the waits count from then": Story(
        failed="2026-09-08 10:00",
        code="generic_decline",
        down=("2026-09-11 00:00", "2026-09-12 00:00"),
        times=[
            "2026-09-11 10:00+j1", "2026-09-17 06:00+j2", "2026-09-24 06:00+j2+j3", "2026-10-01 06:00+j2+j3+j4",
        ],
    ),
    "issuer, ordinary week: 1 h, 6 h, then daily, at any hour": Story(
        failed="2026-09-08 10:00",
        code="issuer_not_available",
        times=["2026-09-08 11:00", "2026-09-08 17:00", "2026-09-09 17:00", "2026-09-10 17:00", "2026-09-11 17:00"],
    ),
    "issuer, spring night: six hours after 21:00 are 04:00, and so is every day from then on": Story(
        failed="2027-03-27 20:00",
        code="issuer_not_available",
        times=["2027-03-27 21:00", "2027-03-28 04:00", "2027-03-29 04:00", "2027-03-30 04:00", "2027-03-31 04:00"],
    ),
    "issuer, scheduler down for a day from the first due time on: nothing is made up for in a burst": Story(
        failed="2026-09-08 10:00",
        code="issuer_not_available",
        down=("2026-09-08 11:00", "2026-09-09 11:00"),
        times=["2026-09-08 11:00", "2026-09-09 17:00", "2026-09-10 17:00", "2026-09-11 17:00", "2026-09-12 17:00"],
    ),
    "technical: 5, 10, 20, 40, 80, 160 minutes, 6 hours": Story(
        failed="2026-09-08 10:00",
        code="processing_error",
        times=[
            "2026-09-08 10:05", "2026-09-08 10:15", "2026-09-08 10:35", "2026-09-08 11:15", "2026-09-08 12:35",
            "2026-09-08 15:15", "2026-09-08 21:15",
        ],
    ),
    "technical, autumn night: 160 minutes after 00:35 are the second 02:15": Story(
        failed="2026-10-24 22:00",
        code="processing_error",
        times=[
            "2026-10-24 22:05", "2026-10-24 22:15", "2026-10-24 22:35", "2026-10-24 23:15", "2026-10-25 00:35",
            "2026-10-25 02:15 again", "2026-10-25 08:15",
        ],
    ),
    "expired, no backup: the customer has to act": Story(
        failed="2026-09-08 10:00", code="expired_card", times=[], stop="needs_customer"
    ),
    "expired, with a backup: once on the backup after ten minutes, then the customer has to act": Story(
        failed="2026-09-08 10:00", code="expired_card", backup=True, times=["2026-09-08 10:10"], stop="needs_customer"
    ),
    "unknown code: no unattended retry": Story(
        failed="2026-09-08 10:00", code="no_such_code", times=[], stop="manual_review"
    ),
    "stolen: never again": Story(failed="2026-09-08 10:00", code="stolen_card", times=[], stop="not_retryable"),
}  # fmt: skip

B = Segment.BUSINESS
BUSINESS = {
    "funds, ordinary week: no payday for businesses, 3, 5, 7, 7 days, all on business days": Story(
        failed="2026-09-08 10:00",
        code="insufficient_funds",
        segment=B,
        times=[
            "2026-09-11 10:00+j1", "2026-09-16 10:00+j1+j2", "2026-09-23 10:00+j1+j2+j3",
            "2026-09-30 10:00+j1+j2+j3+j4",
        ],
    ),
    "funds, Christmas: 25 and 26 December and the Sunday are passed over, then the Saturday after New Year": Story(
        failed="2026-12-22 15:00",
        code="insufficient_funds",
        segment=B,
        times=[
            "2026-12-28 09:00+j1", "2027-01-04 09:00+j2", "2027-01-11 09:00+j2+j3", "2027-01-18 09:00+j2+j3+j4",
        ],
    ),
    "funds, Thanksgiving: the Friday after it is a business day": Story(
        failed="2026-11-23 15:00",
        code="insufficient_funds",
        segment=B,
        country="US",
        times=[
            "2026-11-27 09:00+j1", "2026-12-02 09:00+j1+j2", "2026-12-09 09:00+j1+j2+j3",
            "2026-12-16 09:00+j1+j2+j3+j4",
        ],
    ),
    "issuer, Friday evening: 18:30 is after office hours, so Monday at eight": Story(
        failed="2026-09-11 17:30",
        code="issuer_not_available",
        segment=B,
        times=["2026-09-14 08:00", "2026-09-14 14:00", "2026-09-15 14:00", "2026-09-16 14:00", "2026-09-17 14:00"],
    ),
    "generic, spring and Easter: opens at nine on Thursday; 120 hours later it is ten on Tuesday": Story(
        failed="2027-03-22 08:00",
        code="generic_decline",
        segment=B,
        times=[
            "2027-03-25 09:00+j1", "2027-03-30 10:00+j1+j2", "2027-04-06 10:00+j1+j2+j3",
            "2027-04-13 10:00+j1+j2+j3+j4",
        ],
    ),
}  # fmt: skip

SEPA = {"source": DeclineSource.SEPA, "method": Method.SEPA_DEBIT}
ACH = {"source": DeclineSource.ACH, "method": Method.ACH_DEBIT, "country": "US"}
DEBIT = {
    "AM04, ordinary week: one payday; the next is beyond 42 days": Story(
        failed="2026-09-08 10:00", code="AM04", times=["2026-09-30 00:00"], **SEPA
    ),
    "AM04, Christmas: 31 December pays for New Year, too; 29 January is beyond 42 days": Story(
        failed="2026-12-10 10:00", code="AM04", times=["2026-12-31 00:00"], **SEPA
    ),
    "AM04, leap day": Story(
        failed="2028-02-20 10:00", code="AM04", times=["2028-02-29 00:00", "2028-03-31 00:00"], **SEPA
    ),
    "MS03: 3 and 7 days, both Fridays": Story(
        failed="2026-09-08 10:00", code="MS03", times=["2026-09-11 10:00", "2026-09-18 10:00"], **SEPA
    ),
    "MD01: without a mandate never": Story(
        failed="2026-09-08 10:00", code="MD01", times=[], stop="not_retryable", **SEPA
    ),
    "R01, Thanksgiving: the last of November and the fifteenth of December": Story(
        failed="2026-11-18 10:00", code="R01", times=["2026-11-30 00:00", "2026-12-15 00:00"], **ACH
    ),
    "R01, spring change: midnight on the wall, in winter and in summer time": Story(
        failed="2027-03-02 10:00", code="R01", times=["2027-03-15 00:00", "2027-03-31 00:00"], **ACH
    ),
    "R03: no such account": Story(failed="2026-11-18 10:00", code="R03", times=[], stop="needs_customer", **ACH),
}

TABLES = {"cards-consumer": CONSUMER, "cards-business": BUSINESS, "direct-debit": DEBIT}
ROWS = [(policy, name) for policy, stories in TABLES.items() for name in stories]


@pytest.mark.parametrize(("policy", "name"), ROWS)
def test_the_retries_are_exactly_these(shipped_book: Any, policy: str, name: str) -> None:
    """To the microsecond, and then the case ends for the reason given."""
    story = TABLES[policy][name]
    expected = [instant(text, story.country) for text in story.times]
    first = a_file(story)

    assert shipped_book.choose("retry", facts_of(first, first.payment.created_at)).policy.name == policy
    assert played(shipped_book, story) == (expected, story.stop)


def test_the_jitters_are_these() -> None:
    """What `+j1` to `+j4` stand for in the tables: less than half an hour, the same for ever."""
    assert [str(jitter(number)) for number in range(1, 5)] == JITTER


JITTER = ["0:05:32.899409", "0:03:03.185092", "0:06:51.465544", "0:16:31.293862"]


async def test_a_day_without_a_scheduler_moves_what_follows(shop: Any) -> None:
    """The same over flows and database: due at eleven, made a day later, the next six hours after that."""
    opened = await shop.open("tok_issuer_not_available", code="issuer_not_available")
    due = await shop.next_due()

    shop.clock.set(due + timedelta(days=1))
    await shop.run_due()

    file = await shop.file(opened.payment.id)
    assert due == opened.case.opened_at + timedelta(hours=1)
    assert file.attempts[-1].submitted_at == due + timedelta(days=1)
    assert file.planned_retry.due_at == due + timedelta(days=1, hours=6)
