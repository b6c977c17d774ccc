"""What providers tell of messages later: delivered, bounced, complained about. It repeats, and comes in any order.

A message's state table decides what still changes it; an address is blocked whoever the message was for.
"""

from collections.abc import Sequence
from typing import Final

import asyncpg

from recoup_core.domain.customer import AddressState
from recoup_core.domain.happened import EventKind
from recoup_core.domain.message import Message, MessageEvent
from recoup_core.domain.redact import hide_addresses, redact
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.customers.blocking import Why, block, block_some
from recoup_core.flows.messages.sending import lock_for_outcome
from recoup_core.flows.messages.working import Working
from recoup_core.ports.notifier import Feedback, FeedbackKind
from recoup_core.storage.changes import Changes
from recoup_core.storage.customers import merchants_with
from recoup_core.storage.messages import find_messages, keys_of

MAX_FEEDBACK: Final = 1_000
"""Pieces of one delivery; more of them are applied in further transactions."""

_BLOCKS: Final = {
    FeedbackKind.BOUNCED: AddressState.BOUNCED,
    FeedbackKind.COMPLAINED: AddressState.COMPLAINED,
    FeedbackKind.UNSUBSCRIBED: AddressState.UNSUBSCRIBED,
}
_BECAUSE: Final = {
    FeedbackKind.BOUNCED: "a message to it came back",
    FeedbackKind.COMPLAINED: "its reader called a message spam",
    FeedbackKind.UNSUBSCRIBED: "its reader unsubscribed at the provider",
}


async def apply_feedback(context: Context, notifier: str, feedback: Sequence[Feedback]) -> int:
    """Apply what a notifier's provider tells; return how many pieces were about something known here.

    Messages are found by their id or the provider's name, among those that this notifier sent. What is about an address
    alone marks it for the merchants that the notifier serves. What nothing is known about is left quiet: providers tell
    of everything that goes through an account.
    """
    applied = 0
    for start in range(0, len(feedback), MAX_FEEDBACK):
        applied += await _apply(context, notifier, feedback[start : start + MAX_FEEDBACK])
    return applied


async def _apply(context: Context, notifier: str, feedback: Sequence[Feedback]) -> int:
    changes, applied = Changes(), 0
    actor = f"notifier:{notifier}"
    async with context.database.transaction() as connection:
        ids = [each.message_id for each in feedback if each.message_id is not None]
        refs = [each.provider_ref for each in feedback if each.provider_ref is not None]
        known = await find_messages(connection, notifier, ids, refs)
        now = context.clock.now()
        files = await lock_for_outcome(connection, await keys_of(connection, set(known.values())), now)
        working = {key: Working(file, changes, now, actor) for key, file in files.items()}
        for each in feedback:
            found = known.get(each.message_id or "") or known.get(each.provider_ref or "")
            if found is not None:
                _tell(working[found], each)
                await _block(connection, changes, each, working[found].message, working[found])
                applied += 1
            elif each.address and each.kind in _BLOCKS:
                why = Why(state=_BLOCKS[each.kind], because=_BECAUSE[each.kind], actor=actor, now=now)
                same = await _served(context, connection, notifier, each.channel, each.address.lower())
                await block_some(connection, changes, [], same, why)
                applied += bool(same)
        await changes.write(connection)
    count_events(context, changes)
    return applied


def _tell(work: Working, each: Feedback) -> None:
    because = work.said(each.detail) or None
    match each.kind:
        case FeedbackKind.DELIVERED if work.allows(MessageEvent.DELIVER):
            work.move(MessageEvent.DELIVER, sent_at=work.message.sent_at or each.occurred_at or work.now)
            work.tell(EventKind.MESSAGE_DELIVERED)
        case FeedbackKind.BOUNCED if work.allows(MessageEvent.BOUNCE):
            work.move(MessageEvent.BOUNCE, because=because, sent_at=work.message.sent_at or work.now)
            work.tell(EventKind.MESSAGE_BOUNCED, because=because)
            work.ask_where_in_vain()
        case FeedbackKind.COMPLAINED if work.message.complained_at is None:
            work.change(complained_at=each.occurred_at or work.now)
            work.tell(EventKind.MESSAGE_COMPLAINED)


async def _block(
    connection: asyncpg.Connection, changes: Changes, each: Feedback, message: Message, work: Working
) -> None:
    if each.kind not in _BLOCKS:
        return
    told = redact(hide_addresses(each.detail or "", message.to_address))
    because = f"{_BECAUSE[each.kind]}{f': {told}' if told else ''}"
    why = Why(
        state=_BLOCKS[each.kind],
        because=because,
        actor=work.actor,
        now=work.now,
        correlation_id=message.correlation_id,
    )
    await block(connection, changes, [message], why)


async def _served(
    context: Context, connection: asyncpg.Connection, notifier: str, channel: str, address: str
) -> list[tuple[str, str, str]]:
    """Return where that address is blocked: at the merchants whose customers this notifier writes to."""
    routes = [route for route in context.messaging.routes if route.notifier == notifier]
    merchants = {route.merchant for route in routes if route.customers}
    if None in merchants:
        merchants = set(await merchants_with(connection, channel, address))
    return [(merchant, channel, address) for merchant in sorted(filter(None, merchants))]
