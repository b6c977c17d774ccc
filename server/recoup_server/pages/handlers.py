"""The routes of the pages that links in messages open: no key and no session, the link alone lets in.

A GET changes nothing but an event, a POST is a person's (or a mailbox's) own act. Every wrong link gets one answer.
"""

import time
from http import HTTPStatus
from typing import Annotated, Any, Final

import asyncpg
from litestar import Request, Response, Router, post, route
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.enums import HttpMethod
from litestar.exceptions import HTTPException
from litestar.params import FromPath, QueryParameter

from recoup_core.domain.errors import DomainError
from recoup_core.flows.customer_pages.charge import ChargePage
from recoup_core.flows.customer_pages.tokens import ExpiredLink
from recoup_core.flows.customer_pages.unsubscribe import UnsubscribePage, open_unsubscribe, unsubscribe
from recoup_core.flows.customer_pages.update import GoOn, UpdatePage, go_on, open_page
from recoup_core.flows.links import UNSUBSCRIBE_PATH, UPDATE_PATH
from recoup_core.storage.engine import DatabaseUnavailable
from recoup_core.telemetry import current_correlation, get_logger
from recoup_core.templates.variables import Brand
from recoup_core.wiring import Service
from recoup_server.pages.languages import Tongue, tongue
from recoup_server.pages.looks import page
from recoup_server.pages.telling import charge_values, status_of, update_values
from recoup_server.pages.throttle import GOING_ON, OPENINGS, VISITS, Throttle
from recoup_server.pages.words import fill

Asked = Request[Any, Any, State]
Back = Annotated[str | None, QueryParameter(name="back", max_length=8)]

_READ: Final[Any] = {"http_method": [HttpMethod.GET, HttpMethod.HEAD], "include_in_schema": False}
_OURS: Final = frozenset({"same-origin", "none", ""})
"""Where a browser may say that a form was sent from; older ones, and mailboxes, say nothing."""

log = get_logger(__name__)


class Limits:
    """What is let through, per process."""

    def __init__(self) -> None:
        self._visits = Throttle(VISITS, time.monotonic)
        self._openings = Throttle(OPENINGS, time.monotonic)
        self._going_on = Throttle(GOING_ON, time.monotonic)

    def refuse(self, request: Asked, token: str, *, going_on: bool = False) -> bool:
        """Return whether this link or this visitor was answered too often just now."""
        host = request.client.host if request.client is not None else ""
        by_link = self._going_on if going_on else self._openings
        return not (self._visits.allows(host) and by_link.allows(token))


@route(f"{UPDATE_PATH}{{token:str}}", **_READ)
async def get_update(
    request: Asked,
    service: NamedDependency[Service],
    limits: NamedDependency[Limits],
    token: FromPath[str],
    back: Back = None,
) -> Response[str]:
    """Show what is owed; a HEAD, as link checkers send it, tells nobody that the page was opened."""
    if limits.refuse(request, token):
        return _busy(request, service)
    seen = request.method == HttpMethod.GET
    found = await open_page(service.context, token, current_correlation(), seen=seen)
    return _update(request, service, token, found, back=back is not None)


@post(f"{UPDATE_PATH}{{token:str}}", include_in_schema=False)
async def post_update(
    request: Asked, service: NamedDependency[Service], limits: NamedDependency[Limits], token: FromPath[str]
) -> Response[str]:
    """Lead on to the gateway's own page."""
    if request.headers.get("sec-fetch-site", "") not in _OURS:
        return _wrong(request, service, HTTPStatus.FORBIDDEN)
    if limits.refuse(request, token, going_on=True):
        return _busy(request, service)
    found = await go_on(service.context, token, current_correlation())
    if isinstance(found, GoOn):
        headers = {"Location": found.url, "Referrer-Policy": "no-referrer"}
        return Response("", status_code=HTTPStatus.SEE_OTHER, headers=headers, media_type="text/plain")
    return _update(request, service, token, found)


@route(f"{UNSUBSCRIBE_PATH}{{token:str}}", **_READ)
async def get_unsubscribe(
    request: Asked, service: NamedDependency[Service], limits: NamedDependency[Limits], token: FromPath[str]
) -> Response[str]:
    """Ask whether messages shall stop: what only fetches a link, as scanners do, must not stop them."""
    if limits.refuse(request, token):
        return _busy(request, service)
    return _unsubscribe(request, service, token, await open_unsubscribe(service.context, token))


@post(f"{UNSUBSCRIBE_PATH}{{token:str}}", include_in_schema=False)
async def post_unsubscribe(
    request: Asked, service: NamedDependency[Service], limits: NamedDependency[Limits], token: FromPath[str]
) -> Response[str]:
    """Take the address off its channel: by the page's form, or by a mailbox's one click (RFC 8058)."""
    if limits.refuse(request, token):
        return _busy(request, service)
    found = await unsubscribe(service.context, token)
    return _unsubscribe(request, service, token, found)


