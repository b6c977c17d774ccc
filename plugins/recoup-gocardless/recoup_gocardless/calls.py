"""GoCardless's API through its SDK, from an event loop: each call on a thread, once, in limited time.

The SDK is synchronous and sends calls again by itself after a lost answer. Here nothing is sent twice unseen: what an
answer means, and whether to ask again, is decided by those who call. Three things can go wrong, and all calls say so
with the same three exceptions: it was never sent, it was refused, or nobody knows.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, TypeVar, cast

import gocardless_pro
import msgspec
import requests
from gocardless_pro import errors

from recoup_gocardless.options import GoCardlessOptions

CONNECT_TIMEOUT_S: Final = 3.0

AT_ONCE: Final = 16
"""Calls under way at the same time; the rest wait their turn. GoCardless allows 1000 a minute."""

RATE_WAIT_S: Final = 60.0
"""GoCardless counts calls by the minute (developer.gocardless.com/api-reference: rate limiting)."""

UNAUTHORIZED: Final = frozenset({401, 403})

PAGE: Final = 100
MAX_PAGES: Final = 10
"""Pages that are searched before giving up."""

_NEVER_CONNECTED: Final = frozenset({"NewConnectionError", "NameResolutionError", "ConnectTimeoutError"})
"""What urllib3 raises before a byte has left."""

Shape = TypeVar("Shape")


class GoCardlessAnswerLost(Exception):
    """GoCardless gave no answer that says what happened. The text holds no token and nothing of the request."""


class GoCardlessNotAsked(Exception):
    """It is certain that GoCardless did nothing; the same call may be made again, after `wait_s` where it is known."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.wait_s = reason, wait_s


class GoCardlessRefused(Exception):
    """A definite no: the call was understood, and nothing was done."""

    def __init__(self, status: int, reason: str, message: str, conflict: str | None = None) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        """GoCardless's word (`mandate_is_inactive`), or its kind of error where it has none for the reason."""
        self.message = message
        self.conflict = conflict
        """The object that was made with this idempotency key before."""


class Page(msgspec.Struct, frozen=True):
    """A page of a list, the newest first."""

    items: tuple[Mapping[str, Any], ...]
    after: str | None
    linked: Mapping[str, Any] = {}
    """What was asked for by `include`, by resource."""


class Calls:
    """The calls that this plugin makes. Threads are started with the first one."""

    def __init__(self, options: GoCardlessOptions) -> None:
        self._client = gocardless_pro.Client(
            access_token=options.access_token,
            environment=options.environment,
            base_url=options.api_base,
            raise_on_idempotency_conflict=True,
            timeout=(min(CONNECT_TIMEOUT_S, options.timeout_s), options.timeout_s),
        )
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="gocardless")

    async def get(self, service: str, identity: str, shape: type[Shape]) -> Shape:
        """Return one object; one that does not exist is refused with 404."""
        return await self._one(lambda: self._service(service).get(identity), shape)

    async def create(self, service: str, params: Mapping[str, Any], key: str | None, shape: type[Shape]) -> Shape:
        """Make one object under an idempotency key; a used key is refused, with the object that it made."""
        headers = None if key is None else {"Idempotency-Key": key}
        return await self._one(lambda: self._service(service).create(params=dict(params), headers=headers), shape)

    async def retry_payment(self, identity: str, metadata: Mapping[str, str], key: str, shape: type[Shape]) -> Shape:
        """Have a failed payment collected once more; GoCardless keeps no keys for this call, it goes by the state."""
        headers, params = {"Idempotency-Key": key}, {"metadata": dict(metadata)}
        return await self._one(lambda: self._service("payments").retry(identity, params=params, headers=headers), shape)

    async def page(self, service: str, params: Mapping[str, Any]) -> Page:
        """Return one page of a list."""
        listed = await self._ask(lambda: self._service(service).list(params=dict(params)))
        body = cast("Mapping[str, Any]", _readable(lambda: listed.api_response.body))
        items = _readable(lambda: tuple(record.attributes for record in listed.records))
        return Page(items, _readable(lambda: listed.after), body.get("linked") or {})

    async def whole(self, service: str, params: Mapping[str, Any], shape: type[Shape]) -> list[Shape]:
        """Return a list in full, the newest first; a longer one than is read counts as a lost answer."""
        found: list[Shape] = []
        after: str | None = None
        for _ in range(MAX_PAGES):
            page = await self.page(service, {**params, "limit": PAGE, **({"after": after} if after else {})})
            found += [read(item, shape) for item in page.items]
            after = page.after
            if after is None or not page.items:
                return found
        raise GoCardlessAnswerLost(f"there are more than {MAX_PAGES * PAGE} {service}")

    def _service(self, name: str) -> Any:
        """Return a service of the SDK that sends once: by itself it would send a second and a third time."""
        service = getattr(self._client, name)
        service.max_network_retries = 1
        return service

    async def _one(self, call: Callable[[], Any], shape: type[Shape]) -> Shape:
        answer = await self._ask(call)
        return read(_readable(lambda: answer.attributes), shape)

    async def _ask(self, call: Callable[[], Any]) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except errors.GoCardlessProError as failed:
            raise _meaning(failed) from None  # the SDK's error may hold the answer's body
        except requests.RequestException as failed:
            raise _on_the_line(failed) from None  # its request holds the token
        except (AttributeError, KeyError, TypeError, ValueError) as unreadable:
            # the SDK reads an answer of an unexpected shape without looking
            raise GoCardlessAnswerLost(f"the answer can't be read ({type(unreadable).__name__})") from None


