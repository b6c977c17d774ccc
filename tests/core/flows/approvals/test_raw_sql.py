"""What somebody with a connection to the database might try, to have a refund approved that nobody approved."""

from typing import Any

import pytest

from recoup_core.domain.refund import RefundState
from recoup_core.flows.refunds.ask import RefundAsk, RefundEdit
from recoup_core.flows.refunds.edits import edit_refund
from recoup_core.flows.refunds.requests import request_refund

SAY = (
    "INSERT INTO refund_approval (id, merchant_id, refund_id, revision, level, role, principal, verdict, channel,"
    " decided_at) VALUES (gen_random_uuid(), 'default', $1, $2, $3, $4, $5, 'approve', 'api', now())"
)
APPROVE = (
    "UPDATE refund SET state = 'approved', open_roles = '{}', approved_at = now(), version = version + 1 WHERE id = $1"
)

BY_AMOUNT = """
kind: refund
name: by-amount
applies_to: {purpose: refund}
rules:
  - {name: small, when: {amount: {lte: {EUR: 10.00}}}, approve: auto}
  - {name: two people, review: {levels: [[support_lead], [finance]], within: 2d, escalate_to: [director]}}
examples:
  - {given: {amount: {EUR: 5.00}}, expect: small}
  - {given: {amount: {EUR: 50.00}}, expect: two people}
"""


async def requested(desk: Any, amount_minor: int = 4_000) -> Any:
    """A refund that ana has just asked for."""
    payment, _ = await desk.paid()
    ask = RefundAsk(payment_id=payment.id, amount_minor=amount_minor, currency="EUR", reason="damaged")
    return (await request_refund(desk.context, ask, desk.by("ana"))).refund


async def test_a_level_takes_one_of_its_roles(desk: Any) -> None:
    """A role that the policy named for another level, or for none, approves nothing; one it escalates to may."""
    refund = await requested(desk)

    for role in ("finance", "viewer", "admin", ""):
        with pytest.raises(Exception, match="by a role of it"):
            await desk.rows(SAY, refund.id, 1, 0, role, "ben")
    for level in (2, 7):
        with pytest.raises(Exception, match="by a role of it"):
            await desk.rows(SAY, refund.id, 1, level, "finance", "ben")
    await desk.rows(SAY, refund.id, 1, 0, "team_lead", "ben")
    await desk.rows(SAY, refund.id, 1, 1, "director", "eve")

    assert {each.role for each in (await desk.file(refund)).approvals} == {"team_lead", "director"}


async def test_levels_are_those_that_the_policy_asked_for(desk: Any) -> None:
    """The second level is struck neither from the row nor by a new revision of it: the decision says two."""
    refund = await requested(desk)
    one_level = "UPDATE refund SET levels = '[[\"support_lead\"]]', version = version + 1"

    with pytest.raises(Exception, match="is a new revision"):
        await desk.rows(f"{one_level} WHERE id = $1", refund.id)
    await desk.rows(f"{one_level}, revision = revision + 1 WHERE id = $1", refund.id)
    await desk.rows(SAY, refund.id, 2, 0, "support_lead", "ben")
    with pytest.raises(Exception, match="neither policy nor people"):
        await desk.rows(APPROVE, refund.id)

    assert (await desk.file(refund)).refund.state is RefundState.IN_REVIEW


async def test_what_the_policy_said_before_an_edit_approves_nothing(shop_under: Any, desk_of: Any) -> None:
    """A small amount was approved by policy; made large, it can't point back to that answer."""
    desk = desk_of(await shop_under(BY_AMOUNT))
    small = await requested(desk, 900)
    edit = RefundEdit(amount_minor=9_000)
    large = (await edit_refund(desk.context, small.id, edit, desk.by("ana"), small.version)).refund

    with pytest.raises(Exception, match="is a new revision"):
        await desk.rows(
            "UPDATE refund SET decision_id = $2, version = version + 1 WHERE id = $1", large.id, small.decision_id
        )

    assert (small.state, large.state) == (RefundState.APPROVED, RefundState.IN_REVIEW)
