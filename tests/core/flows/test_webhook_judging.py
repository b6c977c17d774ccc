"""What follows from an answer, over all answers there are."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from uuid import UUID, uuid4

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from recoup_core.domain.webhook import DeliveryState, WebhookDelivery, WebhookEndpoint
from recoup_core.flows.webhooks_out import judging
from recoup_core.web.calling import Answer

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)

ANSWERS = st.builds(
    Answer,
    ms=st.just(1),
    status=st.none() | st.integers(200, 599),
    error=st.just("no connection"),
    retry_after=st.none() | st.text(max_size=30) | st.integers(-9, 10**9).map(str),
)


def a_delivery(**fields: object) -> WebhookDelivery:
    return msgspec.structs.replace(
        WebhookDelivery(
            id=UUID(int=1),
            merchant_id="default",
            endpoint_id=UUID(int=2),
            event_id=1,
            event_kind="case.opened",
            event_at=NOW,
            state=DeliveryState.WAITING,
            tries=0,
            due_at=NOW,
            replayed=0,
            created_at=NOW,
        ),
        **fields,
    )


def an_endpoint(**fields: object) -> WebhookEndpoint:
    blank = WebhookEndpoint(
        id=UUID(int=2), merchant_id="default", url="https://a.example", created_at=NOW, changed_at=NOW
    )
    return msgspec.structs.replace(blank, **fields)


@given(answer=ANSWERS, tries=st.integers(0, 60), ordered=st.booleans(), number=st.integers(0, 2**64))
def test_every_answer_ends_a_delivery_or_has_it_tried_later(
    answer: Answer, tries: int, ordered: bool, number: int
) -> None:
    """Only 2xx delivers; nothing waits for longer than the longest wait or an hour asked for, nothing for no time."""
    after = judging.after_try(a_delivery(tries=tries, id=UUID(int=number)), answer, NOW, ordered=ordered)

    assert (after.state is DeliveryState.DELIVERED) == (answer.status is not None and 200 <= answer.status < 300)
    assert after.tries == tries + 1
    if after.state is DeliveryState.WAITING:
        wait = after.due_at - NOW
        assert timedelta(seconds=4.5) <= wait <= timedelta(hours=11)
        assert after.because
    else:
        assert after.finished_at == NOW


@given(ordered=st.booleans(), key=st.uuids())
def test_a_delivery_is_tried_for_about_a_day(ordered: bool, key: UUID) -> None:
    """Not for minutes, and not for ever."""
    delivery, now = a_delivery(id=key), NOW
    while delivery.state is DeliveryState.WAITING:
        now = delivery.due_at
        delivery = judging.after_try(delivery, Answer(ms=1, status=500), now, ordered=ordered)

    assert delivery.state is DeliveryState.FAILED
    assert timedelta(hours=22) < now - NOW < timedelta(hours=29)
    assert delivery.tries == (55 if ordered else 11)


@given(
    answers=st.lists(ANSWERS, min_size=1, max_size=20), failing=st.none() | st.timedeltas(timedelta(0), timedelta(9))
)
def test_an_endpoint_fails_while_nothing_arrives(answers: list[Answer], failing: timedelta | None) -> None:
    """Since the first failure of all; a pause is short, unless the endpoint asks for up to an hour."""
    before = an_endpoint(failing_since=None if failing is None else NOW - failing)

    after = judging.after_wave(before, answers, NOW)

    arrived = any(answer.arrived for answer in answers)
    assert (after.failing_since is None) == arrived
    assert arrived or after.failing_since == (before.failing_since or NOW)
    assert after.paused_until is None or NOW <= after.paused_until <= NOW + timedelta(hours=1)
    assert arrived or after.paused_until is not None


def test_retry_after_is_seconds_or_a_date() -> None:
    """Both forms of RFC 9110, of 429 and 503 only; what can't be read is no wish."""

    def asked(text: str, status: int = 429) -> timedelta | None:
        return judging.retry_after(Answer(ms=1, status=status, retry_after=text), NOW)

    assert asked("120") == timedelta(minutes=2)
    assert asked(format_datetime(NOW + timedelta(minutes=3), usegmt=True)) == timedelta(minutes=3)
    assert asked(format_datetime(NOW - timedelta(minutes=3))) == timedelta(0)
    assert asked("9" * 30) == asked(format_datetime(NOW + timedelta(days=9))) == timedelta(hours=1)
    assert asked("120", 503) == timedelta(minutes=2)
    assert asked("120", 500) is asked("soon") is asked("") is asked("١٢") is None


def test_days_of_silence_are_no_reason_to_switch_off_at_the_first_failure() -> None:
    """An endpoint whose last event failed last week gets its chance with the next one."""
    since = NOW - timedelta(days=7)

    assert not judging.hopeless(since, NOW, 4)
    assert judging.hopeless(since, NOW, 5)
    assert not judging.hopeless(NOW - timedelta(days=2), NOW, 11)


def test_what_failed_together_does_not_come_back_together() -> None:
    """Waits are spread by a tenth either way."""
    answer = Answer(ms=1, status=500)
    waits = {judging.after_try(a_delivery(id=uuid4(), tries=5), answer, NOW, ordered=False).due_at for _ in range(100)}

    assert len(waits) == 100
    assert max(waits) - min(waits) > timedelta(minutes=6)
