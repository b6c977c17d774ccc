"""What rules do, as JSON Schema: per kind and key of a rule what may stand there, from the readers' own tables."""

from collections.abc import Mapping
from typing import Final

from recoup_core.domain.payment import CredentialRole
from recoup_core.rules.facts import PolicyKind
from recoup_core.rules.language.actions import ACTIONS, Day, NoticeOn, On, StopReason
from recoup_core.rules.language.actions.dunning import MAX_STEPS, STEP_ACTIONS, STEP_FIELDS
from recoup_core.rules.language.actions.notices import MAX_NOTICES, NOTICE_ACTIONS, NOTICE_FIELDS
from recoup_core.rules.language.actions.refund import (
    APPROVE_FIELDS,
    AUTO,
    CUSTOMER_FIELDS,
    MAX_CUSTOMER_REFUNDS,
)
from recoup_core.rules.language.actions.retry import MAX_RETRIES, MAX_WAITS, RETRY_FIELDS
from recoup_core.rules.language.actions.review import MAX_LEVEL_ROLES, MAX_LEVELS, REVIEW_FIELDS
from recoup_core.rules.language.actions.spoken import MAX_CHANNELS, MAX_REASON, MAX_TASK_TEXT
from recoup_core.rules.language.actions.values import CUSTOMER_ZONE
from recoup_core.rules.language.json_schema.pieces import (
    Schema,
    listing,
    mapping,
    matching,
    never,
    one_of_keys,
    one_or_more,
    pair,
    ref,
    text,
    told,
    word,
)

_CLOCK_TEXT: Final = "^([01][0-9]|2[0-3]):[0-5][0-9]$"
_DURATION_TEXT: Final = "^(?!0+[mhdw]$)[0-9]{1,4}[mhdw]$"
_ZONE_TEXT: Final = "^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$"
_GATEWAY_TEXT: Final = "^[a-z0-9][a-z0-9_-]{0,39}$"
_LAST_MINUTE: Final = 24 * 60 - 1
_WORD_TEXT: Final = "^[a-z][a-z0-9_]{0,59}$"
_NAME_TEXT: Final = "^[a-z0-9][a-z0-9_-]{0,59}$"
_PLAN_TEXT: Final = r"""^[^"'\\*][^"'\\]*$"""
_PLAN_LENGTH: Final = 64


def shared_actions() -> dict[str, Schema]:
    """Return the definitions that actions of all kinds use."""
    # YAML 1.1 reads an unquoted 10:00 in base 60, as a number of minutes.
    misread = {"type": "integer", "minimum": 0, "maximum": _LAST_MINUTE, "doNotSuggest": True}
    clock: Schema = {"anyOf": [{"type": "string", **matching(_CLOCK_TEXT, "from 00:00 to 23:59")}, misread]}
    zone: Schema = {"type": "string", **matching(_ZONE_TEXT, "`customer`, or an IANA time zone like Europe/Berlin")}
    wait = "a whole number and one of m, h, d, w, like 30m, 6h, 10d or 2w"
    return {
        "duration": told(
            {"type": "string", **matching(_DURATION_TEXT, wait), "examples": ["30m", "6h", "1d", "3d", "2w"]},
            "A whole number and one of m, h, d, w (minutes, hours, days, weeks).",
            example="3d",
        ),
        "clock": told(clock, "A time of day from 00:00 to 23:59, best in quotes.", example='"06:00"'),
        "window": told(
            pair(ref("clock")),
            "Only at these local times, the end not included; may cross midnight.",
            example='between: ["06:00", "10:00"]',
        ),
        "zone": told(
            {**zone, "examples": [CUSTOMER_ZONE, "UTC", "Europe/Berlin", "America/New_York"]},
            "Whose local time: `customer`, or an IANA time zone. UTC unless said.",
        ),
        "gateway_name": told(
            text(_GATEWAY_TEXT, allowed="lower-case letters, digits, - and _, at most 40"),
            "A gateway by its name in the settings.",
        ),
        "word": text(_WORD_TEXT, allowed="lower-case letters, digits and _, at most 60"),
        "plain_name": text(_NAME_TEXT, allowed="lower-case letters, digits, - and _, at most 60"),
    }


