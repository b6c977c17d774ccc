"""What rules do, in words for people who don't read policies."""

import pytest

from recoup_core.rules.language.schema import read_policy
from recoup_core.rules.study.action_text import rule_lines

HEAD = "kind: {kind}\nname: p\napplies_to: {{method: card}}\nrules:\n  - name: all\n"
TAIL = "\nexamples:\n  - {given: {}, expect: all}\n"

SAID = [
    ("retry", "retry: {after: [1h, 90m]}", ["try again after 1h, 1h30m"]),
    (
        "retry",
        'retry: {on: payday, between: ["06:00", "10:00"], zone: customer, jitter: 30m, within: 28d, max: 4}',
        [
            "try again on a payday, between 06:00 and 10:00 (the customer's time), up to 30m later, "
            "within 28d of the first failure, at most 4 times"
        ],
    ),
    (
        "retry",
        "retry: {after: [10m], on: business_day, zone: Europe/Oslo, credential: backup, gateway: adyen}\n"
        "    otherwise: {stop: needs_customer}",
        [
            "try again after 10m, on a business day, with the backup credential, through adyen",
            "where that does not apply: stop: needs customer",
        ],
    ),
    ("dunning", "quiet: they asked for it", ["nothing is said: they asked for it"]),
    (
        "dunning",
        """steps:
      - {message: failed, by: [email, sms]}
      - {on: before_retry, ahead: 1d, message: notice, by: email}
      - {on: after_retry, message: declined, by: email}
      - {on: after_retry, after: 1h, message: declined, by: email}
      - {task: call them, after: 2d, between: ["09:00", "17:00"], zone: Europe/Oslo}
      - {on: exhausted, pause_subscription: true}
      - {on: exhausted, after: 1d, downgrade_subscription: free}
      - {on: exhausted, after: 7d, cancel_subscription: true}
      - {on: exhausted, after: 30d, write_off: true}""",
        [
            "when the case opens: send failed by email, sms",
            "1d before each retry: send notice by email",
            "after each declined retry: send declined by email",
            "1h after each declined retry: send declined by email",
            "2d after the case opened, between 09:00 and 17:00 (Europe/Oslo): task: call them",
            "when retries are exhausted: pause the subscription",
            "1d after retries are exhausted: downgrade the subscription to free",
            "7d after retries are exhausted: cancel the subscription",
            "30d after retries are exhausted: write the debt off",
        ],
    ),
    ("refund", "approve: auto", ["approve"]),
    (
        "refund",
        "approve: {within: 30d, per_agent_day: {EUR: 500.00, JPY: 9000}, per_day: {EUR: 5000.00, JPY: 90000},"
        " per_customer: {count: 3, amount: {EUR: 90.00, JPY: 900}, within: 30d}}\n    otherwise: {deny: too_much}",
        [
            "approve within bounds: payments up to 30d old; 500.00 EUR / 9000 JPY per agent and day; "
            "5000.00 EUR / 90000 JPY per day; 3 refunds and 90.00 EUR / 900 JPY per customer in 30d",
            "where that does not apply: deny: too much",
        ],
    ),
    (
        "refund",
        "review: {levels: [[lead], [finance, director]], within: 2d}",
        ["review by lead, then by finance or director, within 2d"],
    ),
    (
        "refund",
        "review: {levels: [[lead], [finance, director]], limits: [{EUR: 50.00, JPY: 900}], within: 2d,"
        " escalate_to: [admin, owner], expires: 2w}",
        [
            "review by lead up to 50.00 EUR / 900 JPY, else by finance or director, within 2d, "
            "after that also by admin or owner, closed after 14d"
        ],
    ),
    (
        "refund",
        "review: {levels: [[lead], [finance]], limits: [{EUR: 50.00}, {EUR: 80.00}], expires: 1d}",
        [
            "review by lead up to 50.00 EUR, else by finance up to 80.00 EUR, else by all of them in order, "
            "closed after 1d"
        ],
    ),
]


@pytest.mark.parametrize(("kind", "action", "lines"), SAID)
def test_every_action_is_said_with_all_that_it_holds(kind: str, action: str, lines: list[str]) -> None:
    """What is left out of the words would be missing from the report."""
    policy, problems = read_policy(HEAD.format(kind=kind) + f"    {action}" + TAIL, source="p.yaml")

    assert policy is not None, problems
    assert list(rule_lines(policy.rules[0])) == lines
