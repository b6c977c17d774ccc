"""Versions of policies: brought in, put in force, retired and rolled back by the merchant whose they are.

A key sees its own merchant's versions and the house's; it changes its own only.
"""

from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter, RawBody

from recoup_core.domain.versions import PolicyVersion, VersionState
from recoup_core.flows.deploy import apply_policies
from recoup_core.flows.operate import NotFound
from recoup_core.flows.versions import activate, retire, roll_back, shadow, submit
from recoup_core.storage.listing import DEFAULT_PAGE
from recoup_core.storage.versions import list_versions, read_version
from recoup_core.wiring import Service
from recoup_server.auth import READS, WRITES_POLICIES, Caller, once
from recoup_server.examples import POLICY, POLICY_FILES
from recoup_server.openapi import BEARER, CHANGES, LISTS, READS_ONE, takes
from recoup_server.reading import Cursor, IdempotencyKey, Limit, by, change_of, cut, id_cursor, read, refuse_hidden
from recoup_server.schemas_policies import (
    ApplyIn,
    PlanOut,
    SubmittedOut,
    VersionDetail,
    VersionIn,
    VersionOut,
    VersionPage,
    detail_out,
    plan_out,
    submitted_out,
    version_out,
)

WRITES: Final[dict[str, Any]] = {
    "status_code": 200,
    "guards": [WRITES_POLICIES],
    "responses": CHANGES,
    "security": BEARER,
    "tags": ["policies"],
}
_KNOWN: Final = ResponseSpec(
    data_container=SubmittedOut, description="The text was known already", generate_examples=False
)
Word = Annotated[str | None, QueryParameter(max_length=100)]


def _id(version: PolicyVersion) -> UUID:
    return version.id


@get(
    "/policies/versions",
    operation_id="listPolicyVersions",
    summary="List versions of policies, newest first",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["policies"],
)
async def get_versions(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    kind: Word = None,
    name: Word = None,
    status: Annotated[VersionState | None, QueryParameter(name="state")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> VersionPage:
    """Return the merchant's versions and the house's; `kind`, `name` and `state` narrow the list."""
    before = id_cursor(cursor, "versions")
    filters = {"kind": kind, "name": name, "state": status}
    rows = await list_versions(service.database, caller.merchant_id, filters, before, limit + 1)
    page, following = cut(rows, limit, "versions", _id)
    return VersionPage(items=[version_out(version) for version in page], next_cursor=following)


@get(
    "/policies/versions/{version_id:uuid}",
    operation_id="getPolicyVersion",
    summary="Read a version of a policy",
    guards=[READS],
    responses=READS_ONE,
    security=BEARER,
    tags=["policies"],
)
async def get_version(
    service: NamedDependency[Service], caller: NamedDependency[Caller], version_id: FromPath[UUID]
) -> VersionDetail:
    """Return a version with its text."""
    async with service.database.connection() as connection:
        version = await read_version(connection, version_id)
    if version is None or version.merchant_id not in (None, caller.merchant_id):
        raise NotFound("policy version", version_id)
    return detail_out(version)


@post(
    "/policies/versions",
    operation_id="submitPolicyVersion",
    summary="Submit a policy's text",
    opt=takes(VersionIn, cards=POLICY) | {"answers": SubmittedOut},
    **{**WRITES, "status_code": 201, "responses": CHANGES | {200: _KNOWN}},
)
async def post_version(
    body: RawBody, service: NamedDependency[Service], caller: NamedDependency[Caller]
) -> Response[SubmittedOut]:
    """Check a text and keep it as a draft; the same text again is the same version, answered with 200."""
    given = read(body, VersionIn)
    submitted = await submit(service.context, given.text, given.name, change_of(caller, given.note))
    return Response(submitted_out(submitted), status_code=201 if submitted.fresh else 200)


@post(
    "/policies/versions/{version_id:uuid}/shadow",
    operation_id="shadowPolicyVersion",
    summary="Let a version decide beside the live one",
    **WRITES,
)
async def post_shadow(
    body: RawBody, service: NamedDependency[Service], caller: NamedDependency[Caller], version_id: FromPath[UUID]
) -> VersionOut:
    """Nothing is done about what it decides; a version that does so already stays as it is."""
    refuse_hidden(body)
    return version_out(await shadow(service.context, version_id, change_of(caller)))


@post(
    "/policies/versions/{version_id:uuid}/activate",
    operation_id="activatePolicyVersion",
    summary="Put a version in force",
    **WRITES,
)
async def post_activate(
    body: RawBody, service: NamedDependency[Service], caller: NamedDependency[Caller], version_id: FromPath[UUID]
) -> VersionOut:
    """New cases get it from now on, in every process, in place of the version of its name; running ones keep theirs."""
    refuse_hidden(body)
    return version_out(await activate(service.context, version_id, change_of(caller)))


@post(
    "/policies/versions/{version_id:uuid}/retire",
    operation_id="retirePolicyVersion",
    summary="Take a version out of use",
    **WRITES,
)
async def post_retire(
    body: RawBody, service: NamedDependency[Service], caller: NamedDependency[Caller], version_id: FromPath[UUID]
) -> VersionOut:
    """Running cases keep it; new ones get what else applies to them, the house's version of the name first."""
    refuse_hidden(body)
    return version_out(await retire(service.context, version_id, change_of(caller)))


@post(
    "/policies/{kind:str}/{name:str}/rollback",
    operation_id="rollBackPolicy",
    summary="Put the version before the present one in force again",
    opt={"answers": VersionOut},
    **{**WRITES, "guards": [WRITES_POLICIES, once]},
)
async def post_rollback(
    request: Request[Any, Any, Any],
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    kind: FromPath[str],
    name: FromPath[str],
    idempotency_key: IdempotencyKey,
) -> VersionOut:
    """One call back; a second one, with another key, brings the version back that was left."""
    refuse_hidden(body)
    call = by(request, caller, idempotency_key, body).call
    return version_out(await roll_back(service.context, kind, name, change_of(caller), call))


@post(
    "/policies/apply",
    operation_id="applyPolicies",
    summary="Deploy a set of policies",
    opt=takes(ApplyIn, one_policy=POLICY_FILES) | {"answers": PlanOut},
    **WRITES,
)
async def post_apply(body: RawBody, service: NamedDependency[Service], caller: NamedDependency[Caller]) -> PlanOut:
    """Make the merchant's own live policies exactly these files, all at once or not at all; again changes nothing."""
    given = read(body, ApplyIn)
    files = [file.file() for file in given.files]
    plan = await apply_policies(service.context, files, change_of(caller, given.note), dry_run=given.dry_run)
    return plan_out(plan, dry_run=given.dry_run)


HANDLERS = (
    get_versions,
    get_version,
    post_version,
    post_shadow,
    post_activate,
    post_retire,
    post_rollback,
    post_apply,
)
