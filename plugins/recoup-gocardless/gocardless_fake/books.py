"""The state of the fake: mandates, payments, refunds, payouts, and the events that they cause."""

import itertools
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from gocardless_fake.banks import APPROVE, action_of, failure
from gocardless_fake.refusals import Refusal, invalid_state, validation_failed

UNDER_WAY: Final = frozenset({"pending_submission", "submitted"})
IN: Final = frozenset({"confirmed", "paid_out"})
MAX_RETRIES: Final = 3
MAX_REFUNDS: Final = 5
CURRENCIES: Final = {"sepa_core": "EUR", "bacs": "GBP", "ach": "USD"}
SUFFIXES: Final = {"sepa_core": "SEPA", "bacs": "BACS", "ach": "ACH"}

Row = dict[str, Any]


class Books:
    """Everything that the account holds; read it to see what really happened."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now
        self.instant = False
        """Whether banks answer at once (as in instant schemes) and refunds are paid at once; else at `settle`."""
        self.refunds_enabled = True
        self.balance_low = False
        self.rows: dict[str, dict[str, Row]] = {
            kind: {} for kind in ("payments", "refunds", "mandates", "payouts", "billing_requests")
        }
        self.items: dict[str, list[Row]] = {}
        self.events: list[Row] = []
        self.words: dict[str, list[str]] = {}
        self.tries: dict[str, int] = {}
        self._ids = itertools.count(1)

    # --- what tests arrange -------------------------------------------------------------------------------------------

    def mandate(
        self, *words: str, scheme: str = "sepa_core", customer: str | None = None, status: str = "active"
    ) -> Row:
        """Give a mandate, and what the bank says to each try on it."""
        account = f"BA{self._number()}"
        row = self._row(
            "mandates",
            "MD",
            status=status,
            scheme=scheme,
            reference=None,
            metadata={},
            links={"customer": customer or f"CU{self._number()}", "customer_bank_account": account, "creditor": "CR1"},
        )
        self.words[row["id"]] = list(words or (APPROVE,))
        return row

    def failed_payment(self, mandate: Row, amount: int, **changes: Any) -> Row:
        """Have a payment fail that somebody else made: the mandate's first word says how."""
        again = changes.pop("again", False)
        payment = self._payment(mandate, amount, CURRENCIES[mandate["scheme"]], changes.pop("metadata", {}))
        payment |= changes
        self._answer(payment, again=again)
        return payment

    # --- what the API does --------------------------------------------------------------------------------------------

    def create_payment(self, body: Mapping[str, Any]) -> Row:
        """Make a payment, as the merchant asks."""
        mandate = self.rows["mandates"].get(body.get("links", {}).get("mandate", ""))
        if mandate is None:
            raise validation_failed("mandate", "links.mandate")
        if mandate["status"] not in ("active", "submitted", "pending_submission"):
            raise invalid_state("mandate_is_inactive")
        if not isinstance(body["amount"], int) or body["amount"] <= 0:
            raise validation_failed("amount", "amount")
        if body["currency"] != CURRENCIES[mandate["scheme"]]:
            raise validation_failed("currency", "currency")
        if len(body["metadata"]) > 3 or any(len(each) > 500 for each in body["metadata"].values()):
            raise validation_failed("metadata", "metadata")
        payment = self._payment(mandate, body["amount"], body["currency"], dict(body["metadata"]))
        payment["retry_if_possible"] = bool(body.get("retry_if_possible"))
        if self.instant:
            self._answer(payment)
        return payment

    def retry_payment(self, identity: str, metadata: Mapping[str, str]) -> Row:
        """Collect a failed payment once more; only its state guards it."""
        payment = self.rows["payments"][identity]
        retries = sum(1 for each in self.events if self._is(each, identity, "resubmission_requested"))
        if payment["status"] != "failed" or retries >= MAX_RETRIES:
            raise invalid_state("retry_failed")
        self.resubmit(identity, {"origin": "api", "cause": "payment_retried"}, metadata)
        if self.instant:
            self._answer(payment)
        return payment

    def create_refund(self, body: Mapping[str, Any]) -> Row:
        """Give money back, as the merchant asks."""
        payment = self.rows["payments"].get(body.get("links", {}).get("payment", ""))
        if payment is None:
            raise validation_failed("payment", "links.payment")
        self._check_refund(payment, body)
        payment["amount_refunded"] += body["amount"]
        refund = self._row(
            "refunds",
            "RF",
            amount=body["amount"],
            currency=payment["currency"],
            status="created",
            reference=None,
            metadata=dict(body["metadata"]),
            links={"payment": payment["id"], "mandate": payment["links"]["mandate"]},
        )
        self._event("refunds", "created", refund, {"origin": "api", "cause": "refund_created"})
        if self.instant:
            self._pay(refund)
        return refund

    # --- what happens without being asked -----------------------------------------------------------------------------

    def settle(self) -> None:
        """Let the banks come to an end with everything that is under way."""
        for payment in self.rows["payments"].values():
            if payment["status"] in UNDER_WAY:
                self._answer(payment)
        for refund in self.rows["refunds"].values():
            if refund["status"] == "created":
                self._pay(refund)

    def resubmit(self, identity: str, details: Row, metadata: Mapping[str, str] = {}) -> None:
        """Have a failed payment tried again, by whomever: in the dashboard, or by Success+ (origin `gocardless`)."""
        payment = self.rows["payments"][identity]
        payment["status"] = "pending_submission"
        self._event("payments", "resubmission_requested", payment, details, dict(metadata))

    def fail_late(self, identity: str, word: str = "insufficient_funds") -> None:
        """Let a payment fail after it was confirmed."""
        payment = self.rows["payments"][identity]
        payment["status"] = "failed"
        self._event("payments", "failed", payment, failure(word, payment["scheme"], again=False))

    def open_dispute(self, identity: str) -> None:
        """Let the customer take a payment back."""
        payment = self.rows["payments"][identity]
        payment["status"] = "charged_back"
        details = {"origin": "bank", "cause": "refund_requested", "scheme": payment["scheme"], "reason_code": "MD06"}
        self._event("payments", "charged_back", payment, details)

    def cancel_dispute(self, identity: str) -> None:
        """Let the customer's bank take that back."""
        payment = self.rows["payments"][identity]
        payment["status"] = "confirmed"
        self._event("payments", "chargeback_cancelled", payment, {"origin": "bank", "cause": "payment_confirmed"})

    def fail_refund(self, identity: str) -> None:
        """Let a refund bounce after it was paid."""
        refund = self.rows["refunds"][identity]
        refund["status"] = "bounced"
        self._event("refunds", "bounced", refund, {"origin": "bank", "cause": "refund_bounced"})

    def end_mandate(self, identity: str, action: str = "cancelled", new: str | None = None) -> None:
        """Let something happen to a mandate."""
        mandate = self.rows["mandates"][identity]
        mandate["status"] = action
        links = {"new_mandate": new} if new else {}
        self._event("mandates", action, mandate, {"origin": "bank", "cause": f"mandate_{action}"}, links=links)

    def pay_out(self, *items: tuple[str, str, str]) -> Row:
        """Send a payout of items (type, amount in minor units as text, payment or refund)."""
        listed: list[Row] = [
            {"type": kind, "amount": amount, "links": {"refund" if about.startswith("RF") else "payment": about}}
            for kind, amount, about in items
        ]
        total = round(sum(float(each["amount"]) for each in listed))
        payout = self._row(
            "payouts", "PO", amount=total, currency="EUR", status="paid", arrival_date="2026-11-25", deducted_fees=0
        )
        self.items[payout["id"]] = listed
        self._event("payouts", "paid", payout, {"origin": "gocardless", "cause": "payout_paid"})
        return payout

    # --- inside -------------------------------------------------------------------------------------------------------

    def _payment(self, mandate: Row, amount: int, currency: str, metadata: Row) -> Row:
        payment = self._row(
            "payments",
            "PM",
            amount=amount,
            amount_refunded=0,
            currency=currency,
            status="pending_submission",
            scheme=mandate["scheme"],
            charge_date=(self.now() + timedelta(days=3)).date().isoformat(),
            description=None,
            reference=None,
            retry_if_possible=False,
            metadata=metadata,
            links={"mandate": mandate["id"], "creditor": "CR1"},
        )
        self._event("payments", "created", payment, {"origin": "api", "cause": "payment_created"})
        return payment

    def _answer(self, payment: Row, *, again: bool = False) -> None:
        """Let the bank say its next word to a payment."""
        mandate = payment["links"]["mandate"]
        words = self.words[mandate]
        word = words[min(self.tries.get(mandate, 0), len(words) - 1)]
        self.tries[mandate] = self.tries.get(mandate, 0) + 1
        payment["status"] = action_of(word)
        if word == APPROVE:
            details: Row = {"origin": "gocardless", "cause": "payment_confirmed", "description": "Collected."}
        else:
            details = failure(word, payment["scheme"], again=again)
        self._event("payments", payment["status"], payment, details)

    def _pay(self, refund: Row) -> None:
        payment = self.rows["payments"][refund["links"]["payment"]]
        failed = self.words[payment["links"]["mandate"]][0] == "refuses_refunds"
        refund["status"] = "failed" if failed else "paid"
        self._event("refunds", refund["status"], refund, {"origin": "bank", "cause": f"refund_{refund['status']}"})

    def _check_refund(self, payment: Row, body: Mapping[str, Any]) -> None:
        if not self.refunds_enabled:
            raise Refusal(403, "invalid_api_usage", "forbidden")
        if payment["status"] not in IN:
            raise invalid_state("refund_payment_invalid_state")
        if body["total_amount_confirmation"] != payment["amount_refunded"] + body["amount"]:
            raise invalid_state("total_amount_confirmation_invalid")
        made = [each for each in self.rows["refunds"].values() if each["links"]["payment"] == payment["id"]]
        if len(made) >= MAX_REFUNDS:
            raise invalid_state("number_of_refunds_exceeded")
        if body["amount"] > payment["amount"] - payment["amount_refunded"]:
            raise validation_failed("amount", "amount")
        if self.balance_low:
            raise invalid_state("available_refund_amount_insufficient")

    def _row(self, kind: str, prefix: str, **fields: Any) -> Row:
        row = {"id": f"{prefix}{self._number()}", "created_at": self.stamp(), **fields}
        self.rows[kind][row["id"]] = row
        return row

    def _event(
        self,
        kind: str,
        action: str,
        row: Row,
        details: Row,
        metadata: Row | None = None,
        links: Row | None = None,
    ) -> None:
        self.events.append(
            {
                "id": f"EV{self._number()}",
                "created_at": self.stamp(),
                "resource_type": kind,
                "action": action,
                "links": {kind.removesuffix("s"): row["id"], **(links or {})},
                "details": details,
                "metadata": metadata or {},
                "resource_metadata": dict(row.get("metadata") or {}),
            }
        )

    @staticmethod
    def _is(event: Row, identity: str, action: str) -> bool:
        return bool(event["links"].get("payment") == identity and event["action"] == action)

    def _number(self) -> str:
        return f"{next(self._ids):06d}"

    def stamp(self) -> str:
        """The time as GoCardless writes it."""
        return self.now().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