@contextmanager
def nothing_else_is_certain() -> Iterator[None]:
    """For calls that only look: where they fail, nothing is known of what they were to look at."""
    try:
        yield
    except (GoCardlessNotAsked, GoCardlessRefused) as failed:
        raise GoCardlessAnswerLost(str(failed)) from None


def read(item: object, shape: type[Shape]) -> Shape:
    """Read an object of GoCardless's; the API's examples write numbers as text, so both are taken."""
    try:
        return msgspec.convert(item, type=shape, strict=False)
    except msgspec.ValidationError:
        raise GoCardlessAnswerLost(f"the answer is no {shape.__name__}") from None


def _readable(reading: Callable[[], Any]) -> Any:
    try:
        return reading()
    except (AttributeError, KeyError, TypeError, ValueError) as unreadable:
        raise GoCardlessAnswerLost(f"the answer can't be read ({type(unreadable).__name__})") from None


def _on_the_line(failed: requests.RequestException) -> GoCardlessNotAsked | GoCardlessAnswerLost:
    reason = getattr(failed.args[0] if failed.args else None, "reason", None)
    if isinstance(failed, requests.ConnectTimeout) or type(reason).__name__ in _NEVER_CONNECTED:
        return GoCardlessNotAsked("no connection to GoCardless")
    return GoCardlessAnswerLost(f"no answer from GoCardless ({type(failed).__name__})")


def _meaning(failed: errors.GoCardlessProError) -> Exception:
    """Say what the SDK's error means; the status is what the answer's own body says."""
    if not isinstance(failed, errors.ApiError):
        return GoCardlessAnswerLost(f"{type(failed).__name__} {getattr(failed, 'status_code', '') or ''}".strip())
    status = failed.code if isinstance(failed.code, int) else 0
    if isinstance(failed, errors.RateLimitError) or status == requests.codes.too_many_requests:
        return GoCardlessNotAsked("GoCardless asks us to slow down", RATE_WAIT_S)
    if isinstance(failed, errors.AuthenticationError | errors.PermissionsError):
        return _refused(failed, status)
    known = isinstance(
        failed,
        errors.ValidationFailedError
        | errors.InvalidApiUsageError
        | errors.InvalidStateError
        | errors.IdempotentCreationConflictError,
    )
    if known and status < requests.codes.internal_server_error:
        return _refused(failed, status)
    return GoCardlessAnswerLost(f"{type(failed).__name__} {status or ''} {failed.request_id or ''}".strip())


def _refused(failed: errors.ApiError, status: int) -> GoCardlessRefused:
    first = next((each for each in failed.errors or () if isinstance(each, Mapping)), {})
    reason = first.get("reason") or (f"invalid_{first['field']}" if first.get("field") else failed.type)
    links = first.get("links")
    conflict = links.get("conflicting_resource_id") if isinstance(links, Mapping) else None
    return GoCardlessRefused(status, str(reason or "refused"), str(failed.message or ""), conflict or None)