_RETRY_KEYS: Final[Mapping[str, Schema]] = {
    "after": told(
        listing(ref("duration"), MAX_WAITS),
        "The waits: the first retry under this rule comes so long after the latest failure, and so on.",
        example="after: [3d, 5d, 7d]",
    ),
    "on": told(word([day.value for day in Day], "day"), "Only on such a day.", example="on: payday"),
    "between": ref("window"),
    "zone": ref("zone"),
    "jitter": told(
        ref("duration"), "Up to this much later, so that not all go out at once; at most 24h.", example="jitter: 30m"
    ),
    "within": told(ref("duration"), "No later than this after the first failure.", example="within: 28d"),
    "max": told(
        {"type": "integer", "minimum": 1, "maximum": MAX_RETRIES},
        "At most this many retries under this rule.",
        example="max: 3",
    ),
    "credential": told(word([role.value for role in CredentialRole], "credential"), "Which means of payment is tried."),
    "gateway": told(ref("gateway_name"), "The gateway to go through; the credential's own unless said."),
}
_STEP_KEYS: Final[Mapping[str, Schema]] = {
    "on": told(word([on.value for on in On], "moment"), "What the step's time is counted from; `opened` unless said."),
    "after": told(ref("duration"), "How long after its moment; at once unless said.", example="after: 3d"),
    "ahead": told(ref("duration"), "How long before the retry; goes with `on: before_retry`.", example="ahead: 1d"),
    "between": ref("window"),
    "zone": ref("zone"),
    "by": told(
        one_or_more(ref("plain_name"), MAX_CHANNELS),
        "The channels of a message.",
        example="by: [email, sms]",
    ),
}
_STEP_ACTIONS: Final[Mapping[str, Schema]] = {
    "message": told(
        ref("plain_name"),
        "Write to the customer: a template.",
        example="{message: reminder, by: email, after: 3d}",
    ),
    "task": told(
        text(most=MAX_TASK_TEXT), "Ask a person to do something.", example="{task: call the customer, after: 1d}"
    ),
    "pause_subscription": told({"const": True}, "Ask the billing system to pause the subscription."),
    "downgrade_subscription": told(
        text(_PLAN_TEXT, _PLAN_LENGTH), "Ask the billing system to move the subscription to this plan."
    ),
    "cancel_subscription": told({"const": True}, "Ask the billing system to end the subscription."),
    "write_off": told({"const": True}, "Give the debt up; nothing comes after it."),
}
_NOTICE_KEYS: Final[Mapping[str, Schema]] = {
    **_STEP_KEYS,
    "on": told(
        word([on.value for on in NoticeOn], "notice_moment"),
        "What the notice's time is counted from; `announced` unless said.",
    ),
    "ahead": told(
        ref("duration"), "How long before the charge, or before the card ends; goes with `on`.", example="ahead: 14d"
    ),
}
_APPROVE_KEYS: Final[Mapping[str, Schema]] = {
    "per_agent_day": told(
        ref("amounts"), "What is approved in a day of what one agent asks for.", example="per_agent_day: {EUR: 500.00}"
    ),
    "per_day": told(ref("amounts"), "What is approved in a day for the merchant.", example="per_day: {EUR: 5000.00}"),
    "per_customer": told(
        ref("customer_bound"),
        "How often, and how much, one customer gets back within a time.",
        example="per_customer: {count: 3, within: 30d}",
    ),
    "within": told(ref("duration"), "How old the payment may be, in whole days.", example="within: 30d"),
}
_CUSTOMER_KEYS: Final[Mapping[str, Schema]] = {
    "count": told({"type": "integer", "minimum": 1, "maximum": MAX_CUSTOMER_REFUNDS}, "Refunds, this one included."),
    "amount": told(ref("amounts"), "What they come to, this one included."),
    "within": told(ref("duration"), "How far back they count.", example="within: 30d"),
}


def levels_schema() -> Schema:
    """Return levels of roles."""
    return listing(listing(ref("word"), MAX_LEVEL_ROLES), MAX_LEVELS)


_REVIEW_KEYS: Final[Mapping[str, Schema]] = {
    "levels": told(
        levels_schema(),
        "Who decides, level after level: per level the roles, one of which decides. All levels must agree.",
        example="levels: [[support_lead], [finance, finance_director]]",
    ),
    "limits": told(
        listing(ref("amounts"), MAX_LEVELS),
        "The most that each level may decide alone; the first that may decides, all in order where none may. The last "
        "level may be left out: then it may decide any amount.",
        example="limits: [{EUR: 500.00}, {EUR: 5000.00}]",
    ),
    "within": told(ref("duration"), "How long all levels have together.", example="within: 2d"),
    "escalate_to": told(
        listing(ref("word"), MAX_LEVEL_ROLES),
        "Roles that may decide in place of any open level once `within` is over.",
        example="escalate_to: [finance]",
    ),
    "expires": told(
        ref("duration"), "How long after the request it is closed if nobody has decided.", example="expires: 14d"
    ),
}


