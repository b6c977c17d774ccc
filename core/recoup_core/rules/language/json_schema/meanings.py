"""What an editor shows at operators, words and keys; facts bring their own meaning.

Each table is read by key while the schema is made, so a new operator, word or key without a text stops the making.
"""

from collections.abc import Mapping
from typing import Final

OPERATOR_MEANINGS: Final[Mapping[str, tuple[str, str]]] = {
    "in": ("is one of the list", "decline: {in: [fraud, unknown]}"),
    "not": ("is known, and different (from all of a list)", "decline: {not: fraud}"),
    "lt": ("is less than", "attempt: {lt: 3}"),
    "lte": ("is at most", "attempt: {lte: 3}"),
    "gt": ("is more than", "attempt: {gt: 3}"),
    "gte": ("is at least", "attempt: {gte: 3}"),
    "between": ("lies from the first to the second, both included", "attempt: {between: [2, 4]}"),
    "exists": ("is known", "network: {exists: true}"),
    "missing": ("is not known", "network: {missing: true}"),
}
"""Per operator: its meaning, and an example."""

LOGIC_MEANINGS: Final[Mapping[str, tuple[str, str]]] = {
    "all": ("every one of these is true", "all: [small, {attempt: {lte: 3}}]"),
    "any": ("at least one of these is true", "any: [small, {attempt: {lte: 3}}]"),
    "not": ("this is false; what can't be told stays so", "not: {attempt: {lt: 3}}"),
}

_METHOD: Final = {
    "card": "a credit or debit card",
    "sepa_debit": "a SEPA direct debit",
    "ach_debit": "a US bank debit (ACH)",
    "bacs_debit": "a UK direct debit (Bacs)",
}
_SEGMENT: Final = {"consumer": "a private person", "business": "a company"}

WORD_MEANINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "method": _METHOD,
    "network": {
        "visa": "Visa",
        "mastercard": "Mastercard",
        "american_express": "American Express",
        "discover": "Discover",
        "elo": "Elo (Brazil)",
        "other": "any other network",
    },
    "segment": _SEGMENT,
    "customer.segment": _SEGMENT,
    "decline": {
        "insufficient_funds": "the account did not hold enough; waiting for payday may help",
        "issuer_temporary": "the customer's bank could not answer; hours may help",
        "issuer_generic": "the customer's bank gave no reason",
        "expired_or_invalid_credentials": "the card or account details are out of date or wrong",
        "lost_or_stolen": "the card is reported lost or stolen: never again",
        "fraud": "the bank suspects fraud: never again",
        "authentication_required": "the customer has to confirm the payment",
        "velocity_or_limit": "a limit on the number or amount of payments was reached",
        "not_permitted": "the card or account does not allow this kind of payment",
        "revoked_mandate": "the customer withdrew the permission: never again",
        "configuration": "the merchant's own settings at the gateway are wrong",
        "processing_error": "a technical failure on the way; minutes may help",
        "unknown": "a code that is in no table: never tried again unattended",
    },
    "decline_source": {
        "stripe": "Stripe's decline codes",
        "adyen": "Adyen's refusal reasons",
        "iso8583": "ISO 8583 response codes",
        "ach": "ACH return codes",
        "sepa": "SEPA reason codes",
        "bacs": "Bacs ARUDD codes",
    },
    "retryable": {
        "yes": "an unattended, spaced retry inside the limits may help",
        "no": "never again with the same credential",
        "after_customer_action": "only after the customer or the merchant changed something",
    },
    "subscription.interval": {
        "day": "daily",
        "week": "weekly",
        "month": "monthly",
        "quarter": "every three months",
        "year": "yearly",
    },
    "stop_reason": {
        "exhausted": "enough was tried",
        "not_retryable": "trying again can't work",
        "needs_customer": "the customer has to give a new means of payment",
        "needs_authentication": "the customer has to confirm the payment",
        "manual_review": "a person has to look at it",
    },
    "moment": {
        "opened": "the case opened, because the payment failed",
        "before_retry": "each planned retry; says `ahead`",
        "after_retry": "each declined retry",
        "exhausted": "no retry is left",
    },
    "notice_moment": {
        "announced": "the billing system told of the charge",
        "before_charge": "the charge; says `ahead`",
        "before_expiry": "the end of the card's last day; says `ahead`",
    },
    "late_success": {
        "accept": "it is kept, and what dunning took away is given back",
        "refund": "it goes back by a refund, under the refund policy",
        "ask": "a person says which of the two",
    },
    "day": {
        "payday": "a day on which the customer is paid, by what is known of them or of their country",
        "business_day": "a day on which banks work in the customer's country",
    },
    "credential": {
        "primary": "the means of payment that the customer uses first",
        "backup": "the customer's backup; without one the retry does not apply",
    },
    "purpose": {
        "refund": "what was paid comes back",
        "goodwill": "money beyond what the customer has a claim to",
    },
    "destination": {
        "original_method": "back to where the payment came from",
        "store_credit": "a credit with the merchant",
    },
    "dispute": {
        "none": "no dispute",
        "inquiry": "the bank has asked; no money has moved",
        "open": "the customer's bank has taken the money back for now",
        "won": "the merchant won",
        "lost": "the customer won: the money is back with them already",
    },
    "channel": {
        "api": "through the API",
        "console": "through the dashboard",
        "command_line": "through the command line",
    },
}
"""Per closed list: each word's meaning. Countries and currencies are known by their codes."""

