"""Foreign notifiers live apart, each on a thread and an event loop of its own, as foreign gateways do (`hosting`).

A send that never began because the plugin is stuck is `NotNow`, which is certain; one that began and did not end is
left to its caller's time limit.
"""

from collections.abc import Mapping, Sequence

from recoup_core.ports import (
    Feedback,
    FeedbackRefused,
    NotifierCapabilities,
    NotNow,
    OutgoingMessage,
    SendOutcome,
)
from recoup_plugins.hosted import Hosted, PluginBusy
from recoup_plugins.limits import LIMITS, Limits


class HostedNotifier(Hosted):
    """Keeps the `Notifier` protocol, and its optional part, in front of a foreign notifier."""

    WHAT = "notifier"

    def __init__(
        self, plugin: str, name: str, capabilities: NotifierCapabilities, notifier: object, limits: Limits = LIMITS
    ) -> None:
        """`capabilities` is a copy made when the notifier was built; what the plugin changes later does not count."""
        super().__init__(plugin, name, notifier, limits)
        self.capabilities = capabilities

    async def send(self, message: OutgoingMessage) -> SendOutcome:
        """As `Notifier.send`; `NotNow` where the plugin is stuck and never heard of it."""
        try:
            answer: SendOutcome = await self._call("send", message)
        except PluginBusy as busy:
            return NotNow(reason=str(busy), retry_after_s=self._limits.busy_again_s)
        return answer

    def parse_feedback(self, headers: Mapping[str, str], body: bytes) -> Sequence[Feedback]:
        """As `FeedbackNotifier.parse_feedback`, ended after `parse_s`. It waits: call it from a thread."""
        answer = self._plain("parse_feedback", self._limits.parse_s, dict(headers), body)
        if isinstance(answer, FeedbackRefused):
            raise answer
        told: Sequence[Feedback] = answer
        return told
