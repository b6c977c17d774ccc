"""History as a table, for CSV and Parquet: a column per fact (`facts.customer.tier`), amounts as people write them.

Pure: rows in, rows out. An empty cell is a fact that is missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from recoup_core.domain.money import Money
from recoup_core.rules.deciding.deciders import DECIDERS
from recoup_core.rules.facts import VOCABULARIES, FactKind, PolicyKind
from recoup_core.rules.study.history import HistoryInvalid, HistoryRecord

FACT: Final = "facts."
_CURRENCY: Final = "currency"
"""Stands with every amount already."""

CASE_COLUMNS: Final = (
    "kind",
    "case",
    "at",
    "merchant",
    "policy",
    "digest",
    "rule",
    "amount_minor",
    "currency",
    "result",
    "reason",
    "recovered_at",
)
JSON_COLUMNS: Final = ("outcome", "situation")
"""Nested values: one JSON text a cell."""

REQUIRED: Final = ("kind", "case", "at", "outcome")

Row = Mapping[str, Any]


def columns() -> tuple[str, ...]:
    """Return every column, in order: of the case, each fact of every kind, then what is nested."""
    facts = dict.fromkeys(f"{FACT}{name}" for each in VOCABULARIES.values() for name in each.facts if name != _CURRENCY)
    return (*CASE_COLUMNS, *facts, *JSON_COLUMNS)


def whole_numbers() -> frozenset[str]:
    """Return the columns that hold whole numbers."""
    known = [fact for each in VOCABULARIES.values() for fact in each.facts.values() if fact.kind is FactKind.INT]
    return frozenset({"amount_minor", *(f"{FACT}{fact.name}" for fact in known)})


def row_of(record: HistoryRecord) -> dict[str, Any]:
    """Return a record's cells by column: texts, whole numbers, true or false; what is missing is left out."""
    kind = PolicyKind(record.kind)
    facts = DECIDERS[kind].facts.decode(bytes(record.facts))
    cells: dict[str, Any] = {
        name: value for name in CASE_COLUMNS if (value := _cell(getattr(record, name))) is not None
    }
    for name, fact in VOCABULARIES[kind].facts.items():
        value = None if name == _CURRENCY else _cell(fact.get(facts))
        if value is not None:
            cells[f"{FACT}{name}"] = value
    for name in JSON_COLUMNS:
        text = bytes(getattr(record, name)).decode()
        if text != "null":
            cells[name] = text
    return cells


def record_of(row: Row, where: str) -> HistoryRecord:
    """Return the record of a row; raises `HistoryInvalid`."""
    cells = {name: value for name, value in row.items() if value not in (None, "")}
    missing = [name for name in REQUIRED if name not in cells]
    if missing:
        raise HistoryInvalid(where, f"`{missing[0]}` is missing")
    facts = {name.removeprefix(FACT): value for name, value in cells.items() if name.startswith(FACT)}
    values: dict[str, Any] = {name: cells[name] for name in CASE_COLUMNS if name in cells}
    values["facts"] = msgspec.Raw(msgspec.json.encode(_nested(facts)))
    values["outcome"] = _json(cells["outcome"], where, "outcome")
    if "situation" in cells:
        values["situation"] = _json(cells["situation"], where, "situation")
    try:
        return msgspec.convert(values, HistoryRecord, strict=False)
    except msgspec.ValidationError as error:
        raise HistoryInvalid(where, str(error)) from None


def check_columns(names: Sequence[str], where: str) -> None:
    """Raise `HistoryInvalid` for a column that is unknown, or needed and not there; other people's columns may stay.

    A column of facts must be one: a misspelt fact would be a fact that is silently missing.
    """
    known = columns()
    for name in names:
        if name.startswith(FACT) and name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise HistoryInvalid(where, f"there is no fact for the column {name!r}{hint}")
    for name in REQUIRED:
        if name not in names:
            raise HistoryInvalid(where, f"the column {name!r} is missing")


def _cell(value: Any) -> Any:
    if isinstance(value, Money):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return value


def _json(cell: Any, where: str, name: str) -> msgspec.Raw:
    """Read a JSON cell; an outcome may also be one word: `retry`, `stop`, `approve`."""
    text = str(cell)
    if name == "outcome" and text.isidentifier():
        text = msgspec.json.encode({"type": text}).decode()
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise HistoryInvalid(where, f"`{name}` is no JSON: {error}") from None
    except RecursionError:
        raise HistoryInvalid(where, f"`{name}` is nested too deeply") from None
    return msgspec.Raw(text.encode())


def _nested(facts: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in _plain(facts):
        group, _, field = name.rpartition(".")
        (nested.setdefault(group, {}) if group else nested)[field] = value
    return nested


def _plain(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        yield name, value.isoformat() if isinstance(value, date) else value
