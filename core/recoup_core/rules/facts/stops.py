"""Why retries end."""

from enum import StrEnum


class StopReason(StrEnum):
    """Why no further unattended retry is made."""

    EXHAUSTED = "exhausted"
    NOT_RETRYABLE = "not_retryable"
    NEEDS_CUSTOMER = "needs_customer"
    NEEDS_AUTHENTICATION = "needs_authentication"
    MANUAL_REVIEW = "manual_review"
