"""Policies: those in force, and whether a text would be accepted as one."""

from collections.abc import Sequence
from typing import Any

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import RawBody

from recoup_core.rules.engine.compile import CompiledPolicy, compile_policy
from recoup_core.rules.language.errors import PolicyInvalid
from recoup_core.rules.language.schema import Policy
from recoup_core.rules.sets.ambiguity import ambiguities
from recoup_core.rules.sets.folder import PolicyFile, check_set
from recoup_core.wiring import Service
from recoup_server.auth import READS, WRITES_POLICIES, Caller
from recoup_server.examples import POLICY
from recoup_server.openapi import BEARER, LISTS, refusals, takes
from recoup_server.reading import read
from recoup_server.schemas_in import PolicyIn
from recoup_server.schemas_out import PolicyCheckOut, PolicyList, PolicyOut


def _check(text: str, name: str, in_force: Sequence[Policy]) -> PolicyCheckOut:
    try:
        checked = check_set([PolicyFile(name, text)], called=name)
        (policy,) = checked.policies
        others = [other for other in in_force if (other.kind, other.name) != (policy.kind, policy.name)]
        problems = ambiguities([*others, policy])  # a policy of the same name would be replaced
        if problems:
            raise PolicyInvalid([*checked.warnings, *problems])
        compiled = compile_policy(policy)
    except PolicyInvalid as refusal:
        return PolicyCheckOut(valid=False, problems=list(refusal.problems), digest=None, engine=None)
    warnings = list(checked.warnings)
    try:
        return PolicyCheckOut(valid=True, problems=warnings, digest=compiled.digest, engine=compiled.engine_name)
    finally:
        compiled.close()


@get(
    "/policies",
    operation_id="listPolicies",
    summary="List the policies in force",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["policies"],
)
async def get_policies(service: NamedDependency[Service], caller: NamedDependency[Caller]) -> PolicyList:
    """Return the policies that the merchant's new cases are opened under: its own and, beside them, the house's."""
    book = await service.context.policies.refresh(caller.merchant_id)
    return PolicyList(items=[_out(compiled) for compiled in book.policies])


@post(
    "/policies/check",
    status_code=200,
    operation_id="checkPolicy",
    summary="Check a policy's text",
    guards=[WRITES_POLICIES],
    responses=refusals(400, 401, 403, 413, 503),
    security=BEARER,
    tags=["policies"],
    opt=takes(PolicyIn, small=POLICY),
)
async def post_check(
    body: RawBody,
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
) -> PolicyCheckOut:
    """Return every problem with its line and column; a text with problems is answered with 200 and `valid: false`."""
    given = read(body, PolicyIn)
    book = await service.context.policies.refresh(caller.merchant_id)
    in_force = [compiled.policy for compiled in book.policies]
    return await service.context.policies.workbench.run(_check, given.text, given.name, in_force)


def _out(compiled: CompiledPolicy) -> PolicyOut:
    policy = compiled.policy
    applies: dict[str, Any] = {fact: list(values) for fact, values in policy.applies_to.only.items()}
    return PolicyOut(
        name=policy.name,
        kind=policy.kind,
        digest=compiled.digest,
        source=policy.source,
        note=policy.note,
        engine=compiled.engine_name,
        applies_to=applies,
        rules=[rule.name for rule in policy.rules],
    )


HANDLERS = (get_policies, post_check)
