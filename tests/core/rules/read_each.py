"""Reads every folder given on standard input as a book of policies and prints, one line of JSON each, what is wrong.

Runs in a process of its own: a file that hangs the reader ends it, with a traceback, after `LIMIT_S`.
"""

import faulthandler
import sys
from pathlib import Path

import msgspec

from recoup_core.rules.engine.compile import EngineChoice
from recoup_core.rules.language.errors import PolicyInvalid
from recoup_core.rules.sets.book import PolicyBook

LIMIT_S = 60
"""For one file: far beyond what any takes, so that it only ever ends a hang."""

for line in sys.stdin:
    faulthandler.dump_traceback_later(LIMIT_S, exit=True)
    try:
        PolicyBook.load(Path(line.rstrip("\n")), EngineChoice.CLOSURES)
    except PolicyInvalid as refusal:
        problems = refusal.problems
    else:
        problems = ()
    sys.stdout.write(msgspec.json.encode(problems).decode() + "\n")
    sys.stdout.flush()
    faulthandler.cancel_dump_traceback_later()
