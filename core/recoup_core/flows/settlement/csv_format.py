"""Recoup's own settlement CSV: for gateways whose reports no plugin reads, or that a finance team puts together.

A head of names and values, an empty line, then one row a line (docs/settlement.md). Read strictly: exact decimals of
the currency, known columns, known kinds; every bad line is named.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Final, TypeVar
from uuid import UUID

from recoup_core.domain.cardnumbers import holds_card_number
from recoup_core.domain.errors import DomainError
from recoup_core.domain.money import Money, exponent
from recoup_core.ports import ReportedSettlement, SettledLine, SettlementKind, SettlementUnreadable

MAGIC: Final = "recoup-settlement"
VERSION: Final = "1"

HEAD: Final = ("report_ref", "currency", "payout_ref", "paid_out", "paid_out_at")
NEEDED: Final = ("line_ref", "kind", "amount", "currency", "settled", "occurred_at")
OPTIONAL: Final = (
    *("fee", "charge_ref", "other_charge_refs", "operation_ref", "attempt_id", "part_id"),
    *("payment_reference", "description"),
)

MAX_NAMED: Final = 10
"""Bad lines that one refusal names; with them fixed the next ones come."""

_NAMES: Final = ("line_ref", "charge_ref", "other_charge_refs", "operation_ref", "payment_reference")
"""Columns that people might fill with a card's number by mistake, and that are kept as they are."""

_AMOUNT: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,4})?")

T = TypeVar("T")


class _Bad(Exception):
    """What is wrong with one line."""


def is_own_format(content: bytes) -> bool:
    """Return whether a report is in this format: its first word says so."""
    return content.removeprefix(b"\xef\xbb\xbf").startswith(MAGIC.encode())


def read_csv(content: bytes) -> ReportedSettlement:
    """Read a report in this format; raises `SettlementUnreadable` with the lines at fault."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettlementUnreadable("it is not UTF-8 text") from None
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        head = _head(rows)
        columns = _columns(rows)
        lines = _lines(rows, columns, head)
    except csv.Error as broken:
        raise SettlementUnreadable(str(broken), rows.line_num) from None
    return _report(head, lines)


def _head(rows: Iterator[list[str]]) -> Mapping[str, str]:
    if next(rows, []) != [MAGIC, VERSION]:
        raise SettlementUnreadable(f"it must begin with {MAGIC},{VERSION}", 1)
    head: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        if not row:
            break
        if len(row) != 2 or row[0] not in HEAD or row[0] in head:  # a name and its value
            raise SettlementUnreadable(f"the head has one each of {', '.join(HEAD)}, each with its value", number)
        if _holds_card_number(row[0], row[1]):
            raise SettlementUnreadable(f"{row[0]} may hold a card number", number)
        head[row[0]] = row[1]
    for name in ("report_ref", "currency"):
        if not head.get(name):
            raise SettlementUnreadable(f"the head must name the {name}")
    _exponent(head["currency"])
    return head


def _columns(rows: Iterator[list[str]]) -> list[str]:
    columns = next(rows, [])
    unknown = sorted(set(columns) - {*NEEDED, *OPTIONAL})
    missing = [name for name in NEEDED if name not in columns]
    if unknown or missing or len(set(columns)) < len(columns):
        wrong = [f"no column is named {name!r}" for name in unknown] + [f"{name} is missing" for name in missing]
        raise SettlementUnreadable("; ".join(wrong) or "a column is named twice")
    return columns


def _lines(rows: Iterator[list[str]], columns: list[str], head: Mapping[str, str]) -> tuple[SettledLine, ...]:
    read: list[SettledLine] = []
    bad: list[tuple[int, str]] = []
    for row in rows:
        number = rows.line_num  # type: ignore[attr-defined]  # csv.reader has it, its protocol doesn't say so
        if not row:
            continue
        try:
            if len(row) != len(columns):
                raise _Bad(f"it has {len(row)} of {len(columns)} values")
            read.append(_line(dict(zip(columns, row, strict=True)), head["currency"]))
        except _Bad as wrong:
            bad.append((number, str(wrong)))
            if len(bad) >= MAX_NAMED:
                break
    if bad:
        (first, why), *others = bad
        raise SettlementUnreadable("; ".join([why, *(f"line {number}: {reason}" for number, reason in others)]), first)
    return tuple(read)


def _line(row: Mapping[str, str], settled_in: str) -> SettledLine:
    currency = row["currency"]
    if holds_card_number("|".join(row.get(name, "") for name in _NAMES)):  # rarely: then it is asked which, and whether
        bad = next((name for name in _NAMES if _holds_card_number(name, row.get(name, ""))), None)
        if bad is not None:
            raise _Bad(f"{bad} may hold a card number")
    _taken("currency", exponent, currency)
    others = row.get("other_charge_refs", "")
    return SettledLine(
        ref=_text(row, "line_ref"),
        kind=_taken("kind", SettlementKind, row["kind"]),
        amount=_amount(row, "amount", currency, least=0),
        settled_minor=_amount(row, "settled", settled_in).amount_minor,
        fee_minor=_amount(row, "fee", settled_in).amount_minor if row.get("fee") else 0,
        charge_ref=row.get("charge_ref") or None,
        other_charge_refs=tuple(each for each in others.split(" ") if each),
        operation_ref=row.get("operation_ref") or None,
        attempt_id=_taken("attempt_id", UUID, row["attempt_id"]) if row.get("attempt_id") else None,
        part_id=_taken("part_id", UUID, row["part_id"]) if row.get("part_id") else None,
        payment_reference=row.get("payment_reference") or None,
        occurred_at=_moment(row["occurred_at"], "occurred_at"),
        description=row.get("description", ""),
    )


def _holds_card_number(name: str, text: str) -> bool:
    """Some gateways name by digits alone; a merchant's own names are looked at more strictly."""
    return any(holds_card_number(each, reference=name != "payment_reference") for each in (text, *text.split(" ")))


