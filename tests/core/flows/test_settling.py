"""How unknown outcomes are found out: by their job, by whoever reads them, by the sweep; with one key, in time."""

import dataclasses
import itertools
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from recoup_core.domain.attempt import AttemptState
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method
from recoup_core.domain.recovery import CaseState
from recoup_core.flows.jobs import run_jobs
from recoup_core.flows.operate import Resolution, resolve_attempt
from recoup_core.flows.outcomes import MAX_SENDS
from recoup_core.flows.recorder import Recorder
from recoup_core.flows.settle import HURRY_EVERY, LOOK_AGAIN, UNKNOWN_AGE, hurry_settlement
from recoup_core.ports import Capabilities, ChargeOutcome, ChargeRequest, FoundCharge, NotFound, Owned, Succeeded

SOFT = {"code": "generic_decline"}
KEPT = timedelta(days=7)


class Provider:
    """A gateway that does as it is told, send by send, and keeps count per key."""

    name = "sandbox"

    def __init__(self, clock: Any, *answers: Any, finds: bool = False, lifetime: timedelta = KEPT) -> None:
        self.capabilities = Capabilities(methods=frozenset(Method), key_lifetime=lifetime, finds_charges=finds)
        self._clock = clock
        self._answers = list(answers)
        self.sent: defaultdict[str, list[datetime]] = defaultdict(list)
        self.asked: list[datetime] = []

    async def charge(self, request: ChargeRequest) -> ChargeOutcome:
        self.sent[request.idempotency_key].append(self._clock.now())
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, Succeeded):
            return msgspec.structs.replace(answer, amount=request.amount)
        assert isinstance(answer, Owned)
        return answer

    async def find_charge(self, request: ChargeRequest) -> FoundCharge:
        self.asked.append(self._clock.now())
        return NotFound()

    def parse_event(self, headers: Any, body: bytes) -> Any:
        raise AssertionError("nobody sends webhooks here")

    async def health(self) -> None: ...


class World:
    """The shop at that provider, with one payment that is being collected."""

    def __init__(self, shop: Any, provider: Provider, opened: Any) -> None:
        self.shop, self.provider, self.opened = shop, provider, opened
        self.context = dataclasses.replace(shop.context, gateways={"sandbox": provider})
        self._recorder = Recorder(self.context)

    async def run_due(self) -> None:
        for _ in range(50):
            refs = await self.shop.claim()
            if not refs:
                return
            await run_jobs(self.context, self._recorder, refs)
        raise AssertionError("the jobs never end")

    async def live(self, time: timedelta) -> None:
        """Let time pass from job to job."""
        end = self.shop.clock.now() + time
        for _ in range(200):
            await self.run_due()
            due = await self.shop.next_due()
            if due is None or due > end:
                self.shop.clock.set(end)
                return
            self.shop.clock.set(max(due, self.shop.clock.now()))
        raise AssertionError("time never passes")

    async def until_sent(self) -> None:
        """Up to the first try."""
        while not self.provider.sent:
            self.shop.clock.set(max(await self.shop.next_due(), self.shop.clock.now()))
            await self.run_due()

    async def file(self) -> Any:
        return await self.shop.file(self.opened.payment.id)

    async def sends(self) -> list[datetime]:
        """When the one key left."""
        ((_, times),) = self.provider.sent.items()
        return times

    async def tasks(self) -> list[str]:
        return [row["kind"] for row in await self.shop.rows("SELECT kind FROM human_task WHERE resolved_at IS NULL")]


@pytest.fixture
def world(shop: Any) -> Any:
    """`await world(answer, ..., finds=...)`: a payment after its first try at a provider that answers so, in the
    end always as at last."""

    async def make(*answers: Any, **provider: Any) -> World:
        opened = await shop.open("tok_approve", **SOFT)
        there = World(shop, Provider(shop.clock, *answers, **provider), opened)
        await there.until_sent()
        return there

    return make


PAID = Succeeded(gateway_ref="ch_1", amount=Money(1, "EUR"))
"""Of what was asked for, whatever that was."""
LOST = ConnectionResetError("the answer was lost")


@pytest.mark.parametrize("finds", [True, False])
async def test_a_key_is_sent_again_with_growing_waits(world: Any, finds: bool) -> None:
    """A provider that is away for an hour, or for six, must not use up all sends within minutes."""
    there = await world(LOST, finds=finds)

    await there.live(timedelta(days=6))

    sends = await there.sends()
    waits = [later - earlier for earlier, later in itertools.pairwise(sends)]
    assert len(sends) == MAX_SENDS
    assert all(waited >= wait for waited, wait in zip(waits[1:], LOOK_AGAIN, strict=False))
    assert sends[-1] - sends[0] > timedelta(hours=6)
    assert len(there.provider.sent) == 1


async def test_a_provider_back_after_hours_answers_the_same_key(world: Any) -> None:
    """One attempt, one key, collected once."""
    there = await world(*[LOST] * 5, PAID)

    await there.live(timedelta(days=3))

    file = await there.file()
    assert file.case.state is CaseState.RECOVERED
    assert len(there.provider.sent) == 1
    assert [attempt.state for attempt in file.attempts] == [AttemptState.DECLINED, AttemptState.SUCCEEDED]


