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

CANCEL: Final[dict[str, Any]] = {"reason": "the customer left and the debt was waived"}

RESOLVE_ATTEMPT: Final[dict[str, Any]] = {
    "outcome": "never_arrived",
    "evidence": "the provider's support found no such charge, ticket 4711",
}

RESOLVE_TASK: Final[dict[str, Any]] = {"resolution": "refunded the surplus at the provider, ticket 4712"}

API_KEY: Final[dict[str, Any]] = {"principal": "billing-system", "roles": ["agent"]}

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
