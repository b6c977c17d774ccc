"""The sandbox as a column: its bank takes scripts, its line is within the process."""

from collections.abc import Sequence
from typing import Any, Final

from tests.matrix.provider import Behaviour, Trouble

from recoup_core.domain.decline import Decline, DeclineSource
from recoup_core.domain.payment import Method, Network
from recoup_core.reference import classify
from recoup_plugins.conformance import SignedWebhook
from recoup_plugins.gateways.sandbox import SandboxGateway, SandboxOptions
from recoup_plugins.gateways.sandbox_webhooks import sign

SECRET: Final = "whsec_c2FuZGJveA=="
WORDS: Final = {
    Behaviour.APPROVE: "approve",
    Behaviour.INSUFFICIENT_FUNDS: "insufficient_funds",
    Behaviour.EXPIRED: "decline:expired_card",
    Behaviour.AUTHENTICATION: "decline:authentication_required",
    Behaviour.DO_NOT_RETRY: "decline:stolen_card",
    Behaviour.UNKNOWN_CODE: "decline:brand_new_code",
    Behaviour.PROCESSING_ERROR: "decline:processing_error",
}
TROUBLES: Final = {Trouble.LOST_ANSWER: "lose", Trouble.SLOW_ANSWER: "lose", Trouble.DOWN: "unreachable*4"}
"""A slow answer is a lost one here: the bank's own patience is a minute of real time."""


class SandboxProvider:
    method = Method.CARD

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self.gateway = SandboxGateway("main", SandboxOptions(clock=clock, webhook_secrets=(SECRET,)))
        self._bank = self.gateway.bank
        self._habit = ""
        self._posted: list[tuple[str, bytes]] = []

    def close(self) -> None:
        self._bank.close()

    def credential(self, *behaviours: Behaviour) -> tuple[str, str | None]:
        words = [WORDS[each] for each in behaviours]
        words[0] += self._habit
        return f"tok_{'|'.join(words)}", None

    def first_decline(self) -> Decline:
        return classify(DeclineSource.STRIPE, "insufficient_funds", network=Network.VISA)

    def trouble(self, trouble: Trouble) -> None:
        self._habit = f"+{TROUBLES[trouble]}" if trouble in TROUBLES else ""

    def settle(self) -> None:
        self._bank.totals()  # the bank settles what is due whenever it is asked

    def webhooks(self) -> Sequence[SignedWebhook]:
        for delivery in self._bank.due_deliveries(1000):
            self._posted.append((delivery.event_id, delivery.body))
            self._bank.record_delivery(delivery, delivered=True, retry_in=None)
        now = self._clock.now()
        return [SignedWebhook(sign(SECRET, name, now, body), body) for name, body in self._posted]

    def collected(self, reference: str) -> int:
        total = self._bank.totals().get(reference)
        return total.moved_minor if total else 0

    def returned(self, reference: str) -> int:
        total = self._bank.refund_totals().by_payment.get(reference)
        return total.back_minor if total else 0

    def tries(self, reference: str) -> int:
        total = self._bank.totals().get(reference)
        return total.attempts if total else 0

    def fail_refunds(self, reference: str) -> None:
        for refund in self._rows("SELECT refund_id FROM refund WHERE payment_reference = ?", reference):
            self._bank.take_back(refund)

    def open_dispute(self, reference: str) -> None:
        [charge] = self._rows("SELECT charge_id FROM charge WHERE payment_reference = ?", reference)
        self._bank.open_dispute(charge)

    def _rows(self, sql: str, reference: str) -> list[str]:
        with self._bank._transaction() as db:
            return [row[0] for row in db.execute(sql, [reference]).fetchall()]
