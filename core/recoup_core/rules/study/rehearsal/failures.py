"""The facts of a decision on a timeline: the policy's baseline, what is given, and what the failures tell."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from recoup_core.domain.decline import DeclineCategory, Retryable
from recoup_core.rules.facts import RetryFacts
from recoup_core.rules.language.given import classified
from recoup_core.rules.language.schema import Policy
from recoup_core.rules.language.timelines import Timeline

USUAL: Final[Mapping[str, Retryable]] = {
    DeclineCategory.LOST_OR_STOLEN: Retryable.NO,
    DeclineCategory.FRAUD: Retryable.NO,
    DeclineCategory.REVOKED_MANDATE: Retryable.NO,
    DeclineCategory.UNKNOWN: Retryable.NO,
    DeclineCategory.EXPIRED_OR_INVALID_CREDENTIALS: Retryable.AFTER_CUSTOMER_ACTION,
    DeclineCategory.AUTHENTICATION_REQUIRED: Retryable.AFTER_CUSTOMER_ACTION,
    DeclineCategory.CONFIGURATION: Retryable.AFTER_CUSTOMER_ACTION,
    DeclineCategory.NOT_PERMITTED: Retryable.AFTER_CUSTOMER_ACTION,
}
"""Whether a decline that is named by its category alone may be retried; those not listed may."""


def facts_after(
    policy: Policy, timeline: Timeline, failure: Mapping[str, Any], made: int, at: datetime, **more: Any
) -> RetryFacts:
    """Return the facts as of a failure at `at`, `made` retries after the first."""
    given = {**timeline.given, **failure}
    if "decline" in given and "retryable" not in given and "decline_code" not in failure:
        given["retryable"] = USUAL.get(given["decline"], Retryable.YES).value
    given |= {"attempt": made + 1, "retries": made, "days_since_failure": (at - timeline.start).days, **more}
    facts = policy.vocabulary.given(policy.baseline, given)
    assert isinstance(facts, RetryFacts)  # only kinds whose facts know a decline have timelines
    return classified(facts) if "decline_code" in failure and "decline" not in failure else facts
