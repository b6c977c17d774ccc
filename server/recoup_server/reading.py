"""From the bytes of a request to values: decoded once, strictly, and never with a card number in them."""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import unquote_to_bytes
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import BaseRouteHandler
from litestar.params import HeaderParameter, QueryParameter

from recoup_core.domain.cardnumbers import holds_card_number, refuse_card_numbers
from recoup_core.domain.errors import CardNumberRefused
from recoup_core.domain.refund import Channel
from recoup_core.domain.versions import VersionOrigin
from recoup_core.flows.desk import Change
from recoup_core.flows.operate import By
from recoup_core.storage.calls import Call
from recoup_core.storage.listing import DEFAULT_PAGE, MAX_PAGE
from recoup_server.auth import Caller, Connection
from recoup_server.errors import BadCursor, IfMatchRequired, RequestInvalid

MAX_BODY: Final = 1024 * 1024

_ETAG: Final = re.compile(r'(?:W/)?"([1-9][0-9]{0,8})"')

_MISSING: Final = "Object missing required field"
_ABOUT_A_FIELD: Final = re.compile(rf"({_MISSING}|Object contains unknown field) `(.+)`")
"""How msgspec says that a field is missing, or not known; a test asks it."""

T = TypeVar("T")

IdempotencyKey = Annotated[
    str,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Made by the caller, once per intention: the same call with the same key is done once.",
    ),
]
IfMatch = Annotated[
    str,
    HeaderParameter(
        name="If-Match", max_length=64, description="The `ETag` that was read: the change is about that version only."
    ),
]
MaybeIfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match", max_length=64, description="The `ETag` that was read; without it, whatever the version is."
    ),
]
Limit = Annotated[int, QueryParameter(ge=1, le=MAX_PAGE, description=f"Rows of a page; {DEFAULT_PAGE} if not given.")]
Text = Annotated[str | None, QueryParameter(max_length=200)]
Cursor = Annotated[
    str | None, QueryParameter(max_length=200, description="`next_cursor` of the page before; filters stay the same.")
]


def read(body: bytes, shape: type[T]) -> T:
    """Decode a JSON body strictly; raise `RequestInvalid` with the field's path, or `CardNumberRefused`."""
    if not body:
        raise RequestInvalid("body", "is empty; send a JSON object, `{}` at least")
    refuse_hidden(body)
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as mistake:
        raise RequestInvalid(*_fault(str(mistake))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as mistake:
        raise RequestInvalid("body", f"is not JSON that can be read ({type(mistake).__name__})") from None


def _fault(told: str) -> tuple[str, str]:
    """Return the field at fault, by its path, and what is wrong with it.

    A field that is missing, or that nobody knows, is named itself: msgspec names the object that it is (not) in.
    """
    message, _, at = told.partition(" - at ")
    path = at.strip("`").removeprefix("$").removeprefix(".")
    found = _ABOUT_A_FIELD.fullmatch(message)
    if found is None:
        return path or "body", message
    field = f"{path}.{found[2]}" if path else found[2]
    return field, "is missing" if found[1] == _MISSING else "is not a field of this"


def refuse_hidden(body: bytes) -> None:
    """Refuse card numbers, and NUL characters, which the database can't store.

    The plain search runs over the bytes as they came; only where it finds something, or where escapes could hide
    something from it, is the body decoded and walked field by field.
    """
    text = body.decode("utf-8", "replace")
    if "\\u" not in text and not holds_card_number(text):
        return
    try:
        decoded = msgspec.json.decode(body)
        refuse_card_numbers(decoded, "body")
        _refuse_nul(decoded)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if holds_card_number(text):
            raise CardNumberRefused("body") from None


def _refuse_nul(value: Any) -> None:
    if isinstance(value, str) and "\0" in value:
        raise RequestInvalid("body", "holds a NUL character")
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_nul(key)
            _refuse_nul(inner)
    elif isinstance(value, list):
        for inner in value:
            _refuse_nul(inner)


def refused_address(path: bytes, query: bytes, key: str) -> Exception | None:
    """Return why a path, a query string or an idempotency key is refused, None where nothing is wrong with them."""
    for field, raw in (("path", path), ("query", query), ("Idempotency-Key", key.encode("latin-1", "replace"))):
        text = unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8", "replace")
        if "\0" in text:
            return RequestInvalid(field, "holds a NUL character")
        if holds_card_number(text):
            return CardNumberRefused(field)
    return None


def by(request: Request[Any, Any, Any], caller: Caller, key: str | None, body: bytes) -> By:
    """Return who asks, and for a change the call that it is remembered under.

    If-Match is no part of the call: who sends it again after reading a newer version gets the answer it had.
    """
    asked = b"\n".join([request.method.encode(), request.scope["path"].encode(), body])
    return By(
        merchant_id=caller.merchant_id,
        actor=caller.actor,
        correlation_id=caller.correlation_id,
        call=None if key is None else Call(key, asked),
        principal=caller.principal,
        approves=caller.approves,
        channel=Channel.API,
    )


async def versioned(connection: Connection, _: BaseRouteHandler) -> None:
    """A guard: a call that changes one version of something needs an If-Match."""
    if not connection.headers.get("if-match"):
        raise IfMatchRequired


def version_of(if_match: str) -> int:
    """Return the version that an If-Match header names; raise `RequestInvalid` for anything but one ETag of ours.

    A proxy that compresses answers weakens their ETags; ours count changes, so a weak one names a version as well.
    `*` would be a change to whatever is there, which is what the header is for to rule out.
    """
    found = _ETAG.fullmatch(if_match.strip())
    if found is None:
        raise RequestInvalid("If-Match", 'is not one ETag as answers carry it, such as "3"')
    return int(found[1])


def etag(version: int) -> dict[str, str]:
    """Return the header that names a version."""
    return {"ETag": f'"{version}"'}


def change_of(caller: Caller, note: str | None = None) -> Change:
    """Return a change of the caller's own policies as flows know it."""
    return Change(
        merchant_id=caller.merchant_id,
        actor=caller.actor,
        origin=VersionOrigin.API,
        note=note,
        correlation_id=caller.correlation_id,
    )


def seal_cursor(kind: str, *parts: object) -> str:
    """Return an opaque cursor of one kind of list."""
    return base64.urlsafe_b64encode(":".join([kind, *map(str, parts)]).encode()).decode().rstrip("=")


def open_cursor(cursor: str | None, kind: str, *types: Callable[[str], Any]) -> list[Any] | None:
    """Return the parts of a cursor, None where none was given; raise `BadCursor` for one that is not this list's."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        found, *parts = text.split(":")
        if found != kind:
            raise BadCursor
        return [make(part) for make, part in zip(types, parts, strict=True)]
    except (binascii.Error, ValueError):
        raise BadCursor from None


def id_cursor(cursor: str | None, kind: str) -> UUID | None:
    """Return the id that a list goes on before."""
    parts = open_cursor(cursor, kind, UUID)
    return None if parts is None else parts[0]


def cut(rows: list[T], limit: int, kind: str, id_of: Callable[[T], UUID]) -> tuple[list[T], str | None]:
    """Cut what was read, one row more than asked, to a page and the cursor of the next one."""
    page = rows[:limit]
    more = len(rows) > limit
    return page, seal_cursor(kind, id_of(page[-1])) if more and page else None
