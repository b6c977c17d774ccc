"""What it costs to compile the largest and the most hostile policies, and how long other threads must wait meanwhile.

The C code holds the GIL while it compiles a ruleset, so the longest single call is what an event loop next door would
stand still; a watchdog thread that only sleeps says what it really waited.
"""

import gc
import time
from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import Any, Final

import msgspec
from report import Result, Table, number

from recoup_core.rules.engine.compile import CompiledPolicy, compile_policy
from recoup_core.rules.engine.ruleset import import_engine
from recoup_core.rules.facts import CURRENCIES
from recoup_core.rules.language.errors import PolicyInvalid
from recoup_core.rules.language.schema import Policy, parse_policy
from recoup_core.rules.language.yamltext import MAX_BYTES

RULES: Final = 1_999
"""With the last rule, which has no condition, as many as a policy may have."""
QUICK_RULES: Final = 200
NAP_S: Final = 0.001
NUMBERS: Final = ("attempt", "retries", "days_since_failure", "customer.tenure_days")
TEXTS: Final = ("network_code", "advice_code", "customer.tier", "subscription.plan", "gateway")
REST: Final = "{decline: unknown, decline_code: none, attempt: 9999, amount: {EUR: 99999}}"
"""Facts that none of the conditions below take."""
MONEYS: Final = CURRENCIES[:30]


class Shape(msgspec.Struct, frozen=True):
    """A policy to be: conditions, what makes each true, and what stands under `define`."""

    name: str
    rules: list[tuple[str, str]]
    define: str = ""
    examples: int = 1
    """Each rule's example so many times."""


def run(*, quick: bool) -> Result:
    """Compile every shape, each with as many rules as a policy may have or its text has room for."""
    rows = [_row(shape) for shape in _shapes(QUICK_RULES if quick else RULES)]
    table = Table(
        title="Compiling the largest policies",
        method=(
            f"Policies of up to {RULES + 1:,} rules and {MAX_BYTES // 1024} KiB, an example for each rule, shaped to be"
            " hard on the compiler or the C code. Read: from text to model, examples run. Compile: conditions lowered,"
            " rulesets built, publish gate passed, in a thread. GIL held: CPU time of the longest single call of the C"
            " module, Python's garbage collector switched off. Stall: the longest that another thread, sleeping"
            f" {NAP_S * 1000:.0f} ms at a time, overslept meanwhile; it shares the GIL with Python's own work, too."
            " All but GIL held is wall clock."
        ),
        head=("policy", "KiB", "rules", "rulesets", "read s", "compile s", "GIL held ms", "stall ms"),
        rows=tuple(rows),
    )
    return Result(tables=(table,))


def _row(shape: Shape) -> tuple[str, ...]:
    text, count = _fitting(shape)
    size = f"{len(text) // 1024}"
    started = time.perf_counter()
    try:
        policy = parse_policy(text, source="bench.yaml")
    except PolicyInvalid as refusal:
        return (f"{shape.name}: refused ({refusal.problems[0].code})", size, f"{count:,}", *"-----")
    read = time.perf_counter() - started
    spent, held, stall, rulesets = _compiled(policy)
    cells = number(read), number(spent), number(held * 1000), number(stall * 1000)
    return shape.name, size, f"{len(policy.rules):,}", f"{rulesets}", *cells


def _compiled(policy: Policy) -> tuple[float, float, float, int]:
    """Return seconds to compile, longest call, longest stall, and the number of rulesets."""
    module = _Timed()
    gc.collect()
    gc.disable()  # else a collection that starts within a call counts as the call's
    try:
        compiled, spent, stall = _watched(lambda: compile_policy(policy, importer=lambda: module))
    finally:
        gc.enable()
    if compiled.engine_name != "durable_rules":
        raise AssertionError(f"{policy.name}: {compiled.engine_reason}")
    compiled.close()
    return spent, module.longest_s, stall, module.rulesets


class _Timed:
    """The C module, with a clock."""

    def __init__(self) -> None:
        self._real = import_engine()
        self.longest_s = 0.0
        self.rulesets = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(self._real, name)

        def timed(*args: Any) -> Any:
            self.rulesets += name == "create_ruleset"
            started = time.thread_time()
            try:
                return function(*args)
            finally:
                self.longest_s = max(self.longest_s, time.thread_time() - started)

        return timed


def _watched(work: Callable[[], CompiledPolicy]) -> tuple[CompiledPolicy, float, float]:
    """Return what the work gives, how long it took, and how long this thread overslept at most."""
    done: list[CompiledPolicy] = []
    over = Event()

    def job() -> None:
        try:
            done.append(work())
        finally:
            over.set()

    thread = Thread(target=job)
    started = last = time.perf_counter()
    stall = 0.0
    thread.start()
    while not over.is_set():
        time.sleep(NAP_S)
        now = time.perf_counter()
        stall, last = max(stall, now - last - NAP_S), now
    thread.join()
    return done[0], time.perf_counter() - started, stall


