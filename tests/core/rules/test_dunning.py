"""Which dunning steps are wanted and when: pure, from a policy, facts and a situation."""

from datetime import UTC, datetime, time, timedelta
from textwrap import indent
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recoup_core.domain.recovery import StepKind
from recoup_core.rules.deciding.dunning import (
    LATE,
    Campaign,
    DeclinedRetry,
    DunningDecision,
    DunningSituation,
    PlannedRetry,
    Quiet,
    WantedStep,
    act,
    decide_dunning,
)
from recoup_core.rules.engine.compile import CompiledPolicy, EngineChoice, compile_policy
from recoup_core.rules.facts import DUNNING, DunningFacts
from recoup_core.rules.language.actions.steps import (
    LEAST_NOTICE,
    SUBSCRIPTION_STEPS,
    CancelSubscription,
    DowngradeSubscription,
    Message,
    On,
    PauseSubscription,
    StepAction,
    StepSpec,
    StepsSpec,
    Task,
)
from recoup_core.rules.language.schema import Rule, parse_policy

OPENED = datetime(2026, 3, 23, 10, tzinfo=UTC)
RETRY, OTHER = UUID(int=1), UUID(int=2)
FACTS = DUNNING.baseline
assert isinstance(FACTS, DunningFacts)

FRAME = """\
kind: dunning
name: cards
applies_to: {}
rules:
  - name: nobody
    when: {decline: configuration}
    quiet: our own fault
  - name: campaign
    steps:
%s
examples:
  - {given: {decline: configuration}, expect: nobody}
  - {given: {}, expect: campaign}
"""


def campaign(*steps: str) -> CompiledPolicy:
    text = FRAME % indent("\n".join(f"- {step}" for step in steps), "      ")
    return compile_policy(parse_policy(text, source="x.yaml"), engine=EngineChoice.CLOSURES)


def situation(**fields: object) -> DunningSituation:
    known = {"now": OPENED, "opened_at": OPENED, "customer_zone": "Europe/Berlin", "country": "DE"}
    return DunningSituation(**{**known, **fields})  # type: ignore[arg-type]  # each test gives what it is about


def decided(policy: CompiledPolicy, **fields: object) -> DunningDecision:
    return decide_dunning(policy, FACTS, situation(**fields))


def wanted(policy: CompiledPolicy, **fields: object) -> list[WantedStep]:
    outcome = decided(policy, **fields).outcome
    assert isinstance(outcome, Campaign)
    return list(outcome.steps)


def times(policy: CompiledPolicy, **fields: object) -> dict[str, datetime]:
    return {step.key: step.at for step in wanted(policy, **fields)}


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}:00+00:00")


def test_steps_are_counted_from_the_opening() -> None:
    """At once, or after a wait; what is said or done goes along."""
    [first, second] = wanted(campaign("{message: hello, by: [email, sms]}", "{task: call, after: 26h}"))

    assert (first.kind, first.at, first.detail) == (
        StepKind.MESSAGE,
        OPENED,
        {"template": "hello", "channels": ("email", "sms")},
    )
    assert (second.kind, second.at, second.detail) == (StepKind.HUMAN_TASK, at("03-24 12:00"), {"text": "call"})


def test_hours_are_the_customers_own_through_a_change_of_clocks() -> None:
    """Germany's clocks go forward on 29 March: nine o'clock comes an hour earlier in UTC."""
    steps = [f'{{message: a, by: email, after: {day}d, between: ["09:00", "10:00"], zone: customer}}' for day in (5, 7)]

    assert list(times(campaign(*steps)).values()) == [at("03-29 07:00"), at("03-31 07:00")]
    assert list(times(campaign(*steps), customer_zone=None, country=None).values()) == [
        at("03-29 09:00"),
        at("03-31 09:00"),
    ]
    new_york = times(campaign(*steps), customer_zone="America/New_York")
    assert list(new_york.values()) == [at("03-28 13:00"), at("03-30 13:00")]


def test_hours_that_a_change_of_clocks_swallows_are_there_the_next_day() -> None:
    """02:15 to 02:45 does not exist in Berlin on 29 March 2026."""
    policy = campaign('{task: call, after: 6d, between: ["02:15", "02:45"], zone: Europe/Berlin}')

    [when] = times(policy, opened_at=at("03-22 23:30"), now=at("03-22 23:30")).values()

    assert when == at("03-30 00:15")


