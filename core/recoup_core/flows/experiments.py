"""Experiments: a version decides for a share of the new cases, the live one for the rest, and what came of both.

Who is in which arm is a matter of the customer's hash and the share alone (`domain/experiment`), written down with the
case when it opens. Changing the share moves no case. The comparison and its stop rule are `analytics/experiments`.
"""

import secrets
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
import structlog

from recoup_core.analytics.experiments import ExperimentResult, Verdict, result_of
from recoup_core.domain.cardnumbers import refuse_card_numbers
from recoup_core.domain.errors import DomainError
from recoup_core.domain.experiment import (
    DEFAULT_MATURITY,
    DEFAULT_MIN_MATURED,
    MAX_MATURITY,
    WHOLE_BP,
    Arm,
    Experiment,
)
from recoup_core.domain.happened import EventKind, HumanTask, TaskKind, task_opened
from recoup_core.domain.ids import new_id
from recoup_core.domain.versions import PolicyVersion, VersionEvent, VersionOrigin, VersionState
from recoup_core.flows.context import Context
from recoup_core.flows.desk import HOUSE, Change, Desk, changing_policies
from recoup_core.flows.draft import SYSTEM
from recoup_core.flows.operate import NotAllowedNow, NotFound
from recoup_core.flows.planning import TASK_AGE
from recoup_core.flows.versions import own_version
from recoup_core.rules.facts import PolicyKind
from recoup_core.storage.experiments import (
    ArmMoney,
    add_experiment,
    cohorts_of,
    mark_told,
    money_of,
    ramp_experiment,
    read_experiment,
    running_experiments,
    running_of_name,
    running_of_version,
)
from recoup_core.storage.versions import live_version

log = structlog.get_logger(__name__)

_EXPERIMENT: Final = "experiment"
_SALT_BYTES: Final = 16

TOLD: Final = frozenset({Verdict.BETTER, Verdict.WORSE, Verdict.NO_DIFFERENCE, Verdict.BROKEN})
"""Verdicts that a person has to hear of."""


class OutOfRange(DomainError):
    """A figure of an experiment is not possible."""

    code = "out_of_range"

    def __init__(self, field: str, low: int, high: int) -> None:
        super().__init__(f"`{field}` must lie between {low} and {high}")
        self.field = field


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What an experiment is started with."""

    share_bp: int
    """The treatment's share of new cases, in hundredths of a per cent."""
    maturity_days: int = DEFAULT_MATURITY
    min_matured: int = DEFAULT_MIN_MATURED
    """Matured customers of each arm before anything is concluded."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment with what it has shown so far."""

    experiment: Experiment
    result: ExperimentResult
    money: tuple[ArmMoney, ...]


async def start(context: Context, version_id: UUID, setup: Setup, change: Change) -> Experiment:
    """Let a version decide for a share of the new cases that the live version of its name would get.

    Raises `NotFound`, `HouseVersion`, `IllegalTransition`, `OutOfRange`, and `NotAllowedNow` where nothing is live to
    compare with, or another experiment runs under the name.
    """
    _check_share(setup.share_bp)
    _check("maturity_days", setup.maturity_days, 1, MAX_MATURITY)
    _check("min_matured", setup.min_matured, 1, 10_000_000)
    async with changing_policies(context, change) as desk:
        version = await own_version(desk, version_id)
        control = await _control(desk, version)
        await desk.move(version, VersionEvent.EXPERIMENT, EventKind.EXPERIMENT_STARTED, share_bp=setup.share_bp)
        experiment = Experiment(
            id=new_id(),
            merchant_id=version.merchant_id,
            kind=version.kind,
            name=version.name,
            version_id=version.id,
            control_digest=control.digest,
            share_bp=setup.share_bp,
            salt=secrets.token_hex(_SALT_BYTES),
            maturity_days=setup.maturity_days,
            min_cases=setup.min_matured,
            started_at=desk.now,
        )
        await add_experiment(desk.connection, experiment)
        return experiment


async def ramp(context: Context, experiment_id: UUID, share_bp: int, change: Change) -> Experiment:
    """Change the treatment's share of the cases to come; those that are in keep their arm. Raises as `start` does."""
    _check_share(share_bp)
    async with changing_policies(context, change) as desk:
        experiment = await _running(desk, experiment_id)
        ramped = msgspec.structs.replace(experiment, share_bp=share_bp, ramp=experiment.ramp + 1)
        if share_bp == experiment.share_bp:
            return experiment
        await ramp_experiment(desk.connection, ramped, desk.now)
        desk.tell_of_experiment(EventKind.EXPERIMENT_RAMPED, ramped, before_bp=experiment.share_bp, share_bp=share_bp)
        return ramped


