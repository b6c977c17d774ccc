"""docs/webhooks-out.md keeps up with the limits and kinds that it tells of, and its receiver works."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook

from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.webhook import DeliveryState
from recoup_core.flows.webhooks_out import endpoints, judging, replaying, sending, sweeping
from recoup_core.storage.webhook_deliveries import EVENTS_A_REPLAY
from recoup_core.web import calling


def told(root: Path) -> str:
    return " ".join((root / "docs/webhooks-out.md").read_text().split())


def test_the_receiver_it_shows_verifies_and_skips_doubles(root: Path, capsys: Any) -> None:
    """Copied from the page, it takes what is good, once, and refuses what is not."""
    [code] = re.findall(r"```python\n(.*?)```", (root / "docs/webhooks-out.md").read_text(), re.DOTALL)
    room: dict[str, Any] = {}
    exec(code, room)  # the page's own code
    secret, body, now = "whsec_c2VjcmV0", '{"type": "case.recovered", "data": {"case_id": "c1"}}', datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", now, body),
    }

    answers = [room["receive"](secret, headers, body.encode()) for _ in range(2)]

    assert answers == [204, 204]
    assert capsys.readouterr().out == "case.recovered c1\n"
    assert room["receive"](secret, headers, body.replace("c1", "c2").encode()) == 400


def test_the_waits_it_lists_are_those_of_the_code(root: Path) -> None:
    """In its own words."""
    units = {"s": 1, "min": 60, "h": 3600}
    [listed] = re.findall(r"tried again after ([^(]+) \(", told(root))
    waits = [int(number) * units[unit] for number, unit in re.findall(r"(\d+) (min|s|h)", listed)]

    assert waits == [wait.total_seconds() for wait in judging.WAITS]
    assert round(sum(waits) / 3600) == 26
    assert len(judging.WAITS) + 1 == 11


def test_the_limits_it_names_are_those_of_the_code(root: Path) -> None:
    """Whoever plans with them can."""
    text = told(root)

    assert f"a merchant has {endpoints.ENDPOINTS_MAX} at most" in text
    assert f"({endpoints.ROLL_HOURS} hours if not said, {endpoints.ROLL_HOURS_MAX} at most)" in text
    assert f"no answer within {calling.TOTAL_S:.0f} s" in text
    assert f"at most {calling.RESPONSE_BYTES // 1024} KiB of an answer" in text
    assert f"(at {'ten' if judging.DISABLE_TRIES == 10 else '?'} tries at least)" in text
    assert (judging.DISABLE_AFTER.days, judging.OUTAGE.seconds, judging.MAX_RETRY_AFTER.seconds) == (3, 600, 3600)
    assert f"at most {sending.WAVE} messages on their way and {sending.RUN_S:.0f} seconds a turn" in text
    kept = f"{sweeping.DELIVERED_KEPT.days} days, others for {sweeping.OTHERS_KEPT.days}"
    assert f"Delivered messages stay for {kept}" in text
    assert f"within the last {replaying.REPLAY_WITHIN.days} days" in text
    assert f"at {EVENTS_A_REPLAY:,} events" in text


def test_a_replay_reaches_no_further_back_than_what_arrived_is_known() -> None:
    """Else a forgotten delivery would look as if it had never been made."""
    assert replaying.REPLAY_WITHIN <= sweeping.DELIVERED_KEPT


def test_its_states_events_and_tasks_are_named(root: Path) -> None:
    """Whoever meets one finds it explained."""
    assert f"`{TaskKind.WEBHOOK_ENDPOINT_DISABLED}`" in told(root)
    kinds = [str(kind) for kind in EventKind if kind.startswith("webhook")]
    assert [kind for kind in kinds if f"`{kind}`" not in told(root)] == []
    assert {str(state) for state in DeliveryState} - {"waiting"} <= set(re.findall(r"\w+", told(root)))
