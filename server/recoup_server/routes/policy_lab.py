"""The policy author's workbench: what policies would do, asked of texts, versions and what is in force."""

from typing import Final

from litestar import post
from litestar.di import NamedDependency
from litestar.params import RawBody

from recoup_core.flows.explain import decide_again, explain_case, explain_live
from recoup_core.flows.operate import NotFound
from recoup_core.rules.deciding.explain import Explained, explain
from recoup_core.rules.deciding.what_if import WhatIf
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.language.given import facts_given
from recoup_core.rules.language.schema import parse_policy
from recoup_core.storage.merchants import Role
from recoup_core.storage.versions import read_version
from recoup_core.wiring import Service
from recoup_server.auth import READS, Caller
from recoup_server.errors import Forbidden
from recoup_server.examples import EXPLAIN, EXPLAIN_TEXT
from recoup_server.openapi import BEARER, refusals, takes
from recoup_server.reading import read
from recoup_server.schemas_lab import ExplainIn, ExplainOut

AUTHORS: Final = frozenset({Role.POLICY_AUTHOR, Role.ADMIN})
"""Who may bring texts of their own."""


@post(
    "/policies/explain",
    status_code=200,
    operation_id="explainPolicy",
    summary="Explain what is decided, and why",
    guards=[READS],
    responses=refusals(400, 401, 403, 404, 413, 422, 503),
    security=BEARER,
    tags=["policies"],
    opt=takes(ExplainIn, facts=EXPLAIN, text=EXPLAIN_TEXT),
)
async def post_explain(body: RawBody, service: NamedDependency[Service], caller: NamedDependency[Caller]) -> ExplainOut:
    """Return which policy decides, each rule's conditions with their values, the limits and what it comes to.

    Every role may ask about the policies in force and about cases; texts are for policy authors.
    """
    given = read(body, ExplainIn)
    given.check()
    context, merchant_id = service.context, caller.merchant_id
    if given.case_id is not None:
        if given.again:
            told = await decide_again(context, merchant_id, given.case_id)
        else:
            told = await explain_case(context, merchant_id, given.case_id, given.decision_id)
        return ExplainOut(words=list(told.words), explained=None, case=told)
    what_if = given.situation.what_if(service.clock.now())
    text = await _text(service, caller, given)
    if text is None:
        explained = await explain_live(context, merchant_id, given.kind, given.facts, what_if)
    else:
        explained = await context.policies.workbench.run(_by_text, *text, given, what_if)
    return ExplainOut(words=list(explained.words), explained=explained, case=None)


async def _text(service: Service, caller: Caller, given: ExplainIn) -> tuple[str, str] | None:
    """Return the text that is asked, and what it is called; None: what is in force is."""
    if given.text is not None:
        if AUTHORS.isdisjoint(caller.roles):
            raise Forbidden(" or ".join(sorted(AUTHORS)))
        return given.text, given.name
    if given.version_id is None:
        return None
    async with service.database.connection() as connection:
        version = await read_version(connection, given.version_id)
    if version is None or version.merchant_id not in (None, caller.merchant_id):
        raise NotFound("policy version", given.version_id)
    return version.body, version.source


def _by_text(text: str, name: str, given: ExplainIn, what_if: WhatIf) -> Explained:
    """Explain by a text, which need not be stored; the plain evaluator answers."""
    policy = parse_policy(text, source=name)
    facts = facts_given(given.facts, policy.vocabulary, policy.baseline)
    return explain(CompiledPolicy(policy, None, reason="a text is asked once"), facts, what_if)


HANDLERS = (post_explain,)
