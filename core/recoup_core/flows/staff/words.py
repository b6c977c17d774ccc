"""The words of staff notifications, in English and German; other languages read the English ones.

Plain text and no templates: they are for colleagues, who read the same lines in mails, chats and on phones.
"""

from typing import Final

from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.staff import StaffKind
from recoup_core.storage.listing import StoredEvent

MOST_LINES: Final = 20
"""Lines of one message; the rest is a number."""

KINDS: Final = {
    EventKind.REFUND_IN_REVIEW: StaffKind.APPROVAL_WAITING,
    EventKind.REFUND_LEVEL_APPROVED: StaffKind.APPROVAL_WAITING,
    EventKind.REFUND_ESCALATED: StaffKind.APPROVAL_OVERDUE,
    EventKind.REFUND_EXPIRED: StaffKind.APPROVAL_OVERDUE,
    EventKind.REFUND_FAILED: StaffKind.REFUND_FAILED,
    EventKind.REFUND_TAKEN_BACK: StaffKind.REFUND_FAILED,
    EventKind.TASK_OPENED: StaffKind.TASK_OPENED,
    EventKind.WEBHOOK_ENDPOINT_DISABLED: StaffKind.ENDPOINT_DISABLED,
    EventKind.POLICY_ACTIVATED: StaffKind.POLICY_ACTIVATED,
    EventKind.POLICY_RETIRED: StaffKind.POLICY_ACTIVATED,
    EventKind.POLICY_ROLLED_BACK: StaffKind.POLICY_ACTIVATED,
}
"""Which events the staff is told of; anomalies say themselves which kind they are."""

TOLD_OTHERWISE: Final = frozenset({TaskKind.REFUND_FAILED, TaskKind.REFUND_OVERDUE, TaskKind.WEBHOOK_ENDPOINT_DISABLED})
"""Tasks that come with an event of a kind of its own: nobody is told of one thing twice."""

_TITLES: Final = {
    "en": {
        StaffKind.APPROVAL_WAITING: ("A refund waits for approval", "{count} refunds wait for approval"),
        StaffKind.APPROVAL_OVERDUE: ("A refund's approval is overdue", "{count} refunds' approvals are overdue"),
        StaffKind.REFUND_FAILED: ("A refund failed", "{count} refunds failed"),
        StaffKind.TASK_OPENED: ("A task waits for you", "{count} tasks wait for you"),
        StaffKind.TASKS_AGING: ("Tasks are past their due time", "Tasks are past their due time"),
        StaffKind.GATEWAY_FAILING: ("Gateway trouble", "Gateway trouble: {count} reports"),
        StaffKind.RECOVERY_FALLING: ("The recovery rate", "The recovery rate: {count} reports"),
        StaffKind.ENDPOINT_DISABLED: ("A webhook endpoint was disabled", "{count} webhook endpoints were disabled"),
        StaffKind.POLICY_ACTIVATED: ("A policy changed", "{count} policies changed"),
        StaffKind.DAILY_DIGEST: ("Yesterday in payments and refunds", "Payments and refunds, {count} days"),
    },
    "de": {
        StaffKind.APPROVAL_WAITING: (
            "Eine Erstattung wartet auf Freigabe",
            "{count} Erstattungen warten auf Freigabe",
        ),
        StaffKind.APPROVAL_OVERDUE: ("Eine Freigabe ist überfällig", "{count} Freigaben sind überfällig"),
        StaffKind.REFUND_FAILED: ("Eine Erstattung ist gescheitert", "{count} Erstattungen sind gescheitert"),
        StaffKind.TASK_OPENED: ("Eine Aufgabe wartet", "{count} Aufgaben warten"),
        StaffKind.TASKS_AGING: ("Aufgaben sind überfällig", "Aufgaben sind überfällig"),
        StaffKind.GATEWAY_FAILING: ("Störung an einem Gateway", "Störungen an Gateways: {count} Meldungen"),
        StaffKind.RECOVERY_FALLING: ("Die Einzugsquote", "Die Einzugsquote: {count} Meldungen"),
        StaffKind.ENDPOINT_DISABLED: (
            "Ein Webhook-Endpunkt wurde abgeschaltet",
            "{count} Webhook-Endpunkte wurden abgeschaltet",
        ),
        StaffKind.POLICY_ACTIVATED: ("Eine Regel wurde geändert", "{count} Regeln wurden geändert"),
        StaffKind.DAILY_DIGEST: ("Zahlungen und Erstattungen gestern", "Zahlungen und Erstattungen, {count} Tage"),
    },
}