def test_a_notice_comes_ahead_of_the_retry_and_moves_with_it() -> None:
    """The later the retry, the later its notice."""
    policy = campaign("{on: before_retry, ahead: 1d, message: notice, by: email}")
    for retry_at in (at("03-28 10:00"), at("04-02 07:30")):
        [step] = wanted(policy, retry=PlannedRetry(id=RETRY, at=retry_at))

        assert (step.at, step.retry_step_id) == (retry_at - timedelta(days=1), RETRY)
        assert step.key == f"before_retry-1d/message/notice#{RETRY}"


def test_hours_move_a_notice_earlier_never_nearer_to_the_retry() -> None:
    """A day's notice is at least a day's: what falls into the night goes out the day before."""
    policy = campaign(
        '{on: before_retry, ahead: 1d, message: notice, by: email, between: ["09:00", "18:00"], zone: customer}'
    )

    [night] = times(policy, retry=PlannedRetry(id=RETRY, at=at("03-28 05:30"))).values()
    [day] = times(policy, retry=PlannedRetry(id=RETRY, at=at("03-28 12:00"))).values()

    assert night == at("03-26 08:00")  # 09:00 in Berlin, two mornings before
    assert day == at("03-27 12:00")


@pytest.mark.parametrize(
    ("ahead", "planned"), [(timedelta(hours=2), True), (LEAST_NOTICE, True), (timedelta(minutes=59), False)]
)
def test_a_notice_whose_time_is_past_is_sent_now_while_it_still_is_one(ahead: timedelta, planned: bool) -> None:
    """At least an hour before the retry, else it is left out, and the decision says so."""
    policy = campaign("{on: before_retry, ahead: 3d, message: notice, by: email}")

    decision = decided(policy, retry=PlannedRetry(id=RETRY, at=OPENED + ahead))

    assert isinstance(decision.outcome, Campaign)
    assert [step.at for step in decision.outcome.steps] == ([OPENED] if planned else [])
    [trace] = decision.explanation.steps
    assert trace.because[:2] == ("3d before the retry", "not before now")
    assert ("left out: less than 1h before the retry" in trace.because) is not planned


def test_what_follows_a_declined_retry_is_planned_for_each_of_them() -> None:
    """Only the latest counts; each has a key of its own."""
    policy = campaign("{on: after_retry, after: 1h, message: failed, by: email}")
    now = OPENED + timedelta(days=5)

    assert wanted(policy) == []
    for retry in (RETRY, OTHER):
        [step] = wanted(policy, now=now, declined=DeclinedRetry(id=retry, at=now))
        assert (step.key, step.at) == (f"after_retry+1h/message/failed#{retry}", now + timedelta(hours=1))
        assert step.retry_step_id == retry


def test_the_last_rungs_hang_on_exhaustion() -> None:
    """While retries go on nobody is cut off by them."""
    policy = campaign("{on: exhausted, pause_subscription: true}", "{on: exhausted, after: 9d, write_off: true}")
    exhausted = OPENED + timedelta(days=20)

    assert wanted(policy) == []
    assert list(times(policy, now=exhausted, exhausted_at=exhausted).values()) == [
        exhausted,
        exhausted + timedelta(days=9),
    ]


def test_what_had_its_turn_is_not_wanted_again() -> None:
    """Done is done, whatever rule fires later."""
    policy = campaign("{message: a, by: email}", "{message: b, by: email, after: 1d}")

    decision = decided(policy, settled=("opened/message/a",))

    assert isinstance(decision.outcome, Campaign)
    assert [step.key for step in decision.outcome.steps] == ["opened+1d/message/b"]
    assert decision.explanation.steps[0].because == ("had its turn",)


def test_of_late_messages_only_the_last_is_sent() -> None:
    """And none after one that came later in the row; a pause after the end would be as wrong."""
    policy = campaign(
        "{message: a, by: email}",
        "{message: b, by: email, after: 3d}",
        "{message: c, by: email, after: 30d}",
        "{task: call, after: 1d}",
        "{after: 2d, pause_subscription: true}",
        "{after: 5d, cancel_subscription: true}",
    )
    now = OPENED + timedelta(days=6)

    late = times(policy, now=now)

    assert late == {
        "opened+3d/message/b": now,
        StepSpec(after=timedelta(days=1), do=Task(text="call")).key: now,
        "opened+5d/cancel_subscription": now,
        "opened+30d/message/c": OPENED + timedelta(days=30),
    }
    assert "opened/message/a" not in times(policy, now=now, settled=("opened+3d/message/b",))


