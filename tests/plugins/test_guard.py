"""Whatever a plugin does wrong is an unknown outcome; our own cancellation passes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from recoup_core.domain.redact import MAX_TEXT, redact
from recoup_core.flows.guard import (
    Unknown,
    cancel_refund_guarded,
    charge_guarded,
    find_charge_guarded,
    find_refund_guarded,
    refund_guarded,
)
from recoup_plugins import (
    Canceled,
    ChargeRequest,
    Declined,
    FailureCategory,
    Money,
    NotFound,
    NotSent,
    Pending,
    Refunded,
    RefundFailure,
    RefundRequest,
    Refused,
    Succeeded,
    TakenBack,
)

Build = Callable[..., ChargeRequest]
BuildRefund = Callable[..., RefundRequest]


class Answering:
    """A gateway whose every call does what the test says."""

    def __init__(self, behave: Callable[[], Awaitable[Any]]) -> None:
        self._behave = behave

    async def charge(self, request: object) -> Any:
        return await self._behave()

    find_charge = refund = find_refund = cancel_refund = charge


def answers(answer: Any) -> Any:
    async def behave() -> Any:
        return answer

    return Answering(behave)


def raises(error: BaseException) -> Any:
    async def behave() -> Any:
        raise error

    return Answering(behave)


GOOD = Succeeded(gateway_ref="ch_1", amount=Money(1999, "EUR"))


@pytest.mark.parametrize("answer", [GOOD, Pending(gateway_ref="ch_1"), NotSent(reason="down", retry_after_s=1.5)])
async def test_a_proper_answer_passes_unchanged(a_request: Build, answer: Any) -> None:
    """The guard adds nothing to what is right."""
    assert await charge_guarded(answers(answer), a_request()) is answer


@pytest.mark.parametrize(
    "answer",
    [
        None,
        True,
        "succeeded",
        NotFound(),
        Declined(decline="insufficient_funds"),
        Succeeded(gateway_ref="ch_1", amount=19.99),
        Succeeded(gateway_ref="ch_1", amount=Money(19.99, "EUR")),
        Succeeded(gateway_ref="ch_1", amount=Money(True, "EUR")),
        Succeeded(gateway_ref="ch_1", amount=Money(1999, "USD")),
        Succeeded(gateway_ref="ch_1", amount=Money(0, "EUR")),
        Succeeded(gateway_ref="", amount=Money(1999, "EUR")),
        Succeeded(gateway_ref=None, amount=Money(1999, "EUR")),
        Pending(gateway_ref=1.5),
        Pending(gateway_ref="ch\0"),
        Pending(gateway_ref="c" * 256),
        NotSent(reason=None),
    ],
    ids=str,
)
async def test_an_answer_that_is_no_outcome_is_unknown(a_request: Build, answer: Any) -> None:
    """A wrong type, currency or amount says nothing certain about the money."""
    outcome = await charge_guarded(answers(answer), a_request())

    assert isinstance(outcome, Unknown)


async def test_not_sent_is_no_answer_to_a_look_up(a_request: Build) -> None:
    """Each call has its own answers."""
    assert isinstance(await find_charge_guarded(answers(NotSent(reason="x")), a_request()), Unknown)
    assert await find_charge_guarded(answers(NotFound()), a_request()) == NotFound()


BACK = Refunded(gateway_ref="re_a", amount=Money(1999, "EUR"))
GONE = RefundFailure(category=FailureCategory.METHOD_GONE, code="lost_or_stolen_card")


@pytest.mark.parametrize(
    "answer",
    [BACK, Refused(failure=GONE), Pending(gateway_ref="re_a"), NotSent(reason="down")],
    ids=lambda answer: type(answer).__name__,
)
async def test_a_proper_answer_to_a_refund_passes_unchanged(a_refund: BuildRefund, answer: Any) -> None:
    """The guard adds nothing to what is right."""
    assert await refund_guarded(answers(answer), a_refund()) is answer


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "refunded",
        NotFound(),
        Canceled(),
        TakenBack(gateway_ref="re_a", failure=GONE),
        GOOD,
        Refused(failure="declined"),
        Refused(failure=RefundFailure(category="moon", code="x")),
        Refunded(gateway_ref="", amount=Money(1999, "EUR")),
        Refunded(gateway_ref=None, amount=Money(1999, "EUR")),
        Refunded(gateway_ref="re_a", amount=19.99),
        Refunded(gateway_ref="re_a", amount=Money(1999, "USD")),
        Refunded(gateway_ref="re_a", amount=Money(2000, "EUR")),
        Refunded(gateway_ref="re_a", amount=Money(1998, "EUR")),
        Refunded(gateway_ref="re_a", amount=Money(0, "EUR")),
        Refunded(gateway_ref="re_a", amount=Money(1999, "EUR"), fee=Money(-1, "EUR")),
        Pending(gateway_ref=""),
    ],
    ids=str,
)
async def test_an_answer_that_is_no_refund_of_what_was_asked_is_unknown(a_refund: BuildRefund, answer: Any) -> None:
    """More, less or other money than was asked back says that we don't know what happened."""
    assert isinstance(await refund_guarded(answers(answer), a_refund()), Unknown)


