"""What an experiment has shown: intervals that hold, arms that stick, a rule that does not fool itself."""

from math import log
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoup_core.analytics.experiments import Cohort, Verdict, result_of, wilson
from recoup_core.domain.experiment import WHOLE_BP, Arm, arm_of


def cohort(arm: Arm, matured: int, recovered: int, *, stratum: int = 1, share_bp: int = 5_000) -> Cohort:
    return Cohort(arm=arm, stratum=stratum, share_bp=share_bp, opened=matured, matured=matured, recovered=recovered)


def both(treatment: tuple[int, int], control: tuple[int, int], **more: int) -> list[Cohort]:
    return [cohort(Arm.TREATMENT, *treatment, **more), cohort(Arm.CONTROL, *control, **more)]


@given(
    salt=st.text(max_size=20),
    customer=st.text(max_size=40),
    low=st.integers(0, WHOLE_BP),
    more=st.integers(0, WHOLE_BP),
)
def test_ramping_up_moves_nobody_out_of_the_treatment(salt: str, customer: str, low: int, more: int) -> None:
    """A customer keeps the arm while the share grows."""
    high = min(WHOLE_BP, low + more)

    if arm_of(salt, customer, low) is Arm.TREATMENT:
        assert arm_of(salt, customer, high) is Arm.TREATMENT


@given(salt=st.text(max_size=20), customer=st.text(max_size=40))
def test_nobody_at_nothing_and_everybody_at_all(salt: str, customer: str) -> None:
    """The ends of the scale are exact."""
    assert arm_of(salt, customer, 0) is Arm.CONTROL
    assert arm_of(salt, customer, WHOLE_BP) is Arm.TREATMENT


@pytest.mark.parametrize("share_bp", [100, 1_000, 5_000, 9_000])
def test_shares_come_out(share_bp: int) -> None:
    """Over many customers the treatment gets what was set, within six standard deviations."""
    n = 20_000
    treated = sum(arm_of("salt", f"customer-{index}", share_bp) is Arm.TREATMENT for index in range(n))

    share = share_bp / WHOLE_BP
    assert abs(treated - n * share) < 6 * (n * share * (1 - share)) ** 0.5


def test_two_experiments_deal_independently() -> None:
    """Who is treated in one is treated in half of the cases of another."""
    customers = [f"customer-{index}" for index in range(4_000)]
    first = [c for c in customers if arm_of("one", c, 5_000) is Arm.TREATMENT]

    again = sum(arm_of("two", c, 5_000) is Arm.TREATMENT for c in first)

    assert 0.45 < again / len(first) < 0.55


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe, "Two-sided confidence intervals for the single proportion", Stat. Med. 17 (1998), table I
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_as_published(successes: int, trials: int, low: float, high: float) -> None:
    """The interval is the one of the literature."""
    interval = wilson(successes, trials)

    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


def test_says_nothing_before_enough_matured() -> None:
    """However striking, a handful of cases ends nothing."""
    result = result_of(both((10, 10), (10, 0)), min_matured=11)

    assert result.verdict is Verdict.TOO_EARLY


@pytest.mark.parametrize(
    ("treatment", "verdict"),
    [(700, Verdict.BETTER), (500, Verdict.RUNNING), (300, Verdict.WORSE)],
)
def test_clear_differences_are_seen(treatment: int, verdict: Verdict) -> None:
    """Twenty percentage points over a thousand customers are a difference in either direction."""
    assert result_of(both((1_000, treatment), (1_000, 500)), min_matured=100).verdict is verdict


def test_no_difference_worth_having_ends_it_too() -> None:
    """With very many customers both ends lie within what matters."""
    result = result_of(both((200_000, 100_000), (200_000, 100_010)), min_matured=100)

    assert result.verdict is Verdict.NO_DIFFERENCE


def test_ramp_in_a_good_week_favours_nobody() -> None:
    """Arms that are equal inside each period are equal, though the pooled rates differ by far (Simpson's paradox)."""
    quiet = both((100, 20), (900, 180), stratum=1, share_bp=1_000)
    good = both((900, 720), (100, 80), stratum=2, share_bp=9_000)

    result = result_of([*quiet, *good], min_matured=100)

    assert result.arms[Arm.TREATMENT].recovered / 1_000 - result.arms[Arm.CONTROL].recovered / 1_000 > 0.4
    assert result.difference is not None
    assert abs(result.difference.estimate) < 0.01
    assert result.verdict is Verdict.RUNNING


def test_uneven_split_is_called_broken() -> None:
    """Half and half that came out as 60 to 40 over thousands is no chance: nothing else is said."""
    result = result_of(both((6_000, 5_000), (4_000, 1_000)), min_matured=100)

    assert result.verdict is Verdict.BROKEN
    assert result.split_p < 0.001


