"""How long, and how many at a time, foreign plugins are waited for."""

from typing import Final

import msgspec

from recoup_core.ports import CHARGE_TIMEOUT_S


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, unless a name says otherwise. An installation uses the defaults; tests use smaller ones."""

    load_s: float = 30.0
    """Importing a plugin and hearing what it registers: the slowest SDKs take some seconds on a cold disk."""
    build_s: float = 10.0
    """Building one gateway, which does no I/O."""
    begin_s: float = 5.0
    """A call that has not begun by then never will: something in the plugin keeps its loop from turning."""
    call_s: float = CHARGE_TIMEOUT_S + 5
    """Beyond the callers' own limit: it only ends what nobody waits for any more."""
    health_s: float = 5.0
    """The contract's own."""
    fetch_s: float = 300.0
    """Fetching a settlement report."""
    parse_s: float = 2.0
    """A webhook has at most 1 MiB; the slowest built-in parser takes some milliseconds for that."""
    read_s: float = 120.0
    """A settlement report of the largest size, at 3,000 lines a second."""
    grace_s: float = 5.0
    """How long after its cancellation a call may keep the loop from turning before it is interrupted."""
    busy_again_s: float = 30.0
    """When a call that found the plugin busy is tried again."""
    calls_at_once: int = 64
    """Open calls of one gateway; one that a plugin doesn't end counts until it does."""
    parsed_at_once: int = 8
    """Webhooks and reports that one gateway reads at a time; one that hangs keeps its place."""


LIMITS: Final = Limits()
