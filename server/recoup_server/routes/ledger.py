"""The ledger: its chart, balances at a moment or the end of a day, entries, and exports for other books."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Stream

from recoup_core.domain.chart import EntryKind
from recoup_core.flows.ledger import (
    FIRST_DAY,
    LAST_DAY,
    ExportAsk,
    ExportFormat,
    end_of,
    export,
    just_after,
    trial_balance,
)
from recoup_core.rules.timing.hours import known_zone
from recoup_core.storage.ledger import Basis, Place, list_entries, read_balances, zone_of
from recoup_core.storage.listing import DEFAULT_PAGE
from recoup_core.wiring import Service
from recoup_server.auth import READS, Caller
from recoup_server.errors import RequestInvalid
from recoup_server.openapi import BEARER, LISTS
from recoup_server.reading import Cursor, Limit, open_cursor, seal_cursor
from recoup_server.schemas_ledger import (
    BalancesOut,
    ChartOut,
    EntryPageOut,
    TrialBalanceOut,
    balances_out,
    chart_out,
    entry_out,
    trial_out,
)

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)

By = Annotated[
    Basis, QueryParameter(description="Whether it counts when entries were booked, or when the money moved.")
]
At = Annotated[
    datetime | None, QueryParameter(description="What had happened by this moment, itself included; not with `date`.")
]
EndOf = Annotated[
    date | None, QueryParameter(name="date", description="What had happened by the end of this day; not with `at`.")
]
Zone = Annotated[
    str | None,
    QueryParameter(max_length=64, description="Whose days are meant (`Europe/Berlin`); else the merchant's own."),
]
First = Annotated[date | None, QueryParameter(name="from", description="The first day; else from the beginning.")]
Last = Annotated[date | None, QueryParameter(name="until", description="The last day, included; else up to now.")]


@get(
    "/ledger/accounts",
    operation_id="getLedgerAccounts",
    summary="Read the chart of accounts",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["ledger"],
)
async def get_accounts() -> ChartOut:
    """Return every account with its meaning, and which movement posts to which."""
    return chart_out()


@get(
    "/ledger/balances",
    operation_id="getLedgerBalances",
    summary="Read what every account came to",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["ledger"],
)
async def get_balances(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    at: At = None,
    day: EndOf = None,
    zone: Zone = None,
    by: By = Basis.BOOKED,
) -> BalancesOut:
    """Return balances by account and currency: now, at a moment, or at the end of a day."""
    before = await _before(service, caller, at, day, zone)
    return balances_out(await read_balances(service.database, caller.merchant_id, before, by), before, by)


@get(
    "/ledger/trial-balance",
    operation_id="getTrialBalance",
    summary="Read the trial balance",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["ledger"],
)
async def get_trial_balance(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    at: At = None,
    day: EndOf = None,
    zone: Zone = None,
    by: By = Basis.BOOKED,
) -> TrialBalanceOut:
    """Return balances in two columns whose sums are equal in every currency."""
    before = await _before(service, caller, at, day, zone)
    balances = await read_balances(service.database, caller.merchant_id, before, by)
    return trial_out(trial_balance(balances), before, by)


@get(
    "/ledger/entries",
    operation_id="listLedgerEntries",
    summary="List ledger entries, newest first",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["ledger"],
)
async def get_entries(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    payment: Annotated[UUID | None, QueryParameter(description="A payment's id.")] = None,
    refund: Annotated[UUID | None, QueryParameter(description="A refund's id.")] = None,
    account: Annotated[
        str | None, QueryParameter(max_length=200, description="`fees`; `gateway_clearing` is that of every gateway.")
    ] = None,
    kind: Annotated[EntryKind | None, QueryParameter(description="Why money moved.")] = None,
    since: Annotated[datetime | None, QueryParameter(description="From this moment on.")] = None,
    before: Annotated[datetime | None, QueryParameter(description="Before this moment.")] = None,
    by: By = Basis.BOOKED,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_PAGE,
) -> EntryPageOut:
    """Return entries with their postings; filters narrow the list."""
    filters = {
        "payment": payment,
        "refund": refund,
        "since": _moment("since", since),
        "before": _moment("before", before),
    }
    list_name = f"entries-{by}"
    parts = open_cursor(cursor, list_name, _time, UUID)
    page = await list_entries(
        service.database,
        caller.merchant_id,
        filters,
        None if parts is None else Place(*parts),
        limit,
        basis=by,
        kind=kind,
        account=account,
    )
    after = page.after
    following = None if after is None else seal_cursor(list_name, (after.at - EPOCH) // MICROSECOND, after.id)
    return EntryPageOut(items=[entry_out(entry) for entry in page.entries], next_cursor=following)


@get(
    "/ledger/export/csv",
    operation_id="exportLedgerCsv",
    summary="Export the ledger as CSV",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    media_type="text/csv",
    tags=["ledger"],
)
async def get_csv(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    first: First = None,
    last: Last = None,
    zone: Zone = None,
    by: By = Basis.BOOKED,
) -> Stream:
    """Return one row for each posting, oldest first, with amounts in minor and in major units."""
    texts = await _export(service, caller, ExportFormat.CSV, first, last, zone, by)
    return Stream(texts, media_type="text/csv", headers=_file("ledger.csv"))


@get(
    "/ledger/export/beancount",
    operation_id="exportLedgerBeancount",
    summary="Export the ledger for beancount",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    media_type="text/plain",
    tags=["ledger"],
)
async def get_beancount(
    service: NamedDependency[Service],
    caller: NamedDependency[Caller],
    first: First = None,
    last: Last = None,
    zone: Zone = None,
    by: By = Basis.BOOKED,
) -> Stream:
    """Return plain text that beancount reads as it is: one transaction for each entry."""
    texts = await _export(service, caller, ExportFormat.BEANCOUNT, first, last, zone, by)
    return Stream(texts, media_type="text/plain", headers=_file("ledger.beancount"))


async def _export(
    service: Service,
    caller: Caller,
    form: ExportFormat,
    first: date | None,
    last: date | None,
    zone: str | None,
    by: Basis,
) -> AsyncIterator[str]:
    ask = ExportAsk(
        merchant_id=caller.merchant_id,
        format=form,
        first=_day("from", first),
        last=_day("until", last),
        zone=await _zone(service, caller, zone),
        basis=by,
    )
    return export(service.database, ask, service.clock.now())


async def _before(
    service: Service, caller: Caller, at: datetime | None, day: date | None, zone: str | None
) -> datetime | None:
    if at is not None and day is not None:
        raise RequestInvalid("date", "is one way to say when, `at` another: give one of them")
    moment, asked = _moment("at", at), _day("date", day)
    if asked is not None:
        return end_of(asked, await _zone(service, caller, zone))
    return None if moment is None else just_after(moment)


async def _zone(service: Service, caller: Caller, name: str | None) -> ZoneInfo:
    found = known_zone(name or await zone_of(service.database, caller.merchant_id))
    if found is None:
        raise RequestInvalid("zone", "is not a time zone's IANA name")
    return found


def _day(field: str, day: date | None) -> date | None:
    if day is not None and not FIRST_DAY <= day <= LAST_DAY:
        raise RequestInvalid(field, f"is not between {FIRST_DAY} and {LAST_DAY}")
    return day


def _moment(field: str, moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise RequestInvalid(field, "has no time zone; write 2026-11-23T09:00:00Z")
    _day(field, moment.date())
    return moment


def _time(text: str) -> datetime:
    """Read a cursor's time; whoever forges one gets no further than a refusal."""
    try:
        return EPOCH + int(text) * MICROSECOND
    except OverflowError:
        raise ValueError(text) from None


def _file(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


HANDLERS = (get_accounts, get_balances, get_trial_balance, get_entries, get_csv, get_beancount)
