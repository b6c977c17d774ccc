"""The difference in meaning between two texts of a policy."""

import asyncio
from typing import Final

from litestar import post
from litestar.di import NamedDependency
from litestar.params import RawBody

from recoup_core.flows.operate import NotFound
from recoup_core.rules.language.schema import Policy, parse_policy
from recoup_core.rules.study.diff import PolicyDiff, compare
from recoup_core.rules.study.diff.text import diff_lines
from recoup_core.storage.versions import read_version
from recoup_core.wiring import Service
from recoup_server.auth import WRITES_POLICIES, Caller
from recoup_server.examples import DIFF
from recoup_server.openapi import BEARER, refusals, takes
from recoup_server.reading import read
from recoup_server.schemas_diff import DiffIn, DiffOut, DiffTextIn

MAX_STEPS: Final = 2_000_000
"""Steps of the decider for one request, a few seconds; the command line takes its time for larger policies."""


@post(
    "/policies/diff",
    status_code=200,
    operation_id="diffPolicies",
    summary="Say what changes when one text takes another's place",
    guards=[WRITES_POLICIES],
    responses=refusals(400, 401, 403, 404, 413, 422, 503),
    security=BEARER,
    tags=["policies"],
    opt=takes(DiffIn, small=DIFF),
)
async def post_diff(body: RawBody, service: NamedDependency[Service], caller: NamedDependency[Caller]) -> DiffOut:
    """Return which payments get which other decision, each with a smallest example, decided over all facts.

    Rules that took too long to be held against each other are named under `undecided`; more may differ there.
    """
    given = read(body, DiffIn)
    given.check()
    async with service.context.policies.workbench.place():
        new = await _policy(given.new, service, caller)
        old = await _in_force(new, service, caller) if given.old is None else await _policy(given.old, service, caller)
        diff = await asyncio.to_thread(_compared, old, new)
    return DiffOut(words=list(diff_lines(diff)), diff=diff)


def _compared(old: Policy, new: Policy) -> PolicyDiff:
    return compare(old, new, steps=MAX_STEPS)


async def _policy(given: DiffTextIn, service: Service, caller: Caller) -> Policy:
    """Return the policy of a text or a version; raises `NotFound` and `PolicyInvalid`."""
    text, name = given.text, given.name
    if given.version_id is not None:
        async with service.database.connection() as connection:
            version = await read_version(connection, given.version_id)
        if version is None or version.merchant_id not in (None, caller.merchant_id):
            raise NotFound("policy version", given.version_id)
        text, name = version.body, version.source
    return await asyncio.to_thread(_parse, text or "", name)


def _parse(text: str, name: str) -> Policy:
    return parse_policy(text, source=name)


async def _in_force(new: Policy, service: Service, caller: Caller) -> Policy:
    """Return the policy that a text would take the place of; raises `NotFound`."""
    book = await service.context.policies.refresh(caller.merchant_id)
    for compiled in book.policies:
        if (compiled.policy.kind, compiled.policy.name) == (new.kind, new.name):
            return compiled.policy
    raise NotFound("policy in force", f"{new.kind}/{new.name}")


HANDLERS = (post_diff,)
