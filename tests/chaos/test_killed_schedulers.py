"""kill -9 of a scheduler in the midst of a round: what it claimed is neither lost nor done twice."""

import asyncio

import pytest
from tests.chaos.conftest import Chaos
from tests.chaos.proxy import Proxy
from tests.stories.client import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.rabbitmq]

PAYMENTS = 60
WITHIN_S = 30.0
SOON_S = 20.0


@pytest.mark.parametrize("arrives", [True, False], ids=["its messages arrive", "its messages are lost"])
async def test_a_scheduler_killed_while_it_sends_loses_nothing(chaos: Chaos, proxy: Proxy, arrives: bool) -> None:
    """Jobs are claimed before they are sent; the lease brings back those whose message never arrived."""
    await chaos.seed(*["tok_approve", "tok_insufficient_funds|approve"] * (PAYMENTS // 2))
    await asyncio.to_thread(chaos.house.start, "worker")
    proxy.catch(b"run_jobs")

    scheduler = chaos.house.launch("scheduler", RECOUP_AMQP_URL=proxy.url)
    async with asyncio.timeout(SOON_S):
        await proxy.caught.wait()
    scheduler.kill()
    claimed = await chaos.house.value("SELECT count(*) FROM job WHERE claims > 0")
    if arrives:
        proxy.let_go.set()
        await eventually(lambda: _ended(chaos, PAYMENTS // 2), "the worker to do what the dead one sent")
    else:
        await proxy.cut()
    chaos.house.launch("scheduler")
    await chaos.until_ended(WITHIN_S)

    assert claimed == PAYMENTS
    await chaos.all_is_well()


async def test_schedulers_killed_again_and_again_hand_out_everything_once(chaos: Chaos) -> None:
    """Wherever a kill strikes, the next scheduler goes on; two at once share the work."""
    await chaos.seed("tok_approve", "tok_lose+insufficient_funds|approve")
    await chaos.multiply(499)
    await asyncio.to_thread(chaos.house.start, "worker", "worker")

    for pause_s in (0.0, 0.05, 0.2):
        (scheduler,) = await asyncio.to_thread(chaos.house.start, "scheduler")
        await asyncio.sleep(pause_s)
        scheduler.kill()
        await chaos.house.end_leases()
    await asyncio.to_thread(chaos.house.start, "scheduler", "scheduler")
    await chaos.until_ended(WITHIN_S)

    await chaos.all_is_well()


async def _ended(chaos: Chaos, many: int) -> bool:
    return await chaos.ended() >= many
