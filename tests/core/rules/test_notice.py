"""What customers are told before a charge: when each notice comes, what takes its place, and when it is left out."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recoup_core.domain.recovery import StepKind
from recoup_core.rules.deciding.deciders import DECIDERS
from recoup_core.rules.deciding.notice import (
    NoticeDecision,
    Notices,
    NoticeSituation,
    Quiet,
    decide_notice,
    notice_days,
)
from recoup_core.rules.deciding.words import stored_words
from recoup_core.rules.engine.compile import CompiledPolicy, EngineChoice
from recoup_core.rules.facts import NOTICE, NoticeFacts, PolicyKind
from recoup_core.rules.language.actions.steps import LEAST_NOTICE
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.study.replay import Chunk, KeptDecision, KeptText, Redoer

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
CHARGE = datetime(2026, 10, 15, 6, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
HOURS = 'between: ["09:00", "18:00"], zone: customer'


def a_policy(*notices: str) -> CompiledPolicy:
    """Build a policy whose one rule has these notices."""
    listed = "".join(f"      - {{{notice}}}\n" for notice in notices)
    text = (
        "kind: notice\nname: a\napplies_to: {}\nrules:\n"
        "  - {name: none, when: {customer.tier: none}, quiet: they asked for it}\n"
        f"  - name: it\n    notices:\n{listed}"
        "examples:\n  - {given: {customer.tier: none}, expect: none}\n  - {given: {}, expect: it}\n"
    )
    return CompiledPolicy(parse_policy(text, source="p.yaml"), None)


def decided(
    policy: CompiledPolicy, now: datetime = NOON, facts: NoticeFacts | None = None, **more: object
) -> NoticeDecision:
    """Decide as of `now`; the charge was announced then, unless it is said."""
    known = {"announced_at": now, "charge_at": CHARGE, "country": "DE", **more}
    baseline = NOTICE.baseline
    assert isinstance(baseline, NoticeFacts)
    return decide_notice(policy, facts or baseline, NoticeSituation(now=now, **known))  # type: ignore[arg-type]


def times(decision: NoticeDecision) -> dict[str, str]:
    """Return what comes, by template or task: when, in Berlin."""
    assert isinstance(decision.outcome, Notices)
    return {
        str(step.detail.get("template", step.detail.get("text"))): f"{step.at.astimezone(BERLIN):%m-%d %H:%M}"
        for step in decision.outcome.steps
    }


def because(decision: NoticeDecision, key: str) -> str:
    return "; ".join(next(trace.because for trace in decision.explanation.steps if trace.key == key))


def test_a_notice_is_counted_back_from_the_charge() -> None:
    """Its key names what it says and when, so that a charge that moves takes it along."""
    decision = decided(a_policy("on: before_charge, ahead: 14d, message: upcoming_charge, by: [email, sms]"))

    assert isinstance(decision.outcome, Notices)
    [step] = decision.outcome.steps
    assert (step.key, step.kind) == ("before_charge-14d/message/upcoming_charge", StepKind.MESSAGE)
    assert (step.at, step.latest) == (CHARGE - timedelta(days=14), CHARGE - LEAST_NOTICE)
    assert step.detail == {"template": "upcoming_charge", "channels": ("email", "sms")}


def test_a_window_moves_a_promised_notice_earlier_and_never_later() -> None:
    """Fourteen days are at least fourteen days."""
    policy = a_policy(
        f"on: before_charge, ahead: 14d, message: debit_prenotification, by: email, {HOURS}",
        f"after: 1h, message: upcoming_charge, by: email, {HOURS}",
    )

    decision = decided(policy, now=datetime(2026, 9, 1, 18, tzinfo=UTC))

    assert times(decision) == {"debit_prenotification": "09-30 09:00", "upcoming_charge": "09-02 09:00"}
    told = because(decision, "before_charge-14d/message/debit_prenotification")
    assert told == "14d before the charge; moved back into 09:00-18:00 Europe/Berlin"


def test_the_end_of_a_card_is_the_end_of_its_last_day_in_the_customers_zone() -> None:
    """A card that says 09/26 is good until midnight of the 30th, wherever its holder lives."""
    policy = a_policy("on: before_expiry, ahead: 1d, message: card_expiring, by: email")

    berlin = decided(policy, card_expires=date(2026, 9, 30))
    honolulu = decided(policy, card_expires=date(2026, 9, 30), customer_zone="Pacific/Honolulu")

    assert times(berlin) == {"card_expiring": "09-30 00:00"}
    assert times(honolulu) == {"card_expiring": "09-30 12:00"}


def test_without_a_known_end_nothing_is_said_of_it() -> None:
    """Nobody is asked for another card on a guess."""
    decision = decided(a_policy("on: before_expiry, ahead: 30d, message: card_expiring, by: email"))

    assert times(decision) == {}
    assert because(decision, "before_expiry-30d/message/card_expiring") == "it isn't known when the card ends"


def test_a_charge_that_is_announced_late_is_told_at_once_by_the_last_message_whose_time_is_over() -> None:
    """Two letters in a minute say no more than one."""
    policy = a_policy(
        f"on: before_charge, ahead: 30d, message: upcoming_renewal, by: email, {HOURS}",
        f"on: before_charge, ahead: 14d, message: debit_prenotification, by: email, {HOURS}",
        f"on: before_charge, ahead: 3d, message: upcoming_charge, by: email, {HOURS}",
    )

    decision = decided(policy, now=CHARGE - timedelta(days=10))

    assert times(decision) == {"debit_prenotification": "10-05 09:00", "upcoming_charge": "10-11 09:00"}
    told = because(decision, "before_charge-30d/message/upcoming_renewal")
    assert "its time is over, and before_charge-14d/message/debit_prenotification is later in the row" in told


def test_a_late_message_gives_way_to_one_that_comes_within_a_day() -> None:
    """Announced just before the second letter is due: the second is enough."""
    policy = a_policy(
        "on: before_charge, ahead: 14d, message: upcoming_renewal, by: email",
        "on: before_charge, ahead: 3d, message: upcoming_charge, by: email",
    )

    assert times(decided(policy, now=CHARGE - timedelta(days=3, hours=23))) == {"upcoming_charge": "10-12 08:00"}
    assert len(times(decided(policy, now=CHARGE - timedelta(days=4, hours=1)))) == 2


def test_a_message_about_the_card_does_not_replace_one_about_the_charge() -> None:
    """They say different things; only messages counted from the same moment stand in for each other."""
    policy = a_policy(
        "on: before_charge, ahead: 30d, message: upcoming_renewal, by: email",
        "on: before_expiry, ahead: 7d, message: card_expiring, by: email",
    )

    decision = decided(policy, now=CHARGE - timedelta(days=5), card_expires=date(2026, 10, 13))

    assert set(times(decision)) == {"upcoming_renewal", "card_expiring"}


def test_a_late_task_is_still_done() -> None:
    """A call isn't replaced by a letter."""
    policy = a_policy(
        "on: before_charge, ahead: 30d, task: call",
        "on: before_charge, ahead: 14d, message: upcoming_charge, by: email",
    )

    assert set(times(decided(policy, now=CHARGE - timedelta(days=2)))) == {"call", "upcoming_charge"}


