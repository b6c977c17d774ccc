"""Refusals: each names the broken rule by a stable `code` and carries the facts; none knows of HTTP."""

from typing import ClassVar


class DomainError(Exception):
    """A rule was about to be broken. An expected answer (a decline, a stop) is a value, never an error."""

    code: ClassVar[str] = "domain_error"


class IllegalTransition(DomainError):
    """Asked for a pair of state and event that is absent from the state table."""

    code = "illegal_transition"

    def __init__(self, machine: str, state: str, event: str) -> None:
        super().__init__(f"a {machine} that is {state} can't take the event {event}")
        self.machine, self.state, self.event = machine, state, event


class CurrencyMismatch(DomainError):
    """Two amounts of different currencies were to be added, subtracted or compared."""

    code = "currency_mismatch"
    field = "currency"

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"amounts in {one} and {other} don't mix")
        self.one, self.other = one, other


class UnknownCurrency(DomainError):
    """The code is not an ISO 4217 currency."""

    code = "unknown_currency"
    field = "currency"

    def __init__(self, currency: str) -> None:
        super().__init__(f"{currency!r} is not an ISO 4217 currency code")
        self.currency = currency


class AmountNotExact(DomainError):
    """A major-unit text has more decimals than its currency knows, or is no number."""

    code = "amount_not_exact"

    def __init__(self, text: str, currency: str) -> None:
        super().__init__(f"{text!r} is not an exact amount of {currency}")
        self.text, self.currency = text, currency


class CardNumberRefused(DomainError):
    """A field holds a Luhn-valid run of 13 to 19 digits; its value is never repeated in the error."""

    code = "card_number_refused"

    def __init__(self, field: str) -> None:
        super().__init__(f"the field {field} looks like it holds a card number; send a gateway's token instead")
        self.field = field


class UnbalancedEntry(DomainError):
    """The postings of one entry don't sum to zero in every currency."""

    code = "unbalanced_entry"

    def __init__(self, currency: str, total_minor: int) -> None:
        super().__init__(f"the postings in {currency} sum to {total_minor} minor units, not to zero")
        self.currency, self.total_minor = currency, total_minor
