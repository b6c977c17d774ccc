"""Runs foreign code on a thread of its own, for a limited time, and hands back a value or a plain failure.

Whatever the code does (raise anything at all, exit, hang), the caller goes on. What Python can't do is said in
docs/plugins.md: code in C is not interrupted, and code in C that keeps the interpreter's lock stops everybody.
"""

import ctypes
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from recoup_core.domain.redact import redact

MAX_FAILURE_TEXT: Final = 2000
"""Characters of a foreign exception's text that are looked at; fewer are kept."""

Result = TypeVar("Result")


class PluginFailed(Exception):
    """Foreign code raised; the text names the exception and holds no secret."""


class PluginHung(Exception):
    """Foreign code did not end in time; it was told to stop, and may not have listened."""


class Interrupted(BaseException):
    """Raised inside foreign code whose time is up, at its next step in Python."""


def run_apart(
    work: Callable[[], Result], limit_s: float, name: str, ended: Callable[[], None] = lambda: None
) -> Result:
    """Return what `work` returns on a daemon thread; raises `PluginFailed` or, after `limit_s`, `PluginHung`.

    `ended` is called when the thread is really done, which may be long after the caller went on.
    """
    results: list[Result] = []
    failures: list[str] = []
    done = threading.Event()

    def run() -> None:
        try:
            results.append(work())
        except BaseException as failure:  # SystemExit and its like are foreign failures as well
            failures.append(told(failure))
        finally:
            done.set()
            ended()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    if not done.wait(limit_s):
        interrupt(thread)
        raise PluginHung(f"it did not end within {limit_s:g} s")
    if failures:
        raise PluginFailed(failures[0])
    return results[0]


def told(failure: BaseException) -> str:
    """Return a foreign exception's name and text, short and without secrets; call it on the foreign thread."""
    try:
        text = str(failure)[:MAX_FAILURE_TEXT]
    except BaseException:  # an exception may even fail to print itself
        text = "(no message)"
    return f"{type(failure).__name__}: {redact(text)}"


def interrupt(thread: threading.Thread) -> None:
    """Raise `Interrupted` in a thread at its next step in Python; a thread that has ended is left alone."""
    if thread.ident is not None and thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Interrupted))