@pytest.mark.parametrize(("minutes", "comes"), [(61, True), (60, True), (59, False), (-5, False)])
def test_nothing_comes_in_the_last_hour_or_after_the_charge(minutes: int, comes: bool) -> None:
    """A notice that can't be read in time is worse than none."""
    decision = decided(
        a_policy("on: before_charge, ahead: 7d, message: upcoming_charge, by: email"),
        now=CHARGE - timedelta(minutes=minutes),
    )

    assert bool(times(decision)) is comes


def test_a_window_that_opens_too_late_leaves_the_notice_out() -> None:
    """Announced at night for the early morning: by nine the money has moved."""
    policy = a_policy(f"message: upcoming_charge, by: email, {HOURS}")

    decision = decided(policy, now=CHARGE - timedelta(hours=8))

    assert times(decision) == {}
    assert because(decision, "announced/message/upcoming_charge").endswith("before the charge, or after it")


def test_what_had_its_turn_never_comes_again() -> None:
    """Not even when the charge moves."""
    policy = a_policy(
        "on: before_charge, ahead: 30d, message: upcoming_renewal, by: email",
        "on: before_charge, ahead: 7d, message: upcoming_charge, by: email",
    )

    decision = decided(
        policy, settled=("before_charge-30d/message/upcoming_renewal",), charge_at=CHARGE + timedelta(days=60)
    )

    assert times(decision) == {"upcoming_charge": "12-07 07:00"}
    assert because(decision, "before_charge-30d/message/upcoming_renewal") == "had its turn"


def test_quiet_has_its_reason() -> None:
    """Who asks why nobody wrote gets an answer."""
    facts = NOTICE.given(NOTICE.baseline, {"customer.tier": "none"})
    assert isinstance(facts, NoticeFacts)

    decision = decided(a_policy("message: upcoming_charge, by: email"), facts=facts)

    assert decision.outcome == Quiet(reason="they asked for it")
    assert decision.rule == decision.explanation.rule == "none"


def test_a_decision_in_words() -> None:
    """As people read it in the timeline of a charge."""
    decision = decided(a_policy("on: before_charge, ahead: 7d, message: upcoming_charge, by: email"))
    stored = msgspec.json.encode(decision.outcome), msgspec.json.encode(decision.explanation)

    words = stored_words(PolicyKind.NOTICE, *stored)

    assert words[0] == "1 notice to come, the first one at 2026-10-08 06:00 UTC"
    assert words[-1] == "before_charge-7d/message/upcoming_charge: 2026-10-08 06:00 UTC: 7d before the charge"


