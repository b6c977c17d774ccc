"""Messages as files in a folder, for demos and development: nobody is written to. Production refuses it.

A file's name is the message's id, so that the same message is there once. E-mails are `.eml`, which mail programs open.
"""

import asyncio
import os
from pathlib import Path
from typing import Annotated, Final

import msgspec

from recoup_plugins import (
    Accepted,
    NotAccepted,
    NotifierCapabilities,
    NotifierSettings,
    OutgoingMessage,
    RegisterNotifier,
    SendOutcome,
    hookimpl,
    read_notifier_options,
)
from recoup_plugins.notifiers.mail import BadAddress, Letter, compose, one_line, read_mailbox

CHANNELS: Final = ("chat", "email", "push", "sms", "webhook")
SENDER: Final = Letter(sender=read_mailbox("no-reply@outbox.example"))


class OutboxOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of an `outbox` notifier."""

    path: Annotated[str, msgspec.Meta(min_length=1)]
    """The folder; made with the first message."""
    channels: tuple[str, ...] = CHANNELS


class OutboxNotifier:
    """Keeps the `Notifier` protocol."""

    def __init__(self, name: str, options: OutboxOptions) -> None:
        self.name = name
        self.capabilities = NotifierCapabilities(channels=frozenset(options.channels), deduplicates=True, html=True)
        self.folder = Path(options.path)

    async def send(self, message: OutgoingMessage) -> SendOutcome:
        """Write one message; an address of an e-mail that can't be is refused as a relay would."""
        try:
            content, ending = _content(message)
        except BadAddress as bad:
            return NotAccepted(reason=str(bad), bad_address=True)
        await asyncio.to_thread(self._write, f"{message.id}{ending}", content)
        return Accepted(provider_ref=str(message.id))

    async def health(self) -> None:
        """Raise where the folder can't be written."""
        await asyncio.to_thread(self.folder.mkdir, parents=True, exist_ok=True)

    def _write(self, name: str, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f".{name}.{os.getpid()}"
        part.write_bytes(content)
        part.replace(self.folder / name)  # whole or not at all


def _content(message: OutgoingMessage) -> tuple[bytes, str]:
    if message.channel == "email":
        return compose(message, read_mailbox(message.to), SENDER), ".eml"
    head = {"Channel": message.channel, "To": message.to, "From": message.sender.name, "Subject": message.subject or ""}
    lines = [f"{name}: {one_line(value, 500)}" for name, value in head.items()]
    return "\n".join([*lines, "", message.text, ""]).encode(errors="replace"), ".txt"


def make_outbox(settings: NotifierSettings) -> OutboxNotifier:
    """Make one notifier, without I/O."""
    return OutboxNotifier(settings.name, read_notifier_options(settings, OutboxOptions))


@hookimpl
def register_notifiers(register: RegisterNotifier) -> None:
    """`plugin = "outbox"`."""
    register("outbox", make_outbox)
