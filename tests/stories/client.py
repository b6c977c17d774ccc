"""A client of our API, and the patience that talking to other processes needs."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

ANSWER_LIMIT_S = 15.0
EVENTUALLY_S = 30.0
POLL_S = 0.1


class ApiClient:
    """A client of our API with a key: calls, and waits for what the workers make of them."""

    def __init__(self, base: str, key: str) -> None:
        self.url = f"{base}/api/billing/refund-retry-workflows"
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=ANSWER_LIMIT_S,
        )
        self._calls = 0

    async def get(self, path: str, **query: Any) -> Any:
        """Read; anything but 200 fails the test."""
        answer = await self._http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: Any = None, *, key: str | None = None) -> Any:
        """Call with an idempotency key of its own, or a given one; a refusal fails the test."""
        self._calls += 1
        headers = {"Idempotency-Key": key or f"story-{self._calls}"}
        answer = await self._http.post(path, json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json()

    async def timeline(self, case_id: str) -> Any:
        """The whole story of a case."""
        return await self.get(f"/recovery-cases/{case_id}/timeline")

    async def until(self, case_id: str, state: str) -> Any:
        """Wait until a case is in a state and return its story."""

        async def there() -> Any:
            told = await self.timeline(case_id)
            return told if told["case"]["state"] == state else None

        return await eventually(there, f"case {case_id} to be {state}")

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


async def eventually(
    holds: Callable[[], Awaitable[Any]], what: str, within_s: float = EVENTUALLY_S, pause_s: float = POLL_S
) -> Any:
    """Ask until the answer is true and return it; fail with what was waited for when it never is."""
    deadline = time.monotonic() + within_s
    while not (answer := await holds()):
        assert time.monotonic() < deadline, f"waited {within_s:g} s in vain for {what}"
        await asyncio.sleep(pause_s)
    return answer
