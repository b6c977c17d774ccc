"""The one actor, one line long: a message is a list of claimed jobs of one kind, and a flow works on them.

One queue serves all kinds: the threads of a worker are shared by its queues anyway, and a thread only waits for its
coroutine. There are no retries and no delays here: the job's row decides when it is due again.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from dramatiq import Actor, Broker, Message, actor

from recoup_workers.contract import JobRef, JobService, Parcel

ACTOR: Final = "run_jobs"

MAX_AGE_MS: Final = 60 * 60 * 1000
"""A message older than an hour is stale beyond doubt (a lease lasts 15 minutes at most) and is set aside unread."""


def queue_name(prefix: str) -> str:
    """Return the name of the queue; two installations on one broker have different prefixes."""
    return f"{prefix}.jobs"


def parcels_for(refs: Sequence[JobRef], prefix: str, batch: int) -> list[Parcel]:
    """Pack claimed jobs: one kind a message, at most `batch` of them, in the order they were claimed."""
    by_kind: defaultdict[str, list[JobRef]] = defaultdict(list)
    for ref in refs:
        by_kind[ref.kind].append(ref)
    chunks = [kind[start : start + batch] for kind in by_kind.values() for start in range(0, len(kind), batch)]
    return [Parcel(_message(chunk, prefix), tuple(chunk)) for chunk in chunks]


def _message(refs: Sequence[JobRef], prefix: str) -> Message[None]:
    wire = [msgspec.to_builtins(ref) for ref in refs]
    return Message(queue_name=queue_name(prefix), actor_name=ACTOR, args=(wire,), kwargs={}, options={})


def declare_actors(broker: Broker, service: JobService) -> Actor[[list[dict[str, Any]]], None]:
    """Declare the actor on the broker; a batch that outlives its lease is canceled, for others may have it by then."""
    settings = service.settings

    async def run_jobs(wire: list[dict[str, Any]]) -> None:
        await service.run_jobs(msgspec.convert(wire, list[JobRef]))

    declare = actor(
        broker=broker,
        actor_name=ACTOR,
        queue_name=queue_name(settings.amqp.queue_prefix),
        time_limit=settings.worker.lease_s * 1000,
        max_age=MAX_AGE_MS,
    )
    return declare(run_jobs)