def _update(
    request: Asked,
    service: Service,
    token: str,
    found: UpdatePage | ChargePage | ExpiredLink | None,
    *,
    back: bool = False,
) -> Response[str]:
    if found is None or isinstance(found, ExpiredLink):
        return _no_page(request, service, found)
    speech = _speech(request, service, found.locale, found.brand)
    if isinstance(found, ChargePage):
        return page("charge.html", speech, found.brand, **charge_values(found, speech))
    values = update_values(found, speech)
    # relative addresses: whatever stands in front of us may serve the pages under a path of its own
    places = {"back": back, "action": token, "again": f"{token}?back=1" if back else token}
    sources = _gateways(service)
    return page("update.html", speech, found.brand, status_of(found), leads_to=sources, **values, **places)


def _unsubscribe(
    request: Asked, service: Service, token: str, found: UnsubscribePage | ExpiredLink | None
) -> Response[str]:
    if not isinstance(found, UnsubscribePage):
        return _no_page(request, service, found)
    speech = _speech(request, service, found.locale, found.brand)
    words, brand = speech.words, found.brand
    if found.done:
        return _notice(speech, brand, words.unsubscribed, words.unsubscribed_text)
    return _notice(speech, brand, words.unsubscribe, words.unsubscribe_text, ask=words.unsubscribe_do, action=token)


def _no_page(request: Asked, service: Service, expired: ExpiredLink | None) -> Response[str]:
    if expired is None:
        return _wrong(request, service, HTTPStatus.NOT_FOUND)
    speech = _speech(request, service, expired.locale, expired.brand)
    words = speech.words
    return _notice(speech, expired.brand, words.expired, words.expired_text, HTTPStatus.GONE)


def _wrong(request: Asked, service: Service, status: int) -> Response[str]:
    speech = _speech(request, service)
    return _notice(speech, None, speech.words.unknown, speech.words.unknown_text, status)


def _busy(request: Asked, service: Service) -> Response[str]:
    speech = _speech(request, service)
    return _notice(speech, None, speech.words.busy, speech.words.busy_text, HTTPStatus.TOO_MANY_REQUESTS)


def _notice(
    speech: Tongue,
    brand: Brand | None,
    heading: str,
    text: str,
    status: int = HTTPStatus.OK,
    *,
    ask: str = "",
    action: str = "",
) -> Response[str]:
    named = "" if brand is None else brand.name
    values = {"heading": heading, "text": fill(text, brand=named), "ask": ask, "action": action}
    title = f"{heading} – {named}" if named else heading
    return page("notice.html", speech, brand, status, title=title, **values)


def _speech(request: Asked, service: Service, own: str | None = None, brand: Brand | None = None) -> Tongue:
    browser = request.headers.get("accept-language", "")
    wanted = brand.locale if brand is not None else None
    return tongue(own, browser=browser, fallback=wanted or service.context.messaging.locale)


def _gateways(service: Service) -> str:
    """Return where the form may lead on to: browsers check redirects, too, and any https host may be a gateway's."""
    local = " http://127.0.0.1:* http://localhost:*"
    return "https:" if service.context.messaging.links.base.startswith("https://") else f"https:{local}"


def answer_trouble(request: Asked, error: Exception) -> Response[str]:
    """Answer whatever a page's route raises by a page."""
    speech = tongue(browser=request.headers.get("accept-language", ""))
    words, place = speech.words, request.scope.get("path_template", "")
    if isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return _notice(speech, None, words.unknown, words.unknown_text, error.status_code)
    if isinstance(error, DatabaseUnavailable | asyncpg.QueryCanceledError | asyncpg.DeadlockDetectedError):
        log.warning("page_refused", route=place, error=type(error).__name__)
        return _notice(speech, None, words.trouble, words.trouble_text, HTTPStatus.SERVICE_UNAVAILABLE)
    told = {"code": error.code} if isinstance(error, DomainError) else {}
    log.error("page_failed", route=place, exc_info=error, **told)
    return _notice(speech, None, words.trouble, words.trouble_text, HTTPStatus.INTERNAL_SERVER_ERROR)


def make_router() -> Router:
    """Return the pages' routes with limits of their own."""
    limits = Limits()
    return Router(
        "/",
        route_handlers=[get_update, post_update, get_unsubscribe, post_unsubscribe],
        dependencies={"limits": Provide(lambda: limits, sync_to_thread=False)},
        exception_handlers={Exception: answer_trouble},
    )
