"""Why a bank debit failed: GoCardless's words, turned into the codes of the schemes.

The banks' own reason code decides where it came along (`AM04`, `R01`, `ARUDD-0`): network limits are written in these.
Where it did not, GoCardless's `cause` stands for the code of the scheme that says the same.
Source: developer.gocardless.com/api-reference (event types), read in November 2026.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from recoup_gocardless.calls import GoCardlessRefused
from recoup_gocardless.objects import METHODS, SOURCES, Details
from recoup_plugins import Decline, DeclineCategory, DeclineSource, Method, Retryable, classify

_S, _B, _A = DeclineSource.SEPA, DeclineSource.BACS, DeclineSource.ACH

BY_CAUSE: Final[Mapping[str, Mapping[DeclineSource, str]]] = {
    "insufficient_funds": {_S: "AM04", _B: "0", _A: "R01"},
    "refer_to_payer": {_S: "MS03", _B: "0", _A: "R01"},
    "bank_account_closed": {_S: "AC04", _B: "B", _A: "R02"},
    "invalid_bank_details": {_S: "AC01", _B: "5", _A: "R03"},
    "bank_account_transferred": {_S: "AC04", _B: "3", _A: "R12"},
    "direct_debit_not_enabled": {_S: "AG01", _B: "5", _A: "R20"},
    "account_blocked_for_any_financial_transaction": {_S: "AC06", _B: "5", _A: "R16"},
    "authorisation_disputed": {_S: "MD01", _B: "4", _A: "R10"},
    "mandate_cancelled": {_S: "MD01", _B: "1", _A: "R07"},
    "mandate_expired": {_S: "MD01", _B: "1", _A: "R07"},
    "mandate_suspended_by_payer": {_S: "MS02", _B: "6", _A: "R08"},
    "payment_stopped": {_S: "MS02", _B: "6", _A: "R08"},
    "refund_requested": {_S: "MD06", _B: "4", _A: "R10"},
    "return_on_odfi_request": {_S: "FOCR", _B: "A", _A: "R06"},
    "bank_declined_payment": {_S: "MS03", _A: "R16"},
    "daily_payment_limit_reached": {_S: "AM02"},
    "payment_violated_mandate_parameters": {_S: "AM02", _B: "7", _A: "R11"},
    "customer_approval_denied": {_S: "MS02", _B: "6", _A: "R08"},
}
"""What stands for the scheme's code where the bank's is missing; never a milder one. A cause that is not listed
(`other`, `test_failure`, tomorrow's) is unknown, and gets no unattended retry."""

ARUDD: Final = "ARUDD-"
"""How GoCardless marks the Bacs codes of unpaid debits. Those of the other reports (ADDACS, AUDDIS: about mandates)
share the digits and mean something else, so they stay as they are and the cause decides."""

_REFUSALS: Final[Mapping[str, tuple[DeclineCategory, Retryable]]] = {
    "mandate_is_inactive": (DeclineCategory.REVOKED_MANDATE, Retryable.NO),
    "mandate_replaced": (DeclineCategory.EXPIRED_OR_INVALID_CREDENTIALS, Retryable.AFTER_CUSTOMER_ACTION),
    "bank_account_disabled": (DeclineCategory.EXPIRED_OR_INVALID_CREDENTIALS, Retryable.AFTER_CUSTOMER_ACTION),
    "customer_data_removed": (DeclineCategory.NOT_PERMITTED, Retryable.NO),
}
"""Calls that GoCardless refuses for something about the customer; all others are our own fault."""

MAX_CODE: Final = 64


def decline_of(details: Details, method: Method) -> Decline:
    """Return why a debit failed; `method` is for events that name no scheme."""
    source = SOURCES[METHODS.get(details.scheme or "", method)]
    told = (details.reason_code or "").strip().upper()
    if source is DeclineSource.BACS:
        told = told.removeprefix(ARUDD)
    stands_for = BY_CAUSE.get(details.cause or "", {}).get(source, "")
    said = ": ".join(part for part in (details.cause, details.description) if part)
    readings = [classify(source, code, message=said or None) for code in (told, stands_for) if code]
    known = next((each for each in readings if each.category is not DeclineCategory.UNKNOWN), None)
    if known is None:
        return classify(source, told or details.cause or "unknown", message=said or None)
    return msgspec.structs.replace(known, code=(told or stands_for)[:MAX_CODE])


def refused_decline(refused: GoCardlessRefused, method: Method) -> Decline:
    """Return why a call was refused before anything was collected."""
    category, retryable = _REFUSALS.get(
        refused.reason, (DeclineCategory.CONFIGURATION, Retryable.AFTER_CUSTOMER_ACTION)
    )
    return own_decline(refused.reason, refused.message, method, category, retryable)


def own_decline(
    code: str,
    message: str,
    method: Method,
    category: DeclineCategory = DeclineCategory.CONFIGURATION,
    retryable: Retryable = Retryable.AFTER_CUSTOMER_ACTION,
) -> Decline:
    """Return a no that is no bank's."""
    return Decline(
        code=code[:MAX_CODE], source=SOURCES[method], category=category, retryable=retryable, message=message or None
    )
