"""Experiments on running cases: arms that stick, ramps, reports of matured cohorts, and an end."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from recoup_core.analytics.experiments import Verdict
from recoup_core.domain.errors import CardNumberRefused, IllegalTransition
from recoup_core.domain.experiment import Arm
from recoup_core.domain.versions import VersionState
from recoup_core.flows.desk import CONTROL_GONE
from recoup_core.flows.experiments import OutOfRange, Setup, ramp, report, start, stop, watch
from recoup_core.flows.operate import NotAllowedNow
from recoup_core.flows.recover import open_case
from recoup_core.flows.versions import activate, retire, roll_back
from recoup_core.storage.engine import Database
from recoup_core.storage.versions import read_version
from recoup_core.telemetry import Metrics
from recoup_core.wiring import Service

HALF = Setup(share_bp=5_000, maturity_days=10, min_matured=5)


@pytest.fixture
async def running(shop: Any, desk: Any) -> Any:
    """Half of the new cases are decided by a version that waits five days instead of two."""
    control = await desk.live(desk.waits(2, 2))
    treatment = await desk.bring(desk.waits(5, 5))
    return control, treatment, await start(shop.context, treatment.id, HALF, desk.own)


async def open_many(shop: Any, count: int, *, customers: str = "a") -> list[Any]:
    return [
        (await shop.open("tok_generic_decline", code="generic_decline", customer={"ref": f"{customers}-{n}"})).case
        for n in range(count)
    ]


async def state_of(shop: Any, version: Any) -> VersionState:
    async with shop.service.database.connection() as connection:
        found = await read_version(connection, version.id)
    assert found is not None
    return found.state


async def test_arms_are_written_down_with_the_version_that_decides(shop: Any, running: Any) -> None:
    """Each case has its arm, and the arm's version; both arms get some."""
    control, treatment, experiment = running

    cases = await open_many(shop, 20)

    assert {case.experiment_id for case in cases} == {experiment.id}
    digests = {Arm.CONTROL: control.digest, Arm.TREATMENT: treatment.digest}
    assert all(case.policy_digest == digests[case.arm] for case in cases)
    assert set(Counter(case.arm for case in cases)) == set(Arm)


async def test_customer_keeps_the_arm(shop: Any, running: Any) -> None:
    """A second failed payment of a customer goes the same way."""
    first = await open_many(shop, 12)

    again = await open_many(shop, 12)

    assert [case.arm for case in again] == [case.arm for case in first]


async def test_ramping_up_keeps_who_is_in(shop: Any, desk: Any, running: Any) -> None:
    """Running cases keep arm and version; customers who were treated stay so, others may join."""
    _, treatment, experiment = running
    first = await open_many(shop, 12)

    ramped = await ramp(shop.context, experiment.id, 9_000, desk.own)
    again = await open_many(shop, 12)

    assert (ramped.share_bp, ramped.ramp) == (9_000, 2)
    assert {case.experiment_ramp for case in again} == {2}
    for before, after in zip(first, again, strict=True):
        if before.arm is Arm.TREATMENT:
            assert after.arm is Arm.TREATMENT
        assert (await shop.file(before.payment_id)).case == before
    assert sum(case.policy_digest == treatment.digest for case in again) > 6


async def test_arm_is_never_edited(shop: Any, running: Any) -> None:
    """Not by any way: the comparison would be worthless."""
    [case] = await open_many(shop, 1)
    other = "control" if case.arm is Arm.TREATMENT else "treatment"

    for change in (f"arm = '{other}'", f"arm = '{other}', migrations = migrations + 1"):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await shop.rows(f"UPDATE recovery_case SET {change} WHERE id = $1 RETURNING id", case.id)


async def test_payments_that_only_one_version_covers_are_left_out(shop: Any, desk: Any) -> None:
    """The arms must be alike: a narrower treatment is compared on its own payments only."""
    await desk.live(desk.waits(2))
    narrow = await desk.bring(desk.waits(5, applies_to="{method: card, network: mastercard}"))
    await start(shop.context, narrow.id, HALF, desk.own)

    cases = await open_many(shop, 4)

    assert {case.arm for case in cases} == {None}


