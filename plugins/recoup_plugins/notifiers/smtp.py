"""E-mail through an SMTP relay: TLS that is verified, one mail a transaction, and of each answer what is certain.

Until the mail itself is handed over (DATA), whatever goes wrong is `NotNow`: nothing left. Afterwards a lost answer is
raised and counts as unknown; the same mail with the same Message-ID is then handed over once more, as every mail
server does (RFC 5321, 4.5.4.1; RFC 1047 on doubles). DKIM is the relay's: docs/notifications.md says how.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Final, Literal

import aiosmtplib
import msgspec

from recoup_plugins import (
    Accepted,
    Feedback,
    FeedbackRefused,
    NotAccepted,
    NotifierCapabilities,
    NotifierSettings,
    NotNow,
    OutgoingMessage,
    PluginMisconfigured,
    RegisterNotifier,
    SendOutcome,
    hookimpl,
    read_notifier_options,
)
from recoup_plugins.notifiers.mail import BadAddress, Letter, Mailbox, compose, message_id_of, read_mailbox
from recoup_plugins.notifiers.mail_feedback import FeedbackOptions, FeedbackReader, relay_headers
from recoup_plugins.notifiers.signatures import BadSecret
from recoup_plugins.notifiers.smtp_pool import Line, PoolBusy, SmtpPool, tls_context
from recoup_plugins.notifiers.statuses import OURS, TOO_LARGE, enhanced, is_dead

ANSWER_S: Final = 14.0
"""For handing the mail over and its answer; with `timeout_s` before it, a send ends within `SEND_TIMEOUT_S`."""

BUSY_AGAIN_S: Final = 15.0

PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
MAX_WORDS: Final = 150

_AUTH: Final = (530, 534, 535, 538)
"""RFC 4954: the relay wants a login, or another one."""

_ADDRESS: Final = re.compile(r"[^\s<>]*@[^\s<>]*")

TROUBLES: Final = (aiosmtplib.SMTPException, OSError, TimeoutError, PoolBusy)


class SmtpAnswerLost(Exception):
    """Nobody knows whether the relay took the mail; the text holds no address."""


class SmtpOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of an `smtp` notifier."""

    host: Annotated[str, msgspec.Meta(min_length=1)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    """Default: 587 (starttls), 465 (tls), 25 (none)."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """`none` sends in the clear: to this very machine, or where `allow_plain` says so."""
    allow_plain: bool = False
    username: str | None = None
    password: str | None = None
    from_address: str
    """Whose domain the relay signs for (DKIM)."""
    reply_to: str | None = None
    """Where a brand has no address of its own for answers."""
    envelope_from: str | None = None
    """Where bounces go; `{id}` in it becomes the message's id (VERP). Default: `from_address`."""
    ca_file: str | None = None
    """Authorities that are trusted in place of the system's."""
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=15)] = 12.0
    """For everything up to the mail itself."""
    connections: Annotated[int, msgspec.Meta(ge=1, le=50)] = 4
    deduplicates: bool = True
    """False: a mail whose answer was lost is never sent again, and a task tells of it."""
    feedback_id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{5,15}\Z")] | None = None
    """The last part of Gmail's `Feedback-ID` header."""
    feedback: FeedbackOptions | None = None

    def __repr__(self) -> str:
        return f"SmtpOptions(host={self.host!r})"


