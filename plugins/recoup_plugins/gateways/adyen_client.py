"""The official SDK, held to what a payment needs: no redirect, bounded time and size, threads of its own.

The SDK is synchronous, opens a connection per call, follows redirects (and would carry the API key along), reads
without an end, and has no option for another address: all of that is closed here.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import Adyen
import requests
from Adyen.httpclient import HTTPClient
from Adyen.settings import LIB_NAME, LIB_VERSION

from recoup_plugins import SettlementUnreadable
from recoup_plugins.gateways.adyen_errors import AdyenAnswerLost, told_by

CONNECT_TIMEOUT_S: Final = 3.0

MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""Far beyond any answer of Checkout; the stored methods of one shopper are some 500 bytes each."""

MAX_CALLS: Final = 16
"""Calls at a time at one account; more wait, within the time that flows give them."""

CHUNK: Final = 64 * 1024


class _Transport(HTTPClient):  # type: ignore[misc]  # the SDK has no types
    """The SDK's way to send, with one hop, a deadline for the whole answer and a limit for its size."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"{LIB_NAME}/", LIB_VERSION, "requests", timeout_s)

    def _requests_request(
        self,
        method: str,
        url: str,
        json: Any = None,
        data: Any = None,
        xapikey: str = "",
        headers: Mapping[str, str] | None = None,
        **_unused: Any,
    ) -> tuple[str, Any, int, Mapping[str, str]]:
        sent = {**(headers or {}), "User-Agent": self.user_agent, "x-api-key": xapikey}
        status, told, body = fetched(
            method, url, timeout_s=self.timeout, max_bytes=MAX_ANSWER_BYTES, headers=sent, json=json, data=data
        )
        return body.decode("utf-8", "replace"), json, status, told


def fetched(
    method: str, url: str, *, timeout_s: float, max_bytes: int, **more: Any
) -> tuple[int, Mapping[str, str], bytes]:
    """Send one request and read its answer; raises as `requests` does, and `AdyenAnswerLost` beyond a bound."""
    until = time.monotonic() + timeout_s
    limits = (min(CONNECT_TIMEOUT_S, timeout_s), timeout_s)
    with requests.request(method, url, timeout=limits, allow_redirects=False, stream=True, **more) as answer:
        body = bytearray()
        while chunk := answer.raw.read1(CHUNK, decode_content=True):  # what is there: a whole chunk may never come
            body += chunk
            if len(body) > max_bytes:
                raise AdyenAnswerLost(f"the answer is longer than {max_bytes} bytes")
            if time.monotonic() > until:
                raise AdyenAnswerLost("the answer took too long")
        return answer.status_code, answer.headers, bytes(body)


class AdyenApi:
    """Adyen's Checkout API, callable from the event loop. Making it does no I/O."""

    def __init__(self, api_key: str, *, live_prefix: str | None, api_base: str | None, timeout_s: float) -> None:
        sdk = Adyen.Adyen(xapikey=api_key, platform="live" if live_prefix else "test", live_endpoint_prefix=live_prefix)
        sdk.client.http_client, sdk.client.http_init = _Transport(timeout_s), True
        self.payments = sdk.checkout.payments_api
        self.modifications = sdk.checkout.modifications_api
        self.links = sdk.checkout.payment_links_api
        self.stored = sdk.checkout.recurring_api
        if api_base is not None:  # the SDK has no option for it
            for service in (self.payments, self.modifications, self.links, self.stored):
                service.baseUrl = api_base.rstrip("/")
        self._threads = ThreadPoolExecutor(MAX_CALLS, thread_name_prefix="adyen")

    async def ask(self, call: Callable[..., Any], *args: Any, key: str | None = None, **more: Any) -> dict[str, Any]:
        """Call a method of the SDK on a thread and return the answer's JSON object.

        Raises `AdyenBusy`, `AdyenRefused` and `AdyenAnswerLost`, and nothing else.
        """
        answer = await self.on_thread(partial(call, *args, idempotency_key=key, **more))
        message = answer.message
        if not isinstance(message, dict) or not message:  # the SDK makes {} of what it can't read
            raise AdyenAnswerLost(f"{answer.status_code} with an unreadable answer")
        return message

    async def on_thread(self, call: Callable[[], Any]) -> Any:
        """Run a blocking call on one of this account's threads; what it raises is told in our three words."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except (AdyenAnswerLost, SettlementUnreadable):
            raise
        except Exception as raised:  # the SDK raises more than its own on answers of no shape
            raise told_by(raised) from None