async def test_report_counts_matured_first_cases(shop: Any, desk: Any, running: Any) -> None:
    """A customer counts once; what is younger than the maturity is opened and not matured; money is by currency."""
    _, _, experiment = running
    await open_many(shop, 10)
    await open_many(shop, 4)
    shop.clock.set(shop.clock.now() + timedelta(days=11))
    await open_many(shop, 3, customers="b")

    found = await report(shop.context, "default", experiment.id)

    arms = found.result.arms
    assert sum(arm.opened for arm in arms.values()) == 13
    assert sum(arm.matured for arm in arms.values()) == 10
    assert sum(each.owed_minor for each in found.money) == 10 * 1999
    assert {each.currency for each in found.money} == {"EUR"}


async def test_recovery_counts_only_within_its_time(shop: Any, desk: Any) -> None:
    """Both arms have the same time; what comes in later is not counted for either."""
    await desk.live(desk.waits(2))
    slow = await desk.bring(desk.waits(12))
    experiment = await start(shop.context, slow.id, Setup(share_bp=5_000, maturity_days=10, min_matured=1), desk.own)
    for number in range(12):
        await shop.open("tok_approve", code="generic_decline", customer={"ref": f"c-{number}"})
    await shop.live(timedelta(days=30))

    found = await report(shop.context, "default", experiment.id)

    states = {
        row["arm"]: row["n"]
        for row in await shop.rows(
            "SELECT arm, count(*) AS n FROM recovery_case WHERE state = 'recovered' GROUP BY arm"
        )
    }
    assert found.result.arms[Arm.TREATMENT].recovered == 0
    assert found.result.arms[Arm.CONTROL].recovered == states.get("control", 0)


async def test_stopping_sends_the_version_back_to_shadow(shop: Any, desk: Any, running: Any) -> None:
    """New cases get the live version; those in the experiment go on as they are."""
    control, treatment, experiment = running
    cases = await open_many(shop, 8)

    stopped = await stop(shop.context, experiment.id, "enough seen", desk.own)

    assert stopped.stopped_because == "enough seen"
    assert await state_of(shop, treatment) is VersionState.SHADOW
    later = await open_many(shop, 8, customers="b")
    assert {(case.policy_digest, case.arm) for case in later} == {(control.digest, None)}
    assert [(await shop.file(case.payment_id)).case.policy_digest for case in cases] == [
        case.policy_digest for case in cases
    ]
    with pytest.raises(NotAllowedNow):
        await ramp(shop.context, experiment.id, 100, desk.own)


@pytest.mark.parametrize("act", [activate, retire])
async def test_moving_the_version_ends_its_experiment(shop: Any, desk: Any, running: Any, act: Any) -> None:
    """A winner is put in force with one call; the experiment is over with it."""
    _, treatment, experiment = running

    await act(shop.context, treatment.id, desk.own)

    found = await report(shop.context, "default", experiment.id)
    assert found.experiment.stopped_at is not None
    assert {case.arm for case in await open_many(shop, 4)} == {None}


async def test_one_experiment_a_name(shop: Any, desk: Any, running: Any) -> None:
    """A second would share its control with the first."""
    another = await desk.bring(desk.waits(8))

    with pytest.raises(NotAllowedNow, match="running already"):
        await start(shop.context, another.id, HALF, desk.own)


async def test_nothing_live_is_nothing_to_compare_with(shop: Any, desk: Any) -> None:
    """A new name has no control."""
    fresh = await desk.bring(desk.waits(8, name="brand-new"))

    with pytest.raises(NotAllowedNow, match="no live version"):
        await start(shop.context, fresh.id, HALF, desk.own)


async def test_live_version_is_no_treatment(shop: Any, desk: Any) -> None:
    """A version can't be compared with itself."""
    version = await desk.live(desk.waits(2))

    with pytest.raises(IllegalTransition):
        await start(shop.context, version.id, HALF, desk.own)