@pytest.mark.parametrize("lifetime", [timedelta(hours=4), timedelta(hours=24), timedelta(days=7)])
async def test_no_key_is_used_past_its_life(world: Any, lifetime: timedelta) -> None:
    """Each gateway's own, with a margin; afterwards a webhook may still tell, and a person is asked in time."""
    there = await world(LOST, finds=False, lifetime=lifetime)

    await there.live(timedelta(days=9))

    sends = await there.sends()
    assert sends[-1] - sends[0] < lifetime
    assert (await there.file()).attempts[-1].state is AttemptState.UNKNOWN
    assert await there.tasks() == ["unknown_outcome"]


async def test_a_person_settles_what_no_gateway_tells(world: Any) -> None:
    """By hand and with evidence: the case goes on, the task is done with, and nothing is sent with that key again."""
    there = await world(LOST, finds=False)
    await there.live(timedelta(days=3))
    attempt = (await there.file()).attempts[-1]
    before = len(await there.sends())

    found = Resolution(outcome="succeeded", evidence="in the export of the 24th", gateway_ref="ch_77")
    await resolve_attempt(there.context, attempt.id, there.shop.by(), found)
    await there.live(timedelta(days=3))

    file = await there.file()
    assert (file.case.state, file.payment.captured_minor) == (CaseState.RECOVERED, 1999)
    assert len(await there.sends()) == before
    assert await there.tasks() == []
    (told,) = await there.shop.rows("SELECT actor, data FROM event WHERE kind = 'attempt.resolved'")
    assert told["actor"] == "operator:anna"
    assert "in the export of the 24th" in told["data"]


async def test_a_debt_that_has_an_owner_is_left_to_him_where_the_look_up_is_sure(world: Any) -> None:
    """Lost before anything happened, and meanwhile somebody else retries the debt: the attempt is taken back."""
    there = await world(LOST, Owned(reason="smart retries are on"), finds=True)

    await there.live(timedelta(days=3))

    file = await there.file()
    assert file.attempts[-1].state is AttemptState.NOT_SENT
    assert file.case.state is CaseState.PAUSED
    assert await there.tasks() == ["two_owners"]
    assert len(await there.sends()) == 2
    assert await there.shop.next_due() is None


async def test_an_owner_says_nothing_of_a_send_that_was_lost(world: Any) -> None:
    """Without a look-up the first send may have collected: it stays unknown, and a person is asked."""
    there = await world(LOST, Owned(reason="smart retries are on"), finds=False)

    await there.live(timedelta(days=3))

    file = await there.file()
    assert file.attempts[-1].state is AttemptState.UNKNOWN
    assert file.payment.captured_minor == 0
    assert "unknown_outcome" in await there.tasks()


async def test_whoever_reads_an_open_outcome_has_it_looked_up(world: Any) -> None:
    """At most once a minute, by its job; nobody else asks the gateway."""
    there = await world(LOST, finds=True)
    await there.live(timedelta(hours=8))
    attempts = (await there.file()).attempts
    asked, now = len(there.provider.asked), there.shop.clock.now()
    assert await there.shop.next_due() > now + HURRY_EVERY

    await hurry_settlement(there.context, attempts)
    assert len(there.provider.asked) == asked
    await there.run_due()
    assert len(there.provider.asked) == asked + 1

    for _ in range(5):
        await hurry_settlement(there.context, attempts)
        await there.run_due()
    assert len(there.provider.asked) == asked + 1

    there.shop.clock.advance(HURRY_EVERY)
    await hurry_settlement(there.context, attempts)
    await there.run_due()
    assert len(there.provider.asked) == asked + 2


async def test_reading_what_is_settled_writes_nothing(world: Any) -> None:
    """No job, no row version: reads stay reads."""
    there = await world(PAID)
    await there.live(timedelta(days=3))
    jobs = await there.shop.rows("SELECT xmin::text, * FROM job")

    await hurry_settlement(there.context, (await there.file()).attempts)

    assert await there.shop.rows("SELECT xmin::text, * FROM job") == jobs


async def test_a_look_up_under_way_is_left_alone(world: Any) -> None:
    """A claimed job is somebody's: taking it away would have two look at once."""
    there = await world(LOST, finds=True)
    there.shop.clock.advance(timedelta(minutes=1))
    held = await there.shop.claim()
    assert [ref.kind for ref in held] == ["settle"]
    before = await there.shop.rows("SELECT * FROM job")

    await hurry_settlement(there.context, (await there.file()).attempts)

    assert await there.shop.rows("SELECT * FROM job") == before


async def test_an_attempt_without_a_job_is_found_by_the_sweep(world: Any) -> None:
    """The third trigger: whatever took the job away, the outcome is looked for."""
    there = await world(LOST, finds=True)
    await there.shop.rows("DELETE FROM job")
    there.shop.clock.advance(timedelta(minutes=30))
    asked = len(there.provider.asked)

    await there.shop.service.sweep(there.shop.clock.now())
    await there.run_due()

    assert len(there.provider.asked) > asked


async def test_a_person_is_asked_in_time(world: Any) -> None:
    """Past the age limit, and not before."""
    there = await world(LOST, finds=False)
    await there.live(UNKNOWN_AGE - timedelta(hours=7))
    assert await there.tasks() == []
    await there.live(timedelta(hours=14))
    assert await there.tasks() == ["unknown_outcome"]
