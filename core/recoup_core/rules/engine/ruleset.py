"""durable_rules behind glass: the one module that imports it, and only in the way that was measured to be right.

One handle, one sid, one lock, a dirty flag repaired on the next call, and a unique id that every fired message must
echo. Never `durable.engine.Host`, never `delete_state` outside `close`, no sid from anyone's data.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from itertools import count
from threading import Lock
from typing import Any, Final, Protocol

from recoup_core.rules.engine.network import ANCHOR, Bounds, Conjuncts, EngineBounds, atoms, to_json

MAX_PENDING: Final = 4_096
"""Messages drained for one fact; more means the engine is astray."""

_OK: Final = 0
_NO_MATCH: Final = 1
_ENGINE_NAMES: Final = ("id", "sid", "$s", "$forward", "canary", ANCHOR)
_numbers: Final = count(1)


class EngineError(Exception):
    """The engine's answer can't be trusted; the caller asks the plain evaluator instead."""


class EngineModule(Protocol):
    """The part of the C module `durable_rules_engine` that is used."""

    def create_ruleset(self, name: str, rules: str, /) -> int: ...
    def delete_ruleset(self, handle: int, /) -> object: ...
    def assert_event(self, handle: int, message: str, /) -> tuple[int, int]: ...
    def retract_fact(self, handle: int, message: str, /) -> object: ...
    def start_action_for_state(self, handle: int, state: int, /) -> tuple[str, str] | None: ...
    def complete_and_start_action(self, handle: int, state: int, /) -> str | None: ...
    def abandon_action(self, handle: int, state: int, /) -> object: ...
    def get_facts(self, handle: int, sid: str, /) -> str: ...
    def get_events(self, handle: int, sid: str, /) -> str: ...
    def delete_state(self, handle: int, sid: str, /) -> object: ...


Importer = Callable[[], EngineModule]


def import_engine() -> EngineModule:
    """Import the C module; raises ImportError where it was never built, or doesn't fit this Python."""
    module: Any = import_module("durable_rules_engine")
    return module  # type: ignore[no-any-return]  # a C module without stubs, used through the protocol


def engine_unavailable_reason(importer: Importer = import_engine) -> str | None:
    """Return why the C module can't be had, or None when it can."""
    try:
        importer()
    except ImportError as error:  # also what a missing symbol raises (Python 3.13)
        return f"durable_rules can't be imported: {error}"
    return None


class Ruleset:
    """One compiled ruleset that answers which rule fires first for a fact. Safe to use from several threads."""

    def __init__(self, module: EngineModule, rules: Sequence[Conjuncts]) -> None:
        """Check the bounds, then compile; raises `EngineBounds` before the engine has seen anything."""
        _check(rules)
        self._module = module
        self._lock = Lock()
        self._dirty = self._closed = False
        self._asked = 0
        name = f"recoup{next(_numbers)}"
        self._handle = module.create_ruleset(name, json.dumps(_document(rules), ensure_ascii=False))
        _, self._state = module.assert_event(self._handle, '{"sid":"s","id":"e0","canary":1}')
        if len(list(self._drain())) != 1:  # the one state must have fired, else delete_state would crash later
            raise EngineError("the engine did not fire its canary")

    def first(self, body: str) -> int | None:
        """Return the index of the first rule that fires for a JSON object, None when none does.

        `body` must come from the encoder of `encoding`. Raises `EngineError`, or whatever the engine raises; the next
        call repairs what was left behind.
        """
        module, handle = self._module, self._handle
        with self._lock:
            if self._closed:
                raise EngineError("the ruleset is closed")
            if self._dirty:
                self._recover()
            self._dirty = True
            self._asked += 1
            tail = f',"id":"e{self._asked}"}}'
            code, _ = module.assert_event(handle, f'{{"sid":"s",{body[1:-1]}{tail}')
            if code == _NO_MATCH:  # nothing is stored
                self._dirty = False
                return None
            if code != _OK:
                raise EngineError(f"the engine answered {code}")
            fired = self._fired(tail + "}}")
            self._dirty = False
            return fired

    def close(self) -> None:
        """Give the memory back; later questions raise `EngineError`."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._module.delete_state(self._handle, "s")
                self._module.delete_ruleset(self._handle)

    def _fired(self, tail: str) -> int:
        first: int | None = None
        for message in self._drain():
            if not message.endswith(tail):
                raise EngineError("another fact's rule fired")
            if first is None:
                first = int(message[3:8]) - 1  # {"r00001":{"m":{...}}}
        if first is None:
            raise EngineError("the state is locked")
        return first

    def _drain(self) -> Iterator[str]:
        module, handle, state = self._module, self._handle, self._state
        step = module.start_action_for_state(handle, state)
        message = step[1] if step else None
        for _ in range(MAX_PENDING):
            if message is None:
                return
            yield message
            message = module.complete_and_start_action(handle, state)
        raise EngineError(f"more than {MAX_PENDING} messages for one fact")

    def _recover(self) -> None:
        """Let go of a half-finished evaluation and take back whatever it left in the state."""
        self._module.abandon_action(self._handle, self._state)
        for _ in self._drain():
            pass
        for left_over in (self._module.get_facts, self._module.get_events):
            for message in json.loads(left_over(self._handle, "s")):
                self._module.retract_fact(self._handle, json.dumps(message, ensure_ascii=False))


def _document(rules: Sequence[Conjuncts]) -> dict[str, Any]:
    """Return the ruleset in the engine's notation; priorities are explicit and start at 1."""
    document: dict[str, Any] = {"canary": {"all": [{"m": {"canary": 1}}]}}
    for number, rule in enumerate(rules, start=1):
        parts = [to_json(part) for part in rule]
        body = parts[0] if len(parts) == 1 else {"$and": parts}
        document[f"r{number:05d}"] = {"all": [{"m": body}], "pri": number}
    return document


def _check(rules: Sequence[Conjuncts]) -> None:
    bounds = Bounds()
    for rule in rules:
        bounds.add(rule)
    names = {atom.name for rule in rules for part in rule for atom in atoms(part)}
    hashes: Mapping[int, str] = {_fnv1a(name): name for name in names.union(_ENGINE_NAMES)}
    if len(hashes) < len(names.union(_ENGINE_NAMES)):
        raise EngineBounds("two property names share a hash; the engine would take one for the other")


def _fnv1a(name: str) -> int:
    """The 32-bit hash by which the engine tells property names apart."""
    value = 0x811C9DC5
    for byte in name.encode():
        value = (value ^ byte) * 0x01000193 % 2**32
    return value
