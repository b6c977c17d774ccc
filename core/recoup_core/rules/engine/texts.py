"""Compiled policies by digest, shared by all books of a process: each text is compiled once, and none for nothing.

What is in force is held; what only running cases are pinned to is kept while there is room.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Final, Protocol

import msgspec

from recoup_core.rules.engine.compile import CompiledPolicy, EngineChoice, compile_policy
from recoup_core.rules.language.errors import PolicyInvalid
from recoup_core.rules.language.schema import Policy, digest_of, parse_policy

MAX_PINNED: Final = 64
"""Versions kept compiled though no book holds them; the one unused for longest makes room."""


class UnreadablePolicy(msgspec.Struct, frozen=True):
    """A stored text that today's parser refuses; whoever needs its decision asks a person."""

    digest: str
    name: str
    because: str
    """The first problem, in words."""


Pinned = CompiledPolicy | UnreadablePolicy
"""What a case's digest leads to."""


class Compiler(Protocol):
    """Makes a policy ready to decide; raises `PolicyInvalid`."""

    def __call__(self, policy: Policy, *, engine: EngineChoice) -> CompiledPolicy: ...


class CompiledTexts:
    """Safe from several threads. A version that was closed still answers, by the plain evaluator."""

    def __init__(self, engine: EngineChoice = EngineChoice.BEST, compiler: Compiler = compile_policy) -> None:
        """Compile with this engine; nothing is compiled before it is asked for."""
        self.engine = engine
        self._compile = compiler
        self._compiled: dict[str, CompiledPolicy] = {}
        self._held: Counter[str] = Counter()
        self._idle: OrderedDict[str, None] = OrderedDict()
        self._lock = Lock()
        self._compiling = Lock()

    def get(self, digest: str) -> CompiledPolicy | None:
        """Return the version with this digest, if it is at hand."""
        with self._lock:
            if digest in self._idle:
                self._idle.move_to_end(digest)
            return self._compiled.get(digest)

    def adopt(self, compiled: Iterable[CompiledPolicy]) -> None:
        """Hold versions that were compiled elsewhere."""
        with self._lock:
            for one in compiled:
                self._put(one, held=True)

    def compile(self, text: str, source: str) -> CompiledPolicy:
        """Return the version of a stored text, kept until others need the room; up to seconds. Raises `PolicyInvalid`.

        The text was accepted before: where the engine disagrees with the plain evaluator today, the latter serves.
        """
        return self._get_or_make(digest_of(text), lambda: self._compile_again(text, source), held=False)

    def take(self, text: str, source: str) -> CompiledPolicy:
        """Return the version of a stored text and hold it until `release`; else like `compile`."""
        return self._get_or_make(digest_of(text), lambda: self._compile_again(text, source), held=True)

    def publish(self, policy: Policy) -> CompiledPolicy:
        """Compile a new policy and run the publish gate; kept like any other. Raises `PolicyInvalid`."""
        return self._get_or_make(policy.digest, lambda: self._compile(policy, engine=self.engine), held=False)

    def release(self, compiled: Iterable[CompiledPolicy]) -> None:
        """Give versions back that were taken; what nobody holds is closed when its room is needed."""
        with self._lock:
            for one in compiled:
                self._held[one.digest] -= 1
                if self._held[one.digest] <= 0:
                    del self._held[one.digest]
                    self._idle[one.digest] = None
            surplus = self._surplus()
        for one in surplus:
            one.close()

    @property
    def fallbacks(self) -> int:
        """How often the plain evaluator had to answer in the engine's place, over all versions at hand."""
        with self._lock:
            return sum(one.fallbacks for one in self._compiled.values())

    def close(self) -> None:
        """Close everything; later verdicts come from the plain evaluator."""
        with self._lock:
            every = tuple(self._compiled.values())
        for one in every:
            one.close()

    def _get_or_make(self, digest: str, make: Callable[[], CompiledPolicy], *, held: bool) -> CompiledPolicy:
        with self._compiling:  # the same text is never compiled twice at once; the C library holds the GIL anyway
            with self._lock:
                known = self._compiled.get(digest)
            compiled = known or make()
            with self._lock:
                one = self._put(compiled, held=held)
                surplus = self._surplus()
        for each in surplus:
            each.close()
        return one

    def _compile_again(self, text: str, source: str) -> CompiledPolicy:
        policy = parse_policy(text, source=source)
        try:
            return self._compile(policy, engine=self.engine)
        except PolicyInvalid:
            return self._compile(policy, engine=EngineChoice.CLOSURES)

    def _put(self, compiled: CompiledPolicy, *, held: bool) -> CompiledPolicy:
        one = self._compiled.setdefault(compiled.digest, compiled)
        if held:
            self._held[one.digest] += 1
            self._idle.pop(one.digest, None)
        elif one.digest not in self._held:
            self._idle[one.digest] = None
            self._idle.move_to_end(one.digest)
        return one

    def _surplus(self) -> list[CompiledPolicy]:
        digests = [self._idle.popitem(last=False)[0] for _ in range(len(self._idle) - MAX_PINNED)]
        return [self._compiled.pop(digest) for digest in digests]
