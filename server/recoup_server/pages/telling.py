"""What the update page says: which texts, rows and dates belong to how a debt stands."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from recoup_core.domain.subscription_request import Wish
from recoup_core.flows.customer_pages.charge import ChargePage, ChargeStanding
from recoup_core.flows.customer_pages.update import Standing, UpdatePage
from recoup_core.templates.formats import day_text, money_text
from recoup_core.templates.variables import NextChange
from recoup_server.pages.languages import Tongue
from recoup_server.pages.words import fill

MAX_SHOWN: Final = 120
"""Characters of a reference or a plan's name that are shown."""


def update_values(page: UpdatePage, speech: Tongue) -> Mapping[str, Any]:
    """Return what the template of the update page is given."""
    words, standing, brand = speech.words, page.standing, page.brand.name
    amount = money_text(page.debt.amount, speech.locale)
    reason = words.reasons[page.debt.reason] if page.debt.reason is not None else ""
    texts = {
        Standing.OWED: (words.owed, f"{fill(words.owed_text, brand=brand)} {reason}".strip()),
        Standing.PROCESSING: (words.processing, words.processing_text),
        Standing.PAID: (words.paid, fill(words.paid_text, amount=amount)),
        Standing.CLOSED: (words.closed, fill(words.closed_text, brand=brand)),
    }
    heading, text = texts[standing]
    return {
        "title": fill(words.title, brand=brand),
        "standing": standing.value,
        "heading": fill(heading, amount=amount),
        "texts": [text],
        "rows": list(_rows(page, speech, amount)),
        "coming": list(_coming(page, speech)),
        "leads_on": page.leads_on,
        "unavailable": page.unavailable,
        "no_page": fill(words.no_page, brand=brand),
    }


def charge_values(page: ChargePage, speech: Tongue) -> Mapping[str, Any]:
    """Return what the template of an upcoming charge's page is given."""
    words, upcoming, brand = speech.words, page.upcoming, page.brand.name
    rows = [(words.plan, upcoming.plan[:MAX_SHOWN])] if upcoming.plan else []
    rows.append((words.reference, upcoming.reference[:MAX_SHOWN]))
    if page.standing is ChargeStanding.COMING:
        rows.append((words.charge_at, day_text(upcoming.charge_at, page.zone, speech.locale)))
        rows.append((words.method, words.methods[upcoming.method]))
        if upcoming.card_expires is not None:
            rows.append((words.card_expires, day_text(upcoming.card_expires, page.zone, speech.locale)))
    amount = money_text(upcoming.amount, speech.locale)
    coming = (words.upcoming_change,) if page.ends_before else (words.upcoming_text, words.upcoming_change)
    heading, *texts = {
        ChargeStanding.COMING: (words.upcoming, *coming),
        ChargeStanding.MADE: (words.charge_made, words.charge_made_text),
        ChargeStanding.CALLED_OFF: (words.called_off, words.called_off_text),
        ChargeStanding.PAST: (words.past, words.past_text),
    }[page.standing]
    warning = ""
    if page.ends_before and upcoming.card_expires is not None:
        warning = fill(words.card_ends, day=day_text(upcoming.card_expires, page.zone, speech.locale))
    return {
        "title": fill(words.title, brand=brand),
        "heading": fill(heading, amount=amount),
        "warning": warning,
        "leads": page.standing is ChargeStanding.COMING,
        "texts": [fill(text, brand=brand, amount=amount) for text in texts],
        "rows": rows,
    }


def status_of(page: UpdatePage) -> int:
    """Return the status a page is answered with."""
    return HTTPStatus.SERVICE_UNAVAILABLE if page.unavailable else HTTPStatus.OK


def _rows(page: UpdatePage, speech: Tongue, amount: str) -> Iterator[tuple[str, str]]:
    words, debt = speech.words, page.debt
    if page.standing is Standing.PROCESSING:
        yield words.amount, amount
    if debt.plan:
        yield words.plan, debt.plan[:MAX_SHOWN]
    yield words.reference, debt.reference[:MAX_SHOWN]
    if page.standing in (Standing.OWED, Standing.PROCESSING):
        yield words.method, words.methods[debt.method]
        yield words.failed_at, day_text(debt.failed_at, page.zone, speech.locale)
    if page.standing is Standing.PAID and page.paid_at is not None:
        yield words.paid_at, day_text(page.paid_at, page.zone, speech.locale)


def _coming(page: UpdatePage, speech: Tongue) -> Iterator[str]:
    words = speech.words
    if page.standing is not Standing.OWED:
        return
    if page.next_retry is not None:
        yield fill(words.next_retry, day=day_text(page.next_retry, page.zone, speech.locale))
    elif not page.paused:
        yield words.no_retry if page.leads_on else words.no_retry_no_page
    if page.next_change is not None:
        yield _change(page.next_change, page, speech)


def _change(change: NextChange, page: UpdatePage, speech: Tongue) -> str:
    words, day = speech.words, day_text(change.at, page.zone, speech.locale)
    match change.wish:
        case Wish.PAUSE:
            return fill(words.change_pause, day=day)
        case Wish.DOWNGRADE if change.plan:
            return fill(words.change_downgrade_plan, day=day, plan=change.plan[:MAX_SHOWN])
        case Wish.DOWNGRADE:
            return fill(words.change_downgrade, day=day)
        case _:
            return fill(words.change_cancel, day=day)