@pytest.mark.parametrize("setup", [Setup(share_bp=10_001), Setup(share_bp=-1), Setup(share_bp=1, maturity_days=0)])
async def test_impossible_figures_are_refused(shop: Any, desk: Any, setup: Setup) -> None:
    """With the field's name."""
    version = await desk.bring(desk.waits(8))

    with pytest.raises(OutOfRange):
        await start(shop.context, version.id, setup, desk.own)


async def stopped_because(shop: Any, experiment: Any) -> str | None:
    return (await report(shop.context, "default", experiment.id)).experiment.stopped_because


async def test_experiment_ends_when_its_control_is_replaced(shop: Any, desk: Any, running: Any) -> None:
    """Two versions are compared and no third: the cases after the change would be held against another control."""
    _, treatment, experiment = running

    third = await desk.live(desk.waits(7))

    assert await stopped_because(shop, experiment) == CONTROL_GONE
    assert await state_of(shop, treatment) is VersionState.SHADOW
    cases = await open_many(shop, 6)
    assert {(case.policy_digest, case.arm) for case in cases} == {(third.digest, None)}


@pytest.mark.parametrize("undo", ["retire", "roll back"])
async def test_experiment_ends_when_its_control_goes(shop: Any, desk: Any, undo: str) -> None:
    """Taken out of force by any way: nothing is left to compare with."""
    await desk.live(desk.waits(3))
    control = await desk.live(desk.waits(2))
    treatment = await desk.bring(desk.waits(5))
    experiment = await start(shop.context, treatment.id, HALF, desk.own)

    if undo == "retire":
        await retire(shop.context, control.id, desk.own)
    else:
        await roll_back(shop.context, "retry", "cards-consumer", desk.own)

    assert await stopped_because(shop, experiment) == CONTROL_GONE


async def test_own_experiment_on_the_houses_version_ends_with_it(shop: Any, desk: Any) -> None:
    """A merchant's version held against the house's: another one of the house, or an own one, ends it."""
    await desk.live(desk.waits(2), desk.house)
    treatment = await desk.bring(desk.waits(5))
    first = await start(shop.context, treatment.id, HALF, desk.own)
    await desk.live(desk.waits(3), desk.house)
    assert await stopped_because(shop, first) == CONTROL_GONE

    second = await start(shop.context, treatment.id, HALF, desk.own)
    await desk.live(desk.waits(4))

    assert await stopped_because(shop, second) == CONTROL_GONE


async def test_experiment_goes_on_when_others_change(shop: Any, desk: Any, running: Any) -> None:
    """Policies of other names, and the house's where an own one is the control, concern both arms alike."""
    _, _, experiment = running

    await desk.live(desk.waits(7), desk.house)
    await desk.live(desk.waits(4, name="narrow", applies_to="{method: card, segment: consumer}"))

    assert await stopped_because(shop, experiment) is None


async def test_house_experiment_leaves_out_merchants_with_their_own_version(shop: Any, desk: Any) -> None:
    """What the house tries is tried where its version would decide."""
    await desk.live(desk.waits(2), desk.house)
    treatment = await desk.bring(desk.waits(5), desk.house)
    experiment = await start(shop.context, treatment.id, HALF, desk.house)
    assert {case.experiment_id for case in await open_many(shop, 4)} == {experiment.id}

    await desk.live(desk.waits(3))

    assert {case.experiment_id for case in await open_many(shop, 4)} == {None}
    assert await stopped_because(shop, experiment) is None


async def test_report_on_the_houses_experiment_tells_each_merchant_of_its_own(shop: Any, desk: Any) -> None:
    """Counts and sums of other merchants are nobody's business; the operator sees all."""
    await desk.live(desk.waits(2), desk.house)
    treatment = await desk.bring(desk.waits(5), desk.house)
    experiment = await start(shop.context, treatment.id, HALF, desk.house)
    await open_many(shop, 6)
    shop.clock.advance(timedelta(days=11))

    seen = {who: await report(shop.context, who, experiment.id) for who in ("default", "other", None)}

    opened = {who: sum(arm.opened for arm in each.result.arms.values()) for who, each in seen.items()}
    assert opened == {"default": 6, "other": 0, None: 6}
    assert seen["other"].money == ()
    assert sum(each.owed_minor for each in seen["default"].money) == 6 * 1999