def test_a_step_that_is_hardly_late_is_not_left_out() -> None:
    """Two messages that were planned for the same minute are both sent, though one job runs before the other."""
    policy = campaign("{message: a, by: email}", "{on: exhausted, message: b, by: email}")

    assert len(wanted(policy, now=OPENED + timedelta(minutes=1), exhausted_at=OPENED)) == 2
    assert len(wanted(policy, now=OPENED + LATE, exhausted_at=OPENED + timedelta(seconds=1))) == 1


def test_quiet_is_an_outcome_with_its_reason() -> None:
    """Nothing is planned, and the record says why."""
    facts = DUNNING.with_fact(FACTS, "decline", "configuration")

    decision = decide_dunning(campaign("{task: call}"), facts, situation())

    assert (decision.outcome, decision.rule) == (Quiet(reason="our own fault"), "nobody")
    assert decision.explanation.steps == ()


def test_a_decision_explains_itself_and_can_be_made_again() -> None:
    """Policy, rules, each step's time: and from the stored JSON the same comes out, bit by bit."""
    policy = campaign(
        '{message: a, by: email, after: 3d, between: ["14:00", "15:00"], zone: customer}',
        "{on: before_retry, ahead: 1d, message: notice, by: email}",
        "{on: exhausted, write_off: true}",
    )
    where = situation(retry=PlannedRetry(id=RETRY, at=OPENED + timedelta(days=5)))

    decision = decide_dunning(policy, FACTS, where)

    said = {trace.key.partition("#")[0]: trace.because for trace in decision.explanation.steps}
    assert said == {
        "opened+3d/message/a": ("3d after the case opened", "moved into 14:00-15:00 Europe/Berlin"),
        "before_retry-1d/message/notice": ("1d before the retry",),
        "exhausted/write_off": ("the case is not exhausted",),
    }
    assert [rule.rule for rule in decision.explanation.rules] == ["nobody", "campaign"]
    facts = msgspec.json.decode(msgspec.json.encode(FACTS), type=DunningFacts)
    again = decide_dunning(policy, facts, msgspec.json.decode(msgspec.json.encode(where), type=DunningSituation))
    assert msgspec.json.encode(again) == msgspec.json.encode(decision)


# --- whatever the steps and the situation ---------------------------------------------------------------------------

WAITS = st.integers(0, 60 * 24 * 40).map(lambda minutes: timedelta(minutes=minutes))
AHEAD = WAITS.map(lambda wait: max(wait, LEAST_NOTICE))
HOURS = st.sampled_from([None, (time(9), time(18)), (time(22), time(2)), (time(2, 15), time(2, 45))])
RULE_ZONES = st.sampled_from(["customer", "UTC", "America/New_York"])
SENT = st.sampled_from([Message(template="a", channels=("email",)), Message(template="b", channels=("sms",))])
ANY = st.one_of(SENT, st.just(Task(text="call")))
ONCE = st.sampled_from([PauseSubscription(), DowngradeSubscription(plan="free"), CancelSubscription()])
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
SPANS = st.timedeltas(timedelta(), timedelta(days=60))
ZONES = st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", None])


@st.composite
def a_step(draw: st.DrawFn) -> StepSpec:
    on = draw(st.sampled_from(On))
    between = draw(HOURS)
    return StepSpec(
        on=on,
        after=timedelta() if on is On.BEFORE_RETRY else draw(WAITS),
        ahead=draw(AHEAD) if on is On.BEFORE_RETRY else None,
        between=between,
        zone="UTC" if between is None else draw(RULE_ZONES),
        do=draw(ANY if on in (On.BEFORE_RETRY, On.AFTER_RETRY) else st.one_of(ANY, ONCE)),
    )


STEPS = st.lists(a_step(), min_size=1, max_size=8, unique_by=lambda step: step.key).map(tuple)


def come_of(steps: tuple[StepSpec, ...], where: DunningSituation) -> tuple[tuple[WantedStep, ...], dict[str, StepSpec]]:
    """What a rule with these steps comes to, and each key's step."""
    outcome, traces = act(Rule(name="campaign", line=1, action=StepsSpec(steps=steps)), where)
    assert isinstance(outcome, Campaign)
    return outcome.steps, {trace.key: spec for trace, spec in zip(traces, steps, strict=True)}


