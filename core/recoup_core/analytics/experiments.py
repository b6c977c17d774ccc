"""What an experiment between two versions of a policy has shown, and whether it may end.

Only matured cases count: those whose time to recover, the same for both arms, is over. A customer counts once, with
the first case, for several cases of one customer are no independent evidence. Cases opened while the share was the same
form a stratum; arms are compared inside strata only, so that ramping the share up in a good week favours nobody.

One may look at a running experiment as often as one likes. The interval that the stop rule goes by holds at all times
at once (a mixture sequential test: Johari, Koomen, Pekelis and Walsh, "Always valid inference", Operations Research
70(3), 2022); a common interval, shown beside it, would at some look exclude the truth far more often than it says.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from math import exp, lgamma, log, sqrt
from statistics import NormalDist
from typing import Final

import msgspec

from recoup_core.domain.experiment import WHOLE_BP, Arm

CONFIDENCE: Final = 0.95

EXPECTED_EFFECT: Final = 0.05
"""The difference between recovery rates that the sequential interval is tuned to see soonest; it is valid for any."""

SMALLEST_EFFECT: Final = 0.02
"""A difference in recovery rates that is not worth anybody's time: both ends within it means no difference."""

MISMATCH_P: Final = 0.001
"""A split of cases less likely than this under the shares that were set means something is broken (a usual bound:
Fabijan et al., "Diagnosing sample ratio mismatch", KDD 2019)."""

SPLIT_PRIOR: Final = 1_000
"""How closely the mixture of shares lies around the one that was set: for a half, 48 to 52 per cent come soonest to
light. It is as many customers as the mixture is worth."""


class Cohort(msgspec.Struct, frozen=True, kw_only=True):
    """The customers of one arm in one stratum, counted."""

    arm: Arm
    stratum: int
    """Number of the period in which the share did not change."""
    share_bp: int
    """The treatment's share in that period, in hundredths of a per cent."""
    opened: int
    """Customers who came into the experiment."""
    matured: int
    """Of them, those whose time to recover is over."""
    recovered: int
    """Of the matured, those whose case recovered in that time."""


class Interval(msgspec.Struct, frozen=True):
    """An estimate with its bounds; shares, 0.01 is one percentage point."""

    estimate: float
    low: float
    high: float


class Verdict(StrEnum):
    """What the stop rule says."""

    TOO_EARLY = "too_early"
    """Fewer matured customers than were asked for."""
    RUNNING = "running"
    """Nothing is certain yet."""
    BETTER = "treatment_better"
    WORSE = "treatment_worse"
    NO_DIFFERENCE = "no_difference"
    """Whatever difference there is, is too small to matter."""
    BROKEN = "split_broken"
    """The arms did not get the shares that were set; their comparison can't be trusted."""


class ArmResult(msgspec.Struct, frozen=True, kw_only=True):
    """One arm over all strata."""

    opened: int
    matured: int
    recovered: int
    rate: Interval | None
    """Recovery rate with its Wilson score interval; None before anything matured."""


class ExperimentResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the report shows."""

    arms: Mapping[Arm, ArmResult]
    difference: Interval | None
    """Treatment less control, weighted by stratum; the bounds hold for one look."""
    always_valid: Interval | None
    """The same with bounds that hold however often one looks; the stop rule goes by these."""
    split_p: float
    """How likely it is that the split was ever this uneven where nothing is broken."""
    verdict: Verdict


def result_of(cohorts: Collection[Cohort], min_matured: int) -> ExperimentResult:
    """Compare the arms; `min_matured` customers of each arm must have matured before the rule says anything."""
    arms = {arm: _arm([cohort for cohort in cohorts if cohort.arm is arm]) for arm in Arm}
    effect = _stratified(cohorts)
    split_p = _split_p(cohorts)
    always = None if effect is None else _always_valid(*effect)
    enough = all(_comparable(cohorts, arm) >= min_matured for arm in Arm)
    return ExperimentResult(
        arms=arms,
        difference=None if effect is None else _fixed(*effect),
        always_valid=always,
        split_p=split_p,
        verdict=_verdict(always, enough, split_p),
    )


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Return a share with its Wilson score interval; `trials` is at least 1."""
    z = _z(confidence)
    share = successes / trials
    scale = 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / scale
    reach = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / scale
    return Interval(share, max(0.0, min(share, middle - reach)), min(1.0, max(share, middle + reach)))