class SmtpNotifier:
    """Keeps the `Notifier` and `FeedbackNotifier` protocols. Making it opens no connection."""

    def __init__(self, name: str, options: SmtpOptions, letter: Letter) -> None:
        self.name = name
        self.capabilities = NotifierCapabilities(
            channels=frozenset({"email"}),
            deduplicates=options.deduplicates,
            html=True,
            feedback=options.feedback is not None,
        )
        self._options, self._letter = options, letter
        self._tls = tls_context(options.ca_file)
        self._pool = SmtpPool(self._client, options.connections)
        self._feedback = None if options.feedback is None else FeedbackReader(options.feedback)

    def __repr__(self) -> str:
        return f"SmtpNotifier(name={self.name!r})"

    async def send(self, message: OutgoingMessage) -> SendOutcome:
        """Hand one mail to the relay; raises `SmtpAnswerLost` where it may have taken it."""
        try:
            to = read_mailbox(message.to)
        except BadAddress as bad:
            return NotAccepted(reason=str(bad), bad_address=True)
        mail = compose(message, to, self._letter)
        handed_over = False
        try:
            async with asyncio.timeout(self._options.timeout_s) as limit:
                async with self._pool.line(wait_s=self._options.timeout_s) as line:
                    refused = await self._envelope(line, message, to)
                    if refused is not None:
                        return refused
                    limit.reschedule(asyncio.get_running_loop().time() + ANSWER_S)
                    handed_over = True
                    return await self._hand_over(line, message, to, mail)
        except TROUBLES as trouble:
            if handed_over:
                raise SmtpAnswerLost(f"no answer after the mail was handed over ({type(trouble).__name__})") from None
            return _not_reached(trouble)

    async def health(self) -> None:
        """Connect, log in and say goodbye; nothing is sent."""
        client = self._client()
        try:
            await client.connect()
            await client.noop()
            with suppress(aiosmtplib.SMTPException):
                await client.quit()
        finally:
            client.close()

    def parse_feedback(self, headers: Mapping[str, str], body: bytes) -> Sequence[Feedback]:
        """Read what the relay tells later, in the format that the options name."""
        if self._feedback is None:
            raise FeedbackRefused("no feedback is configured")
        return self._feedback.read(headers, body)

    async def close(self) -> None:
        """Close the connections that wait."""
        await self._pool.close()

    def _client(self) -> aiosmtplib.SMTP:
        options = self._options
        return aiosmtplib.SMTP(
            hostname=options.host,
            port=options.port or PORTS[options.security],
            username=options.username,
            password=options.password,
            local_hostname=self._letter.sender.domain,
            use_tls=options.security == "tls",
            start_tls=options.security == "starttls",
            tls_context=None if options.security == "none" else self._tls,
            timeout=options.timeout_s,
        )

    async def _envelope(self, line: Line, message: OutgoingMessage, to: Mailbox) -> NotAccepted | NotNow | None:
        """Say from whom and to whom; what the relay refuses of that is certainly not sent."""
        client = line.client
        line.mails += 1
        if to.needs_utf8 and not client.supports_extension("smtputf8"):
            return NotAccepted(reason="the relay can't carry such an address (SMTPUTF8)")
        options = ["SMTPUTF8"] if to.needs_utf8 else []
        if client.supports_extension("dsn"):
            options += ["RET=HDRS", f"ENVID={message.id}"]
        try:
            await client.mail(self._bounces_to(message), options=options)
            await client.rcpt(str(to), encoding="utf-8" if to.needs_utf8 else "ascii")
        except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPRecipientRefused) as refused:
            with suppress(aiosmtplib.SMTPException):
                await client.rset()
            return _refusal(refused, to, sender=isinstance(refused, aiosmtplib.SMTPSenderRefused))
        return None

    async def _hand_over(self, line: Line, message: OutgoingMessage, to: Mailbox, mail: bytes) -> SendOutcome:
        try:
            await line.client.data(mail, timeout=ANSWER_S)
        except aiosmtplib.SMTPDataError as refused:
            return _refusal(refused, to)
        return Accepted(provider_ref=message_id_of(message.id, self._letter.sender.domain))

    def _bounces_to(self, message: OutgoingMessage) -> str:
        given = self._options.envelope_from
        return str(self._letter.sender) if given is None else given.replace("{id}", message.id.hex)


def _refusal(refused: aiosmtplib.SMTPResponseException, to: Mailbox, *, sender: bool = False) -> NotAccepted | NotNow:
    """Return what a relay's no means; what an operator can mend comes again later."""
    status = enhanced(refused.message)
    reason = f"the relay says {refused.code} {_without_address(refused.message, to)}".strip()
    if status in TOO_LARGE or refused.code == 552:
        return NotAccepted(reason=reason)
    if refused.code < 500 or sender or refused.code in _AUTH or status in OURS:
        return NotNow(reason=reason)
    return NotAccepted(reason=reason, bad_address=is_dead(status))


def _not_reached(trouble: BaseException) -> NotNow:
    if isinstance(trouble, PoolBusy):
        return NotNow(reason=str(trouble), retry_after_s=BUSY_AGAIN_S)
    code = f" {trouble.code}" if isinstance(trouble, aiosmtplib.SMTPResponseException) else ""
    return NotNow(reason=f"no mail could be handed to the relay ({type(trouble).__name__}{code})")


def _without_address(words: str, to: Mailbox) -> str:
    """Return a relay's words without whom they are about: reasons are shown and told."""
    plain = _ADDRESS.sub("[address]", words)
    if len(to.local) > 2:
        plain = re.sub(re.escape(to.local), "[address]", plain, flags=re.IGNORECASE)
    return " ".join(plain.split())[:MAX_WORDS]


def make_smtp(settings: NotifierSettings) -> SmtpNotifier:
    """Make one notifier, without I/O but reading `ca_file`; wrong options raise `PluginMisconfigured`."""
    options = read_notifier_options(settings, SmtpOptions)

    def wrong(field: str, message: str) -> PluginMisconfigured:
        return PluginMisconfigured(settings.plugin, field, message)

    if options.security == "none" and options.host not in LOOPBACK and not options.allow_plain:
        raise wrong("security", "mails and passwords would travel in the clear; say starttls or tls")
    if (options.username is None) != (options.password is None):
        raise wrong("password", "username and password come together")
    boxes: dict[str, Mailbox | None] = {}
    for field in ("from_address", "reply_to", "envelope_from"):
        given: str | None = getattr(options, field)
        try:
            boxes[field] = None if given is None else read_mailbox(given.replace("{id}", "0" * 32))
        except BadAddress as bad:
            raise wrong(field, str(bad)) from None
    sender = boxes["from_address"]
    if sender is None or any(box is not None and box.needs_utf8 for box in boxes.values()):
        raise wrong("from_address", "our own addresses are ASCII before the @")
    try:
        letter = Letter(
            sender=sender,
            reply_to=boxes["reply_to"],
            extra=relay_headers(options.feedback),
            feedback_id=options.feedback_id,
        )
        return SmtpNotifier(settings.name, options, letter)
    except BadSecret as bad:
        raise wrong("feedback.secret", str(bad)) from None
    except OSError:
        raise wrong("ca_file", "it can't be read as certificates") from None


@hookimpl
def register_notifiers(register: RegisterNotifier) -> None:
    """`plugin = "smtp"`."""
    register("smtp", make_smtp)
