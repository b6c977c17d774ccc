"""The publisher against a real RabbitMQ, through a proxy where connections have to break."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import dramatiq
import pika.exceptions
import pytest

from recoup_core.secret import SecretUrl
from recoup_core.settings import Settings
from recoup_core.telemetry import Metrics
from recoup_workers import publisher
from recoup_workers.actors import parcels_for, queue_name
from recoup_workers.broker import queue_arguments, rabbit_broker
from recoup_workers.contract import JobRef, Parcel
from recoup_workers.publisher import RabbitTransport
from recoup_workers.scheduler import Scheduler

pytestmark = pytest.mark.rabbitmq


def parcels(settings: Settings, count: int) -> list[Parcel]:
    refs = [JobRef(number, "collect", UUID(int=number), 1) for number in range(count)]
    return parcels_for(refs, settings.amqp.queue_prefix, 1)


@asynccontextmanager
async def transport(
    settings: Settings, counts: Metrics, url: SecretUrl | None = None, most: int = 10_000
) -> AsyncIterator[RabbitTransport]:
    target = url or settings.amqp.url
    assert target is not None
    made = RabbitTransport(target, queue_name(settings.amqp.queue_prefix), most, counts)
    try:
        yield made
    finally:
        await made.close()


def depth(channel: Any, settings: Settings) -> int:
    return int(channel.queue_declare(queue_name(settings.amqp.queue_prefix), passive=True).method.message_count)


async def test_confirmed_messages_are_in_the_queue(
    rabbit_settings: Settings, counts: Metrics, rabbit_channel: Any
) -> None:
    """Several windows of confirms, none lost."""
    async with transport(rabbit_settings, counts) as carrier:
        assert await carrier.room() == 10_000

        refused = await carrier.send(parcels(rabbit_settings, publisher.WINDOW * 2 + 7))

        assert refused == []
        assert depth(rabbit_channel, rabbit_settings) == publisher.WINDOW * 2 + 7
        assert await carrier.room() == 10_000 - publisher.WINDOW * 2 - 7


async def test_a_message_survives_and_is_readable(
    rabbit_settings: Settings, counts: Metrics, rabbit_channel: Any
) -> None:
    """Persistent, and in the form that Dramatiq's workers read."""
    async with transport(rabbit_settings, counts) as carrier:
        await carrier.room()
        (parcel,) = parcels(rabbit_settings, 1)
        await carrier.send([parcel])

    _, properties, body = rabbit_channel.basic_get(queue_name(rabbit_settings.amqp.queue_prefix), auto_ack=True)

    assert properties.delivery_mode == 2
    assert dramatiq.Message.decode(body) == parcel.message


async def test_workers_and_publisher_declare_the_same_quorum_queue(
    rabbit_settings: Settings, counts: Metrics, rabbit_channel: Any, make_service: Any
) -> None:
    """Different arguments would be refused by the broker (406); a classic queue is what it is not."""
    queue = queue_name(rabbit_settings.amqp.queue_prefix)
    async with transport(rabbit_settings, counts) as carrier:
        assert await carrier.room() > 0
        assert rabbit_settings.amqp.url is not None
        broker = rabbit_broker(rabbit_settings.amqp.url, make_service(), threading.Event())

        await asyncio.to_thread(broker.declare_queue, queue, ensure=True)

        broker.close()
    classic = {name: value for name, value in queue_arguments(queue).items() if name != "x-queue-type"}
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="x-queue-type"):
        rabbit_channel.queue_declare(queue, durable=True, arguments=classic)


async def test_there_is_no_delay_queue(rabbit_settings: Settings, make_service: Any) -> None:
    """Long waits never sit in a broker."""
    assert rabbit_settings.amqp.url is not None
    broker = rabbit_broker(rabbit_settings.amqp.url, make_service(), threading.Event())
    (parcel,) = parcels(rabbit_settings, 1)

    with pytest.raises(ValueError, match="long waits"):
        broker.enqueue(parcel.message, delay=1000)

    assert broker.get_declared_delay_queues() == set()


async def test_a_full_queue_leaves_no_room(rabbit_settings: Settings, counts: Metrics) -> None:
    """Claims would only lose lease time in the queue."""
    async with transport(rabbit_settings, counts, most=3) as carrier:
        await carrier.room()
        await carrier.send(parcels(rabbit_settings, 5))

        assert await carrier.room() == 0


