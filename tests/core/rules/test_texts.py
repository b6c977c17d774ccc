"""Compiled texts: each once, held while in force, closed when nobody needs them and their room is wanted."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from recoup_core.rules.engine.compile import CompiledPolicy, EngineChoice, compile_policy
from recoup_core.rules.engine.texts import MAX_PINNED, CompiledTexts
from recoup_core.rules.language.errors import PolicyInvalid
from recoup_core.rules.language.schema import Policy, digest_of, parse_policy


def text_of(number: int) -> str:
    return (
        f"kind: retry\nname: a\nnote: n{number}\napplies_to: {{}}\nrules:\n  - {{name: only, stop: exhausted}}\n"
        "examples:\n  - {given: {}, expect: only}\n"
    )


class Bench:
    """Compiles by the plain evaluator, and remembers what it made and what was closed."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.closed: set[str] = set()
        self.texts = CompiledTexts(EngineChoice.CLOSURES, self.compile)

    def compile(self, policy: Policy, *, engine: EngineChoice) -> CompiledPolicy:
        """Compile a policy to one that tells when it is closed."""
        self.made.append(policy.digest)
        return Closing(policy, self.closed, engine)


class Closing(CompiledPolicy):
    """Tells when it is closed."""

    def __init__(self, policy: Policy, closed: set[str], engine: EngineChoice) -> None:
        super().__init__(policy, None, reason=str(engine))
        self._closed = closed

    def close(self) -> None:
        self._closed.add(self.digest)
        super().close()


def test_a_text_asked_for_by_many_at_once_is_compiled_once() -> None:
    """The first asks the compiler, the others get its answer."""
    bench = Bench()
    texts = bench.texts

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: texts.compile(text_of(1), "x"), range(32)))

    assert len(set(map(id, found))) == 1
    assert len(bench.made) == 1


def test_what_is_held_never_makes_room() -> None:
    """What is in force stays compiled, however many old versions running cases ask for."""
    bench = Bench()
    texts = bench.texts
    held = texts.take(text_of(0), "x")

    for number in range(1, MAX_PINNED + 20):
        texts.compile(text_of(number), "x")

    assert texts.get(held.digest) is held
    assert held.digest not in bench.closed
    assert len(bench.closed) == 19


def test_what_is_let_go_by_all_its_holders_is_closed_when_its_room_is_wanted() -> None:
    """Not before the last has let go, and not at once: a running case may ask for it next."""
    bench = Bench()
    texts = bench.texts
    first, second = texts.take(text_of(0), "x"), texts.take(text_of(0), "x")
    assert first is second
    texts.release([first])
    for number in range(1, MAX_PINNED + 1):
        texts.compile(text_of(number), "x")
    assert texts.get(first.digest) is first

    texts.release([second])
    for number in range(MAX_PINNED + 1, 2 * MAX_PINNED + 2):
        texts.compile(text_of(number), "x")

    assert texts.get(first.digest) is None
    assert first.digest in bench.closed


def test_a_version_that_made_room_is_compiled_again_when_it_is_needed() -> None:
    """Closing it loses nothing but the time."""
    bench = Bench()
    texts = bench.texts
    for number in range(MAX_PINNED + 1):
        texts.compile(text_of(number), "x")
    assert texts.get(digest_of(text_of(0))) is None

    again = texts.compile(text_of(0), "x")

    assert texts.get(again.digest) is again
    assert bench.made.count(again.digest) == 2


def test_a_text_that_is_refused_leaves_nothing_behind() -> None:
    """It is refused each time, and never half known."""
    bench = Bench()
    texts = bench.texts

    for _ in range(2):
        with pytest.raises(PolicyInvalid):
            texts.take("kind: retry\n", "x")

    assert texts.get(digest_of("kind: retry\n")) is None


def test_a_stored_text_on_which_the_evaluators_differ_today_is_decided_by_the_plain_one() -> None:
    """It was accepted once, and cases are pinned to it; a new text is refused."""

    def differing(policy: Policy, *, engine: EngineChoice) -> CompiledPolicy:
        if engine is not EngineChoice.CLOSURES:
            raise PolicyInvalid([])
        return compile_policy(policy, engine=engine)

    texts = CompiledTexts(compiler=differing)

    assert texts.compile(text_of(1), "x").engine_name == "closures"
    with pytest.raises(PolicyInvalid):
        texts.publish(parse_policy(text_of(2), source="x"))