def test_a_stored_decision_is_made_again_and_one_that_differs_names_its_charge() -> None:
    """Promise 9 holds for notices, too."""
    compiled = a_policy("on: before_charge, ahead: 7d, message: upcoming_charge, by: email")
    situation = NoticeSituation(now=NOON, announced_at=NOON, charge_at=CHARGE, country="DE")
    baseline = NOTICE.baseline
    assert isinstance(baseline, NoticeFacts)
    decision = decide_notice(compiled, baseline, situation)
    row = KeptDecision(
        id=UUID(int=1),
        merchant_id="default",
        charge_id=UUID(int=2),
        kind="notice",
        policy_digest=compiled.digest,
        rule=decision.rule,
        facts=msgspec.json.encode(baseline).decode(),
        situation=msgspec.json.encode(situation).decode(),
        outcome=msgspec.json.encode(decision.outcome).decode(),
        explanation=msgspec.json.encode(decision.explanation).decode(),
        decided_at=NOON,
    )
    altered = msgspec.structs.replace(row, situation=row.situation.replace("2026-10-15", "2026-10-16"))
    texts = {compiled.digest: KeptText(source="p.yaml", body=compiled.policy.text)}

    found = Redoer(EngineChoice.CLOSURES)(Chunk(rows=(row, altered), texts=texts))

    [difference] = found.differences
    assert difference.about == f"upcoming charge {UUID(int=2)}"
    assert "outcome.steps[0].at" in {detail.where for detail in difference.details}


@pytest.mark.parametrize(
    ("charge", "expires", "days"),
    [
        ("2026-09-30T23:30:00+02:00", "2026-09-30", (29, 29, False)),
        ("2026-10-01T00:30:00+02:00", "2026-09-30", (30, 29, True)),
        ("2026-09-01T23:00:00+02:00", "2026-08-31", (0, 0, True)),
        ("2026-09-01T23:00:00+02:00", "2026-09-01", (0, 0, False)),
        ("2026-09-02T01:00:00+02:00", None, (1, None, False)),
        ("2026-08-20T01:00:00+02:00", None, (0, None, False)),
    ],
)
def test_days_are_those_of_the_customers_calendar(charge: str, expires: str | None, days: tuple[object, ...]) -> None:
    """A card that ends with the month pays a charge of its last evening, and none of the next morning."""
    found = notice_days(
        NOON,
        datetime.fromisoformat(charge),
        None if expires is None else date.fromisoformat(expires),
        zone="Europe/Berlin",
        country="US",
    )

    assert msgspec.structs.astuple(found) == days


MOMENTS = st.integers(0, 2 * 365 * 24 * 60).map(lambda minutes: NOON + timedelta(minutes=minutes))
LENGTHS = st.integers(0, 40 * 24 * 60).map(lambda minutes: timedelta(minutes=minutes))
ZONES = st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", None])
FULL = a_policy(
    f"message: upcoming_charge, by: email, {HOURS}",
    f"after: 3d, task: look at it, {HOURS}",
    f"on: before_charge, ahead: 30d, message: upcoming_renewal, by: email, {HOURS}",
    "on: before_charge, ahead: 7d, message: debit_prenotification, by: email",
    f"on: before_expiry, ahead: 30d, message: card_expiring, by: email, {HOURS}",
    f"on: before_expiry, ahead: 7d, message: card_expiring_2, by: [email, sms], {HOURS}",
)


@settings(max_examples=300, deadline=None)
@given(announced=MOMENTS, later=LENGTHS, ahead=LENGTHS, ends=st.integers(-40, 80), zone=ZONES, turns=st.integers(0, 63))
def test_whenever_a_policy_is_asked(
    announced: datetime, later: timedelta, ahead: timedelta, ends: int, zone: str | None, turns: int
) -> None:
    """Nothing comes in the past, in the last hour, twice, or out of its hours; and the same question has one answer."""
    keys = [notice.key for notice in FULL.policy.rules[1].action.notices]  # type: ignore[union-attr]
    situation = NoticeSituation(
        now=announced + later,
        announced_at=announced,
        charge_at=announced + later + ahead,
        card_expires=announced.date() + timedelta(days=ends),
        settled=tuple(key for number, key in enumerate(keys) if turns >> number & 1),
        customer_zone=zone,
        country="DE",
    )
    facts = NOTICE.baseline
    assert isinstance(facts, NoticeFacts)

    decision = decide_notice(FULL, facts, situation)

    assert isinstance(decision.outcome, Notices)
    local = ZoneInfo(zone or "Europe/Berlin")
    for step in decision.outcome.steps:
        assert situation.now <= step.at <= step.latest == situation.charge_at - LEAST_NOTICE
        assert step.key not in situation.settled
        if "debit_prenotification" not in step.key:
            assert 9 <= step.at.astimezone(local).hour < 18
    planned = {step.key for step in decision.outcome.steps}
    assert len(planned) == len(decision.outcome.steps)
    assert [trace.key for trace in decision.explanation.steps] == keys
    assert {trace.key for trace in decision.explanation.steps if trace.at is not None} == planned
    decider = DECIDERS[PolicyKind.NOTICE]
    again = decider.decide(
        FULL,
        decider.facts.decode(msgspec.json.encode(facts)),
        decider.situation.decode(msgspec.json.encode(situation)),
    )
    assert msgspec.json.encode(again) == msgspec.json.encode(decision)
