"""What the banks answer: a mandate has a word for each try on it, the last one repeated."""

from collections.abc import Mapping
from typing import Any, Final

APPROVE: Final = "approve"

WORDS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "insufficient_funds": {
        "sepa_core": ("insufficient_funds", "AM04"),
        "bacs": ("refer_to_payer", "ARUDD-0"),
        "ach": ("insufficient_funds", "R01"),
    },
    "account_closed": {
        "sepa_core": ("bank_account_closed", "AC04"),
        "bacs": ("bank_account_closed", "ARUDD-B"),
        "ach": ("bank_account_closed", "R02"),
    },
    "disputed": {
        "sepa_core": ("authorisation_disputed", "MD01"),
        "bacs": ("authorisation_disputed", "ARUDD-4"),
        "ach": ("authorisation_disputed", "R10"),
    },
    "stopped": {
        "sepa_core": ("payment_stopped", "MS02"),
        "bacs": ("payment_stopped", "ARUDD-6"),
        "ach": ("payment_stopped", "R08"),
    },
    "unknown_code": {
        "sepa_core": ("brand_new_cause", "ZZ99"),
        "bacs": ("brand_new_cause", "ARUDD-Z"),
        "ach": ("brand_new_cause", "R99"),
    },
    "processing_error": {
        "sepa_core": ("other", "MS03"),
        "bacs": ("other", "ARUDD-8"),
        "ach": ("other", "R32"),
    },
    "denied": dict.fromkeys(("sepa_core", "bacs", "ach"), ("customer_approval_denied", "")),
}
"""By word and scheme the cause and the bank's own code. `denied`: the customer has to agree, and does not."""


def failure(word: str, scheme: str, *, again: bool) -> dict[str, Any]:
    """Return the details of a failure, as an event has them."""
    cause, reason = WORDS[word][scheme]
    origin = {"origin": "bank", "scheme": scheme, "reason_code": reason} if reason else {"origin": "customer"}
    return {
        **origin,
        "cause": cause,
        "description": cause.replace("_", " ").capitalize() + ".",
        "will_attempt_retry": again,
    }


def action_of(word: str) -> str:
    """Return what happens to a payment by a word."""
    if word == APPROVE:
        return "confirmed"
    return "customer_approval_denied" if word == "denied" else "failed"