_FOOT: Final = {
    "en": "You are told of this as {reader} ({kind}). To hear less: recoup staff mute {reader} --kind {kind}",
    "de": "Diese Nachricht geht an {reader} ({kind}). Weniger davon: recoup staff mute {reader} --kind {kind}",
}
_MORE: Final = {"en": "and {count} more", "de": "und {count} weitere"}
_ROLES: Final = {"en": "open to", "de": "entscheiden kann"}


def language(locale: str) -> str:
    """Return the language whose words a reader gets."""
    short = locale.partition("-")[0].lower()
    return short if short in _TITLES else "en"


def title(kind: StaffKind, count: int, locale: str) -> str:
    """Return the subject of a message about so many notes."""
    one, many = _TITLES[language(locale)][kind]
    return one if count == 1 else many.format(count=count)


def body(kind: StaffKind, reader: str, lines: list[str], more: int, locale: str) -> str:
    """Return the text of a message: its notes, how many more there are, and how to hear less."""
    words = language(locale)
    shown = lines[:MOST_LINES]
    left = more + len(lines) - len(shown)
    tail = [_MORE[words].format(count=left)] if left else []
    return "\n".join([*shown, *tail, "", _FOOT[words].format(reader=reader, kind=kind)])


def kind_of(event: StoredEvent) -> StaffKind | None:
    """Return of which kind of note an event is worth; None where the staff isn't told of it."""
    if event.kind in (EventKind.ANOMALY_DETECTED, EventKind.ANOMALY_OVER):
        return StaffKind(event.data["anomaly"])
    if event.kind == EventKind.TASK_OPENED and event.data.get("task") in TOLD_OTHERWISE:
        return None
    if event.kind == EventKind.REFUND_LEVEL_APPROVED and event.data.get("level") == event.data.get("levels"):
        return None  # the last level: nothing waits any more
    return KINDS.get(event.kind)


def line(event: StoredEvent, locale: str) -> str:
    """Return what a note says of an event: when, what, and the ids by which it is found; never about whom."""
    words = language(locale)
    parts = [f"{event.at:%Y-%m-%d %H:%M} UTC", str(event.kind)]
    if event.kind == EventKind.TASK_OPENED:
        parts += [str(event.data.get("task")), f"task {event.data.get('task_id')}"]
    if event.kind == EventKind.REFUND_IN_REVIEW:
        parts.append(f"{_ROLES[words]}: {', '.join(event.data.get('roles', []))}")
    if event.kind in (EventKind.REFUND_FAILED, EventKind.REFUND_TAKEN_BACK):
        parts.append(str(event.data.get("category")))
    parts += [f"{name} {value}" for name, value in (("refund", event.refund_id), ("case", event.case_id)) if value]
    if event.kind in (EventKind.ANOMALY_DETECTED, EventKind.ANOMALY_OVER):
        parts.append(_numbers(event))
    parts += [f"{name} {event.data[name]}" for name in ("policy", "kind", "name", "endpoint_id") if name in event.data]
    return ", ".join(parts)


def _numbers(event: StoredEvent) -> str:
    numbers = event.data.get("numbers", {})
    told = ", ".join(f"{name} {value}" for name, value in sorted(numbers.items()))
    return f"{event.data.get('subject')}: {told}"
