"""One message as an e-mail: the same id makes the same bytes, and nothing in a text becomes a header.

RFC 5322 (mail), 2045-2047 (MIME), 3834 (automatic), 2369 and 8058 (unsubscribing with one click).
"""

import re
import unicodedata
from email.headerregistry import Address, BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy, Policy
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from recoup_plugins import OutgoingMessage

MESSAGE_HEADER: Final = "X-Recoup-Message"
"""Carries the message's id; comes back in bounces and complaints that quote the headers."""

MAX_ADDRESS: Final = 254
"""RFC 5321, 4.5.3.1.3, as corrected: a path of 256 with its brackets."""
MAX_LOCAL: Final = 64
MAX_SUBJECT: Final = 500
MAX_URL: Final = 900
"""A line has at most 998 characters (RFC 5322, 2.1.1), and this header is not folded."""

_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]|[^\x00-\x7f]"
_LOCAL: Final = re.compile(rf"(?:{_ATOM})+(?:\.(?:{_ATOM})+)*")
"""RFC 5322's dot-atom, RFC 6531's characters among them; quoted ones are as good as extinct."""


class BadAddress(ValueError):
    """Nothing can be sent to it; the text does not repeat it."""


class Mailbox(msgspec.Struct, frozen=True):
    """An address fit for an envelope."""

    local: str
    domain: str
    """In ASCII (IDNA)."""

    @property
    def needs_utf8(self) -> bool:
        """Whether only servers that speak SMTPUTF8 (RFC 6531) can carry it."""
        return not self.local.isascii()

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """What an installation puts on every mail."""

    sender: Mailbox
    reply_to: Mailbox | None = None
    extra: tuple[tuple[str, str], ...] = ()
    """Headers of a relay's own; `{id}` stands for the message's id."""
    feedback_id: str | None = None


class _Unfolded(UnstructuredHeader, BaseHeader):
    """A header whose value must stay in one piece: a folded URL is none any more."""

    def fold(self, *, policy: "Policy[Any]") -> str:
        return f"{self.name}: {self}{policy.linesep}"


def _policy() -> "EmailPolicy[EmailMessage]":
    registry = HeaderRegistry()
    for name in ("list-unsubscribe", "feedback-id", MESSAGE_HEADER.lower()):
        registry.map_to_type(name, _Unfolded)
    return SMTP.clone(header_factory=registry, cte_type="7bit")


def read_mailbox(address: str) -> Mailbox:
    """Return an address as an envelope takes it; raises `BadAddress`."""
    local, at, domain = address.strip().rpartition("@")
    if not at or not local or len(local.encode("utf-8", "replace")) > MAX_LOCAL or len(address) > MAX_ADDRESS:
        raise BadAddress("it is no e-mail address")
    if not _LOCAL.fullmatch(local) or not local.isprintable():
        raise BadAddress("its part before the @ can't be")
    try:
        host = domain.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise BadAddress("its domain can't be") from None
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadAddress("its domain can't be")
    return Mailbox(local, host)


def one_line(text: str, limit: int) -> str:
    """Return a text fit for a header: one line, and nothing that a reader or a parser could take for more."""
    plain = "".join(" " if unicodedata.category(each) in ("Cc", "Zl", "Zp", "Cs") else each for each in text)
    return " ".join(plain.split())[:limit]


def compose(message: OutgoingMessage, to: Mailbox, letter: Letter) -> bytes:
    """Return the mail, with CRLF; the same message makes the same bytes."""
    policy = _policy().clone(utf8=True) if to.needs_utf8 else _policy()
    mail = EmailMessage(policy=policy)
    sender = letter.sender
    mail["From"] = Address(one_line(message.sender.name, 80), sender.local, sender.domain)
    mail["To"] = Address("", to.local, to.domain)
    mail["Subject"] = one_line(message.subject or message.text, MAX_SUBJECT)
    mail["Date"] = format_datetime(message.created_at)
    mail["Message-ID"] = message_id_of(message.id, sender.domain)
    if (reply_to := _reply_to(message, letter)) is not None:
        mail["Reply-To"] = Address("", reply_to.local, reply_to.domain)
    mail["Auto-Submitted"] = "auto-generated"
    mail[MESSAGE_HEADER] = str(message.id)
    for name, value in _unsubscribing(message.unsubscribe_url):
        mail[name] = value
    if letter.feedback_id is not None:
        mail["Feedback-ID"] = f"{_word(message.merchant_id)}::{_word(message.channel)}:{letter.feedback_id}"
    for name, value in letter.extra:
        mail[name] = value.replace("{id}", str(message.id))
    _fill(mail, message)
    mail["Content-Language"] = one_line(message.locale, 35)
    return mail.as_bytes(policy=policy)


def message_id_of(message: UUID, domain: str) -> str:
    """Return the Message-ID: by it servers and readers tell that a second sending is the first once more."""
    return f"<{message}@{domain}>"


def _reply_to(message: OutgoingMessage, letter: Letter) -> Mailbox | None:
    if message.sender.reply_to is None:
        return letter.reply_to
    try:
        return read_mailbox(message.sender.reply_to)
    except BadAddress:
        return letter.reply_to


def _unsubscribing(url: str | None) -> list[tuple[str, str]]:
    """RFC 8058: one click works by https alone; a mail client shows the link all the same."""
    if url is None or len(url) > MAX_URL or not url.isascii() or not url.isprintable() or set(url) & set(" <>,"):
        return []
    scheme = urlsplit(url).scheme
    if scheme not in ("http", "https"):
        return []
    link = [("List-Unsubscribe", f"<{url}>")]
    return [*link, ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")] if scheme == "https" else link


def _fill(mail: EmailMessage, message: OutgoingMessage) -> None:
    how: dict[str, Any] = {"charset": "utf-8", "cte": "quoted-printable"}
    mail.set_content(_body(message.text), **how)
    if message.html is not None:
        mail.add_alternative(_body(message.html), subtype="html", **how)
        mail.set_boundary(f"=_recoup_{message.id.hex}")  # a random one would make each sending another mail


def _body(text: str) -> str:
    """Return a body without what mail can't carry: control characters, halves of characters."""
    kept = "".join(each for each in text if each in "\t\r\n" or unicodedata.category(each) not in ("Cc", "Cs"))
    return kept if kept.endswith("\n") else f"{kept}\n"


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)[:64]
