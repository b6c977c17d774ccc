"""One POST to an address that others chose: looked up once, checked, and sent to the very address that was checked.

No redirect is followed, no proxy of the environment used, no cookie kept, nothing decompressed, no connection shared
between hosts; time, size and the number of calls at once are bounded, whatever the other side does.
"""

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import httpx
import msgspec

from recoup_core.domain.redact import redact
from recoup_core.web.addresses import is_allowed, is_within
from recoup_core.web.urls import Reach, Target, UrlRefused, read_url

TOTAL_S: Final = 10.0
"""For everything: looking the name up, connecting, TLS, sending, and reading an answer, however slowly it drips."""
CONNECT_S: Final = 4.0
"""For each address of a host; the next one is tried then."""
ADDRESSES_MAX: Final = 3
"""Addresses of one host that are tried."""
RESPONSE_BYTES: Final = 64 * 1024
"""What is read of an answer, so that its sender ends in peace; the beginning is kept."""
EXCERPT_BYTES: Final = 1_024
CALLS_MAX: Final = 100
"""Calls at once in one process; the others wait for their turn."""
LOOKUPS_MAX: Final = 8
"""Threads that ask the resolver, which can't be interrupted; slow names of some must not take everybody's threads."""

_EMAIL: Final = re.compile(r"[^\s@<>\"']+@[^\s@<>\"']+")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the IP addresses of a host; raises `OSError` where it has none."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a call."""

    ms: int
    status: int | None = None
    """None: no answer; `error` says why."""
    error: str | None = None
    response: str | None = None
    """How the answer's body begins, redacted, on one line."""
    retry_after: str | None = None
    """The header of this name, as it came."""

    @property
    def arrived(self) -> bool:
        """Whether the other side said that it has it."""
        return self.status is not None and httpx.codes.is_success(self.status)


class Caller:
    """Posts to URLs that others chose. Makes no connection and reads no file before it is first used."""

    def __init__(
        self,
        reach: Reach | None = None,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
        total_s: float = TOTAL_S,
    ) -> None:
        self.reach = reach or Reach()
        self._resolve = resolve or _Resolver().addresses
        self._tls = tls
        self._total_s = total_s
        self._turns = asyncio.Semaphore(CALLS_MAX)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post once; never raises for what the URL, its name or the other side does."""
        async with self._turns:
            began = time.monotonic()
            heard = _Heard()
            try:
                async with asyncio.timeout(self._total_s):
                    await self._post(read_url(url, self.reach), headers, body, heard)
            except TimeoutError:
                heard.error = f"no answer within {self._total_s:.0f} s"
            except UrlRefused as refused:
                heard.error = str(refused)
            except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as failure:
                heard.error = _told(failure)
            return heard.answer(began)

    async def _post(self, target: Target, headers: Mapping[str, str], body: bytes, heard: "_Heard") -> None:
        addresses = await self._checked(target)
        for number, address in enumerate(addresses, 1):
            try:
                await self._send(target, address, headers, body, heard)
            except (httpx.ConnectError, httpx.ConnectTimeout):  # certain: nothing was sent to this one
                if number == len(addresses):
                    raise
            else:
                return

    async def _checked(self, target: Target) -> list[str]:
        """Return where a host is; raise `UrlRefused` if any of it lies where nobody may send us.

        One bad address among good ones is an attempt to get there by luck.
        """
        try:
            addresses = list(dict.fromkeys(await self._resolve(target.host, target.port)))
        except socket.gaierror as unknown:
            raise OSError(f"the name {target.host} is not known ({unknown.strerror or unknown})") from None
        if not addresses:
            raise OSError(f"the name {target.host} has no address")
        for address in addresses:
            if not is_allowed(address, self.reach.allowed):
                raise UrlRefused(f"{target.host} is at {address}, which is no public address")
            if is_within(address, self.reach.allowed):
                continue
            if target.scheme != "https":
                raise UrlRefused("plain http goes to allowed networks only")
            if target.port not in self.reach.ports:
                raise UrlRefused(f"port {target.port} of public addresses is not among the allowed ones")
        return addresses[:ADDRESSES_MAX]

    async def _send(
        self, target: Target, address: str, headers: Mapping[str, str], body: bytes, heard: "_Heard"
    ) -> None:
        """Send to one address under the host's own name: that is what TLS asks for and verifies."""
        if self._tls is None:
            self._tls = httpx.create_ssl_context()
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=0)
        transport = httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False, limits=limits)
        times = {"connect": CONNECT_S, "read": self._total_s, "write": self._total_s, "pool": self._total_s}
        extensions = {"sni_hostname": target.host, "timeout": times}
        sent = {**headers, "Host": target.authority, "Accept-Encoding": "identity", "Connection": "close"}
        request = httpx.Request("POST", target.at(address), headers=sent, content=body, extensions=extensions)
        async with transport:
            response = await transport.handle_async_request(request)
            heard.status = response.status_code
            heard.retry_after = response.headers.get("retry-after")
            assert isinstance(response.stream, httpx.AsyncByteStream)
            try:
                async for chunk in response.stream:
                    heard.body += chunk[: RESPONSE_BYTES - len(heard.body)]
                    if len(heard.body) >= RESPONSE_BYTES:
                        break
            finally:
                await response.aclose()


class _Heard:
    """What is known of an answer so far: its status counts even where its body never ends."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.retry_after: str | None = None
        self.body = b""
        self.error: str | None = None

    def answer(self, began: float) -> Answer:
        ms = int((time.monotonic() - began) * 1000)
        if self.status is None:
            return Answer(ms=ms, error=self.error or "no answer")
        return Answer(ms=ms, status=self.status, response=_excerpt(self.body), retry_after=self.retry_after)


class _Resolver:
    """The system's resolver, in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS_MAX, "recoup-lookup")

    async def addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host in the system's order of preference."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port)


def _look_up(host: str, port: int) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _told(failure: Exception) -> str:
    words = {httpx.ConnectTimeout: "no connection in time", httpx.ConnectError: "no connection"}
    what = next((text for kind, text in words.items() if isinstance(failure, kind)), type(failure).__name__)
    return redact(f"{what}: {failure}" if str(failure) else what)


def _excerpt(body: bytes) -> str | None:
    text = body[:EXCERPT_BYTES].decode("utf-8", "replace")
    line = redact(_EMAIL.sub("[address]", "".join(each if each.isprintable() else " " for each in text)))
    return line or None
