"""Replay: a stored decision is made again from its own row and must come out the same, to the last character.

Pure: rows and texts in, differences out. Compared are JSON values, for the database keeps JSON's meaning and not its
spelling. What is told of a difference comes from rule, outcome and explanation; the situation, which holds tokens, is
never repeated.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from recoup_core.domain.cardnumbers import hide_card_numbers
from recoup_core.rules.deciding.deciders import DECIDERS
from recoup_core.rules.engine.compile import CompiledPolicy, EngineChoice
from recoup_core.rules.engine.texts import MAX_PINNED, CompiledTexts
from recoup_core.rules.language.errors import PolicyInvalid

MAX_DETAILS: Final = 20
"""Places named of one difference; a changed rule differs in nearly all."""

MAX_VALUE: Final = 200
"""Characters shown of one value."""


_ABSENT: Final = object()


class KeptDecision(msgspec.Struct, frozen=True, kw_only=True):
    """A decision as its row has it; `facts` to `explanation` are JSON texts."""

    id: UUID
    merchant_id: str
    case_id: UUID | None = None
    """The recovery case it was made about; None: it was about something else."""
    refund_id: UUID | None = None
    """The refund that it was made about."""
    charge_id: UUID | None = None
    """The upcoming charge that it was made about."""
    kind: str
    policy_digest: str
    rule: str
    facts: str
    situation: str
    outcome: str
    explanation: str
    decided_at: datetime


class KeptText(msgspec.Struct, frozen=True, kw_only=True):
    """A policy's text as it was pinned."""

    source: str
    body: str


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions and the texts that made them, by digest: all that one round of work needs."""

    rows: tuple[KeptDecision, ...]
    texts: Mapping[str, KeptText]


class Redone(msgspec.Struct, frozen=True, kw_only=True):
    """A decision made again, as JSON values."""

    rule: str
    outcome: Any
    explanation: Any


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """One place at which the two differ."""

    where: str
    """`rule`, `outcome.at`, `explanation.rules[2].verdict`, ..."""
    stored: str
    now: str


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A stored decision that does not come out the same."""

    decision_id: UUID
    merchant_id: str
    case_id: UUID | None = None
    refund_id: UUID | None = None
    charge_id: UUID | None = None
    kind: str
    policy_digest: str
    decided_at: datetime
    because: str
    details: tuple[Detail, ...] = ()

    @property
    def about(self) -> str:
        """What was decided about, for people: the case, the refund or the upcoming charge, by its id."""
        if self.charge_id is not None:
            return f"upcoming charge {self.charge_id}"
        return f"case {self.case_id}" if self.refund_id is None else f"refund {self.refund_id}"


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one chunk."""

    count: int
    differences: tuple[Difference, ...] = ()


def redo(kind: str, compiled: CompiledPolicy, facts_json: str, situation_json: str) -> Redone:
    """Make a decision again from what was stored. Raises `msgspec.MsgspecError` where that can't be read any more."""
    decider = DECIDERS[compiled.policy.kind]
    if compiled.policy.kind != kind:
        raise msgspec.ValidationError(f"the policy is one of {compiled.policy.kind}")
    facts, situation = decider.facts.decode(facts_json), decider.situation.decode(situation_json)
    decision = decider.decide(compiled, facts, situation)
    return Redone(rule=decision.rule, outcome=_values(decision.outcome), explanation=_values(decision.explanation))


class Redoer:
    """Replays chunks; one per process, so that each text is compiled once there."""

    def __init__(self, engine: EngineChoice = EngineChoice.BEST) -> None:
        self._compiled = CompiledTexts(engine)
        self._refused: dict[str, str] = {}

    def __call__(self, chunk: Chunk) -> Replayed:
        """Replay every decision of a chunk."""
        found = (self._compare(row, chunk.texts.get(row.policy_digest)) for row in chunk.rows)
        return Replayed(count=len(chunk.rows), differences=tuple(each for each in found if each is not None))

    def close(self) -> None:
        """Give the engines' memory back."""
        self._compiled.close()

    def _compare(self, row: KeptDecision, text: KeptText | None) -> Difference | None:
        if text is None:
            return _difference(row, "the text that it was made with is gone")
        compiled = self._compile(row.policy_digest, text)
        if isinstance(compiled, str):
            return _difference(row, compiled)
        if compiled.digest != row.policy_digest:
            return _difference(row, "its text was altered")
        try:
            redone = redo(row.kind, compiled, row.facts, row.situation)
        except msgspec.MsgspecError as error:
            return _difference(row, f"what it was made from can't be read any more: {error}")
        except Exception as error:  # a decision that can't be made again is what replay looks for, whatever the reason
            return _difference(row, f"it can't be made again: {type(error).__name__}")
        details = tuple(_details(row, redone))
        return _difference(row, "it comes out otherwise", details) if details else None

    def _compile(self, digest: str, text: KeptText) -> CompiledPolicy | str:
        """Return the version, or why its text is refused; that is remembered, too, for parsing it takes its time."""
        known = self._compiled.get(digest)
        if known is not None or digest in self._refused:
            return known or self._refused[digest]
        try:
            return self._compiled.compile(text.body, text.source)
        except PolicyInvalid as refusal:
            if len(self._refused) >= MAX_PINNED:
                self._refused.clear()
            self._refused[digest] = f"its text is no longer accepted: {refusal.problems[0]}"
            return self._refused[digest]


def _details(row: KeptDecision, redone: Redone) -> Iterator[Detail]:
    stored = {
        "rule": row.rule,
        "outcome": msgspec.json.decode(row.outcome),
        "explanation": msgspec.json.decode(row.explanation),
    }
    now = {"rule": redone.rule, "outcome": redone.outcome, "explanation": redone.explanation}
    if _canonical(stored) == _canonical(now):
        return
    left = MAX_DETAILS
    for where, before, after in _unequal(stored, now, ""):
        if left == 0:
            return
        left -= 1
        yield Detail(where=where, stored=_short(before), now=_short(after))


def _unequal(one: Any, other: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield each innermost place at which two JSON values differ."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys((*one, *other)):
            yield from _unequal(one.get(key, _ABSENT), other.get(key, _ABSENT), f"{where}.{key}" if where else str(key))
    elif isinstance(one, list) and isinstance(other, list):
        for index in range(max(len(one), len(other))):
            pair = (_at(one, index), _at(other, index))
            yield from _unequal(*pair, f"{where}[{index}]")
    elif one != other or type(one) is not type(other):
        yield where, one, other


def _at(values: Sequence[Any], index: int) -> Any:
    return values[index] if index < len(values) else _ABSENT


def _difference(row: KeptDecision, because: str, details: tuple[Detail, ...] = ()) -> Difference:
    return Difference(
        decision_id=row.id,
        merchant_id=row.merchant_id,
        case_id=row.case_id,
        refund_id=row.refund_id,
        charge_id=row.charge_id,
        kind=row.kind,
        policy_digest=row.policy_digest,
        decided_at=row.decided_at,
        because=hide_card_numbers(because),
        details=details,
    )


def _short(value: Any) -> str:
    text = "nothing" if value is _ABSENT else hide_card_numbers(msgspec.json.encode(value).decode())
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}..."


def _canonical(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _values(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))
