"""Examples of request bodies, shown in the OpenAPI document; tests send them."""

from typing import Any, Final

PAYMENT: Final[dict[str, Any]] = {
    "reference": "invoice-2026-0117",
    "amount_minor": 4900,
    "currency": "EUR",
    "customer": {
        "ref": "customer-815",
        "country": "DE",
        "timezone": "Europe/Berlin",
        "segment": "consumer",
        "tier": "gold",
        "tenure_days": 400,
        "paydays": [1, 15],
    },
    "gateway": "sandbox",
    "gateway_ref": "pi_first",
    "method": "card",
    "subscription": {"plan": "pro", "interval": "month"},
    "credentials": [
        {
            "gateway": "sandbox",
            "token": "tok_approve",
            "method": "card",
            "network": "visa",
            "issuer_country": "DE",
        }
    ],
    "attempts": [
        {"at": "2026-11-23T08:00:00Z", "decline": {"source": "stripe", "code": "insufficient_funds"}},
    ],
}

CREDENTIAL: Final[dict[str, Any]] = {
    "gateway": "sandbox",
    "token": "tok_new_card",
    "method": "card",
    "network": "visa",
}

UPDATE_LINK: Final[dict[str, Any]] = {"gateway": "sandbox"}

CANCEL: Final[dict[str, Any]] = {"reason": "the customer left and the debt was waived"}

RESOLVE_ATTEMPT: Final[dict[str, Any]] = {
    "outcome": "never_arrived",
    "evidence": "the provider's support found no such charge, ticket 4711",
}

RESOLVE_TASK: Final[dict[str, Any]] = {"resolution": "refunded the surplus at the provider, ticket 4712"}

DISMISS_EVENT: Final[dict[str, Any]] = {"reason": "sent by the provider's support to try the endpoint, ticket 4713"}

API_KEY: Final[dict[str, Any]] = {"principal": "billing-system", "roles": ["agent"]}
APPROVER_KEY: Final[dict[str, Any]] = {"principal": "anna", "roles": ["viewer"], "approves": ["support_lead"]}

POLICY: Final[dict[str, Any]] = {
    "name": "cards.yaml",
    "text": """\
kind: retry
name: cards
applies_to: {method: card}
rules:
  - name: soft declines are spread over two weeks
    when: {retryable: yes}
    retry: {after: [3d, 5d, 6d]}
  - name: give up
    stop: exhausted
examples:
  - {given: {decline: issuer_generic, retryable: yes}, expect: soft declines are spread over two weeks}
  - {given: {decline: lost_or_stolen, retryable: no}, expect: give up}
""",
}

POLICY_FILES: Final[dict[str, Any]] = {"files": [POLICY], "dry_run": True, "note": "from the repository of policies"}

SIMULATE: Final[dict[str, Any]] = {
    "texts": [{**POLICY, "text": POLICY["text"].replace("name: cards\n", "name: cards-consumer\n")}],
    "since": "2026-10-01T00:00:00Z",
    "limit": 500,
}
"""The latest cases since October, decided again as if this text took the place of the one in force."""

DIFF: Final[dict[str, Any]] = {
    "old": POLICY,
    "new": {"name": "later.yaml", "text": POLICY["text"].replace("after: [3d, 5d, 6d]", "after: [2d, 5d, 7d]")},
}
"""Without `old` it is held against the policy in force that has its kind and name."""

EXPERIMENT: Final = {"share_bp": 1_000, "maturity_days": 30, "min_matured": 400}
"""A tenth of new cases, judged a month after they opened."""

MIGRATION: Final = {"under_digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "dry_run": True}
"""What would change for the cases under one version."""

EXPLAIN: Final[dict[str, Any]] = {
    "facts": {
        "decline_code": "insufficient_funds",
        "attempt": 2,
        "days_since_failure": 3,
        "amount": {"EUR": "49.00"},
        "customer": {"tier": "gold"},
    },
    "situation": {"now": "2026-11-26T08:00:00Z", "zone": "Europe/Berlin", "paydays": [1, 15]},
}

EXPLAIN_TEXT: Final[dict[str, Any]] = {"text": POLICY["text"], "facts": {"decline": "issuer_generic"}}