async def test_an_unroutable_message_is_refused_and_the_queue_made_again(
    rabbit_settings: Settings, counts: Metrics, rabbit_channel: Any, eventually: Any
) -> None:
    """A deleted queue must not swallow messages: mandatory publishing brings them back."""
    async with transport(rabbit_settings, counts) as carrier:
        await carrier.room()
        rabbit_channel.queue_delete(queue_name(rabbit_settings.amqp.queue_prefix))
        lost = parcels(rabbit_settings, 3)

        refused = await carrier.send(lost)
        await asyncio.sleep(publisher.RECONNECT_FIRST_S * 2)
        room = await carrier.room()
        again = await carrier.send(refused)

        assert refused == lost
        assert room > 0
        assert again == []
        assert depth(rabbit_channel, rabbit_settings) == 3


async def test_without_a_broker_there_is_no_room_and_no_hanging(counts: Metrics, unused_port: int) -> None:
    """The scheduler asks often: a broker that is away must say so fast, and not be asked at every turn."""
    carrier = RabbitTransport(SecretUrl(f"amqp://guest:guest@127.0.0.1:{unused_port}"), "q", 10, counts)
    started = asyncio.get_running_loop().time()

    rooms = [await carrier.room() for _ in range(50)]
    sent = await carrier.send([])
    await carrier.close()

    assert rooms == [0] * 50
    assert sent == []
    assert asyncio.get_running_loop().time() - started < 1.0
    assert counts.registry.get_sample_value("recoup_broker_up") == 0


async def test_a_cut_connection_is_noticed_and_made_again(
    rabbit_settings: Settings, counts: Metrics, broker_proxy: Any, amqp_url: str, eventually: Any
) -> None:
    """Messages that were never sent are refused at once; after the broker is back, all goes on."""
    async with broker_proxy(amqp_url) as (proxy, url), transport(rabbit_settings, counts, url) as carrier:
        assert await carrier.room() > 0
        await proxy.cut()
        assert await eventually(lambda: not carrier.connected)
        batch = parcels(rabbit_settings, 4)

        refused = await carrier.send(batch)
        away = await carrier.room()
        await proxy.listen()
        await asyncio.sleep(publisher.RECONNECT_FIRST_S * 5)
        back = await carrier.room()

        assert refused == batch
        assert away == 0
        assert back > 0


async def test_an_answer_that_never_comes_is_not_a_refusal(
    rabbit_settings: Settings, counts: Metrics, broker_proxy: Any, amqp_url: str, rabbit_channel: Any
) -> None:
    """The message may be with a worker: giving its job back would have two work on it at once."""
    async with broker_proxy(amqp_url) as (proxy, url), transport(rabbit_settings, counts, url) as carrier:
        await carrier.room()
        proxy.swallow_answers = True
        sending = asyncio.create_task(carrier.send(parcels(rabbit_settings, 2)))
        await asyncio.sleep(0.3)
        await proxy.cut()

        refused = await sending

        assert refused == []
        assert depth(rabbit_channel, rabbit_settings) == 2


async def test_the_scheduler_recovers_when_the_broker_does(
    rabbit_settings: Settings,
    counts: Metrics,
    broker_proxy: Any,
    amqp_url: str,
    rabbit_channel: Any,
    make_service: Any,
    eventually: Any,
) -> None:
    """While it is away nothing is claimed; what came due meanwhile is sent afterwards."""
    service = make_service()
    service.settings = rabbit_settings
    async with broker_proxy(amqp_url) as (proxy, url), transport(rabbit_settings, counts, url) as carrier:
        stop = asyncio.Event()
        running = asyncio.create_task(Scheduler(service, carrier, counts).run(stop))
        service.jobs.add(1)
        assert await eventually(lambda: carrier.connected and depth(rabbit_channel, rabbit_settings) == 1)
        await proxy.cut()
        assert await eventually(lambda: not carrier.connected)
        claims = service.jobs.claims
        service.jobs.add(2)
        await asyncio.sleep(0.2)
        claimed_meanwhile = service.jobs.claims - claims

        await proxy.listen()

        assert await eventually(lambda: depth(rabbit_channel, rabbit_settings) == 2)
        assert claimed_meanwhile <= 1
        stop.set()
        await running
