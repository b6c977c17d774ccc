"""Every machine, every pair: the tables written out a second time, so that a slip in one of them is seen."""

from collections.abc import Mapping
from enum import StrEnum
from itertools import product
from typing import Any

import pytest

from recoup_core.domain.attempt import ATTEMPT, IN_FLIGHT, LIVE, AttemptEvent, AttemptState
from recoup_core.domain.errors import IllegalTransition
from recoup_core.domain.payment import PAYMENT, PaymentEvent, PaymentState
from recoup_core.domain.recovery import CASE, STEP, CaseEvent, CaseState, StepEvent, StepState

MACHINES: Mapping[str, tuple[Any, type[StrEnum], type[StrEnum], str]] = {
    "payment": (
        PAYMENT,
        PaymentState,
        PaymentEvent,
        "owed settle paid; owed close closed; closed settle paid; paid return owed",
    ),
    "attempt": (
        ATTEMPT,
        AttemptState,
        AttemptEvent,
        """scheduled submit submitted; scheduled give_up not_sent; scheduled cancel canceled;
        scheduled succeed succeeded;
        submitted succeed succeeded; submitted decline declined; submitted pend pending;
        submitted lose unknown;
        submitted give_up not_sent; submitted not_send scheduled; pending succeed succeeded;
        pending decline declined; pending lose unknown; unknown submit submitted; unknown succeed succeeded;
        unknown decline declined; unknown pend pending;
        unknown give_up not_sent; declined succeed succeeded; not_sent succeed succeeded; canceled succeed succeeded""",
    ),
    "case": (
        CASE,
        CaseState,
        CaseEvent,
        """open pause paused; open recover recovered; open exhaust exhausted; open write_off written_off;
        open cancel canceled; paused resume open; paused recover recovered; paused exhaust exhausted;
        paused write_off written_off; paused cancel canceled; exhausted recover recovered; exhausted reopen open;
        exhausted write_off written_off; exhausted cancel canceled; written_off recover recovered;
        canceled recover recovered; recovered reopen open""",
    ),
    "step": (
        STEP,
        StepState,
        StepEvent,
        """planned start running; planned finish done; planned skip skipped; planned move planned;
        running finish done; running skip skipped""",
    ),
}


def pairs(name: str) -> Mapping[tuple[str, str], str]:
    rows = (row.split() for row in MACHINES[name][3].split(";"))
    return {(state, event): after for state, event, after in rows}


EVERY_PAIR = [
    (name, state, event)
    for name, (_, states, events, _) in MACHINES.items()
    for state, event in product(states, events)
]


@pytest.mark.parametrize(("name", "state", "event"), EVERY_PAIR)
def test_a_pair_leads_where_the_table_says_or_is_refused(name: str, state: Any, event: Any) -> None:
    """What is not written down can't happen; the refusal names thing, state and event."""
    machine, expected = MACHINES[name][0], pairs(name).get((state, event))

    if expected is not None:
        assert machine.allows(state, event)
        assert machine.after(state, event) == expected
        return
    assert not machine.allows(state, event)
    with pytest.raises(IllegalTransition) as refusal:
        machine.after(state, event)
    assert (refusal.value.state, refusal.value.event) == (state, event)
    assert refusal.value.code == "illegal_transition"


@pytest.mark.parametrize("name", MACHINES)
def test_nothing_else_stands_in_the_table(name: str) -> None:
    """The table has no row beyond the ones walked here, and no state that can't be reached or left behind."""
    machine = MACHINES[name][0]

    assert {(str(s), str(e)): str(to) for (s, e), to in machine.table.items()} == pairs(name)


def test_a_success_is_accepted_from_every_state_but_success_itself() -> None:
    """A success is the truth whenever it comes; nothing takes one back."""
    accepting = {state for state in AttemptState if ATTEMPT.allows(state, AttemptEvent.SUCCEED)}
    leaving = {event for event in AttemptEvent if ATTEMPT.allows(AttemptState.SUCCEEDED, event)}

    assert accepting == set(AttemptState) - {AttemptState.SUCCEEDED}
    assert leaving == set()


def test_only_what_certainly_never_left_can_be_canceled() -> None:
    """An attempt that may have moved money is settled, never called off."""
    cancelable = {state for state in AttemptState if ATTEMPT.allows(state, AttemptEvent.CANCEL)}

    assert cancelable == {AttemptState.SCHEDULED}
    assert cancelable.isdisjoint(IN_FLIGHT)
    assert IN_FLIGHT < LIVE
