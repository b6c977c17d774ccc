"""Shadows, experiments, and moving running cases: what a change would do, tried on real payments."""

from uuid import UUID

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, RawBody

from recoup_core.domain.experiment import Experiment
from recoup_core.flows.experiments import Setup, ramp, report, start, stop
from recoup_core.flows.migrate import move_cases, preview_moves
from recoup_core.flows.operate import By
from recoup_core.flows.shadow import shadow_report
from recoup_core.storage.experiments import list_experiments
from recoup_core.storage.listing import DEFAULT_PAGE
from recoup_core.storage.moves import ChosenCases
from recoup_core.wiring import Service
from recoup_server.auth import READS, Caller
from recoup_server.examples import EXPERIMENT, MIGRATION
from recoup_server.openapi import BEARER, LISTS, READS_ONE, takes
from recoup_server.reading import Cursor, Limit, change_of, cut, id_cursor, open_cursor, read, seal_cursor
from recoup_server.routes.versions import WRITES
from recoup_server.schemas_trials import (
    ExperimentIn,
    ExperimentOut,
    ExperimentPage,
    ExperimentReportOut,
    MigrateIn,
    MovesOut,
    RampIn,
    ShadowOut,
    StopIn,
    experiment_out,
    moves_out,
    report_out,
    shadow_out,
)


def _id(experiment: Experiment) -> UUID:
    return experiment.id


@get(
    "/policies/versions/{version_id:uuid}/shadow",
    operation_id="readShadow",
    summary="Read what a version would have decided",
    guards=[READS],
    responses=READS_ONE,
    security=BEARER,
    tags=["policies"],
)
async def get_shadow(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    version_id: FromPath[UUID],
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> ShadowOut:
    """Return how many decisions a shadow looked at, and those it would have made otherwise."""
    parts = open_cursor(cursor, "shadow", int)
    before = None if parts is None else parts[0]
    found = await shadow_report(service.context, version_id, caller.merchant_id, before, limit + 1)
    page = found.differences[:limit]
    more = len(found.differences) > limit
    return shadow_out(found.seen, page, seal_cursor("shadow", page[-1].id) if more else None)


@post(
    "/policies/versions/{version_id:uuid}/experiment",
    operation_id="startExperiment",
    summary="Let a version decide for a share of new cases",
    opt=takes(ExperimentIn, tenth=EXPERIMENT),
    **{**WRITES, "status_code": 201},
)
async def post_experiment(
    body: RawBody, service: NamedDependency[Service], caller: NamedDependency[Caller], version_id: FromPath[UUID]
) -> ExperimentOut:
    """Customers are dealt by a hash, so one customer always meets the same version; the rest gets the live one."""
    given = read(body, ExperimentIn)
    setup = Setup(share_bp=given.share_bp, maturity_days=given.maturity_days, min_matured=given.min_matured)
    return experiment_out(await start(service.context, version_id, setup, change_of(caller)))


@get(
    "/policies/experiments",
    operation_id="listExperiments",
    summary="List experiments, newest first",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["policies"],
)
async def get_experiments(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> ExperimentPage:
    """Return the merchant's experiments and the house's."""
    before = id_cursor(cursor, "experiments")
    rows = await list_experiments(service.database, caller.merchant_id, before, limit + 1)
    page, following = cut(rows, limit, "experiments", _id)
    return ExperimentPage(items=[experiment_out(each) for each in page], next_cursor=following)


@get(
    "/policies/experiments/{experiment_id:uuid}",
    operation_id="readExperiment",
    summary="Read what an experiment has shown",
    guards=[READS],
    responses=READS_ONE,
    security=BEARER,
    tags=["policies"],
)
async def get_experiment(
    service: NamedDependency[Service], caller: NamedDependency[Caller], experiment_id: FromPath[UUID]
) -> ExperimentReportOut:
    """Return matured cohorts, the difference between the arms with its bounds, and what the stop rule says."""
    return report_out(await report(service.context, caller.merchant_id, experiment_id))


@post(
    "/policies/experiments/{experiment_id:uuid}/ramp",
    operation_id="rampExperiment",
    summary="Change an experiment's share",
    opt=takes(RampIn, half={"share_bp": 5_000}),
    **WRITES,
)
async def post_ramp(
    body: RawBody, service: NamedDependency[Service], caller: NamedDependency[Caller], experiment_id: FromPath[UUID]
) -> ExperimentOut:
    """Concerns cases to come; those that are in keep their version and their arm."""
    given = read(body, RampIn)
    return experiment_out(await ramp(service.context, experiment_id, given.share_bp, change_of(caller)))


@post(
    "/policies/experiments/{experiment_id:uuid}/stop",
    operation_id="stopExperiment",
    summary="End an experiment",
    opt=takes(StopIn, enough={"because": "The treatment recovers more; it goes live next week."}),
    **WRITES,
)
async def post_stop(
    body: RawBody, service: NamedDependency[Service], caller: NamedDependency[Caller], experiment_id: FromPath[UUID]
) -> ExperimentOut:
    """New cases get the live version again; the version goes back to shadow, its cases go on under it."""
    given = read(body, StopIn)
    return experiment_out(await stop(service.context, experiment_id, given.because, change_of(caller)))


@post(
    "/recovery-cases/migrate",
    operation_id="migrateCases",
    summary="Move running cases to another version",
    opt=takes(MigrateIn, preview=MIGRATION),
    **{**WRITES, "tags": ["recovery-cases"]},
)
async def post_migrate(body: RawBody, service: NamedDependency[Service], caller: NamedDependency[Caller]) -> MovesOut:
    """Say what moving the chosen cases would change, and, with `dry_run: false`, do it; at most 1,000 a call.

    Without `to_digest` each case goes to what a new one like it would get today.
    """
    given = read(body, MigrateIn)
    chosen = ChosenCases(kind=given.kind, ids=given.case_ids, under_digest=given.under_digest, after=given.after)
    if given.dry_run:
        moves = await preview_moves(service.context, caller.merchant_id, chosen, given.to_digest)
    else:
        by = By(merchant_id=caller.merchant_id, actor=caller.actor, correlation_id=caller.correlation_id)
        moves = await move_cases(service.context, by, chosen, given.to_digest)
    return moves_out(moves, dry_run=given.dry_run)


HANDLERS = (
    get_shadow,
    post_experiment,
    get_experiments,
    get_experiment,
    post_ramp,
    post_stop,
    post_migrate,
)