def _fitting(shape: Shape) -> tuple[str, int]:
    """Return the policy's text with as many of its rules as fit into a file, and their number."""
    most = len(shape.rules)
    while len(text := _text(shape, most).encode()) > MAX_BYTES:
        most = min(most - 1, most * MAX_BYTES // len(text))
    return text.decode(), most + 1


def _text(shape: Shape, most: int) -> str:
    rules = shape.rules[:most]
    lines = ["kind: retry", "name: bench", "applies_to: {}"]
    lines += [f"define: {{{shape.define}}}"] if shape.define else []
    lines += ["rules:", *(f"- {{name: r{n}, when: {when}, stop: exhausted}}" for n, (when, _) in enumerate(rules))]
    lines += ["- {name: rest, stop: exhausted}", "examples:"]
    for n, (_, given) in enumerate(rules):
        lines += [f"- {{given: {given}, expect: r{n}}}"] * shape.examples
    return "\n".join([*lines, f"- {{given: {REST}, expect: rest}}"]) + "\n"


def _shapes(count: int) -> Iterator[Shape]:
    every = range(count)
    code = [f"{{decline_code: c{n}}}" for n in every]
    yield Shape("a text each", [(one, one) for one in code])
    yield Shape("a text each, 2 examples each", [(one, one) for one in code], examples=2)
    long = [f"decline: fraud, retryable: 'no', attempt: {{gte: 2}}, days_since_failure: {n}" for n in every]
    fits = [f"{{decline: fraud, retryable: 'no', attempt: 2, days_since_failure: {n}}}" for n in every]
    yield Shape("the same long beginning", [(f"{{{one}}}", fit) for one, fit in zip(long, fits, strict=True)])
    ors = [f"{{any: [{{decline_code: c{n}}}, {{network_code: d{n}}}, {{attempt: {n + 2}}}]}}" for n in every]
    yield Shape("three alternatives each", list(zip(ors, code, strict=True)))
    yield Shape("a threshold each", [(f"{{attempt: {{lte: {n + 1}}}}}", f"{{attempt: {n + 1}}}") for n in every])
    money = [", ".join(f"{currency}: {n + 1}" for currency in MONEYS) for n in every]
    paid = [f"{{amount: {{AED: {n}.50}}}}" for n in every]
    yield Shape("30 currencies each", [(f"{{amount: {{lt: {{{m}}}}}}}", p) for m, p in zip(money, paid, strict=True)])
    lists = [", ".join(f"c{n}x{k}" for k in range(50)) for n in every]
    first = [f"{{decline_code: c{n}x0}}" for n in every]
    yield Shape(
        "a list of 50 each", [(f"{{decline_code: [{one}]}}", fit) for one, fit in zip(lists, first, strict=True)]
    )
    yield from _amplified(code)


def _amplified(code: list[str]) -> Iterator[Shape]:
    """Short texts that say much: every rule asks for one large named condition."""
    plain = [f"{{{NUMBERS[k % 4]}: {{gte: {k // 4}}}}}" for k in range(8, 28)]
    words = [f"{{{fact}: [{', '.join(f'v{k}' for k in range(11))}]}}" for fact in TEXTS]
    big = f"big: {{all: [{', '.join(plain + words)}]}}"
    given = ", ".join([*(f"{fact}: 9" for fact in NUMBERS), *(f"{fact}: v0" for fact in TEXTS)])
    rules = [(f"{{big: true, {one[1:]}", f"{{{given}, {one[1:]}") for one in code]
    yield Shape("a named condition of 75 values each", rules, big)
    alike = f"big: {{any: [{', '.join(f'{{{NUMBERS[k % 4]}: {{gte: {k // 4 + 1}}}}}' for k in range(30))}]}}"
    overlapping = [(f"{{big: true, {one[1:]}", one) for one in code]
    yield Shape("30 alternatives that overlap, half as many", overlapping[: len(overlapping) // 2], alike)
    yield Shape("30 alternatives that overlap", overlapping, alike)
    many = f"big: {{any: [{', '.join(f'{{decline_code: [{words}]}}' for words in _lists())}]}}"
    named = [
        (f"{{big: true, attempt: {n + 2}}}", f"{{decline_code: w0x0, attempt: {n + 2}}}") for n, _ in enumerate(code)
    ]
    yield Shape("a named list of 5,000 each", named, many)


def _lists() -> Iterator[str]:
    return (", ".join(f"w{n}x{k}" for k in range(100)) for n in range(50))