@st.composite
def a_situation(draw: st.DrawFn) -> DunningSituation:
    opened = draw(MOMENTS)
    now = opened + draw(SPANS)
    before = st.timedeltas(timedelta(), now - opened)
    return situation(
        now=now,
        opened_at=opened,
        retry=PlannedRetry(id=RETRY, at=now + draw(SPANS)) if draw(st.booleans()) else None,
        declined=DeclinedRetry(id=OTHER, at=opened + draw(before)) if draw(st.booleans()) else None,
        exhausted_at=opened + draw(before) if draw(st.booleans()) else None,
        customer_zone=draw(ZONES),
    )


@settings(max_examples=500, deadline=None)
@given(STEPS, a_situation())
def test_what_holds_for_every_campaign(steps: tuple[StepSpec, ...], where: DunningSituation) -> None:
    """One step a key; none in the past; notices ahead of their retry; last rungs only at the end; hours are kept."""
    found, specs = come_of(steps, where)

    assert len({step.key for step in found}) == len(found)
    assert [step.at for step in found] == sorted(step.at for step in found)
    for step in found:
        spec = specs[step.key]
        assert step.at >= where.now >= where.opened_at
        if spec.on is On.BEFORE_RETRY:
            assert where.retry is not None
            assert step.at + LEAST_NOTICE <= where.retry.at
        if spec.on is On.EXHAUSTED:
            assert where.exhausted_at is not None
        assert _kept(spec, step.at, where)


def _kept(spec: StepSpec, at: datetime, where: DunningSituation) -> bool:
    """Whether the moment lies in the step's hours, by the plain clock on the wall."""
    if spec.between is None:
        return True
    name = (where.customer_zone or "Europe/Berlin") if spec.zone == "customer" else spec.zone
    start, end = spec.between
    wall = at.astimezone(ZoneInfo(name)).time()
    return start <= wall < end if start < end else wall >= start or wall < end


@settings(max_examples=300, deadline=None)
@given(STEPS, a_situation(), st.data())
def test_what_had_its_turn_never_comes_again(
    steps: tuple[StepSpec, ...], where: DunningSituation, data: st.DataObject
) -> None:
    """Whatever was done, the rest is wanted as before; nothing new appears."""
    keys = [step.key for step in come_of(steps, where)[0]]
    done = tuple(data.draw(st.lists(st.sampled_from(keys), unique=True))) if keys else ()

    rest, _ = come_of(steps, msgspec.structs.replace(where, settled=done))

    assert {step.key for step in rest} == set(keys) - set(done)


@settings(max_examples=300, deadline=None)
@given(a_situation(), st.timedeltas(timedelta(), timedelta(days=30)), AHEAD)
def test_moving_a_retry_moves_its_notice_by_as_much(where: DunningSituation, by: timedelta, ahead: timedelta) -> None:
    """Where neither is in the past: the notice is as far ahead as it was."""
    spec = StepSpec(on=On.BEFORE_RETRY, ahead=ahead, do=Task(text="call"))

    def notice(at: datetime) -> WantedStep:
        [step], _ = come_of((spec,), msgspec.structs.replace(where, retry=PlannedRetry(id=RETRY, at=at)))
        return step

    far = where.now + timedelta(days=50)
    assert (notice(far + by).key, notice(far + by).at - notice(far).at) == (notice(far).key, by)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(WAITS, st.one_of(SENT, ONCE), min_size=1, max_size=8), SPANS)
def test_of_a_kind_at_most_one_late_step_is_caught_up_on(late: dict[timedelta, StepAction], past: timedelta) -> None:
    """Of messages the last, of changes to the subscription the last."""
    steps = tuple(StepSpec(after=after, do=do) for after, do in late.items())
    where = situation(now=OPENED + past)

    found, specs = come_of(steps, where)

    for group in (frozenset({StepKind.MESSAGE}), SUBSCRIPTION_STEPS):
        due = [OPENED + spec.after for spec in steps if spec.kind in group]
        come = [each for each in due if each <= where.now]
        caught_up = [OPENED + specs[step.key].after for step in found if step.kind in group and step.at == where.now]
        over = [each for each in caught_up if each <= where.now - LATE]
        assert over == ([max(come)] if come and max(come) <= where.now - LATE else [])
