"""What requests and answers about shadows, experiments and moved cases carry."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from recoup_core.analytics.experiments import Interval, Verdict
from recoup_core.domain.experiment import DEFAULT_MATURITY, DEFAULT_MIN_MATURED, MAX_MATURITY, WHOLE_BP, Arm, Experiment
from recoup_core.flows.experiments import Report
from recoup_core.flows.migrate import Moves, NextStep
from recoup_core.storage.shadows import ShadowDifference, ShadowSeen
from recoup_server.schemas_in import Body
from recoup_server.schemas_out import Out

MAX_IDS = 1_000
"""Cases that one call may name."""

ShareBp = Annotated[
    int, Meta(ge=0, le=WHOLE_BP, description="The treatment's share of new cases, in hundredths of a per cent.")
]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", min_length=64, max_length=64, description="A version's digest.")]


class ExperimentIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an experiment is started with."""

    share_bp: ShareBp
    maturity_days: Annotated[
        int, Meta(ge=1, le=MAX_MATURITY, description="How long after it opened a case counts, whatever became of it.")
    ] = DEFAULT_MATURITY
    min_matured: Annotated[
        int, Meta(ge=1, le=10_000_000, description="Matured customers of each arm before anything is concluded.")
    ] = DEFAULT_MIN_MATURED


class RampIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new share."""

    share_bp: ShareBp


class StopIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why an experiment ends."""

    because: Annotated[str, Meta(min_length=1, max_length=500)]


class MigrateIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which running cases go to which version; with `dry_run` it is only said what that would change."""

    kind: Annotated[Literal["retry", "dunning"], Meta(description="Which of a case's policies is moved.")] = "retry"
    case_ids: Annotated[tuple[UUID, ...], Meta(min_length=1, max_length=MAX_IDS)] | None = None
    under_digest: Digest | None = None
    to_digest: Digest | None = None
    after: UUID | None = None
    dry_run: bool = True


class ExperimentOut(Out, frozen=True, kw_only=True):
    """An experiment."""

    id: UUID
    kind: str
    name: str
    version_id: UUID
    control_digest: str
    share_bp: int
    maturity_days: int
    min_matured: int
    started_at: datetime
    house: bool
    """Whether it is the house's, on every merchant's cases."""
    stopped_at: datetime | None
    stopped_because: str | None
    winner: Arm | None


class ExperimentPage(Out, frozen=True, kw_only=True):
    """Experiments, newest first."""

    items: list[ExperimentOut]
    next_cursor: str | None


class ArmOut(Out, frozen=True, kw_only=True):
    """One arm: customers by their first case, rates with bounds for 95 %, money of matured cases by currency."""

    opened: int
    matured: int
    recovered: int
    rate: Interval | None
    owed_minor: dict[str, int]
    recovered_minor: dict[str, int]


class ExperimentReportOut(Out, frozen=True, kw_only=True):
    """What an experiment has shown so far, on the asking merchant's cases."""

    experiment: ExperimentOut
    verdict: Verdict
    control: ArmOut
    treatment: ArmOut
    difference: Interval | None
    """Treatment less control, by strata of equal share; the bounds hold for one look."""
    always_valid: Interval | None
    """The same with bounds that hold however often one looks; the stop rule goes by these."""
    split_p: float
    """How likely it is that the split was ever this uneven where nothing is broken."""


class DifferenceOut(Out, frozen=True, kw_only=True):
    """A decision that the shadow would have made otherwise."""

    case_id: UUID | None
    refund_id: UUID | None
    charge_id: UUID | None
    """What the decision was about: a case, a refund, or an upcoming charge."""
    decision_id: UUID
    decided_at: datetime
    rule: str
    outcome: Any
    shadow_rule: str | None
    shadow_outcome: Any


class ShadowOut(Out, frozen=True, kw_only=True):
    """What a version has seen in shadow, with a page of the differences, newest first."""

    decided: int
    differed: int
    seen_until: datetime | None
    differences: list[DifferenceOut]
    next_cursor: str | None


class MoveOut(Out, frozen=True, kw_only=True):
    """One case, where it is and where it would be, or is now."""

    case_id: UUID
    from_policy: str | None
    from_digest: str | None
    to_policy: str | None
    to_digest: str | None
    before: NextStep | None
    after: NextStep | None
    refused: str | None


class MovesOut(Out, frozen=True, kw_only=True):
    """What a call would do, or did, case by case."""

    dry_run: bool
    movable: int
    """How many of them can be, or were, moved."""
    items: list[MoveOut]
    next_after: UUID | None
    """Where the next call goes on (`after`)."""


def experiment_out(experiment: Experiment) -> ExperimentOut:
    """Return an experiment as the API shows it."""
    shown = {name: getattr(experiment, name) for name in ExperimentOut.__struct_fields__ if hasattr(experiment, name)}
    return ExperimentOut(**shown, min_matured=experiment.min_cases, house=experiment.merchant_id is None)


def report_out(report: Report) -> ExperimentReportOut:
    """Return a report as the API shows it."""
    result = report.result
    return ExperimentReportOut(
        experiment=experiment_out(report.experiment),
        verdict=result.verdict,
        control=_arm(report, Arm.CONTROL),
        treatment=_arm(report, Arm.TREATMENT),
        difference=result.difference,
        always_valid=result.always_valid,
        split_p=result.split_p,
    )


def shadow_out(seen: ShadowSeen, differences: Sequence[ShadowDifference], cursor: str | None) -> ShadowOut:
    """Return what a shadow has seen, with a page of its differences, as the API shows it."""
    return ShadowOut(
        decided=seen.decided,
        differed=seen.differed,
        seen_until=seen.seen_until,
        differences=[
            DifferenceOut(
                case_id=each.case_id,
                refund_id=each.refund_id,
                charge_id=each.charge_id,
                decision_id=each.decision_id,
                decided_at=each.decided_at,
                rule=each.rule,
                outcome=each.outcome,
                shadow_rule=each.shadow_rule,
                shadow_outcome=each.shadow_outcome,
            )
            for each in differences
        ],
        next_cursor=cursor,
    )


def moves_out(moves: Moves, *, dry_run: bool) -> MovesOut:
    """Return moved cases as the API shows them."""
    items = [msgspec.convert(move, MoveOut, from_attributes=True) for move in moves.items]
    return MovesOut(dry_run=dry_run, movable=moves.movable, items=items, next_after=moves.next_after)


def _arm(report: Report, arm: Arm) -> ArmOut:
    result = report.result.arms[arm]
    money = [each for each in report.money if each.arm == arm]
    return ArmOut(
        opened=result.opened,
        matured=result.matured,
        recovered=result.recovered,
        rate=result.rate,
        owed_minor={each.currency: each.owed_minor for each in money},
        recovered_minor={each.currency: each.recovered_minor for each in money},
    )