async def test_each_refund_call_has_its_own_answers(a_refund: BuildRefund) -> None:
    """ "Not sent" is no answer to a look-up, "refunded" none to a cancellation, and "not found" none to a refund."""
    canceled, back = Canceled(gateway_ref="re_a"), TakenBack(gateway_ref="re_a", failure=GONE)

    assert isinstance(await find_refund_guarded(answers(NotSent(reason="x")), a_refund()), Unknown)
    assert isinstance(await cancel_refund_guarded(answers(BACK), a_refund()), Unknown)
    assert isinstance(await cancel_refund_guarded(answers(NotFound()), a_refund()), Unknown)
    assert await find_refund_guarded(answers(NotFound()), a_refund()) == NotFound()
    assert await find_refund_guarded(answers(back), a_refund()) is back
    assert await find_refund_guarded(answers(canceled), a_refund()) is canceled
    assert await cancel_refund_guarded(answers(canceled), a_refund()) is canceled


@pytest.mark.parametrize("call", [refund_guarded, find_refund_guarded, cancel_refund_guarded])
async def test_whatever_a_refund_call_raises_is_unknown(a_refund: BuildRefund, call: Any) -> None:
    """Promise 2 holds for money that goes back, too."""

    async def hang() -> None:
        await asyncio.sleep(60)

    raised = await call(raises(ConnectionError("reset")), a_refund())
    silent = await call(Answering(hang), a_refund(), timeout_s=0.01)

    assert raised == Unknown(reason="ConnectionError: reset")
    assert isinstance(silent, Unknown)


async def test_secrets_in_the_texts_of_answers_are_not_repeated(a_refund: BuildRefund) -> None:
    """A provider's message may quote the key it was called with."""
    failure = RefundFailure(category=FailureCategory.CONFIGURATION, code="auth", message="key sk_live_51HIDDEN")

    refused = await refund_guarded(answers(Refused(failure=failure)), a_refund())
    back = await find_refund_guarded(answers(TakenBack(gateway_ref="re_a", failure=failure)), a_refund())
    not_sent = await refund_guarded(answers(NotSent(reason="Bearer HIDDEN")), a_refund())

    assert isinstance(refused, Refused)
    assert isinstance(back, TakenBack)
    assert refused.failure == back.failure
    assert "HIDDEN" not in f"{refused}{back}{not_sent}"
    assert refused.failure.category is FailureCategory.CONFIGURATION


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("even this")


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), OSError(5, "io"), KeyError("a"), Unprintable(), ExceptionGroup("g", [ValueError("v")])]
)
async def test_whatever_is_raised_is_unknown_with_its_type(a_request: Build, error: Exception) -> None:
    """Promise 2: an exception is never a failed charge."""
    outcome = await charge_guarded(raises(error), a_request())

    assert isinstance(outcome, Unknown)
    assert outcome.reason.startswith(type(error).__name__)


async def test_secrets_in_a_message_are_not_repeated(a_request: Build) -> None:
    """Reasons are stored, logged and shown."""
    error = RuntimeError("401 for sk_live_51HIDDEN with Bearer HIDDEN and card 4242 4242 4242 4242")

    outcome = await charge_guarded(raises(error), a_request())

    assert isinstance(outcome, Unknown)
    assert "HIDDEN" not in outcome.reason
    assert "4242" not in outcome.reason


async def test_a_silent_gateway_is_unknown_after_the_limit(a_request: Build) -> None:
    """No answer in time is no answer."""

    async def hang() -> None:
        await asyncio.sleep(60)

    outcome = await charge_guarded(Answering(hang), a_request(), timeout_s=0.01)

    assert isinstance(outcome, Unknown)
    assert outcome.reason.startswith("TimeoutError")


async def test_our_own_cancellation_passes_through(a_request: Build) -> None:
    """A worker that shuts down stops; the attempt stays submitted and is settled later."""
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(charge_guarded(Answering(hang), a_request()))
    await started.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_plugin_that_cancels_itself_does_not_cancel_us(a_request: Build) -> None:
    """A stray CancelledError of an inner task would look like our shutdown."""
    outcome = await charge_guarded(raises(asyncio.CancelledError()), a_request())

    assert isinstance(outcome, Unknown)


@pytest.mark.parametrize(
    "text",
    [
        "key sk_live_51Habc failed",
        "key rk_test_HIDDEN*** failed",
        "whsec_c2VjcmV0aGlkZGVu+/=",
        "Authorization: Bearer abc.def-ghi",
        "https://user:hunter2@example.org/x",
        "api_key=abcdef and password: hunter2",
        "card 4242424242424242",
    ],
)
def test_redacted_texts_hold_no_secret(text: str) -> None:
    """Promise 11, for texts of others."""
    cleaned = redact(text)

    for secret in ("51Habc", "HIDDEN", "c2Vjcm", "abc.def", "hunter2", "abcdef", "424242"):
        assert secret not in cleaned


def test_redacted_texts_are_one_short_line() -> None:
    """A provider's HTML page does not fill the log."""
    cleaned = redact("line\n" * 200)

    assert "\n" not in cleaned
    assert len(cleaned) == MAX_TEXT