def _arm(cohorts: Sequence[Cohort]) -> ArmResult:
    opened, matured, recovered = (
        sum(getattr(cohort, field) for cohort in cohorts) for field in ("opened", "matured", "recovered")
    )
    rate = wilson(recovered, matured) if matured else None
    return ArmResult(opened=opened, matured=matured, recovered=recovered, rate=rate)


def _stratified(cohorts: Collection[Cohort]) -> tuple[float, float] | None:
    """Return the difference of the rates, weighted as Mantel and Haenszel do, and its variance.

    One success and one failure more in each arm of a stratum (Agresti and Caffo, 2000) keep the variance of small
    strata honest: three of three is no certainty. The rates themselves are drawn towards what both arms of the stratum
    came to: drawn towards a half, the arm with the smaller share would seem better wherever less than half recovers.
    """
    by_stratum: dict[int, dict[Arm, Cohort]] = {}
    for cohort in cohorts:
        by_stratum.setdefault(cohort.stratum, {})[cohort.arm] = cohort
    weights = estimate = variance = 0.0
    for arms in by_stratum.values():
        treatment, control = arms.get(Arm.TREATMENT), arms.get(Arm.CONTROL)
        if treatment is None or control is None or not treatment.matured or not control.matured:
            continue
        both = treatment.matured + control.matured
        weight = treatment.matured * control.matured / both
        common = (treatment.recovered + control.recovered) / both
        weights += weight
        estimate += weight * (_drawn(treatment, common) - _drawn(control, common))
        variance += weight * weight * (_spread(treatment) + _spread(control))
    return (estimate / weights, variance / (weights * weights)) if weights else None


def _comparable(cohorts: Collection[Cohort], arm: Arm) -> int:
    """Return an arm's matured customers in the strata in which the other has some, too."""
    other = {cohort.stratum for cohort in cohorts if cohort.arm is not arm and cohort.matured}
    return sum(cohort.matured for cohort in cohorts if cohort.arm is arm and cohort.stratum in other)


def _drawn(cohort: Cohort, common: float) -> float:
    return (cohort.recovered + 2 * common) / (cohort.matured + 2)


def _spread(cohort: Cohort) -> float:
    trials = cohort.matured + 2
    share = (cohort.recovered + 1) / trials
    return share * (1 - share) / trials


def _fixed(estimate: float, variance: float) -> Interval:
    return _around(estimate, _z(CONFIDENCE) * sqrt(variance))


def _always_valid(estimate: float, variance: float) -> Interval:
    """Invert the mixture test: differences d with sqrt(V/(V+t)) exp(t d^2 / (2 V (V+t))) below 1/alpha, t the mixture's
    variance."""
    mixture = EXPECTED_EFFECT**2
    bound = log(1 / (1 - CONFIDENCE)) + log((variance + mixture) / variance) / 2
    return _around(estimate, sqrt(2 * variance * (variance + mixture) / mixture * bound))


def _around(estimate: float, reach: float) -> Interval:
    return Interval(estimate, max(-1.0, estimate - reach), min(1.0, estimate + reach))


def _split_p(cohorts: Collection[Cohort]) -> float:
    """Return how likely it is that the split was ever this uneven: exact, for any share, however often one looks.

    The shares that were set are held against a mixture of shares around them (Lindon and Malek, "Anytime-valid
    inference for multinomial count data", NeurIPS 2022): what is f times as likely under the mixture has p = 1/f.
    """
    factor = 0.0
    for stratum, share_bp in {(cohort.stratum, cohort.share_bp) for cohort in cohorts}:
        treated, others = (
            sum(each.opened for each in cohorts if (each.stratum, each.arm) == (stratum, arm))
            for arm in (Arm.TREATMENT, Arm.CONTROL)
        )
        share = share_bp / WHOLE_BP
        if share in (0, 1):
            if others if share else treated:  # not unlikely: impossible
                return 0.0
            continue
        a, b = SPLIT_PRIOR * share, SPLIT_PRIOR * (1 - share)
        factor += _log_beta(a + treated, b + others) - _log_beta(a, b)
        factor -= treated * log(share) + others * log(1 - share)
    return min(1.0, exp(-factor))


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _verdict(always: Interval | None, enough: bool, split_p: float) -> Verdict:
    if split_p < MISMATCH_P:
        return Verdict.BROKEN
    if always is None or not enough:
        return Verdict.TOO_EARLY
    if always.low > 0:
        return Verdict.BETTER
    if always.high < 0:
        return Verdict.WORSE
    if always.low > -SMALLEST_EFFECT and always.high < SMALLEST_EFFECT:
        return Verdict.NO_DIFFERENCE
    return Verdict.RUNNING


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