def _text(row: Mapping[str, str], name: str) -> str:
    if not row[name]:
        raise _Bad(f"{name} is empty")
    return row[name]


def _amount(row: Mapping[str, str], name: str, currency: str, least: int | None = None) -> Money:
    text = row[name]
    if not _AMOUNT.fullmatch(text):
        raise _Bad(f"{name} must be a number like 12.50")
    money = _taken(name, lambda major: Money.from_major(major, currency), text)
    if least is not None and money.amount_minor < least:
        raise _Bad(f"{name} must not be negative")
    return money


def _moment(text: str, name: str) -> datetime:
    moment = _taken(name, datetime.fromisoformat, text)
    if moment.tzinfo is None:
        raise _Bad(f"{name} has no time zone; write 2026-11-23T09:00:00Z")
    return moment


def _taken(name: str, read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except DomainError as refusal:
        raise _Bad(f"{name}: {refusal}") from None
    except ValueError:
        raise _Bad(f"{name} is not valid") from None


def _exponent(currency: str) -> None:
    try:
        exponent(currency)
    except DomainError as refusal:
        raise SettlementUnreadable(str(refusal)) from None


def _report(head: Mapping[str, str], lines: tuple[SettledLine, ...]) -> ReportedSettlement:
    try:
        paid_out = _amount(head, "paid_out", head["currency"]).amount_minor if head.get("paid_out") else None
        paid_out_at = _moment(head["paid_out_at"], "paid_out_at") if head.get("paid_out_at") else None
    except _Bad as wrong:
        raise SettlementUnreadable(f"the head: {wrong}") from None
    return ReportedSettlement(
        report_ref=head["report_ref"],
        currency=head["currency"],
        lines=lines,
        payout_ref=head.get("payout_ref") or None,
        paid_out_minor=paid_out,
        paid_out_at=paid_out_at,
    )