def _retry() -> Schema:
    ends: list[Schema] = [{"required": ["after"]}, {"required": ["on", "max"]}, {"required": ["on", "within"]}]
    retry = {**mapping({key: _RETRY_KEYS[key] for key in RETRY_FIELDS}), "anyOf": ends}
    meaning = "Try again. Needs `after` or `on`, and an end: `after`, `max` or `within`."
    return told(retry, meaning, example='retry: {after: [3d, 5d], between: ["06:00", "22:00"], zone: customer}')


def _stop() -> Schema:
    reasons = word([reason.value for reason in StopReason], "stop_reason")
    return told(reasons, "Make no further unattended retry, for this reason.", example="stop: manual_review")


def _step() -> Schema:
    """Return one step: one action, with the moment and the channels that go with it."""
    keys = {key: _STEP_KEYS[key] for key in STEP_FIELDS} | {key: _STEP_ACTIONS[key] for key in STEP_ACTIONS}
    before_retry = {"properties": {"on": {"const": On.BEFORE_RETRY.value}}, "required": ["on"]}
    moments: Schema = {
        "if": before_retry,
        "then": {"required": ["ahead"], "properties": {"after": never("what comes before a retry says ahead")}},
        "else": {"properties": {"ahead": never("it goes with on: before_retry")}},
    }
    goes_with = {"message": ["by"], "by": ["message"], "zone": ["between"]}
    return one_of_keys({**mapping(keys), "dependentRequired": goes_with, "allOf": [moments]}, list(STEP_ACTIONS))


def _notice() -> Schema:
    """Return one notice: a message or a task, with its moment and channels."""
    actions = {**_STEP_ACTIONS, "message": told(ref("plain_name"), "Write to the customer: a template.")}
    keys = {key: _NOTICE_KEYS[key] for key in NOTICE_FIELDS} | {key: actions[key] for key in NOTICE_ACTIONS}
    ahead = [NoticeOn.BEFORE_CHARGE.value, NoticeOn.BEFORE_EXPIRY.value]
    moments: Schema = {
        "if": {"properties": {"on": {"enum": ahead}}, "required": ["on"]},
        "then": {"required": ["ahead"], "properties": {"after": never("what comes before something says ahead")}},
        "else": {"properties": {"ahead": never("it goes with on: before_charge or on: before_expiry")}},
    }
    goes_with = {"message": ["by"], "by": ["message"], "zone": ["between"]}
    return one_of_keys({**mapping(keys), "dependentRequired": goes_with, "allOf": [moments]}, list(NOTICE_ACTIONS))


def _review() -> Schema:
    keys = mapping({key: _REVIEW_KEYS[key] for key in REVIEW_FIELDS}, required=["levels"])
    return {**keys, "dependentRequired": {"escalate_to": ["within"]}}


def _approve() -> Schema:
    bounds = mapping({key: _APPROVE_KEYS[key] for key in APPROVE_FIELDS}, least=1)
    meaning = "Approve without a person: `auto`, or within bounds that count what was approved before plus this refund."
    return told({"anyOf": [{"const": AUTO}, bounds]}, meaning, example="approve: {per_agent_day: {EUR: 500.00}}")


def kind_actions() -> dict[str, Schema]:
    """Return the definitions that only actions of one kind use."""
    bound = mapping({key: _CUSTOMER_KEYS[key] for key in CUSTOMER_FIELDS}, required=["within"], least=2)
    return {"step": _step(), "notice": _notice(), "customer_bound": bound}


_ACTIONS: Final[Mapping[str, Schema]] = {
    "retry": _retry(),
    "stop": _stop(),
    "steps": told(
        listing(ref("step"), MAX_STEPS),
        "The steps of the campaign, in any order; each says when it comes.",
        example="steps:\n  - {message: payment_failed, by: email}\n  - {on: exhausted, write_off: true}",
    ),
    "notices": told(
        listing(ref("notice"), MAX_NOTICES),
        "What the customer is told before the charge, in any order; each says when it comes.",
        example="notices:\n  - {on: before_charge, ahead: 14d, message: upcoming_charge, by: email}",
    ),
    "quiet": told(text(most=MAX_REASON), "Say nothing, for this reason.", example="quiet: the account manager calls"),
    "approve": _approve(),
    "review": told(
        _review(),
        "People decide: all levels in order, or with `limits` the first whose limit fits.",
        example="review: {levels: [[support_lead], [finance]], within: 2d}",
    ),
    "deny": told(ref("word"), "Refuse, for this reason: a word for programs.", example="deny: outside_window"),
}
"""Per key of a rule, what its value may be."""


def action_schemas(kind: PolicyKind) -> dict[str, Schema]:
    """Return, per key of a rule that is an action of this kind, what may stand there."""
    return {key: _ACTIONS[key] for key in ACTIONS[kind].read}
