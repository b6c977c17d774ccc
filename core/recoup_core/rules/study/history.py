"""History as a file can carry it: one record per decision, without any token, grouped to cases again when it is read.

Pure. The records are the same whether they come from our own database or from somebody else's system; what is not
known is left out, and simulation then says which questions can't be answered.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec

from recoup_core.domain.cardnumbers import hide_card_numbers, holds_card_number
from recoup_core.domain.errors import DomainError

HIDDEN: Final = "hidden"
"""Stands where a token was."""

MAX_CASE_DECISIONS: Final = 500
"""Decisions of one case and kind."""

MAX_CASES: Final = 2_000_000
"""Cases of one file; each is remembered by its name, to find one that comes back."""

_SECRET: Final[Mapping[str, Any]] = {"token": HIDDEN, "gateway_customer": None, "customer_ref": HIDDEN}
"""What a credential is known by, and what stands in its place."""


NOTHING: Final = msgspec.Raw(b"null")


class HistoryInvalid(DomainError):
    """A file of past decisions can't be read; says where."""

    code: ClassVar[str] = "history_invalid"

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"{where}: {message}")
        self.where = where


class HistoryDecision(msgspec.Struct, frozen=True, kw_only=True):
    """One decision of a case; JSON texts."""

    at: datetime
    rule: str | None = None
    facts: str
    situation: str | None = None
    outcome: str


class HistoryCase(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of policy decided in one case, in order, and what became of it."""

    case: str
    kind: str
    merchant: str | None = None
    policy: str | None = None
    digest: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    result: str | None = None
    """The state of the case when the record was made: `recovered`, `exhausted`, `open`, ..."""
    reason: str | None = None
    recovered_at: datetime | None = None
    decisions: tuple[HistoryDecision, ...]


class HistoryRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One line of a file: a decision, with what is known of its case."""

    kind: str
    case: str
    at: datetime
    merchant: str | None = None
    policy: str | None = None
    digest: str | None = None
    rule: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    result: str | None = None
    reason: str | None = None
    recovered_at: datetime | None = None
    outcome: msgspec.Raw
    facts: msgspec.Raw
    situation: msgspec.Raw = NOTHING
    """`null` where it isn't known; a union with None is more than `Raw` can do."""


def records_of(case: HistoryCase) -> Iterator[HistoryRecord]:
    """Yield a case's decisions as records that may leave the house: no token, no card number, no customer's name."""
    for decision in case.decisions:
        yield HistoryRecord(
            kind=case.kind,
            case=case.case,
            at=decision.at,
            merchant=case.merchant,
            policy=case.policy,
            digest=case.digest,
            rule=decision.rule,
            amount_minor=case.amount_minor,
            currency=case.currency,
            result=case.result,
            reason=case.reason,
            recovered_at=case.recovered_at,
            outcome=msgspec.Raw(_clean(decision.outcome)),
            facts=msgspec.Raw(_clean(decision.facts)),
            situation=NOTHING if decision.situation is None else msgspec.Raw(without_tokens(decision.situation)),
        )


def cases_of(records: Iterable[tuple[str, HistoryRecord]]) -> Iterator[HistoryCase]:
    """Group records, each with the place it came from, to cases; raises `HistoryInvalid`.

    A case's records stand together and in order of time: so a file of any length is read in one go.
    """
    seen: set[tuple[str, str]] = set()
    current: list[HistoryRecord] = []
    for where, record in records:
        key = (record.kind, record.case)
        if current and key == (current[0].kind, current[0].case):
            _follows(where, record, current)
        else:
            if current:
                yield _case(current)
            if key in seen:
                raise HistoryInvalid(where, f"the case {record.case!r} comes back; its lines must stand together")
            if len(seen) >= MAX_CASES:
                raise HistoryInvalid(where, f"there are more than {MAX_CASES:,} cases")
            seen.add(key)
            current = []
        current.append(record)
    if current:
        yield _case(current)


def without_tokens(situation: str) -> bytes:
    """Return a situation that decides the same and holds nothing an attempt could be made with.

    Tokens are replaced; accounts, which may be named after them, are numbered: what belongs together still does.
    """
    values = msgspec.json.decode(situation)
    accounts: dict[str, str] = {}

    def numbered(account: Any) -> Any:
        return None if account is None else accounts.setdefault(account, f"account {len(accounts) + 1}")

    for credential in values.get("credentials", ()):
        credential["account_key"] = numbered(credential.get("account_key"))
        credential.update({name: new for name, new in _SECRET.items() if credential.get(name) is not None})
    if values.get("last_decline"):
        values["last_decline"].pop("message", None)  # a provider's free words; nothing is decided by them
    if "last_account" in values:
        values["last_account"] = numbered(values["last_account"])
    if "history" in values:
        values["history"] = {numbered(account): past for account, past in values["history"].items()}
    if "same" in values:
        same = values["same"].items()
        values["same"] = {numbered(account): [numbered(each) for each in others] for account, others in same}
    return _clean(msgspec.json.encode(values).decode())


def _clean(text: str) -> bytes:
    """Return JSON without card numbers; what is stored has none, but nobody may rely on that outside."""
    if holds_card_number(text):
        text = msgspec.json.encode(_hidden(msgspec.json.decode(text))).decode()
    return text.encode()


def _hidden(value: Any) -> Any:
    if isinstance(value, str):
        return hide_card_numbers(value)
    if isinstance(value, list):
        return [_hidden(each) for each in value]
    if isinstance(value, dict):
        return {hide_card_numbers(key): _hidden(each) for key, each in value.items()}
    return value


def _follows(where: str, record: HistoryRecord, before: list[HistoryRecord]) -> None:
    if record.at < before[-1].at:
        raise HistoryInvalid(where, f"the decisions of the case {record.case!r} are not in order of time")
    if len(before) >= MAX_CASE_DECISIONS:
        raise HistoryInvalid(where, f"the case {record.case!r} has more than {MAX_CASE_DECISIONS} decisions")


def _case(records: list[HistoryRecord]) -> HistoryCase:
    last = records[-1]
    return HistoryCase(
        case=last.case,
        kind=last.kind,
        merchant=last.merchant,
        policy=last.policy,
        digest=last.digest,
        amount_minor=last.amount_minor,
        currency=last.currency,
        result=last.result,
        reason=last.reason,
        recovered_at=last.recovered_at,
        decisions=tuple(
            HistoryDecision(
                at=one.at,
                rule=one.rule,
                facts=bytes(one.facts).decode(),
                situation=None if bytes(one.situation) == b"null" else bytes(one.situation).decode(),
                outcome=bytes(one.outcome).decode(),
            )
            for one in records
        ),
    )
