"""Adyen as a column: the real SDK before our stateful fake, which Adyen's own OpenAPI documents police."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from tests.counterparts.adyen_documents import adyen_documents
from tests.matrix.provider import Behaviour, Trouble
from tests.plugins.fake_adyen import FakeAdyen
from tests.plugins.fake_adyen_answers import HMAC_KEY, KEY, MERCHANT

from recoup_core.domain.decline import Decline, DeclineSource
from recoup_core.domain.payment import Method, Network
from recoup_core.reference import classify
from recoup_plugins import GatewaySettings
from recoup_plugins.conformance import SignedWebhook
from recoup_plugins.gateways.adyen import make_adyen

PATIENCE_S: Final = 0.8
WORDS: Final = {
    Behaviour.APPROVE: "ok",
    Behaviour.INSUFFICIENT_FUNDS: "refuse:12:51",
    Behaviour.EXPIRED: "refuse:6:54",
    Behaviour.AUTHENTICATION: "refuse:38",
    Behaviour.DO_NOT_RETRY: "refuse:2:05:03",
    Behaviour.UNKNOWN_CODE: "refuse:999",
    Behaviour.PROCESSING_ERROR: "refuse:9:91",
}
MODES: Final = {
    Trouble.NONE: "ok",
    Trouble.LOST_ANSWER: "lose",
    Trouble.SLOW_ANSWER: "slow",
    Trouble.DOWN: "down",
    Trouble.HTML: "html",
}


class TimedAdyen(FakeAdyen):
    """Dates its notifications by the test's clock."""

    def __init__(self, clock: Any) -> None:
        super().__init__(adyen_documents()[0])
        self._clock = clock

    def now(self) -> datetime:
        at: datetime = self._clock.now()
        return at


class AdyenProvider:
    method = Method.CARD

    def __init__(self, clock: Any) -> None:
        self._fake = TimedAdyen(clock)
        options = {
            "api_key": KEY,
            "merchant_account": MERCHANT,
            "return_url": "https://shop.example/back",
            "hmac_keys": [HMAC_KEY],
            "api_base": self._fake.url,
            "timeout_s": PATIENCE_S,
            "clock": clock,
        }
        self.gateway = make_adyen(GatewaySettings(name="main", plugin="adyen", options=options))

    def close(self) -> None:
        self._fake.stop()
        assert self._fake.violations == []

    def credential(self, *behaviours: Behaviour) -> tuple[str, str | None]:
        return f"tok_{'|'.join(WORDS[each] for each in behaviours)}", "shopper_matrix"

    def first_decline(self) -> Decline:
        return classify(DeclineSource.ADYEN, "12", network=Network.VISA)

    def trouble(self, trouble: Trouble) -> None:
        self._fake.mode = MODES[trouble]

    def settle(self) -> None:
        """Cards answer at once, refunds by webhook."""

    def webhooks(self) -> Sequence[SignedWebhook]:
        return self._fake.webhooks()

    def collected(self, reference: str) -> int:
        return sum(amount for amount, _ in self._fake.moved(reference))

    def returned(self, reference: str) -> int:
        return sum(one["value"] for one in self._refunds(reference) if one["state"] == "refunded")

    def tries(self, reference: str) -> int:
        return len(self._payments(reference))

    def fail_refunds(self, reference: str) -> None:
        for refund in self._refunds(reference):
            self._fake.fail_refund(refund["psp"])

    def open_dispute(self, reference: str) -> None:
        [payment] = self._payments(reference)
        self._fake.open_dispute(payment["psp"])

    def _payments(self, reference: str) -> list[dict[str, Any]]:
        return [one for one in self._fake.payments.values() if one["order"] == reference]

    def _refunds(self, reference: str) -> list[dict[str, Any]]:
        paid = {one["psp"] for one in self._payments(reference)}
        return [one for one in self._fake.refunds.values() if one["payment"] in paid]
