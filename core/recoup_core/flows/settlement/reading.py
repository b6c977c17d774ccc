"""Reports are read by their gateway's plugin, or in our own format; whatever a plugin does wrong is a refusal.

Reading runs in a thread: 64 MiB of CSV take seconds, and the loop serves others meanwhile.
"""

import asyncio
from datetime import UTC, datetime
from typing import Final, cast

import msgspec

from recoup_core.domain.errors import DomainError
from recoup_core.domain.money import MAX_AMOUNT_MINOR, exponent
from recoup_core.domain.redact import redact
from recoup_core.flows.context import Context
from recoup_core.flows.reports import UnknownGateway
from recoup_core.flows.settlement.csv_format import is_own_format, read_csv
from recoup_core.ports import (
    MAX_SETTLEMENT_BYTES,
    Gateway,
    ReportedSettlement,
    SettledLine,
    SettlementGateway,
    SettlementSource,
    SettlementUnreadable,
)

READ_TIMEOUT_S: Final = 120.0
"""A report that is not read by then is given up."""

FETCH_TIMEOUT_S: Final = 300.0
"""Providers make reports page by page; one of 300,000 lines takes some minutes."""

MAX_REF: Final = 255
MAX_REFS: Final = 10
"""Names of one charge; gateways have two or three."""

MAX_MOVED_MINOR: Final = 2**62
"""All that a report's lines move: its sums are kept in 64 bits."""

_FIRST_MOMENT: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LAST_MOMENT: Final = datetime(2100, 1, 1, tzinfo=UTC)
"""Beyond the year 9999 the database knows times that can't be read back."""


def settling_gateway(context: Context, name: str, merchant_id: str) -> Gateway:
    """Return a merchant's gateway; raises `UnknownGateway` for one that is not configured, or somebody else's."""
    gateway = context.gateways.get(name)
    if gateway is None or context.gateway_merchants.get(name) != merchant_id:
        raise UnknownGateway(name)
    return gateway


async def read_report(gateway: Gateway, content: bytes) -> ReportedSettlement:
    """Read an uploaded report; raises `SettlementUnreadable`."""
    if len(content) > MAX_SETTLEMENT_BYTES:
        raise SettlementUnreadable(f"it is larger than {MAX_SETTLEMENT_BYTES} bytes")
    if is_own_format(content):
        read = read_csv
    elif gateway.capabilities.reads_settlements:
        read = cast("SettlementGateway", gateway).read_settlement
    else:
        raise SettlementUnreadable(f"no plugin reads reports of {gateway.name}; bring them as recoup-settlement CSV")
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            return checked(await asyncio.to_thread(read, content))
    except TimeoutError:
        raise SettlementUnreadable(f"reading it took longer than {READ_TIMEOUT_S:.0f} s") from None
    except SettlementUnreadable as refusal:
        raise SettlementUnreadable(redact(refusal.reason), refusal.line) from None
    except Exception as broken:
        raise SettlementUnreadable(f"the plugin failed: {type(broken).__name__}: {redact(str(broken))}") from None


async def fetch_report(gateway: Gateway, report_ref: str) -> ReportedSettlement:
    """Fetch a report from its gateway; raises `SettlementUnreadable`, and whatever keeps the gateway from answering."""
    if not gateway.capabilities.fetches_settlements:
        raise SettlementUnreadable(f"reports of {gateway.name} can't be fetched; upload them")
    async with asyncio.timeout(FETCH_TIMEOUT_S):
        report = await cast("SettlementSource", gateway).fetch_settlement(report_ref)
    return await asyncio.to_thread(checked, report)


def checked(report: ReportedSettlement) -> ReportedSettlement:
    """Return a report whose values are of their types and fit the database; raises `SettlementUnreadable`.

    Structs don't check themselves when made, and a plugin is foreign code: line by line, so that nothing is twice in
    memory.
    """
    if type(report) is not ReportedSettlement or not isinstance(report.lines, tuple):
        raise SettlementUnreadable(f"the plugin returned a {type(report).__name__}")
    _check_head(report)
    seen: set[str] = set()
    moved = 0
    for number, line in enumerate(report.lines, 1):
        _check_line(line, number)
        moved += abs(line.settled_minor) + abs(line.fee_minor)
        if moved > MAX_MOVED_MINOR:
            raise SettlementUnreadable("the amounts up to here come to more than can be added up", number)
        if line.ref in seen:
            raise SettlementUnreadable(f"the movement {redact(line.ref)} came before", number)
        seen.add(line.ref)
    return report


def _check_head(report: ReportedSettlement) -> None:
    head = msgspec.structs.replace(report, lines=())
    try:
        msgspec.convert(msgspec.to_builtins(head), ReportedSettlement)
        exponent(report.currency)
    except (msgspec.ValidationError, DomainError) as wrong:
        raise SettlementUnreadable(redact(str(wrong))) from None
    _check_refs(None, report.report_ref, *(() if report.payout_ref is None else (report.payout_ref,)))
    _check_amount(report.paid_out_minor or 0, None)
    _check_time(report.paid_out_at, None)


def _check_line(line: SettledLine, number: int) -> None:
    try:
        msgspec.convert(msgspec.to_builtins(line), SettledLine)
        exponent(line.amount.currency)
    except (msgspec.ValidationError, DomainError, AttributeError) as wrong:
        raise SettlementUnreadable(redact(str(wrong)), number) from None
    optional = (line.charge_ref, *line.other_charge_refs, line.operation_ref, line.payment_reference)
    _check_refs(number, line.ref, *(each for each in optional if each is not None))
    if len(line.other_charge_refs) >= MAX_REFS:
        raise SettlementUnreadable(f"it names its charge in more than {MAX_REFS} ways", number)
    if line.amount.amount_minor < 0:
        raise SettlementUnreadable("its amount is negative", number)
    for minor in (line.amount.amount_minor, line.settled_minor, line.fee_minor):
        _check_amount(minor, number)
    _check_time(line.occurred_at, number)


def _check_refs(line: int | None, *refs: str) -> None:
    for ref in refs:
        if not 1 <= len(ref) <= MAX_REF or not ref.isprintable():
            raise SettlementUnreadable(f"a name must be 1 to {MAX_REF} printable characters", line)


def _check_amount(minor: int, line: int | None) -> None:
    if abs(minor) > MAX_AMOUNT_MINOR:
        raise SettlementUnreadable("an amount is too large", line)


def _check_time(at: datetime | None, line: int | None) -> None:
    if at is not None and (at.tzinfo is None or not _FIRST_MOMENT <= at < _LAST_MOMENT):
        raise SettlementUnreadable("a time has no time zone, or lies outside the years 2000 to 2099", line)
