"""Recovery cases: read them with their whole story, and act on them; limits hold whoever asks."""

from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, RawBody

from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.recovery import CaseState, StepState
from recoup_core.flows.forecast import forecast
from recoup_core.flows.operate import NotFound, cancel, pause, resume, retry_now, update_credential
from recoup_core.flows.settle import hurry_settlement
from recoup_core.storage.listing import DEFAULT_PAGE, CaseRow, list_attempts, list_cases, read_story
from recoup_core.wiring import Service
from recoup_server import examples
from recoup_server.auth import READS, WORKS, Caller, once
from recoup_server.openapi import BEARER, CHANGES, LISTS, READS_ONE, takes
from recoup_server.reading import Cursor, IdempotencyKey, Limit, by, cut, id_cursor, read, refuse_hidden
from recoup_server.routes.payments import REPLAYED, answered
from recoup_server.schemas_forecast import ForecastOut, forecast_out
from recoup_server.schemas_in import CancelIn, CredentialIn
from recoup_server.schemas_out import CaseDetail, CasePage, TimelineOut, file_out, row_out
from recoup_server.timeline import timeline_out

Asked = Request[Any, Any, Any]

NEWEST: Final = 5
"""Attempts among which the one is whose outcome is open: at most one is, and what is told meanwhile comes after it."""


def _case_id(row: CaseRow) -> UUID:
    return row.case.id


@get(
    "/recovery-cases",
    operation_id="listCases",
    summary="List recovery cases, newest first",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["recovery-cases"],
)
async def get_cases(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    status: Annotated[CaseState | None, QueryParameter(name="state")] = None,
    payment: Annotated[UUID | None, QueryParameter(description="A payment's id.")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> CasePage:
    """Return cases with their payments; `state` and `payment` narrow the list."""
    before = id_cursor(cursor, "cases")
    filters = {"state": status, "payment": payment}
    rows = await list_cases(service.database, caller.merchant_id, filters, before, limit + 1)
    page, following = cut(rows, limit, "cases", _case_id)
    return CasePage(items=[row_out(row) for row in page], next_cursor=following)


@get(
    "/recovery-cases/{case_id:uuid}",
    operation_id="getCase",
    summary="Read a recovery case",
    guards=[READS],
    responses=READS_ONE,
    security=BEARER,
    tags=["recovery-cases"],
)
async def get_case(
    service: NamedDependency[Service], caller: NamedDependency[Caller], case_id: FromPath[UUID]
) -> CaseDetail:
    """Return a case with its payment and the next step. An attempt whose outcome is open is looked up soon after."""
    rows = await list_cases(service.database, caller.merchant_id, {"id": case_id}, None, 1)
    if not rows:
        raise NotFound("recovery case", case_id)
    if rows[0].next_step is None or rows[0].next_step.state is StepState.RUNNING:
        about = {"payment": rows[0].payment.id}
        attempts = await list_attempts(service.database, caller.merchant_id, about, None, NEWEST)
        await hurry_settlement(service.context, attempts)
    return row_out(rows[0])


@get(
    "/recovery-cases/{case_id:uuid}/timeline",
    operation_id="getTimeline",
    summary="Read a case's whole story",
    guards=[READS],
    responses=READS_ONE,
    security=BEARER,
    tags=["recovery-cases"],
)
async def get_timeline(
    service: NamedDependency[Service], caller: NamedDependency[Caller], case_id: FromPath[UUID]
) -> TimelineOut:
    """Return past and future steps in order, each with its attempt and the decision that explains it."""
    story = await read_story(service.database, caller.merchant_id, case_id)
    if story is None:
        raise NotFound("recovery case", case_id)
    await hurry_settlement(service.context, story.attempts)
    return timeline_out(story)


@get(
    "/recovery-cases/{case_id:uuid}/forecast",
    operation_id="getForecast",
    summary="Read what is still to come for a case",
    guards=[READS],
    responses=READS_ONE,
    security=BEARER,
    tags=["recovery-cases"],
)
async def get_forecast(
    service: NamedDependency[Service], caller: NamedDependency[Caller], case_id: FromPath[UUID]
) -> ForecastOut:
    """Return what is planned, and what the case's policies will want if each retry is declined; nothing is changed."""
    return forecast_out(await forecast(service.context, caller.merchant_id, case_id))


_ACTS: Final[dict[str, Any]] = {
    "status_code": 200,
    "guards": [WORKS, once],
    "responses": CHANGES,
    "security": BEARER,
    "tags": ["recovery-cases"],
}
_ANSWERS: Final[dict[str, Any]] = {"answers": CaseDetail}


@post(
    "/recovery-cases/{case_id:uuid}/pause",
    operation_id="pauseCase",
    summary="Pause a case",
    opt=_ANSWERS,
    **_ACTS,
)
async def post_pause(
    request: Asked,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    case_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[CaseDetail]:
    """Stop planning and sending until resumed; an attempt that may have left is still settled."""
    refuse_hidden(body)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    return told(await pause(service.context, case_id, who), replayed)


@post(
    "/recovery-cases/{case_id:uuid}/resume",
    operation_id="resumeCase",
    summary="Resume a paused case",
    opt=_ANSWERS,
    **_ACTS,
)
async def post_resume(
    request: Asked,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    case_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[CaseDetail]:
    """Go on: what happens next is decided anew, from the present."""
    refuse_hidden(body)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    return told(await resume(service.context, case_id, who), replayed)


@post(
    "/recovery-cases/{case_id:uuid}/retry-now",
    operation_id="retryNow",
    summary="Try again at once",
    opt=_ANSWERS,
    **_ACTS,
)
async def post_retry_now(
    request: Asked,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    case_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[CaseDetail]:
    """Try on the primary credential in place of what was planned; network limits hold all the same."""
    refuse_hidden(body)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    return told(await retry_now(service.context, case_id, who), replayed)


@post(
    "/recovery-cases/{case_id:uuid}/cancel",
    operation_id="cancelCase",
    summary="End a case for good",
    opt=takes(CancelIn, waived=examples.CANCEL) | _ANSWERS,
    **_ACTS,
)
async def post_cancel(
    request: Asked,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    case_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[CaseDetail]:
    """End the case: the debt is no longer owed here. Money that still comes in is booked all the same."""
    given = read(body, CancelIn)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    return told(await cancel(service.context, case_id, who, given.reason), replayed)


@post(
    "/recovery-cases/{case_id:uuid}/update-credential",
    operation_id="updateCredential",
    summary="Give a new credential",
    opt=takes(CredentialIn, new_card=examples.CREDENTIAL) | _ANSWERS,
    **_ACTS,
)
async def post_update_credential(
    request: Asked,
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    case_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[CaseDetail]:
    """Take a new credential and try it at once where the rules allow."""
    given = read(body, CredentialIn).credential("body")
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    return told(await update_credential(service.context, case_id, who, given), replayed)


def told(file: CaseFile, replayed: bool) -> Response[CaseDetail]:
    """Return the answer to an operation on a case."""
    return Response(file_out(file), headers=REPLAYED if replayed else {})


HANDLERS = (
    get_cases,
    get_case,
    get_timeline,
    get_forecast,
    post_pause,
    post_resume,
    post_retry_now,
    post_cancel,
    post_update_credential,
)
