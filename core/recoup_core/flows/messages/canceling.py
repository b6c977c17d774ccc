"""Messages that are no longer wanted before they left: whoever takes their reason away calls them off."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.happened import Event, EventKind
from recoup_core.domain.message import MESSAGE, Message, MessageEvent
from recoup_core.flows.messages.queueing import SEND_MESSAGE
from recoup_core.storage.changes import Changes
from recoup_core.storage.messages import queued_for_notices


class CalledOff(msgspec.Struct, frozen=True, kw_only=True):
    """Why what a notice says is no longer wanted, and who found that."""

    because: str
    actor: str


async def cancel_for_notices(
    connection: asyncpg.Connection,
    changes: Changes,
    called_off: Mapping[UUID, CalledOff],
    now: datetime,
) -> None:
    """Cancel the messages of notices that have not been handed over yet; what is on its way stays so.

    All at once: their locks are taken in the order in which everybody takes them.
    """
    if not called_off:
        return
    for message in await queued_for_notices(connection, called_off.keys()):
        assert message.notice_id is not None  # it was found by it
        why = called_off[message.notice_id]
        changes.update(_canceled(message, why.because, now))
        changes.drop_job(SEND_MESSAGE, message.id)
        changes.add(_told(message, why.because, now, why.actor))


def _canceled(message: Message, because: str, now: datetime) -> Message:
    state = MESSAGE.after(message.state, MessageEvent.CANCEL)
    return msgspec.structs.replace(message, state=state, because=because, finished_at=now)


def _told(message: Message, because: str, now: datetime, actor: str) -> Event:
    return Event(
        at=now,
        merchant_id=message.merchant_id,
        kind=EventKind.MESSAGE_CANCELED,
        actor=actor,
        correlation_id=message.correlation_id,
        data={
            "message": str(message.id),
            "notice": str(message.notice_id),
            "customer": message.customer_ref,
            "channel": message.channel,
            "template": message.template,
            "because": because,
        },
    )
