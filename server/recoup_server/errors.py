"""Every refusal becomes one RFC 9457 problem: one table from the stable `code` to the HTTP status.

What is not in the table is a fault of ours: logged whole, answered with 500 and nothing of the inside.
"""

import re
from datetime import datetime
from http import HTTPStatus
from typing import Any, ClassVar, Final

import asyncpg
import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from recoup_core.domain.errors import DomainError
from recoup_core.rules.language.errors import PolicyInvalid
from recoup_core.rules.language.errors import Problem as PolicyProblem
from recoup_core.storage.calls import IdempotencyKeyReused
from recoup_core.storage.engine import DatabaseUnavailable
from recoup_core.telemetry import current_correlation, get_logger

PROBLEM_JSON: Final = "application/problem+json"
RETRY_AFTER_S: Final = 2
"""What a client is asked to wait when the database is out of reach or two calls got into each other's way."""

MAX_DETAIL: Final = 500
"""Characters of a problem's detail."""

STATUSES: Final[dict[str, int]] = {
    # the request itself is wrong
    "invalid_request": 400,
    "bad_cursor": 400,
    "idempotency_key_required": 400,
    "card_number_refused": 400,
    "unknown_currency": 400,
    "unknown_gateway": 400,
    "inconsistent_report": 400,
    "contact_invalid": 400,
    "facts_invalid": 400,
    "amount_not_exact": 400,
    "currency_mismatch": 400,
    "webhook_refused": 400,
    "feedback_refused": 400,
    "key_invalid": 400,
    # who asks
    "unauthorized": 401,
    "forbidden": 403,
    "house_version": 403,
    "four_eyes": 403,
    "approval_role_missing": 403,
    # what is asked about
    "not_found": 404,
    "no_such_gateway": 404,
    "no_such_notifier": 404,
    # not in this state
    "illegal_transition": 409,
    "not_allowed_now": 409,
    "payment_exists": 409,
    "upcoming_charge_exists": 409,
    "two_owners": 409,
    "conflict": 409,
    "plan_changed": 409,
    "refund_not_open": 409,
    "refund_in_flight": 409,
    "no_update_link": 409,
    # changed since it was read, or not read at all
    "version_conflict": 412,
    "if_match_required": 428,
    # understood, and refused by a rule
    "idempotency_key_reused": 422,
    "no_policy_applies": 422,
    "out_of_range": 422,
    "policy_unknown": 422,
    "policy_kinds_differ": 422,
    "no_history": 422,
    "nothing_to_refund": 422,
    "refund_exceeds_refundable": 422,
    "goodwill_exceeds_payment": 422,
    "line_exceeds_refundable": 422,
    "refund_lines_differ": 422,
    "refund_invalid": 422,
    "settlement_unreadable": 422,
    "url_refused": 422,
    "endpoint_invalid": 422,
    "too_many_endpoints": 422,
    "exception_invalid": 422,
    "gateway_cannot_refund": 422,
    "refund_window_over": 422,
    "too_many_refunds": 422,
    "delegation_invalid": 422,
    "mute_invalid": 422,
    "unknown_template": 422,
    "template_failed": 422,
    "unknown_sample": 422,
    "templates_invalid": 422,
    "policy_invalid": 422,
    "history_invalid": 422,
    # too much at once; nothing was done
    "too_many_streams": 429,
    "streams_full": 503,
    "workbench_busy": 503,
    # a provider is out of reach, or answers what can't be used; nothing was done
    "gateway_unavailable": 503,
    "webhook_unread": 503,
    "webhook_not_stored": 503,
    "feedback_not_taken": 503,
    "events_not_listed": 503,
    # ours: these can't come from a request, and a caller could do nothing about them
    "domain_error": 500,
    "unbalanced_entry": 500,
    "engine_unavailable": 500,
    "policies_unusable": 500,
    "plugin_misconfigured": 500,
    "plugin_skeleton_refused": 500,
    "plugin_unfit": 500,
    "gateway_broken": 500,
    "notifier_broken": 500,
}

_CALLED: Final = {
    "idempotency_key": "Idempotency-Key",
    "status": "state",
    "day": "date",
    "first": "from",
    "last": "until",
    "delegate_": "delegate",
}
"""Parameters that handlers know by another name than callers do."""

_HELD_BY_THE_DATABASE: Final = {
    "capture_never_over": ("refund_exceeds_refundable", "less than was asked for is left to refund"),
    "payment_line_never_over": ("line_exceeds_refundable", "less than was asked for is left of a line"),
    "payment_goodwill_bounded": ("goodwill_exceeds_payment", "goodwill would come to more than the payment"),
}
"""Constraints that refuse what a flow should have refused before: by the same codes, and nothing was done."""

_BY_STATUS: Final = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
}

log = get_logger(__name__)


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457, with a stable `code` to program against."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    """Stable; the other texts are for people and may change."""
    correlation_id: str
    """Quote it when asking for help: it stands in our logs."""
    field: str | None = None
    """The field or parameter at fault, where one is."""
    possible_at: datetime | None = None
    """When the same call may succeed, where that is known."""
    problems: list[PolicyProblem] | None = None
    """What is wrong with a policy that was refused, each with its place."""


class RequestInvalid(DomainError):
    """The request can't be read as what this route takes."""

    code: ClassVar[str] = "invalid_request"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class BadCursor(DomainError):
    """The cursor was not made by this list."""

    code: ClassVar[str] = "bad_cursor"
    field = "cursor"

    def __init__(self) -> None:
        super().__init__("the cursor is not one that this list has given out")


