"""Publishes a policy anew a thousand times while two threads ask it, and prints as JSON what that did.

Runs in a process of its own, so that its memory is nobody else's.
"""

import gc
import os
import sys
from collections import Counter
from pathlib import Path
from threading import Event, Thread
from typing import Any

import msgspec

from recoup_core.rules.engine.compile import CompiledPolicy, EngineChoice, compile_policy
from recoup_core.rules.engine.ruleset import import_engine
from recoup_core.rules.facts import RETRY
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.sets.book import PolicyBook

SETTLED, RELOADS = 200, 1_000
"""Memory is compared from the one reload to the other."""

THREADS = 2
TEXT = """kind: retry
name: often
note: version {version}
applies_to: {{}}
rules:
  - {{name: early, when: {{attempt: {{lte: 3}}, decline_code: [a, b, v{version}]}}, stop: exhausted}}
  - {{name: late, when: {{attempt: {{gt: 3}}}}, stop: exhausted}}
  - {{name: rest, stop: exhausted}}
examples:
  - {{given: {{decline_code: a}}, expect: early}}
  - {{given: {{attempt: 9}}, expect: late}}
  - {{given: {{}}, expect: rest}}
"""


class Counted:
    """The C module, counting what is asked of it."""

    def __init__(self) -> None:
        self._real = import_engine()
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        if name in ("create_ruleset", "delete_ruleset", "delete_state"):
            self.calls[name] += 1
        return getattr(self._real, name)


class Reloader:
    """Holds the book in force; `run` swaps it, the threads ask whichever they find."""

    def __init__(self) -> None:
        self.module = Counted()
        self.book = PolicyBook([self.compiled(0)])
        self.asked = self.wrong = self.fallbacks = 0
        self.over = Event()

    def compiled(self, version: int) -> CompiledPolicy:
        policy = parse_policy(TEXT.format(version=version), source="often.yaml")
        module: Any = self.module
        return compile_policy(policy, engine=EngineChoice.DURABLE_RULES, importer=lambda: module)

    def ask(self) -> None:
        questions = (({"decline_code": "b"}, "early"), ({"attempt": 4}, "late"), ({"decline_code": "x"}, "rest"))
        given = [(RETRY.given(RETRY.baseline, values), expected) for values, expected in questions]
        while not self.over.is_set():
            for facts, expected in given:
                fired = self.book.choose("retry", facts).verdict(facts).name
                self.asked += 1
                self.wrong += fired != expected

    def run(self) -> dict[str, int]:
        threads = [Thread(target=self.ask) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        settled = 0
        for version in range(1, RELOADS + 1):
            before, self.book = self.book, PolicyBook([self.compiled(version)])
            before.close()
            self.fallbacks += before.policies[0].fallbacks
            if version == SETTLED:
                settled = resident()
        self.over.set()
        for thread in threads:
            thread.join()
        self.book.close()
        grown = resident() - settled
        counts = {"asked": self.asked, "wrong": self.wrong, "fallbacks": self.fallbacks, "grown": grown}
        return {**counts, **self.module.calls}


def resident() -> int:
    """Return the process's resident memory in bytes."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.setswitchinterval(1e-4)  # more often than a process would by itself
    sys.stdout.write(msgspec.json.encode(Reloader().run()).decode())
