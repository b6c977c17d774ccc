"""GoCardless as a column: the distribution that is built as others would build one, before its own stateful fake."""

from collections.abc import Sequence
from typing import Any, Final

from tests.matrix.provider import Behaviour, Trouble

from gocardless_fake import SECRET, TOKEN, FakeGoCardless
from recoup_core.domain.decline import Decline, DeclineSource
from recoup_core.domain.payment import Method
from recoup_core.reference import classify
from recoup_gocardless.making import make_gocardless
from recoup_plugins import GatewaySettings
from recoup_plugins.conformance import SignedWebhook

PATIENCE_S: Final = 0.8
WORDS: Final = {
    Behaviour.APPROVE: "approve",
    Behaviour.INSUFFICIENT_FUNDS: "insufficient_funds",
    Behaviour.EXPIRED: "account_closed",
    Behaviour.DO_NOT_RETRY: "stopped",
    Behaviour.UNKNOWN_CODE: "unknown_code",
}

MODES: Final = {
    Trouble.NONE: "ok",
    Trouble.LOST_ANSWER: "lose",
    Trouble.SLOW_ANSWER: "slow",
    Trouble.DOWN: "down",
    Trouble.HTML: "html",
}


class GoCardlessProvider:
    method = Method.SEPA_DEBIT

    def __init__(self, clock: Any) -> None:
        self._fake = FakeGoCardless(clock.now)
        options = {
            "access_token": TOKEN,
            "environment": "sandbox",
            "webhook_secrets": [SECRET],
            "api_base": self._fake.url,
            "timeout_s": PATIENCE_S,
        }
        self.gateway = make_gocardless(GatewaySettings(name="main", plugin="gocardless", options=options))

    def close(self) -> None:
        self._fake.stop()

    def credential(self, *behaviours: Behaviour) -> tuple[str, str | None]:
        mandate = self._fake.books.mandate(*(WORDS[each] for each in behaviours))
        return mandate["id"], mandate["links"]["customer"]

    def first_decline(self) -> Decline:
        return classify(DeclineSource.SEPA, "AM04")

    def trouble(self, trouble: Trouble) -> None:
        self._fake.mode = MODES[trouble]  # type: ignore[assignment]  # the table holds its words

    def settle(self) -> None:
        self._fake.books.settle()

    def webhooks(self) -> Sequence[SignedWebhook]:
        return self._fake.webhooks()

    def collected(self, reference: str) -> int:
        return self._fake.collected(reference)

    def returned(self, reference: str) -> int:
        return self._fake.returned(reference)

    def tries(self, reference: str) -> int:
        return len(self._fake.payments(reference))

    def fail_refunds(self, reference: str) -> None:
        paid = {each["id"] for each in self._fake.payments(reference)}
        for refund in self._fake.books.rows["refunds"].values():
            if refund["links"]["payment"] in paid:
                self._fake.books.fail_refund(refund["id"])

    def open_dispute(self, reference: str) -> None:
        [payment] = self._fake.payments(reference)
        self._fake.books.open_dispute(payment["id"])