async def stop(context: Context, experiment_id: UUID, because: str, change: Change) -> Experiment:
    """End an experiment; its version goes back to shadow, the cases in it go on as they are.

    Raises `NotFound`, `NotAllowedNow` and `CardNumberRefused`.
    """
    refuse_card_numbers(because, "because")
    async with changing_policies(context, change) as desk:
        experiment = await _running(desk, experiment_id)
        version = await own_version(desk, experiment.version_id)
        return await desk.end_experiment(version, because)


async def report(context: Context, merchant_id: str | None, experiment_id: UUID) -> Report:
    """Return what an experiment has shown so far, on this merchant's cases or (None) on everybody's; raises `NotFound`.

    The stop rule goes by everybody's; a merchant is told nothing of others, though the house's experiment is on all.
    """
    async with context.database.connection() as connection:
        experiment = await read_experiment(connection, experiment_id)
        if experiment is None or experiment.merchant_id not in (None, merchant_id):
            raise NotFound(_EXPERIMENT, experiment_id)
    return await _report(context, experiment, merchant_id)


async def watch(context: Context) -> Sequence[Verdict]:
    """Apply the stop rule to every running experiment; return what it said.

    A treatment that is certainly worse is ended at once: nobody else should get it. Whatever else is certain is put
    before a person, once; putting a winner in force is a person's decision.
    """
    async with context.database.connection() as connection:
        running = await running_experiments(connection)
    verdicts: list[Verdict] = []
    for experiment in running:
        try:
            verdict = (await _report(context, experiment)).result.verdict
            verdicts.append(verdict)
            if verdict in TOLD:
                await _conclude(context, experiment, verdict)
        except asyncpg.PostgresError as error:  # one that takes too long to count keeps no other from its end
            log.warning("experiment_not_judged", experiment=str(experiment.id), error=str(error))
    return verdicts


async def _conclude(context: Context, experiment: Experiment, verdict: Verdict) -> None:
    change = Change(merchant_id=experiment.merchant_id, actor=SYSTEM, origin=VersionOrigin.API)
    async with changing_policies(context, change) as desk:
        current = await read_experiment(desk.connection, experiment.id)
        if current is None or current.stopped_at is not None or current.told == verdict:
            return
        await mark_told(desk.connection, experiment.id, verdict)
        if verdict is Verdict.WORSE:
            await desk.end_experiment(await own_version(desk, experiment.version_id), str(verdict), Arm.CONTROL)
        task = HumanTask(
            id=new_id(),
            merchant_id=experiment.merchant_id or HOUSE,
            kind=TaskKind.EXPERIMENT_DECIDED,
            reason=f"experiment {experiment.id} on {experiment.kind}/{experiment.name}: {verdict}",
            opened_at=desk.now,
            due_at=desk.now + TASK_AGE,
        )
        desk.changes.add(task, task_opened(task, SYSTEM, None))
    log.info("experiment_decided", experiment=str(experiment.id), verdict=str(verdict))


async def _report(context: Context, experiment: Experiment, merchant_id: str | None = None) -> Report:
    now = context.clock.now()
    async with context.database.connection() as connection:
        cohorts = await cohorts_of(connection, experiment.id, now, merchant_id)
        money = await money_of(connection, experiment.id, now, merchant_id)
    return Report(experiment=experiment, result=result_of(cohorts, experiment.min_cases), money=tuple(money))


async def _control(desk: Desk, version: PolicyVersion) -> PolicyVersion:
    """Return the live version that the treatment is held against: the owner's, else the house's."""
    if version.kind not in (PolicyKind.RETRY, PolicyKind.DUNNING):
        raise NotAllowedNow(f"cases are what experiments compare; a {version.kind} policy decides about none")
    own = await live_version(desk.connection, version.merchant_id, version.kind, version.name)
    live = own or await live_version(desk.connection, None, version.kind, version.name)
    if live is None:
        raise NotAllowedNow(f"there is no live version of {version.kind}/{version.name} to compare with")
    if version.state is VersionState.EXPERIMENT or await running_of_name(
        desk.connection, version.merchant_id, version.kind, version.name
    ):
        raise NotAllowedNow(f"an experiment on {version.kind}/{version.name} is running already")
    return live


async def _running(desk: Desk, experiment_id: UUID) -> Experiment:
    experiment = await read_experiment(desk.connection, experiment_id)
    if experiment is None or experiment.merchant_id not in (None, desk.change.merchant_id):
        raise NotFound(_EXPERIMENT, experiment_id)
    await own_version(desk, experiment.version_id)  # raises where it is the house's
    if experiment.stopped_at is not None or await running_of_version(desk.connection, experiment.version_id) is None:
        raise NotAllowedNow("the experiment has ended")
    return experiment


def _check_share(share_bp: int) -> None:
    _check("share_bp", share_bp, 0, WHOLE_BP)


def _check(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise OutOfRange(field, low, high)
