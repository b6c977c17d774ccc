"""A gateway without a look-up: once an answer was lost, "not sent" of a later send proves nothing about the first."""

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from recoup_core.domain.attempt import AttemptState
from recoup_core.domain.decline import Decline, DeclineCategory, DeclineSource, Retryable
from recoup_core.domain.payment import Method
from recoup_core.flows.jobs import run_jobs
from recoup_core.flows.recorder import Recorder
from recoup_core.ports import Capabilities, ChargeOutcome, ChargeRequest, Declined, FoundCharge, NotSent, Owned

KEY_LIFETIME = timedelta(hours=24)


class ForgetfulGateway:
    """Collects on the first send and loses the answer; answers as told ever after; can't be asked what happened."""

    name = "sandbox"
    capabilities = Capabilities(methods=frozenset(Method), key_lifetime=KEY_LIFETIME, finds_charges=False)

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.later: ChargeOutcome = NotSent(reason="busy")

    async def charge(self, request: ChargeRequest) -> ChargeOutcome:
        self.keys.append(request.idempotency_key)
        if len(self.keys) == 1:
            raise ConnectionError("the answer was lost")
        return self.later

    async def find_charge(self, request: ChargeRequest) -> FoundCharge:
        raise AssertionError("it says that it can't be asked")

    def parse_event(self, headers: Any, body: bytes) -> Any:
        return []

    async def health(self) -> None: ...


@pytest.fixture
def forgetful() -> ForgetfulGateway:
    """A gateway that loses its one success."""
    return ForgetfulGateway()


OUR_MISTAKE = Decline(
    code="unauthorized",
    source=DeclineSource.ISO8583,
    category=DeclineCategory.CONFIGURATION,
    retryable=Retryable.NO,
)


@pytest.mark.parametrize(
    "later",
    [NotSent(reason="busy"), Owned(reason="retried by itself"), Declined(decline=OUR_MISTAKE)],
    ids=["busy", "owned", "our mistake"],
)
async def test_what_speaks_of_a_later_send_alone_leaves_it_unknown(
    shop: Any, forgetful: ForgetfulGateway, later: ChargeOutcome
) -> None:
    """The customer may have paid: the same key goes again, never a new one, and in the end a person is asked."""
    forgetful.later = later
    opened = await shop.open("tok_approve", code="generic_decline")
    context = dataclasses.replace(shop.context, gateways={"sandbox": forgetful})
    recorder = Recorder(context)
    for _ in range(60):
        due = await shop.next_due()
        shop.clock.set(max(due, shop.clock.now()))
        await run_jobs(context, recorder, await shop.claim())
        if shop.clock.now() > opened.case.opened_at + timedelta(days=6):
            break

    file = await shop.file(opened.payment.id)
    tasks = await shop.rows("SELECT kind FROM human_task")
    assert len(set(forgetful.keys)) == 1
    assert len(forgetful.keys) > 1
    assert [a.state for a in file.attempts] == [AttemptState.DECLINED, AttemptState.UNKNOWN]
    assert [row[0] for row in tasks] == ["unknown_outcome"]
