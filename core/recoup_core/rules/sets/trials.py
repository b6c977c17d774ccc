"""Experiments as a book knows them: which version decides for whom."""

from collections.abc import Iterable
from uuid import UUID

import msgspec

from recoup_core.domain.experiment import Arm, Experiment
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.facts import Facts


class Trial(msgspec.Struct, frozen=True):
    """A running experiment and the compiled version under test."""

    experiment: Experiment
    treatment: CompiledPolicy


class Assigned(msgspec.Struct, frozen=True, kw_only=True):
    """The policy that a new case gets, and the arm it is in, if any."""

    policy: CompiledPolicy
    experiment_id: UUID | None = None
    arm: Arm | None = None
    experiment_ramp: int | None = None


def assign(
    control: CompiledPolicy, trials: Iterable[Trial], facts: Facts, merchant_id: str, customer_ref: str
) -> Assigned:
    """Return the version for a new case that the live policy `control` was chosen for.

    In the experiment are only payments that both versions cover: else the arms would not be alike.
    """
    policy = control.policy
    for trial in trials:
        experiment = trial.experiment
        if (experiment.kind, experiment.name) != (policy.kind, policy.name):
            continue
        if not trial.treatment.policy.applies_to.covers(facts):
            break
        arm = experiment.arm(merchant_id, customer_ref)
        return Assigned(
            policy=trial.treatment if arm is Arm.TREATMENT else control,
            experiment_id=experiment.id,
            arm=arm,
            experiment_ramp=experiment.ramp,
        )
    return Assigned(policy=control)
