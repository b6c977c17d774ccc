"""What the fake Adyen holds: payments, refunds, cancellations, disputes, stored methods, links, and its notifications.

A payment's token says what happens. It is a chain of words parted by `|`, one for each try of the order, the last one
repeated: `ok`, `refuse:<code>[:<raw>[:<advice>]]`, `error:<code>`, `pending`, `received`, `challenge`, `redirect`,
`partial:<value>`, and the faults of `fake_adyen`. A payment that is made here as paid has words for its refunds:
`ok`, `pending`, `no:<reason>`, and the same faults.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.plugins.fake_adyen_answers import (
    MERCHANT,
    Answer,
    as_json,
    error,
    notification,
    psp_reference,
)

REASONS = {"2": "Refused", "4": "Acquirer Error", "6": "Expired Card", "12": "Not enough balance", "20": "FRAUD"}
REASONS |= {"38": "Authentication required", "46": "Transaction blocked by Adyen to prevent excessive retry fees"}
NO_MONEY = {
    "pending": "Pending",
    "received": "Received",
    "challenge": "ChallengeShopper",
    "redirect": "RedirectShopper",
}


class Books:
    """The state; read it to see what really happened."""

    def __init__(self) -> None:
        self.payments: dict[str, dict[str, Any]] = {}
        self.refunds: dict[str, dict[str, Any]] = {}
        self.disputes: dict[str, str] = {}
        self.links: dict[str, dict[str, Any]] = {}
        self.refuses_links = False
        self.auto_rescue = False
        """Whether the account lets Adyen try refused payments again."""
        self.stored: dict[str, list[dict[str, Any]]] = {}
        self.notifications: list[dict[str, Any]] = []
        self._tries: dict[str, int] = {}

    def now(self) -> datetime:
        return datetime.now(UTC)

    def moved(self, order: str) -> list[tuple[int, str]]:
        """Return what was collected for one order, in Adyen's units."""
        ours = (one for one in self.payments.values() if one["order"] == order and one["captured"])
        return [(one["captured"], one["currency"]) for one in ours]

    def gone(self, psp: str) -> int:
        """Return what of a payment went back or is on its way, in Adyen's units."""
        ours = (one for one in self.refunds.values() if one["payment"] == psp)
        return sum(one["value"] for one in ours if one["state"] in {"pending", "refunded"})

    def word(self, order: str, token: str) -> str:
        """Return what the next try of an order is scripted to do."""
        words = token.removeprefix("tok_").split("|")
        self._tries[order] = self._tries.get(order, 0) + 1
        return words[min(self._tries[order], len(words)) - 1]

    # --- charges --------------------------------------------------------------------------------------------------

    def pay(self, body: Mapping[str, Any], word: str, more: Sequence[str]) -> Answer:
        payment = self._payment(body["amount"], body["reference"], body.get("merchantOrderReference", ""))
        payment |= {
            "shopper": body.get("shopperReference"),
            "token": body["paymentMethod"].get("storedPaymentMethodId"),
            "method": "mc" if body["paymentMethod"]["type"] == "scheme" else body["paymentMethod"]["type"],
        }
        answer: dict[str, Any] = {
            "pspReference": payment["psp"],
            "merchantReference": payment["reference"],
            "additionalData": {"paymentMethod": "mc", "recurringProcessingModel": body["recurringProcessingModel"]},
        }
        if word in {"refuse", "error"}:
            return self._refuse(payment, answer, word, *more)
        if word in NO_MONEY:
            return as_json(200, answer | {"resultCode": NO_MONEY[word]})
        partial = int(more[0]) if word == "partial" else None
        self._collect(payment, payment["value"] if partial is None else partial)
        amount = {"currency": payment["currency"], "value": payment["captured"]}
        code = "Authorised" if partial is None else "PartiallyAuthorised"
        return as_json(200, answer | {"resultCode": code, "amount": amount})

    def finish(self, psp: str, *, success: bool, reason: str = "Not enough balance") -> None:
        """Tell at last what became of a pending payment."""
        payment = self.payments[psp]
        if success:
            self._collect(payment, payment["value"])
        else:
            self._authorisation(payment, success=False, reason=reason)

    def pay_link(self, link_id: str) -> str:
        """Let the customer pay at a link; return the payment's reference at Adyen."""
        link = self.links[link_id]
        payment = self._payment(link["amount"], link["reference"], link["reference"])
        payment["shopper"] = link.get("shopperReference")
        self._collect(payment, payment["value"])
        return str(payment["psp"])

    def paid(self, value: int, currency: str, *words: str, captured: bool = True) -> dict[str, Any]:
        """Make a payment, captured or only authorised, whose refunds do what the words say."""
        payment = self._payment({"value": value, "currency": currency}, "elsewhere", "")
        payment |= {"captured": value if captured else 0, "words": list(words) or ["ok"]}
        return payment

    def refund_word(self, psp: str) -> str:
        words: list[str] = self.payments[psp]["words"] if psp in self.payments else ["ok"]
        return words.pop(0) if len(words) > 1 else words[0]

    # --- money back -----------------------------------------------------------------------------------------------

    def refund(self, psp: str, body: Mapping[str, Any], word: str, more: Sequence[str]) -> Answer:
        payment = self.payments.get(psp)
        if payment is None:
            return error(422, "167", "Original pspReference required for this operation")
        refund = {"psp": psp_reference(), "payment": psp, "value": body["amount"]["value"], "state": "pending"}
        refund |= {"reference": body.get("reference", ""), "currency": payment["currency"]}
        reason = ":".join(more) if word == "no" else self._why_not(payment, refund["value"])
        self.refunds[refund["psp"]] = refund | ({"state": "refused"} if reason else {})
        if reason:
            self._tell_refund(refund["psp"], "REFUND", success=False, reason=reason)
        elif word != "pending":
            self.finish_refund(refund["psp"])
        answer = {**body, "paymentPspReference": psp, "pspReference": refund["psp"], "status": "received"}
        return as_json(201, answer)

    def finish_refund(self, psp: str) -> None:
        """The refund was sent to the scheme, and the webhook says so."""
        self.refunds[psp]["state"] = "refunded"
        self._tell_refund(psp, "REFUND")

    def fail_refund(self, psp: str) -> None:
        """The scheme rejects a refund that had been told as done; the money is back with the merchant."""
        self.refunds[psp]["state"] = "failed"
        self._tell_refund(psp, "REFUND_FAILED", reason="Refund Failed")

    def refund_elsewhere(self, psp: str, value: int) -> str:
        """Somebody refunds in the Customer Area."""
        refund = {"psp": psp_reference(), "payment": psp, "value": value, "reference": "by hand", "state": "pending"}
        self.refunds[str(refund["psp"])] = refund | {"currency": self.payments[psp]["currency"]}
        self.finish_refund(str(refund["psp"]))
        return str(refund["psp"])

    def cancel(self, psp: str, body: Mapping[str, Any]) -> Answer:
        payment = self.payments.get(psp)
        if payment is None:
            return error(422, "167", "Original pspReference required for this operation")
        fine = not payment["captured"]
        payment["voided"] |= fine
        told = psp_reference()
        reason = "" if fine else "Payment has already been captured"
        self._tell(
            "CANCELLATION", told, payment, reference=body["reference"], original=psp, success=fine, reason=reason
        )
        return as_json(201, {**body, "paymentPspReference": psp, "pspReference": told, "status": "received"})

    # --- what happens by itself -----------------------------------------------------------------------------------

    def open_dispute(self, psp: str, code: str = "CHARGEBACK", reason: str = "10.4") -> str:
        """The customer goes to their bank; return the dispute's reference at Adyen."""
        dispute = psp_reference()
        self.disputes[dispute] = psp
        self.move_dispute(dispute, code, reason)
        return dispute

    def move_dispute(self, dispute: str, code: str, reason: str = "10.4") -> None:
        """Something happens in a dispute: any event code of the dispute webhooks."""
        payment = self.payments[self.disputes[dispute]]
        payment["disputed"] = "WON" not in code and "REVERSED" not in code
        additional = {"chargebackReasonCode": reason, "defensePeriodEndsAt": "2027-01-31T03:03:07+01:00"}
        self._tell(code, dispute, payment, original=payment["psp"], reason="dispute", additional=additional)

    def fail_capture(self, psp: str) -> None:
        """A capture that had been told as done is rejected by the scheme."""
        payment = self.payments[psp]
        payment["captured"] = 0
        self._tell("CAPTURE_FAILED", psp_reference(), payment, original=psp, reason="Capture Failed")

    def rescue(self, psp: str, *, success: bool, again: bool = False) -> str:
        """Auto Rescue tries a refused payment again: the same reference, a pspReference of its own."""
        before = self.payments[psp]
        amount = {"currency": before["currency"], "value": before["value"]}
        payment = self._payment(amount, before["reference"], before["order"])
        payment |= {"shopper": before.get("shopper"), "token": before.get("token")}
        if success:
            self._collect(payment, payment["value"])
        else:
            scheduled = {"retry.rescueScheduled": "true" if again else "false"}
            self._authorisation(payment, success=False, reason="Not enough balance", additional=scheduled)
        return str(payment["psp"])

    def _collect(self, payment: dict[str, Any], value: int) -> None:
        payment["captured"] = value
        self._authorisation(payment, success=True)

    def _refuse(
        self, payment: dict[str, Any], answer: dict[str, Any], word: str, code: str, raw: str = "", advice: str = ""
    ) -> Answer:
        told = {"refusalReasonRaw": f"{raw} : told by the issuer"} if raw else {}
        told |= {"merchantAdviceCode": f"{advice} : told by the network"} if advice else {}
        told |= {"retry.rescueScheduled": "true"} if self.auto_rescue else {}
        reason = REASONS.get(code, f"Something new {code}")
        self._authorisation(payment, success=False, reason=reason, additional=told)
        result = {"resultCode": word.title().replace("Refuse", "Refused"), "refusalReason": reason}
        answer["additionalData"] |= told
        return as_json(200, answer | result | {"refusalReasonCode": code})

    def _payment(self, amount: Mapping[str, Any], reference: str, order: str) -> dict[str, Any]:
        payment = {"psp": psp_reference(), "value": amount["value"], "currency": amount["currency"]}
        payment |= {"reference": reference, "order": order, "captured": 0, "voided": False, "disputed": False}
        self.payments[payment["psp"]] = payment | {"words": ["ok"], "method": "mc"}
        return self.payments[payment["psp"]]

    def _why_not(self, payment: Mapping[str, Any], value: int) -> str:
        if not payment["captured"]:
            return "Transaction hasn't been captured, refund not possible"
        if payment["disputed"]:
            return "Chargeback already booked for this payment"
        return "Insufficient balance on payment" if self.gone(payment["psp"]) + value > payment["captured"] else ""

    def _authorisation(
        self,
        payment: Mapping[str, Any],
        *,
        success: bool,
        reason: str = "",
        additional: Mapping[str, str] | None = None,
    ) -> None:
        known = {"shopperReference": payment.get("shopper"), "recurring.recurringDetailReference": payment.get("token")}
        told = {name: value for name, value in known.items() if value} | dict(additional or {})
        value = payment["captured"] or payment["value"]
        self._tell("AUTHORISATION", payment["psp"], payment, value, success=success, reason=reason, additional=told)

    def _tell_refund(self, psp: str, code: str, *, success: bool = True, reason: str = "") -> None:
        refund = self.refunds[psp]
        payment = self.payments[refund["payment"]]
        about = {"reference": refund["reference"], "original": payment["psp"], "success": success, "reason": reason}
        self._tell(code, psp, payment, refund["value"], **about)

    def _tell(self, code: str, psp: str, payment: Mapping[str, Any], value: int | None = None, **more: Any) -> None:
        amount = payment["value"] if value is None else value
        told = {"reference": payment["reference"], "method": payment["method"], "at": self.now(), **more}
        self.notifications.append(notification(code, psp=psp, value=amount, currency=payment["currency"], **told))

    # --- stored methods and links ---------------------------------------------------------------------------------

    def list_stored(self, shopper: str) -> Answer:
        told = {"merchantAccount": MERCHANT, "shopperReference": shopper}
        return as_json(200, told | {"storedPaymentMethods": self.stored.get(shopper, [])})

    def make_link(self, body: Mapping[str, Any]) -> Answer:
        if self.refuses_links:
            return error(422, "29_100", "Pay by link is not enabled")
        link_id = f"PL{psp_reference()}"
        link = {**body, "id": link_id, "status": "active", "url": f"https://test.adyen.link/{link_id}"}
        self.links[link_id] = link
        return as_json(201, link)
