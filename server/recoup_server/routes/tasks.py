"""The human queue: what no rule may decide."""

from operator import attrgetter
from typing import Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, RawBody

from recoup_core.flows.tasks import resolve_task
from recoup_core.rules.language.late import LateSuccess
from recoup_core.storage.listing import DEFAULT_PAGE, list_open_tasks
from recoup_core.wiring import Service
from recoup_server.auth import READS, SETTLES, Caller, once
from recoup_server.examples import RESOLVE_TASK
from recoup_server.openapi import BEARER, CHANGES, LISTS, takes
from recoup_server.reading import Cursor, IdempotencyKey, Limit, by, cut, id_cursor, read
from recoup_server.routes.payments import REPLAYED, answered
from recoup_server.schemas_in import ResolveTaskIn
from recoup_server.schemas_out import TaskOut, TaskPage, task_out


@get(
    "/tasks",
    operation_id="listTasks",
    summary="List what waits for a person",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["tasks"],
)
async def get_tasks(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> TaskPage:
    """Return the open tasks, newest first."""
    rows = await list_open_tasks(service.database, caller.merchant_id, id_cursor(cursor, "tasks"), limit + 1)
    page, following = cut(rows, limit, "tasks", attrgetter("id"))
    return TaskPage(items=[task_out(task) for task in page], next_cursor=following)


@post(
    "/tasks/{task_id:uuid}/resolve",
    status_code=200,
    operation_id="resolveTask",
    summary="Take a task out of the queue",
    guards=[SETTLES, once],
    responses=CHANGES,
    security=BEARER,
    tags=["tasks"],
    opt=takes(ResolveTaskIn, refunded=RESOLVE_TASK) | {"answers": TaskOut},
)
async def post_resolve_task(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    task_id: FromPath[UUID],
    idempotency_key: IdempotencyKey,
) -> Response[TaskOut]:
    """Say what was done about a task. An attempt that is still unknown is settled at `attempts/{id}/resolve`."""
    given = read(body, ResolveTaskIn)
    who = by(request, caller, idempotency_key, body)
    replayed = await answered(service, who)
    action = None if given.action is None else LateSuccess(given.action)
    task = await resolve_task(service.context, task_id, who, given.resolution, action)
    return Response(task_out(task), headers=REPLAYED if replayed else {})


HANDLERS = (get_tasks, post_resolve_task)
