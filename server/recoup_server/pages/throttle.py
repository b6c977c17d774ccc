"""How often the pages answer one link or one visitor, in bounded memory; each process counts for itself."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

MAX_KEYS: Final = 10_000
"""Links or visitors that are remembered, about 2 MB; the ones seen longest ago are forgotten first."""


class Rate(msgspec.Struct, frozen=True):
    """So many at once, and one more after each `every_s` seconds."""

    burst: int
    every_s: float


VISITS: Final = Rate(120, 0.5)
"""Of one address: a household, an office or a proxy in front of us is many people."""
OPENINGS: Final = Rate(30, 2.0)
"""Of one link: a person who reloads is far below."""
GOING_ON: Final = Rate(6, 20.0)
"""Of one link: each may ask the gateway for a page, and gateways limit that."""


class Throttle:
    """A bucket of permissions for each key, filled up by `clock` (seconds, monotonic)."""

    def __init__(self, rate: Rate, clock: Callable[[], float], max_keys: int = MAX_KEYS) -> None:
        self._rate = rate
        self._clock = clock
        self._max = max_keys
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def allows(self, key: str) -> bool:
        """Return whether this one may pass, and count it if so."""
        now, burst_s = self._clock(), self._rate.burst * self._rate.every_s
        # one number a bucket: the time at which it will be full again (the generic cell rate algorithm)
        full_at = max(self._full_at.get(key, now), now) + self._rate.every_s
        if full_at - now > burst_s:
            return False
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        while len(self._full_at) > self._max:
            self._full_at.popitem(last=False)
        return True
