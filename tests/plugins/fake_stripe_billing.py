"""Invoices and customers of the fake Stripe: what is owed, what a customer has stored, and pages for customers."""

from collections.abc import Mapping
from typing import Any

from stripe.params import InvoicePaymentListParams, InvoicePayParams, InvoiceUpdateParams
from stripe.params.billing_portal import SessionCreateParams
from tests.plugins.fake_stripe_answers import Answer, as_json, error, name, page_of
from tests.plugins.fake_stripe_events import FakeEvents
from tests.plugins.fake_stripe_intents import FakeIntents, metadata_of

KNOWN_PARAMS = {
    "/v1/invoices/*": frozenset(InvoiceUpdateParams.__annotations__),
    "/v1/invoices/*/pay": frozenset(InvoicePayParams.__annotations__),
    "/v1/billing_portal/sessions": frozenset(SessionCreateParams.__annotations__),
}
KNOWN_QUERIES = {"/v1/invoice_payments": frozenset(InvoicePaymentListParams.__annotations__)}


class FakeBilling:
    """The state behind the routes of invoices, customers and the portal."""

    def __init__(self, paying: FakeIntents, events: FakeEvents) -> None:
        self.invoices: dict[str, dict[str, Any]] = {}
        self.payments: dict[str, dict[str, Any]] = {}
        self.customers: dict[str, dict[str, Any]] = {}
        self.methods: dict[str, list[dict[str, Any]]] = {}
        self._paying, self._events = paying, events

    def invoice(self, amount: int, currency: str = "eur", **changes: Any) -> dict[str, Any]:
        """Make an invoice, open and never tried unless told otherwise, with the PaymentIntent that collects it."""
        invoice = {
            "id": name("in_"),
            "object": "invoice",
            "amount_due": amount,
            "amount_paid": 0,
            "amount_remaining": amount,
            "attempt_count": 1,
            "attempted": True,
            "auto_advance": False,
            "collection_method": "charge_automatically",
            "currency": currency,
            "created": int(self._events.now()),
            "customer": "cus_a",
            "hosted_invoice_url": f"https://invoice.example/{name('i_')}",
            "metadata": {},
            "next_payment_attempt": None,
            "status": "open",
            **changes,
        }
        details = {"customer_reference": None, "order_reference": invoice["id"]}
        intent = self._paying.made(amount, currency, customer=invoice["customer"], payment_details=details)
        payment = {
            "id": name("inpay_"),
            "object": "invoice_payment",
            "amount_paid": None,
            "amount_requested": amount,
            "created": int(self._events.now()),
            "currency": currency,
            "invoice": invoice["id"],
            "is_default": True,
            "payment": {"type": "payment_intent", "payment_intent": intent["id"]},
            "status": "open",
            "status_transitions": {"canceled_at": None, "paid_at": None},
        }
        self.invoices[invoice["id"]], self.payments[payment["id"]] = invoice, payment
        return invoice

    def intent_of(self, invoice_id: str) -> dict[str, Any]:
        """Return the PaymentIntent that collects an invoice."""
        payment = next(one for one in self.payments.values() if one["invoice"] == invoice_id)
        return self._paying.intents[payment["payment"]["payment_intent"]]

    def get_invoice(self, one: str) -> Answer:
        found = self.invoices.get(one)
        return as_json(200, found) if found else error(404, "invalid_request_error", "resource_missing")

    def payments_page(self, query: Mapping[str, str], page_size: int | None) -> Answer:
        wanted = query.get("payment[payment_intent]")
        found = [
            one
            for one in reversed(self.payments.values())
            if query.get("invoice") in {None, one["invoice"]} and wanted in {None, one["payment"].get("payment_intent")}
        ]
        return page_of(found, query, "/v1/invoice_payments", page_size)

    def update(self, params: dict[str, str], word: str, more: list[str]) -> Answer:
        invoice = self.invoices[params["id"]]
        invoice["metadata"] = {**invoice["metadata"], **metadata_of(params)}
        return as_json(200, invoice)

    def pay(self, params: dict[str, str], word: str, more: list[str]) -> Answer:
        """Collect what is left with the given method: 402 on a decline, 200 and still open for a debit under way."""
        invoice = self.invoices[params["id"]]
        if invoice["status"] != "open":
            return error(400, "invalid_request_error", "invoice_already_paid")
        intent = self.intent_of(invoice["id"])
        answer = self._paying.charge(intent, params["payment_method"], word, more)
        if intent["status"] == "succeeded":
            self.settle(invoice["id"])
        elif answer.status == 402:
            self._events.tell("invoice.payment_failed", invoice)
        return as_json(200, invoice) if answer.status == 200 else answer

    def settle(self, invoice_id: str) -> None:
        """Book that an invoice's PaymentIntent was paid, by whomever."""
        invoice, now = self.invoices[invoice_id], int(self._events.now())
        payment = next(one for one in self.payments.values() if one["invoice"] == invoice_id)
        amount = invoice["amount_remaining"]
        invoice |= {"status": "paid", "amount_paid": amount, "amount_remaining": 0, "attempted": True}
        payment |= {"status": "paid", "amount_paid": amount, "status_transitions": {"paid_at": now}}
        self._events.tell("invoice_payment.paid", payment)
        self._events.tell("invoice.paid", invoice)

    def customer(self, one: str, *methods: Mapping[str, Any], default: str | None = None) -> None:
        """Keep a customer with stored payment methods."""
        settings = {"default_payment_method": default}
        self.customers[one] = {"id": one, "object": "customer", "invoice_settings": settings}
        self.methods[one] = [{"object": "payment_method", "customer": one, **method} for method in methods]

    def get_customer(self, one: str) -> Answer:
        found = self.customers.get(one)
        return as_json(200, found) if found else error(404, "invalid_request_error", "resource_missing")

    def methods_page(self, one: str, query: Mapping[str, str], page_size: int | None) -> Answer:
        return page_of(self.methods.get(one, []), query, f"/v1/customers/{one}/payment_methods", page_size)

    def session(self, params: dict[str, str], word: str, more: list[str]) -> Answer:
        if params["customer"] not in self.customers:
            return error(400, "invalid_request_error", "resource_missing", param="customer")
        url = f"https://billing.example/{name('bps_')}"
        made = {"id": name("bps_"), "object": "billing_portal.session", "created": int(self._events.now())}
        session = {**made, "url": url}
        return as_json(200, session)
