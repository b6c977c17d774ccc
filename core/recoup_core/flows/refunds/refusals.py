"""Why something about a refund is refused; each is named for the broken rule and carries the facts."""

from datetime import datetime
from typing import ClassVar

from recoup_core.domain.errors import DomainError
from recoup_core.domain.money import Money


class RefundExceedsRefundable(DomainError):
    """Asked to refund more than is left; what is reserved, in flight, refunded or under dispute is not left."""

    code: ClassVar[str] = "refund_exceeds_refundable"
    field = "amount_minor"

    def __init__(self, asked: Money, refundable: Money) -> None:
        beside = "beside what is asked for already, refunded or disputed"
        super().__init__(f"asked to refund {asked}, {refundable} is refundable {beside}")
        self.asked, self.refundable = asked, refundable


class GoodwillExceedsPayment(DomainError):
    """Goodwill as store credit comes to more than the payment it is given for."""

    code: ClassVar[str] = "goodwill_exceeds_payment"
    field = "amount_minor"

    def __init__(self, asked: Money, left: Money) -> None:
        super().__init__(f"asked for {asked} of goodwill, {left} is left beside this payment")
        self.asked, self.left = asked, left


class LineExceedsRefundable(DomainError):
    """Asked for more of a line than is left of it."""

    code: ClassVar[str] = "line_exceeds_refundable"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class RefundLinesDiffer(DomainError):
    """The lines don't come to the amount; both are said, so that neither is guessed."""

    code: ClassVar[str] = "refund_lines_differ"
    field = "amount_minor"

    def __init__(self, asked: Money, lines: Money) -> None:
        super().__init__(f"asked to refund {asked}, but the lines come to {lines}")
        self.asked, self.lines = asked, lines


class RefundInvalid(DomainError):
    """The request contradicts itself or the payment."""

    code: ClassVar[str] = "refund_invalid"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class GatewayCannotRefund(DomainError):
    """The gateway gives no money back, or not this way; store credit may be asked for."""

    code: ClassVar[str] = "gateway_cannot_refund"

    def __init__(self, gateway: str, because: str) -> None:
        super().__init__(f"{gateway} can't refund this: {because}")
        self.gateway = gateway


class RefundWindowOver(DomainError):
    """The gateway takes no refunds of so old a payment; store credit may be asked for."""

    code: ClassVar[str] = "refund_window_over"

    def __init__(self, gateway: str, ended_at: datetime) -> None:
        super().__init__(f"{gateway} took refunds of this payment until {ended_at.isoformat()}")
        self.gateway, self.ended_at = gateway, ended_at


class TooManyRefunds(DomainError):
    """The payment has as many refunds as one may have."""

    code: ClassVar[str] = "too_many_refunds"

    def __init__(self, most: int) -> None:
        super().__init__(f"the payment has {most} refunds already, the most one may have")


class RefundNotOpen(DomainError):
    """The refund is in a state in which this can't be done; says which."""

    code: ClassVar[str] = "refund_not_open"

    def __init__(self, state: str, wanted: str) -> None:
        super().__init__(f"the refund is {state}; in that state it can't be {wanted}")
        self.state = state


class RefundInFlight(DomainError):
    """Money of the refund may be moving; it can neither be edited nor canceled before its gateway has answered."""

    code: ClassVar[str] = "refund_in_flight"

    def __init__(self) -> None:
        super().__init__("money of this refund may be moving; wait until the gateway has answered")


class VersionConflict(DomainError):
    """Somebody changed it since it was read."""

    code: ClassVar[str] = "version_conflict"
    field = "If-Match"

    def __init__(self, given: int, present: int) -> None:
        super().__init__(f"the refund has changed since: it is at version {present}, not {given}; read it again")
        self.present = present


class FourEyes(DomainError):
    """Whoever touched a refund can't decide it, nor can whoever decides for them (promise 8)."""

    code: ClassVar[str] = "four_eyes"

    def __init__(self, person: str, why: str) -> None:
        super().__init__(f"{person} can't decide this refund: {why}")
        self.person = person


class NotYourLevel(DomainError):
    """The caller has none of the roles that may decide the refund now."""

    code: ClassVar[str] = "approval_role_missing"

    def __init__(self, roles: tuple[str, ...]) -> None:
        super().__init__(f"this refund is now decided by {' or '.join(roles)}")
        self.roles = roles


class DelegationInvalid(DomainError):
    """The delegation gives what its owner doesn't have, or to whom or when it can't be given."""

    code: ClassVar[str] = "delegation_invalid"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
