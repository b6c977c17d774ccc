"""What Apprise says while it sends, heard by the thread that sends, and what of it is certain.

The wording is that of Apprise 2; a line that is not understood makes nothing certain.
"""

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

LOGGER: Final = "apprise"

_STATUS: Final = re.compile(r"^Failed to send\b.*\berror=(\d{3})\.?\s*$", re.S)
_SENT: Final = re.compile(r"^(?:Sent|Delivered)\b.*notification", re.S)
_NEVER: Final = re.compile(
    r"NewConnectionError|ConnectTimeoutError|NameResolutionError|Failed to establish a new connection"
)
"""urllib3's words for: no connection was had."""
_SOCKET: Final = "Socket Exception:"


class Heard:
    """What one send told."""

    def __init__(self) -> None:
        self.status: int | None = None
        """Of an answer that was a no."""
        self.never_sent = False
        self._sent = self._lost = False
        self._failures = 0

    @property
    def partly(self) -> bool:
        """Whether something may have arrived: sent to one reader and not to another, or an answer was lost."""
        return self._sent or self._lost or self._failures > 1

    def take(self, line: str) -> None:
        """Understand one line, or don't."""
        if (told := _STATUS.match(line)) is not None:
            self.status = int(told[1])
            self._failures += 1
        elif line.startswith(_SOCKET):
            self._failures += 1
            if _NEVER.search(line):
                self.never_sent = True
            else:
                self._lost = True
        elif _SENT.match(line):
            self._sent = True


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.by_thread = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        heard: Heard | None = getattr(self.by_thread, "heard", None)
        if heard is not None:
            heard.take(record.getMessage())


@contextmanager
def hearing() -> Iterator[Heard]:
    """Give what this thread hears of Apprise during the block."""
    listener, heard = _listener(), Heard()
    before = getattr(listener.by_thread, "heard", None)
    listener.by_thread.heard = heard
    try:
        yield heard
    finally:
        listener.by_thread.heard = before


@cache
def _listener() -> _Listener:
    """Listen to Apprise in place of everybody else: its lines hold addresses, tokens and URLs."""
    logger, listener = logging.getLogger(LOGGER), _Listener()
    logger.handlers = [listener]
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    return listener