@pytest.mark.parametrize(("share_bp", "arm"), [(0, Arm.CONTROL), (10_000, Arm.TREATMENT)])
async def test_ramp_to_the_ends(shop: Any, desk: Any, running: Any, share_bp: int, arm: Arm) -> None:
    """Nobody new is treated, or everybody; both are written down as taking part."""
    _, _, experiment = running

    await ramp(shop.context, experiment.id, share_bp, desk.own)

    assert {case.arm for case in await open_many(shop, 8)} == {arm}
    assert await watch(shop.context) == [Verdict.TOO_EARLY]


async def test_changes_race_with_openings(shop: Any, desk: Any, running: Any, database_url: str) -> None:
    """Several processes open cases while shares move and the experiment ends: each case is wholly in one state of it,
    and a customer's cases under one share are in one arm."""
    control, treatment, experiment = running
    other = Service(
        shop.service.settings,
        Database(database_url),
        {"sandbox": shop.gateway},
        shop.service.folder,
        Metrics(),
        shop.clock,
    )
    await other.open()

    async def opens(context: Any) -> None:
        for number in range(12):
            report = shop.report("tok_generic_decline", code="generic_decline", customer={"ref": f"race-{number}"})
            await open_case(context, report, "key:race", None)

    async def changes() -> None:
        for share in (1_000, 9_000, 3_000):
            await ramp(other.context, experiment.id, share, desk.own)
        await stop(shop.context, experiment.id, "enough", desk.own)
        await asyncio.gather(
            activate(shop.context, treatment.id, desk.own), activate(other.context, control.id, desk.own)
        )

    await asyncio.gather(opens(shop.context), opens(other.context), changes())
    await other.close()

    digests = {"control": control.digest, "treatment": treatment.digest}
    rows = await shop.rows(
        "SELECT c.policy_digest, c.arm, c.experiment_ramp, p.customer ->> 'ref' AS ref,"
        " (SELECT array_agg(policy_digest) FROM decision d WHERE d.case_id = c.id AND d.kind = 'retry') AS decided"
        " FROM recovery_case c JOIN payment p ON p.id = c.payment_id"
    )
    assert len(rows) == 24
    for row in rows:
        assert row["decided"] == [row["policy_digest"]]
        assert row["policy_digest"] in digests.values()
        if row["arm"] is not None:
            assert row["policy_digest"] == digests[row["arm"]]
    arms = {(row["ref"], row["experiment_ramp"]): row["arm"] for row in rows}
    assert all(arms[row["ref"], row["experiment_ramp"]] == row["arm"] for row in rows)
    live = await shop.rows("SELECT digest FROM policy_version WHERE state = 'live' AND merchant_id = 'default'")
    assert len(live) == 1


async def test_worse_treatment_is_ended_and_told_once(shop: Any, desk: Any, running: Any) -> None:
    """Nobody else gets what is certainly worse; a person hears of it, once."""
    _, treatment, experiment = running
    await _cohort(shop, experiment, "control", 200, 160)
    await _cohort(shop, experiment, "treatment", 200, 60)

    assert await watch(shop.context) == [Verdict.WORSE]
    assert await watch(shop.context) == []

    assert await state_of(shop, treatment) is VersionState.SHADOW
    [task] = await shop.rows("SELECT reason FROM human_task WHERE kind = 'experiment_decided'")
    assert "treatment_worse" in task["reason"]
    assert (await report(shop.context, "default", experiment.id)).experiment.winner is Arm.CONTROL