KEY_MEANINGS: Final[Mapping[str, tuple[str, str | None]]] = {
    "kind": ("What the policy decides about; it says what else may stand in the file.", None),
    "name": ("The policy's name, unique among those of its kind.", "name: cards-consumer"),
    "note": ("What this version is about, for people.", "note: Waits for payday after a soft decline."),
    "applies_to": (
        "Which payments the policy is for: facts that stay as they are, each with a value or a list. Of all policies "
        "that cover a payment the strictly narrowest decides.",
        "applies_to: {method: card, segment: consumer}",
    ),
    "define": (
        "Conditions with a name, for use below. A definition may use those above it.",
        "define:\n  small: {amount: {lt: {USD: 20.00, EUR: 20.00}}}",
    ),
    "rules": ("Read from top to bottom: the first whose `when` is true decides. The last has no `when`.", None),
    "examples": (
        "The policy's tests: facts, and the rule that must fire for them. Every rule needs one.",
        "examples:\n  - {given: {decline: fraud}, expect: never again}",
    ),
    "effective": (
        "The dates of payment that the policy is for, both included.",
        "effective: {from: 2026-01-01, until: 2026-12-31}",
    ),
    "reasons": (
        "The reasons for which a refund may be asked, each with the evidence that it needs.",
        "reasons:\n  duplicate: {}\n  damaged: {evidence: [photo]}",
    ),
    "balance_retries": (
        "The waits before a refund is tried again that the balance at the gateway had no money for, each counted from "
        "the try before it; then a person is asked. An empty list asks at once.",
        "balance_retries: [4h, 1d, 1d, 2d]",
    ),
    "late_success": (
        "What becomes of money that comes in after the debt was given up (written off, canceled) or its subscription "
        "canceled for it; `accept` unless said.",
        "late_success: refund",
    ),
    "names.roles": ("Roles that may review refunds.", "roles: [support_lead, finance]"),
    "names.templates": ("Templates of messages.", "templates: [reminder, final_notice]"),
    "names.channels": ("Ways that messages go out.", "channels: [email, sms]"),
    "names.gateways": ("Gateways, as the settings name them.", "gateways: [stripe-eu]"),
    "names.plans": ("Plans of subscriptions.", "plans: [free, pro]"),
    "timelines": (
        "Whole failure sequences, and the exact steps and times that the policy must come to. Optional tests.",
        None,
    ),
    "timeline.name": ("What the sequence is about.", None),
    "timeline.given": ("What is known of the payment; what follows from the sequence itself is not given.", None),
    "start": ("When the first attempt failed.", "start: 2026-03-02T10:00:00Z"),
    "notice.start": ("When the charge was announced.", "start: 2026-03-02T10:00:00Z"),
    "charge": ("When the charge is to be made.", "charge: 2026-04-01T08:00"),
    "expires": ("The last day on which the card is good.", "expires: 2026-03-31"),
    "zone": ("The customer's time zone; also of times written without one. UTC unless said.", "zone: Europe/Berlin"),
    "failures": (
        "Why the first attempt and each retry were declined; `success` ends the sequence.",
        "failures: [insufficient_funds, issuer_generic, success]",
    ),
    "timeline.expect": ("What must come, in this order.", None),
    "paydays": ("Days of the month on which the customer is paid.", "paydays: [1, 15]"),
    "acquirer": ("The country of the acquirer; some network limits differ by it.", None),
    "retries": ("When the retries are made, one for each failure but the first.", None),
    "timeline.stop": ("Why retries end after the last failure.", None),
    "expected.retry": ("A retry is planned for this time.", "retry: 2026-03-05T06:00"),
    "expected.stop": ("Retries end for this reason.", None),
    "expected.rule": ("The rule it must come from.", None),
    "expected.credential": ("Which means of payment is tried.", None),
    "expected.at": ("When the step is due.", "at: 2026-03-05T09:00"),
    "expected.step": ("A step of the campaign is due: the template, text or plan, or true.", None),
    "evidence": ("Kinds of evidence, all of which are needed.", "evidence: [photo]"),
    "rule.name": ("The rule's name, as decisions, explanations and examples give it.", None),
    "when": ("The condition under which the rule decides; only the last rule has none.", "when: {attempt: {lte: 3}}"),
    "otherwise": ("What counts when the action does not apply.", "otherwise: {stop: needs_customer}"),
    "given": ("The facts that differ from the baseline of the kind.", "given: {decline: fraud, attempt: 2}"),
    "expect": ("The name of the rule that must fire.", None),
    "example.levels": ("Who must decide; goes with `answer: review`.", "levels: [[support_lead], [finance]]"),
    "answer": ("What a refund rule must come to, within its bounds or beyond them.", "answer: review"),
}
"""Per key: its meaning, and an example where that helps."""