class IdempotencyKeyRequired(DomainError):
    """A call that can move money came without a key."""

    code: ClassVar[str] = "idempotency_key_required"
    field = "Idempotency-Key"

    def __init__(self) -> None:
        super().__init__("this call needs an Idempotency-Key header, so that sending it again is safe")


class IfMatchRequired(DomainError):
    """A change to what others may be changing came without the version that it is about."""

    code: ClassVar[str] = "if_match_required"
    field = "If-Match"

    def __init__(self) -> None:
        super().__init__("this call needs an If-Match header with the ETag that was read, so that no change is overrun")


class Unauthorized(DomainError):
    """No key, or one that is unknown, revoked or expired; which of these is not told."""

    code: ClassVar[str] = "unauthorized"

    def __init__(self) -> None:
        super().__init__("send a valid API key as `Authorization: Bearer rk_...`")


class Forbidden(DomainError):
    """The key is good, but has none of the roles that may do this."""

    code: ClassVar[str] = "forbidden"

    def __init__(self, roles: str) -> None:
        super().__init__(f"this call needs a key with the role {roles}")


def problem_of(error: Exception) -> tuple[Problem, dict[str, str]]:
    """Return the problem an error is told as, and the headers that go with it."""
    if isinstance(error, asyncpg.UniqueViolationError) and error.constraint_name == "idempotent_call_pkey":
        error = IdempotencyKeyReused()  # another request took the key while this one was under way
    status = STATUSES.get(error.code, 500) if isinstance(error, DomainError) else 500
    if isinstance(error, DomainError) and status != HTTPStatus.INTERNAL_SERVER_ERROR:
        headers = {"WWW-Authenticate": "Bearer"} if error.code == "unauthorized" else {}
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers = _later()
        field, possible_at = getattr(error, "field", None), getattr(error, "possible_at", None)
        problem = make_problem(error.code, str(error), status, field, possible_at)
        if isinstance(error, PolicyInvalid):
            problem = msgspec.structs.replace(problem, problems=list(error.problems))
        return problem, headers
    if isinstance(error, DatabaseUnavailable):
        told = "the database can't be reached; send the same call with the same Idempotency-Key again"
        return make_problem(error.code, told, 503), {"Retry-After": str(RETRY_AFTER_S)}
    if isinstance(error, asyncpg.QueryCanceledError):
        return make_problem("database_busy", "the database took too long; try again", 503), _later()
    if isinstance(error, asyncpg.CheckViolationError) and error.constraint_name in _HELD_BY_THE_DATABASE:
        code, told = _HELD_BY_THE_DATABASE[error.constraint_name]
        return make_problem(code, told, STATUSES[code]), {}
    if isinstance(error, asyncpg.UniqueViolationError | asyncpg.DeadlockDetectedError | asyncpg.SerializationError):
        told = "another call got in the way and nothing was done; send it again with the same Idempotency-Key"
        return make_problem("conflict", told, 409), _later()
    if isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return _framework(error)
    told = "something went wrong on our side; the correlation id leads to it in the logs"
    return make_problem("internal_error", told, 500), {}


def make_problem(
    code: str, detail: str, status: int, field: str | None = None, possible_at: datetime | None = None
) -> Problem:
    """Return a problem about the present request."""
    return Problem(
        type=f"urn:recoup:problem:{code}",
        title=code.replace("_", " ").capitalize(),
        status=status,
        detail=detail[:MAX_DETAIL],
        code=code,
        field=field,
        possible_at=possible_at,
        correlation_id=current_correlation() or "",
    )


def answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Litestar's handler for whatever a route or the framework raises."""
    problem, headers = problem_of(error)
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request_failed", route=request.scope.get("path_template", ""), exc_info=error)
    elif problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        log.warning("request_refused", route=request.scope.get("path_template", ""), error=str(error))
    return Response(problem, status_code=problem.status, media_type=PROBLEM_JSON, headers=headers)


def problem_body(problem: Problem) -> bytes:
    """Return a problem as it is sent, for what answers outside Litestar."""
    return msgspec.json.encode(problem)


def _later() -> dict[str, str]:
    return {"Retry-After": str(RETRY_AFTER_S)}


def _framework(error: HTTPException) -> tuple[Problem, dict[str, str]]:
    """Turn the framework's own refusal into ours; its texts may repeat the path, so ours are used."""
    status = error.status_code
    code = _BY_STATUS.get(status, "invalid_request")
    field: str | None = None
    detail = HTTPStatus(status).description or HTTPStatus(status).phrase
    if isinstance(error, ValidationException):
        field, detail = _first_fault(error)
    return make_problem(code, detail, status, field), dict(error.headers or {})


_MISSING: Final = re.compile(r"Missing required \w+ parameter '(?P<name>[\w-]{1,64})'")
"""How Litestar words it; the rest of its text repeats the path."""


def _first_fault(error: ValidationException) -> tuple[str | None, str]:
    faults = error.extra if isinstance(error.extra, list) else []
    if faults and isinstance(faults[0], dict):
        key = faults[0].get("key")
        return _CALLED.get(str(key), key), str(faults[0].get("message", "is not valid"))
    missing = _MISSING.match(str(error.detail))
    if missing is not None:
        return _CALLED.get(missing["name"], missing["name"]), "is missing"
    return None, "a parameter is missing or not valid"
