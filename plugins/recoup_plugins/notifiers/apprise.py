"""Text messages, push and chat through Apprise: some hundred services, each by a URL.

Apprise is synchronous, and says of a failure only that there was one. What it *logs* says more, and is heard here, on
the sending thread and nowhere else: its lines hold addresses and tokens, so none reaches our logs. A refused
connection or a definite 4xx is certain; everything else is raised and counts as unknown.
"""

import asyncio
import re
import time
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Annotated, Any, Final
from urllib.parse import quote

import apprise
import msgspec

from recoup_plugins import (
    Accepted,
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
from recoup_plugins.notifiers.apprise_words import Heard, hearing

AT_ONCE: Final = 4
"""Sends of one notifier at a time; others wait, and are told to come again."""
WAIT_S: Final = 8.0
"""For a free place."""
LOOK_S: Final = 0.05
SEND_S: Final = 20.0
"""For one send; Apprise's own limits are 4 s to connect and 4 s to answer, and `cto`/`rto` in the URL change them."""
AGAIN_S: Final = 15.0

TO: Final = "{to}"
E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
HANDLE: Final = re.compile(r"(?!\.{1,2}\Z)[^\s,;%\x00-\x1f\x7f]{1,512}")
"""Neither blanks nor commas: in an Apprise URL those would be further readers. Nor what becomes one when it is unquoted
twice, as Apprise does with options; nor a step up in a path."""

SAMPLES: Final = {"sms": "+4915112345678"}
SAMPLE: Final = "sample"

Channel = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,39}\Z")]


class AppriseAnswerLost(Exception):
    """Nobody knows whether the service took it; the text holds no address and no secret."""


class AppriseOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of an `apprise` notifier."""

    url: Annotated[str, msgspec.Meta(min_length=4, max_length=2000)]
    """Apprise's URL of the service, a secret. `{to}` in it stands for the reader's address; without, there is one
    reader alone: a room of the staff's."""
    channels: Annotated[tuple[Channel, ...], msgspec.Meta(min_length=1)]

    def __repr__(self) -> str:
        return f"AppriseOptions(channels={self.channels!r})"


class AppriseNotifier:
    """Keeps the `Notifier` protocol. Making it opens no connection and starts no thread."""

    def __init__(self, name: str, options: AppriseOptions) -> None:
        self.name = name
        self._url = options.url
        self.capabilities = NotifierCapabilities(channels=frozenset(options.channels), addressed=TO in options.url)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix=f"apprise-{name}")
        self._places = BoundedSemaphore(AT_ONCE)

    def __repr__(self) -> str:
        return f"AppriseNotifier(name={self.name!r})"

    async def send(self, message: OutgoingMessage) -> SendOutcome:
        """Hand one message to the service; raises `AppriseAnswerLost` where it may have taken it."""
        if self.capabilities.addressed and not _is_address(message.channel, message.to):
            return NotAccepted(reason=f"it is no address on the channel {message.channel}", bad_address=True)
        if not await self._place():
            return NotNow(reason=f"all {AT_ONCE} places are busy", retry_after_s=AGAIN_S)
        work = asyncio.get_running_loop().run_in_executor(self._threads, self._notify, message)
        try:
            async with asyncio.timeout(SEND_S):
                taken, heard = await asyncio.shield(work)
        except TimeoutError:
            raise AppriseAnswerLost("no answer in time") from None
        return Accepted() if taken else _meaning(heard)

    async def health(self) -> None:
        """Raise where the URL is none any more; the services have nothing that could be asked without sending."""
        if _instance(self._url, SAMPLE) is None and _instance(self._url, SAMPLES["sms"]) is None:
            raise AppriseAnswerLost("Apprise can't use the URL")

    async def _place(self) -> bool:
        """Take a place; it is given back on the thread, for a send that hangs keeps it."""
        until = time.monotonic() + WAIT_S
        while not self._places.acquire(blocking=False):
            if time.monotonic() >= until:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    def _notify(self, message: OutgoingMessage) -> tuple[bool, Heard]:
        try:
            with hearing() as heard:
                service = _instance(self._url, message.to)
                taken = service is not None and bool(
                    service.notify(
                        body=_plain(message.text),
                        title=_plain(message.subject or ""),
                        notify_type=apprise.NotifyType.INFO,
                        body_format=apprise.NotifyFormat.TEXT,
                    )
                )
            return taken, heard
        except Exception as failure:  # its text may hold the URL, which is a secret
            raise AppriseAnswerLost(f"Apprise failed ({type(failure).__name__})") from None
        finally:
            self._places.release()


def _meaning(heard: Heard) -> SendOutcome:
    """Return what of a failure is certain; raise for the rest."""
    if heard.partly or (heard.status is None and not heard.never_sent):
        raise AppriseAnswerLost("the service did not take it, and it is not certain that nothing left")
    if heard.status is None:
        return NotNow(reason="no connection to the service")
    if heard.status in (400, 404, 410, 413, 422):
        return NotAccepted(reason=f"the service answered {heard.status}")
    if 400 <= heard.status < 500:
        return NotNow(reason=f"the service answered {heard.status}")
    raise AppriseAnswerLost(f"the service answered {heard.status}")


def _instance(url: str, to: str) -> Any:
    """Return Apprise's object for one reader, or None; made anew each time, for it keeps its readers."""
    with hearing():
        return apprise.Apprise.instantiate(url.replace(TO, quote(to, safe="")), suppress_exceptions=True)


def _is_address(channel: str, to: str) -> bool:
    return (E164 if channel == "sms" else HANDLE).fullmatch(to) is not None


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def make_apprise(settings: NotifierSettings) -> AppriseNotifier:
    """Make one notifier, without I/O; wrong options raise `PluginMisconfigured`."""
    options = read_notifier_options(settings, AppriseOptions)
    if TO in options.url.partition("://")[0]:
        raise PluginMisconfigured(settings.plugin, "url", "the service itself can't depend on the reader")
    for channel in options.channels:
        if _instance(options.url, SAMPLES.get(channel, SAMPLE)) is None:
            raise PluginMisconfigured(settings.plugin, "url", f"Apprise can't use it for the channel {channel}")
    return AppriseNotifier(settings.name, options)


@hookimpl
def register_notifiers(register: RegisterNotifier) -> None:
    """`plugin = "apprise"`."""
    register("apprise", make_apprise)
