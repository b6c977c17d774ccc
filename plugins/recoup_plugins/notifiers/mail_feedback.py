"""What relays tell of mails later: bounces and complaints, in the formats that are in use.

`generic`: signed JSON (Standard Webhooks). `mailgun`, `postmark`: their own webhooks. `rfc3464`: the reports
themselves, piped here by a mail server (RFC 3464 for bounces, RFC 5965 for complaints).
"""

import base64
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec

from recoup_plugins import Clock, Feedback, FeedbackRefused, SystemClock
from recoup_plugins.notifiers.feedback_json import read_generic, read_mailgun, read_postmark
from recoup_plugins.notifiers.feedback_reports import read_report
from recoup_plugins.notifiers.signatures import NotSigned, read_secret, verify

MAILGUN_TOLERANCE_S: Final = 900
"""Mailgun signs no body, only a time: a quarter of an hour is what a stolen signature would be good for."""

PLAIN_MIN: Final = 16
"""Characters of a bearer token or a password."""


_UNREADABLE: Final = (
    msgspec.MsgspecError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    OSError,
    RecursionError,
)
"""What strangers' bytes make parsers raise, Python's parser of mails in particular."""


class FeedbackOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[notifiers.options.feedback]`."""

    format: Literal["generic", "mailgun", "postmark", "rfc3464"]
    secret: Annotated[str, msgspec.Meta(min_length=PLAIN_MIN)]
    """generic: `whsec_...`; mailgun: the HTTP webhook signing key; postmark: `user:password` of basic authentication;
    rfc3464: a bearer token."""

    def __repr__(self) -> str:
        return f"FeedbackOptions(format={self.format!r})"


def relay_headers(options: FeedbackOptions | None) -> tuple[tuple[str, str], ...]:
    """Return what a relay wants on a mail so that its feedback names our id; `{id}` stands for it."""
    if options is None:
        return ()
    if options.format == "postmark":
        # without, Postmark writes a Message-ID of its own
        return (("X-PM-Metadata-recoup-message", "{id}"), ("X-PM-KeepID", "true"))
    if options.format == "mailgun":
        return (("X-Mailgun-Variables", '{"recoup_message": "{id}"}'),)
    return ()


class FeedbackReader:
    """Verifies and reads; raises `FeedbackRefused` and nothing else."""

    def __init__(self, options: FeedbackOptions, clock: Clock | None = None) -> None:
        self._format, self._secret = options.format, options.secret
        self._clock = clock or SystemClock()
        if options.format == "generic":
            self._keys = [read_secret(options.secret)]

    def read(self, headers: Mapping[str, str], body: bytes) -> Sequence[Feedback]:
        """Return what a delivery tells; verified first, in constant time."""
        try:
            match self._format:
                case "generic":
                    verify(self._keys, headers, body, self._clock.now())
                    return read_generic(body)
                case "mailgun":
                    return read_mailgun(body, self._mailgun_signed)
                case "postmark":
                    self._same(headers, "Basic ", base64.b64encode(self._secret.encode()).decode())
                    return read_postmark(body)
                case _:
                    self._same(headers, "Bearer ", self._secret)
                    return read_report(body)
        except NotSigned as unsigned:
            raise FeedbackRefused(str(unsigned)) from None
        except FeedbackRefused:
            raise
        except _UNREADABLE as unreadable:
            raise FeedbackRefused(f"it can't be read ({type(unreadable).__name__})") from None

    def _same(self, headers: Mapping[str, str], scheme: str, wanted: str) -> None:
        given = headers.get("authorization", "")
        told = given[len(scheme) :] if given[: len(scheme)].lower() == scheme.lower() else ""
        if not hmac.compare_digest(told.strip().encode(), wanted.encode()):
            raise NotSigned("it has no authorization, or another one")

    def _mailgun_signed(self, timestamp: str, token: str, signature: str) -> None:
        ours = hmac.digest(self._secret.encode(), f"{timestamp}{token}".encode(), "sha256").hex()
        if not hmac.compare_digest(ours.encode(), signature.encode()):
            raise NotSigned("its signature is not ours")
        at = datetime.fromtimestamp(int(timestamp), UTC)
        if abs((self._clock.now() - at).total_seconds()) > MAILGUN_TOLERANCE_S:
            raise NotSigned("it was signed too long ago, or too early")
