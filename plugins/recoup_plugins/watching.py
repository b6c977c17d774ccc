"""Notices when foreign code reaches out of the process while it is imported or built, by Python's audit events."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import Final

OUT: Final = frozenset(
    {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "subprocess.Popen", "os.system"}
)
"""What connects, resolves a name, or starts a program; reading files is part of importing."""

PLUGIN_THREADS: Final = "plugin-"
"""How the names of the threads begin on which foreign code runs."""

FRAMES: Final = 10
"""How far up it is looked for who starts a program."""

_watching: list[list[str]] = []


@contextmanager
def reaching_out() -> Iterator[list[str]]:
    """Give a list that fills with what plugins' threads do to the outside during the block."""
    _listen()
    seen: list[str] = []
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.remove(seen)


@cache
def _listen() -> None:
    """Ask for audit events, once a process: they can't be asked for no more."""
    sys.addaudithook(_heard)


def _heard(event: str, _: object) -> None:
    if not (_watching and event in OUT and threading.current_thread().name.startswith(PLUGIN_THREADS)):
        return
    if event == "subprocess.Popen" and _looks_for_a_library(sys._getframe(1)):
        return
    for seen in _watching:
        seen.append(event)


def _looks_for_a_library(frame: FrameType | None) -> bool:
    """Whether it is `ctypes.util.find_library`, which starts `ldconfig`: `trio`, for one, does so at import."""
    for _ in range(FRAMES):
        if frame is None:
            return False
        if frame.f_globals.get("__name__") == "ctypes.util":
            return True
        frame = frame.f_back
    return False
