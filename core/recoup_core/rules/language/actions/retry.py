"""What a rule of a retry policy does: plan a retry within bounds, or stop for a reason."""

from collections.abc import Callable, Mapping
from datetime import time, timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec

from recoup_core.domain.payment import CredentialRole
from recoup_core.rules.facts.stops import StopReason
from recoup_core.rules.language.actions.values import MAX_WAIT, ValueReader
from recoup_core.rules.language.errors import shown
from recoup_core.rules.language.yamltext import Map, Node, as_list, as_map

MAX_WAITS: Final = 40
"""Waits in one `after`; the widest network limit allows 35 tries in 30 days (reference/network_retry_limits.yaml)."""

MAX_RETRIES: Final = 40
MAX_JITTER: Final = timedelta(hours=24)


class Day(StrEnum):
    """Which days a retry may fall on."""

    PAYDAY = "payday"
    BUSINESS_DAY = "business_day"


class StopSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Make no further retry."""

    reason: StopReason


class RetrySpec(msgspec.Struct, frozen=True, kw_only=True):
    """When and with what to try again; `rules/timing.py` turns it into an instant."""

    after: tuple[timedelta, ...] = ()
    """The i-th retry made under this rule waits after[i]; once the list is used up the action does not apply."""
    on: str | None = None
    """None, "payday" or "business_day"."""
    between: tuple[time, time] | None = None
    """Local window [from, to); may cross midnight."""
    zone: str = "UTC"
    """"customer" or an IANA name; what `between` is read in. `on` is a matter of the customer's own calendar."""
    jitter: timedelta = timedelta()
    """Up to this much is added, the same for the same case and attempt."""
    within: timedelta | None = None
    """The retry must lie within this of the first failure, else the action does not apply."""
    max: int | None = None
    """At most this many retries under this rule."""
    credential: str = CredentialRole.PRIMARY.value
    gateway: str | None = None
    """A gateway by its name in the settings; None means the credential's own."""


class RetryReader(ValueReader):
    """Reads the actions of one retry policy."""

    def stop(self, node: Node) -> StopSpec | None:
        """Read the reason of a `stop`."""
        reasons = tuple(reason.value for reason in StopReason)
        word = self.word(node, "`stop`", reasons)
        return None if word is None else StopSpec(reason=StopReason(word))

    def retry(self, node: Node) -> RetrySpec | None:
        """Read a `retry`; a retry that could go on for ever, or never happen, is refused."""
        mapping = as_map(node, "`retry`", self.report, "write {after: [3d, 5d]}")
        if mapping is None:
            return None
        fields: dict[str, Any] = {}
        for key, value in mapping.entries:
            read = RETRY_FIELDS.get(key.text)
            if read is None:
                near = self.report.suggest(key.text, tuple(RETRY_FIELDS))
                hint = "`otherwise` stands beside `retry`, not in it" if key.text == "otherwise" else near
                self.report.add(key, "unknown_key", f"`retry` has no key {shown(key.text)}", hint)
                continue
            fields[key.text] = read(self, value)
        if len(fields) < len(mapping.entries) or any(value is None for value in fields.values()):
            return None
        spec = RetrySpec(**fields)
        return spec if self._sensible(spec, mapping) else None

    def _sensible(self, spec: RetrySpec, at: Map) -> bool:
        problems = tuple(_contradictions(spec, at))
        for key, code, message in problems:
            self.report.add(at.get(key) or at, code, message)
        return not problems

    def after(self, node: Node) -> tuple[timedelta, ...] | None:
        """Read the list of waits."""
        items = as_list(node, "`after`", self.report, most=MAX_WAITS)
        if items is None:
            return None
        waits = [self.duration(item, "a wait of `after`", MAX_WAIT) for item in items]
        found = tuple(wait for wait in waits if wait is not None)
        return found if len(found) == len(waits) else None

    def on(self, node: Node) -> str | None:
        """Read which days are allowed."""
        return self.word(node, "`on`", tuple(day.value for day in Day))

    def jitter(self, node: Node) -> timedelta | None:
        """Read the jitter."""
        return self.duration(node, "`jitter`", MAX_JITTER)

    def within(self, node: Node) -> timedelta | None:
        """Read the window from the first failure."""
        return self.duration(node, "`within`", MAX_WAIT)

    def max(self, node: Node) -> int | None:
        """Read the number of retries under the rule."""
        return self.count(node, "`max`", MAX_RETRIES)

    def credential(self, node: Node) -> str | None:
        """Read which credential is tried."""
        return self.word(node, "`credential`", tuple(role.value for role in CredentialRole))


_Field = Callable[[RetryReader, Node], Any]
RETRY_FIELDS: Final[Mapping[str, _Field]] = {
    "after": RetryReader.after,
    "on": RetryReader.on,
    "between": RetryReader.between,
    "zone": RetryReader.zone,
    "jitter": RetryReader.jitter,
    "within": RetryReader.within,
    "max": RetryReader.max,
    "credential": RetryReader.credential,
    "gateway": RetryReader.gateway,
}
"""Per key of `retry`, how its value is read."""


def _contradictions(spec: RetrySpec, at: Map) -> list[tuple[str, str, str]]:
    """Return (key, code, message) for combinations that go on for ever, never happen or have no effect."""
    found: list[tuple[str, str, str]] = []
    if not spec.after and spec.on is None:
        found.append(("", "no_time", "`retry` needs `after`, `on`, or both"))
    elif not spec.after and spec.max is None and spec.within is None:
        found.append(("", "unbounded", "without `after`, `retry` needs `max` or `within`, else it never ends"))
    if spec.after and spec.max is not None and spec.max > len(spec.after):
        found.append(("max", "unreachable_max", f"`after` has only {len(spec.after)} waits; `max` is never reached"))
    if spec.within is not None and sum(spec.after, timedelta()) > spec.within:
        found.append(("within", "unreachable_wait", "the waits of `after` add up to more than `within`"))
    if spec.between is None and spec.on is None and at.get("zone") is not None:
        found.append(("zone", "no_effect", "`zone` has no effect without `between` or `on`"))
    if spec.between is not None and spec.jitter >= _length(spec.between):
        found.append(("jitter", "jitter_too_long", "`jitter` must be shorter than the window of `between`"))
    return found


def _length(window: tuple[time, time]) -> timedelta:
    start, end = (timedelta(hours=clock.hour, minutes=clock.minute) for clock in window)
    return (end - start) % timedelta(days=1)
