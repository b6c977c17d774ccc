"""The tries of one payment are told apart by its events, in whatever order they are listed."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from recoup_gocardless.objects import Details, GoEvent, GoPayment
from recoup_gocardless.tries import ended, tries_of, try_with
from recoup_plugins import Declined, Method, Succeeded

START = datetime(2026, 11, 1, tzinfo=UTC)
PAYMENT = GoPayment(id="PM1", amount=1999, currency="EUR", status="failed", created_at=START, scheme="sepa_core")


def story(attempts: list[UUID | None], *, late: bool) -> list[GoEvent]:
    """Return the events of a payment that failed and was tried again by these, the last time with success."""
    told: list[tuple[str, dict[str, str]]] = [("created", {})]
    for attempt in attempts:
        told += [("submitted", {}), ("failed", {})]
        told += [("resubmission_requested", {"recoup_attempt": str(attempt)} if attempt else {})]
    told += [("submitted", {}), ("confirmed", {})]
    if late:
        told.append(("failed", {}))
    return [
        GoEvent(
            id=f"EV{number}",
            created_at=START + timedelta(days=number),
            resource_type="payments",
            action=action,
            metadata=metadata,
            details=Details(cause="insufficient_funds", scheme="sepa_core", reason_code="AM04"),
        )
        for number, (action, metadata) in enumerate(told)
    ]


@given(attempts=st.lists(st.one_of(st.none(), st.uuids()), max_size=3), late=st.booleans(), data=st.data())
def test_every_try_has_its_own_end(attempts: list[UUID | None], late: bool, data: st.DataObject) -> None:
    """All but the last one failed; a debit that fails after it was confirmed has failed in the end."""
    events = story(attempts, late=late)

    tries = tries_of(PAYMENT, data.draw(st.permutations(events)))

    assert [each.number for each in tries] == list(range(1, len(attempts) + 2))
    assert [each.attempt_id for each in tries] == [None, *attempts]
    ends = [ended(PAYMENT, each, Method.SEPA_DEBIT) for each in tries]
    assert {type(each) for each in ends[:-1]} <= {Declined}
    assert isinstance(ends[-1], Declined if late else Succeeded)


@given(attempts=st.lists(st.uuids(), max_size=3))
def test_only_a_failure_after_the_money_came_in_is_late(attempts: list[UUID]) -> None:
    """A failure of an earlier try is a decline, though the payment was collected since."""
    events = story(list(attempts), late=True)
    tries = tries_of(PAYMENT, events)

    late = [
        event.id
        for event in events
        if event.action == "failed" and (which := try_with(tries, event.id)) and which.collected_before(event.id)
    ]

    assert late == [events[-1].id]