async def test_better_treatment_is_told_and_goes_on(shop: Any, desk: Any, running: Any) -> None:
    """Putting it in force is a person's act; the experiment runs until then, and nobody is asked twice."""
    _, treatment, experiment = running
    await _cohort(shop, experiment, "control", 200, 60)
    await _cohort(shop, experiment, "treatment", 200, 160)

    assert await watch(shop.context) == [Verdict.BETTER]
    assert await watch(shop.context) == [Verdict.BETTER]

    assert await state_of(shop, treatment) is VersionState.EXPERIMENT
    assert len(await shop.rows("SELECT id FROM human_task WHERE kind = 'experiment_decided'")) == 1


async def _cohort(shop: Any, experiment: Any, arm: str, matured: int, recovered: int) -> None:
    """Put matured cases of one arm straight into the tables: a thousand would take their time by hand."""
    opened = shop.clock.now() - timedelta(days=30)
    await shop.rows(
        """WITH p AS (
            INSERT INTO payment (id, merchant_id, reference, customer, amount_minor, currency, captured_minor, gateway,
                method, subscription, state, first_failed_at, created_at)
            SELECT gen_random_uuid(), 'default', $1 || n, jsonb_build_object('ref', $1 || n), 100, 'EUR', 0, 'sandbox',
                'card', '{}', 'owed', $2, $2 FROM generate_series(1, $3) n RETURNING id)
        INSERT INTO recovery_case (id, merchant_id, payment_id, state, policy_name, policy_digest, opened_at, closed_at,
            experiment_id, arm, experiment_ramp)
        SELECT gen_random_uuid(), 'default', id,
            CASE WHEN row_number() OVER () <= $4 THEN 'recovered' ELSE 'exhausted' END,
            'cards-consumer', $5, $2, $2 + interval '1 day', $6, $7, 1 FROM p RETURNING id""",
        f"{arm}-",
        opened,
        matured,
        recovered,
        experiment.control_digest,
        experiment.id,
        arm,
    )


LETTERS = """kind: dunning
name: letters
applies_to: {method: card, customer.tier: gold}
rules:
  - name: write
    steps:
      - {message: payment_failed, by: email}
      - {message: reminder, by: email, after: DAYSd}
examples:
  - {given: {}, expect: write}
"""


async def test_dunning_is_experimented_with_where_retries_are_not(shop: Any, desk: Any) -> None:
    """A case is in one experiment at most: one on its retries goes first, and its dunning is then the live one."""
    live = await desk.live(LETTERS.replace("DAYS", "3"))
    letters = await desk.bring(LETTERS.replace("DAYS", "9"))
    experiment = await start(shop.context, letters.id, HALF, desk.own)
    digests = {Arm.CONTROL: live.digest, Arm.TREATMENT: letters.digest}

    cases = [
        (
            await shop.open("tok_generic_decline", code="generic_decline", customer={"ref": f"g-{n}", "tier": "gold"})
        ).case
        for n in range(12)
    ]
    assert {case.experiment_id for case in cases} == {experiment.id}
    assert all(case.dunning_digest == digests[case.arm] for case in cases)
    assert set(Counter(case.arm for case in cases)) == set(Arm)

    await desk.live(desk.waits(2))
    waits = await desk.bring(desk.waits(5))
    first = await start(shop.context, waits.id, HALF, desk.own)
    case = (
        await shop.open("tok_generic_decline", code="generic_decline", customer={"ref": "g-1", "tier": "gold"})
    ).case
    assert (case.experiment_id, case.dunning_digest) == (first.id, live.digest)


@pytest.mark.parametrize("where", ["because", "author"])
async def test_no_card_number_in_what_people_write(shop: Any, desk: Any, running: Any, where: str) -> None:
    """Promise 11 holds for a reason and for a name given on the command line, too."""
    _, _, experiment = running
    number = "4242 4242 4242 4242"
    by = msgspec.structs.replace(desk.own, actor=f"operator:{number}") if where == "author" else desk.own

    with pytest.raises(CardNumberRefused):
        await stop(shop.context, experiment.id, number if where == "because" else "seen enough", by)

    assert (await report(shop.context, "default", experiment.id)).experiment.stopped_at is None
