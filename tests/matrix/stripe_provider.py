"""Stripe as a column: the real SDK before our stateful fake, which Stripe's own OpenAPI document polices."""

from collections.abc import Sequence
from typing import Any, Final

from tests.matrix.provider import Behaviour, Trouble
from tests.plugins.fake_stripe import KEY, SECRET, FakeStripe

from recoup_core.domain.decline import Decline, DeclineSource
from recoup_core.domain.payment import Method, Network
from recoup_core.reference import classify
from recoup_plugins import GatewaySettings
from recoup_plugins.conformance import SignedWebhook
from recoup_plugins.gateways.stripe import make_stripe

PATIENCE_S: Final = 1.0
WORDS: Final = {
    Behaviour.APPROVE: "ok",
    Behaviour.INSUFFICIENT_FUNDS: "decline:insufficient_funds:51",
    Behaviour.EXPIRED: "decline:expired_card:54",
    Behaviour.AUTHENTICATION: "decline:authentication_required",
    Behaviour.DO_NOT_RETRY: "decline:do_not_honor:05:03:do_not_try_again",
    Behaviour.UNKNOWN_CODE: "decline:brand_new_code",
    Behaviour.PROCESSING_ERROR: "decline:processing_error:96",
}
MODES: Final = {Trouble.LOST_ANSWER: "lose", Trouble.SLOW_ANSWER: "slow", Trouble.HTML: "html"}


class StripeProvider:
    method = Method.CARD

    def __init__(self, clock: Any) -> None:
        self._fake = FakeStripe(lambda: clock.now().timestamp())
        options = {
            "api_key": KEY,
            "api_base": self._fake.url,
            "webhook_secrets": [SECRET],
            "timeout_s": PATIENCE_S,
            "clock": clock,
        }
        self.gateway = make_stripe(GatewaySettings(name="main", plugin="stripe", options=options))
        self._down = False

    def close(self) -> None:
        if not self._down:
            self._fake.stop()
        assert self._fake.violations == []

    def credential(self, *behaviours: Behaviour) -> tuple[str, str | None]:
        return f"pm_{'|'.join(WORDS[each] for each in behaviours)}", "cus_matrix"

    def first_decline(self) -> Decline:
        return classify(DeclineSource.STRIPE, "insufficient_funds", network=Network.VISA)

    def trouble(self, trouble: Trouble) -> None:
        down = trouble is Trouble.DOWN
        if down != self._down:
            self._fake.stop() if down else self._fake.start()
            self._down = down
        self._fake.mode = MODES.get(trouble, "ok")

    def settle(self) -> None:
        """Cards answer at once."""

    def webhooks(self) -> Sequence[SignedWebhook]:
        return self._fake.webhooks()

    def collected(self, reference: str) -> int:
        return sum(amount for amount, _ in self._fake.moved(reference))

    def returned(self, reference: str) -> int:
        return sum(one["amount"] for one in self._refunds(reference) if one["status"] == "succeeded")

    def tries(self, reference: str) -> int:
        return len(self._charges(reference))

    def fail_refunds(self, reference: str) -> None:
        for refund in self._refunds(reference):
            self._fake.fail_refund(refund["id"])

    def open_dispute(self, reference: str) -> None:
        [charge] = self._charges(reference)
        self._fake.open_dispute(charge["id"])

    def _charges(self, reference: str) -> list[dict[str, Any]]:
        charges = self._fake.charges.values()
        return [one for one in charges if one.get("metadata", {}).get("recoup_payment") == reference]

    def _refunds(self, reference: str) -> list[dict[str, Any]]:
        charged = {one["id"] for one in self._charges(reference)}
        return [one for one in self._fake.back.refunds.values() if one["charge"] in charged]
