"""What a rule of a refund policy does: approve within bounds, have it reviewed level by level, or deny for a reason."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import msgspec

from recoup_core.rules.language.actions.review import Amounts, FieldReader, ReviewReader
from recoup_core.rules.language.errors import shown
from recoup_core.rules.language.reasons import token
from recoup_core.rules.language.yamltext import Map, Node, Scalar

AUTO: Final = "auto"
"""`approve: auto` sets no bound."""

MAX_CUSTOMER_REFUNDS: Final = 1_000
MAX_CUSTOMER_WINDOW: Final = timedelta(days=366)
"""As far back as `per_customer` looks."""

MAX_PAYMENT_AGE: Final = timedelta(days=3_660)

_ONE_DAY: Final = timedelta(days=1)


class CustomerBound(msgspec.Struct, frozen=True, kw_only=True):
    """How often, and how much, one customer gets back within a time; the refund that is decided on counts too."""

    count: int | None = None
    amount: Amounts | None = None
    within: timedelta


class ApproveSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Approve without a person, as far as every bound allows; each counts what was approved before plus this refund."""

    per_agent_day: Amounts | None = None
    """What is approved in a day of what one agent asked for."""
    per_day: Amounts | None = None
    """What is approved in a day for the merchant."""
    per_customer: CustomerBound | None = None
    within: timedelta | None = None
    """How old the payment may be, in whole days."""

    @property
    def bounded(self) -> bool:
        """Whether there is a refund that it doesn't approve."""
        bounds = (self.per_agent_day, self.per_day, self.per_customer, self.within)
        return any(bound is not None for bound in bounds)


class DenySpec(msgspec.Struct, frozen=True, kw_only=True):
    """Refuse the refund."""

    reason: str


class RefundReader(ReviewReader):
    """Reads the actions of one refund policy."""

    def approve(self, node: Node) -> ApproveSpec | None:
        """Read `auto`, or bounds."""
        if isinstance(node, Scalar):
            if node.text == AUTO:
                return ApproveSpec()
            hint = "write `approve: auto`, or bounds: {per_agent_day: {EUR: 500.00}}"
            self.report.add(node, "unknown_value", f"`approve` is never {shown(node.text)}", hint)
            return None
        fields = self.fields(node, "approve", APPROVE_FIELDS)
        if fields is None:
            return None
        if not fields:
            self.report.add(node, "missing_key", "`approve` names no bound", "write `approve: auto`")
            return None
        spec = ApproveSpec(**fields)
        return spec if isinstance(node, Map) and self._sensible(spec, node) else None

    def deny(self, node: Node) -> DenySpec | None:
        """Read the reason, a word that programs can tell apart."""
        word = token(node, "the reason of `deny`", self.report)
        return None if word is None else DenySpec(reason=word)

    def together(self, rule: Map, action: object, otherwise: object) -> None:
        """Check what only both actions of a rule tell: what happens beyond bounds must be said, and be no approval."""
        if not isinstance(action, ApproveSpec):
            return
        node = rule.get("otherwise")
        if node is None and action.bounded:
            hint = "otherwise: {review: {levels: [[support_lead]]}}"
            message = "`approve` with bounds needs `otherwise`: what happens beyond them"
            self.report.add(rule.get("approve"), "missing_key", message, hint)
        elif node is not None and not action.bounded:
            self.report.add(node, "no_effect", "`otherwise` has no effect beside `approve: auto`")
        elif isinstance(otherwise, ApproveSpec):
            self.report.add(node, "wrong_type", "`otherwise` of an `approve` must be `review` or `deny`")

    def per_agent_day(self, node: Node) -> Amounts | None:
        """Read how much of one agent's requests is approved in a day."""
        return self.above_zero(node, "`per_agent_day`")

    def per_day(self, node: Node) -> Amounts | None:
        """Read how much is approved in a day."""
        return self.above_zero(node, "`per_day`")

    def per_customer(self, node: Node) -> CustomerBound | None:
        """Read how often and how much one customer gets back."""
        fields = self.fields(node, "per_customer", CUSTOMER_FIELDS, needed=("within",))
        if fields is None:
            return None
        if fields.keys() == {"within"}:
            self.report.add(node, "missing_key", "`per_customer` needs `count`, `amount` or both")
            return None
        return CustomerBound(**fields)

    def customer_count(self, node: Node) -> int | None:
        """Read the number of refunds."""
        return self.count(node, "`count`", MAX_CUSTOMER_REFUNDS)

    def customer_amount(self, node: Node) -> Amounts | None:
        """Read what the refunds may come to."""
        return self.above_zero(node, "`amount`")

    def customer_window(self, node: Node) -> timedelta | None:
        """Read how far back is counted."""
        return self.duration(node, "`within`", MAX_CUSTOMER_WINDOW)

    def payment_age(self, node: Node) -> timedelta | None:
        """Read how old the payment may be."""
        age = self.duration(node, "`within`", MAX_PAYMENT_AGE)
        if age is not None and age % _ONE_DAY:
            self.report.add(node, "bad_duration", "the age of a payment is counted in whole days", "30d, 2w")
            return None
        return age

    def _sensible(self, spec: ApproveSpec, at: Map) -> bool:
        """Refuse bounds that can't bite, and currencies that one bound lists and another forgets."""
        customer = spec.per_customer.amount if spec.per_customer is not None else None
        lists = [bound for bound in (spec.per_agent_day, spec.per_day, customer) if bound is not None]
        uneven = sorted({each for one in lists for each in one if not all(each in other for other in lists)})
        if uneven:
            message = f"{', '.join(uneven)} is not in every bound, so nothing in it is ever approved"
            self.report.add(at, "currencies_differ", message, "list the same currencies in every bound")
        agent, day = spec.per_agent_day or {}, spec.per_day or {}
        idle = sorted(currency for currency in agent.keys() & day.keys() if agent[currency] > day[currency])
        if idle:
            message = f"`per_agent_day` is above `per_day` in {', '.join(idle)}; it never counts"
            self.report.add(at.get("per_agent_day"), "no_effect", message)
        return not uneven and not idle


APPROVE_FIELDS: Final[Mapping[str, FieldReader]] = {
    "per_agent_day": RefundReader.per_agent_day,
    "per_day": RefundReader.per_day,
    "per_customer": RefundReader.per_customer,
    "within": RefundReader.payment_age,
}
"""Per bound of `approve`, how its value is read."""

CUSTOMER_FIELDS: Final[Mapping[str, FieldReader]] = {
    "count": RefundReader.customer_count,
    "amount": RefundReader.customer_amount,
    "within": RefundReader.customer_window,
}
"""Per key of `per_customer`, how its value is read."""