def test_looking_every_day_does_not_raise_false_alarms() -> None:
    """Of experiments without any difference, looked at after every ten customers, at most one in twenty may end as
    better or worse. The common interval, looked at as often, would end about one in three."""
    random = Random(20261123)
    ended = naive = 0
    runs = 300
    for _ in range(runs):
        counts = {Arm.TREATMENT: [0, 0], Arm.CONTROL: [0, 0]}
        wrong = fooled = False
        for _ in range(100):
            for arm in Arm:
                for _ in range(10):
                    counts[arm][0] += 1
                    counts[arm][1] += random.random() < 0.55
            result = result_of([cohort(arm, *counts[arm]) for arm in Arm], min_matured=50)
            wrong |= result.verdict in (Verdict.BETTER, Verdict.WORSE)
            assert result.difference is not None
            fooled |= not result.difference.low <= 0 <= result.difference.high
        ended += wrong
        naive += fooled

    assert ended / runs <= 0.05
    assert naive / runs > 0.15


def test_always_valid_bounds_are_the_wider_ones() -> None:
    """Freedom to look has its price."""
    result = result_of(both((400, 220), (400, 200)), min_matured=100)

    assert result.difference is not None
    assert result.always_valid is not None
    assert result.always_valid.low < result.difference.low < result.difference.high < result.always_valid.high


def test_split_that_can_not_be_is_broken() -> None:
    """Somebody was treated while nobody was to be: no number of others makes up for it."""
    result = result_of(both((1, 1), (5_000, 2_500), share_bp=0), min_matured=1)

    assert (result.split_p, result.verdict) == (0.0, Verdict.BROKEN)


@pytest.mark.parametrize("share_bp", [100, 5_000])
def test_looking_often_at_the_split_raises_no_alarms(share_bp: int) -> None:
    """Dealt as it was set, a split looked at after every hundred customers is never called broken; an even one that
    comes out as 55 to 45 is, within five thousand. A test for one look would call every fiftieth experiment broken."""
    random = Random(share_bp)
    for _ in range(200):
        treated = 0
        for seen in range(100, 20_001, 100):
            treated += sum(random.random() * WHOLE_BP < share_bp for _ in range(100))
            assert result_of(both((treated, 0), (seen - treated, 0), share_bp=share_bp), 10**6).split_p > 0.001

    assert result_of(both((2_750, 0), (2_250, 0)), 10**6).split_p < 0.001


@pytest.mark.parametrize(("share_bp", "rate"), [(200, 0.1), (500, 0.15), (9_500, 0.8)])
def test_small_arms_in_many_periods_seem_neither_better_nor_worse(share_bp: int, rate: float) -> None:
    """Rates that are equal come out as equal, however unevenly and in however many periods customers were dealt."""
    cohorts = []
    for stratum in range(20):
        treated = 400 * share_bp // WHOLE_BP
        sizes = {Arm.TREATMENT: treated, Arm.CONTROL: 400 - treated}
        cohorts += [
            cohort(arm, size, round(size * rate), stratum=stratum, share_bp=share_bp) for arm, size in sizes.items()
        ]

    result = result_of(cohorts, min_matured=100)

    assert result.difference is not None
    assert abs(result.difference.estimate) < 0.03
    assert result.verdict in (Verdict.RUNNING, Verdict.NO_DIFFERENCE)


def test_only_customers_that_can_be_compared_count_as_enough() -> None:
    """A period in which everybody was treated has no control: its customers end nothing."""
    cohorts = [*both((20, 20), (20, 0)), cohort(Arm.TREATMENT, 5_000, 2_500, stratum=2, share_bp=WHOLE_BP)]

    assert result_of(cohorts, min_matured=21).verdict is Verdict.TOO_EARLY


@pytest.mark.parametrize("recovered", [0, 50])
def test_all_or_none_recovered_is_no_certainty(recovered: int) -> None:
    """Arms without any variance have bounds nevertheless, as wide as their size asks for."""
    result = result_of(both((50, recovered), (50, recovered)), min_matured=10)

    assert result.difference is not None
    assert result.difference.estimate == 0
    assert result.difference.high - result.difference.low > 0.05
    assert result.verdict is Verdict.RUNNING


def test_difference_and_bounds_by_hand() -> None:
    """One stratum: 60 of 100 against 40 of 100, each drawn towards the common half by one in 102."""
    result = result_of(both((100, 60), (100, 40)), min_matured=10)

    difference, always = result.difference, result.always_valid
    assert difference is not None
    assert always is not None
    assert difference.estimate == pytest.approx(61 / 102 - 41 / 102)
    spread = (61 / 102) * (41 / 102) / 102 * 2
    assert difference.high - difference.estimate == pytest.approx(1.959964 * spread**0.5)
    mixture = 0.05**2  # Johari et al. 2022, equation for the mixture test, solved for the difference
    reach = (2 * spread * (spread + mixture) / mixture * (log(20) + log((spread + mixture) / spread) / 2)) ** 0.5
    assert always.estimate - always.low == pytest.approx(reach)
