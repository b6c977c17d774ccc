"""The columns of the matrix: what each is made of, and what it does not have."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.matrix.adyen_provider import AdyenProvider
from tests.matrix.gocardless_provider import GoCardlessProvider
from tests.matrix.sandbox_provider import SandboxProvider
from tests.matrix.stripe_provider import StripeProvider

PROVIDERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "sandbox": SandboxProvider,
    "stripe": StripeProvider,
    "adyen": AdyenProvider,
    "gocardless": GoCardlessProvider,
}
"""Each made with the test's clock."""

HEADINGS: Final[Mapping[str, str]] = {
    "sandbox": "sandbox",
    "stripe": "Stripe",
    "adyen": "Adyen",
    "gocardless": "GoCardless (SEPA)",
}

NOT_THERE: Final[Mapping[tuple[str, str], str]] = {
    ("sandbox", "provider answers HTML"): "the sandbox is called within the process; there is no HTTP on its line",
    ("gocardless", "declined: processing error"): "SEPA knows no technical failure that may be tried again unchanged",
    ("gocardless", "authentication needed"): "a bank debit has no authentication",
}
"""By column and scenario why there is nothing to play."""
