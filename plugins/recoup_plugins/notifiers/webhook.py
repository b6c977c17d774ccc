"""Messages as signed JSON to one address of the operator's own: a CRM, a delivery service, the billing system.

Signed by Standard Webhooks; the message's id is the webhook's, so that a receiver tells doubles apart as the
specification asks it to. Redirects are not followed, and answers are not read.
"""

from typing import Annotated, Any, Final

import httpx
import msgspec

from recoup_plugins import (
    Accepted,
    Clock,
    NotAccepted,
    NotifierCapabilities,
    NotifierSettings,
    NotNow,
    OutgoingMessage,
    PluginMisconfigured,
    RegisterNotifier,
    SendOutcome,
    SystemClock,
    hookimpl,
    read_notifier_options,
)
from recoup_plugins.notifiers.signatures import BadSecret, read_secret, signed
from recoup_plugins.settings import keeps_secrets

NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""No connection was had, so nothing can have arrived."""

REFUSED: Final = frozenset({400, 405, 406, 410, 413, 414, 415, 422})
"""The receiver read it and will never take it. 401, 403, 404 and redirects are mended by somebody, and come again."""

LONGEST_RETRY_AFTER_S: Final = 86_400

Channel = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,39}\Z")]


class WebhookAnswerLost(Exception):
    """Nobody knows whether the receiver took it; the text holds no secret."""


class WebhookOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a `webhook` notifier."""

    url: str
    """`https`; `http` to this very machine alone."""
    secrets: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=4)]
    """`whsec_...`; several at once while you roll them: each delivery is signed with all."""
    channels: Annotated[tuple[Channel, ...], msgspec.Meta(min_length=1)] = ("webhook",)
    """With `sms`, say, your own service delivers text messages: it is told the address, too."""
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=25)] = 15.0

    def __repr__(self) -> str:
        return "WebhookOptions(***)"


class WebhookNotifier:
    """Keeps the `Notifier` protocol. Making it opens no connection."""

    def __init__(self, name: str, options: WebhookOptions, clock: Clock | None = None) -> None:
        self.name = name
        channels = frozenset(options.channels)
        self.capabilities = NotifierCapabilities(
            channels=channels, deduplicates=True, html=True, addressed=channels != {"webhook"}
        )
        self._url, self._timeout_s = options.url, options.timeout_s
        self._keys = [read_secret(secret) for secret in options.secrets]
        self._clock = clock or SystemClock()
        self._tls = httpx.create_ssl_context()

    def __repr__(self) -> str:
        return f"WebhookNotifier(name={self.name!r})"

    async def send(self, message: OutgoingMessage) -> SendOutcome:
        """POST one message; raises `WebhookAnswerLost` where the receiver may have taken it."""
        body = msgspec.json.encode(_body(message))
        headers = signed(self._keys, str(message.id), self._clock.now(), body)
        headers |= {"content-type": "application/json", "user-agent": "recoup"}
        try:
            # a connection each: a message is rare, and one that was kept may be dead when the next one comes
            async with (
                httpx.AsyncClient(timeout=self._timeout_s, verify=self._tls, trust_env=False) as http,
                http.stream("POST", self._url, content=body, headers=headers) as answer,
            ):
                return _meaning(answer)
        except NEVER_SENT as never:
            return NotNow(reason=f"no connection to the receiver ({type(never).__name__})")
        except httpx.HTTPError as lost:
            raise WebhookAnswerLost(type(lost).__name__) from None

    async def health(self) -> None:
        """Connect and hang up again: a receiver has no address that may be asked without telling it something."""
        url = httpx.URL(self._url)
        async with httpx.AsyncClient(timeout=self._timeout_s, verify=self._tls, trust_env=False) as http:
            await http.head(url.copy_with(raw_path=b"/"))  # any answer at all means that it is there


def _body(message: OutgoingMessage) -> dict[str, Any]:
    """Return what is sent; its shape is documented in docs/notifications.md and only grows."""
    return {
        "type": "message",
        "timestamp": message.created_at,
        "data": {
            "id": message.id,
            "merchant": message.merchant_id,
            "channel": message.channel,
            "to": message.to or None,
            "sender": {"name": message.sender.name, "reply_to": message.sender.reply_to},
            "subject": message.subject,
            "text": message.text,
            "html": message.html,
            "locale": message.locale,
            "unsubscribe_url": message.unsubscribe_url,
            "about": message.data,
        },
    }


def _meaning(answer: httpx.Response) -> SendOutcome:
    status = answer.status_code
    if answer.is_success:
        return Accepted()
    if status in REFUSED:
        return NotAccepted(reason=f"the receiver answered {status}")
    if status < 500 or status == 503:
        return NotNow(reason=f"the receiver answered {status}", retry_after_s=_wait(answer))
    raise WebhookAnswerLost(f"the receiver answered {status}")


def _wait(answer: httpx.Response) -> float | None:
    said = answer.headers.get("retry-after", "")
    return min(float(said), LONGEST_RETRY_AFTER_S) if said.isascii() and said.isdigit() and len(said) < 8 else None


def make_webhook(settings: NotifierSettings) -> WebhookNotifier:
    """Make one notifier, without I/O; wrong options raise `PluginMisconfigured`."""
    options = read_notifier_options(settings, WebhookOptions)
    if not keeps_secrets(options.url):
        raise PluginMisconfigured(settings.plugin, "url", "must be an https address (http on this machine, for tests)")
    try:
        return WebhookNotifier(settings.name, options)
    except BadSecret as bad:
        raise PluginMisconfigured(settings.plugin, "secrets", str(bad)) from None


@hookimpl
def register_notifiers(register: RegisterNotifier) -> None:
    """`plugin = "webhook"`."""
    register("webhook", make_webhook)
