"""The contract of a notifier as tests: subclass `NotifierConformance`, lend it a `NotifierBench`, and run pytest.

What it asks for is what Recoup relies on: a message reaches its reader and nobody else, whole; what is answered is
certain, and what isn't certain is raised; whoever claims to tell doubles apart does.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, cast
from uuid import uuid4

import pytest

from recoup_core.flows.guard import Unknown
from recoup_core.flows.notifier_guard import send_guarded
from recoup_plugins import (
    Accepted,
    FeedbackKind,
    FeedbackNotifier,
    FeedbackRefused,
    NotAccepted,
    Notifier,
    NotifierSettings,
    NotNow,
    OutgoingMessage,
    Sender,
)
from recoup_plugins.conformance import AT_ONCE, HEALTH_LIMIT_S, STALE, SignedWebhook
from recoup_plugins.notifier_bench import FeedbackBench, NotifierBench, Reader
from recoup_plugins.notifier_building import broken_notifier
from recoup_plugins.webhook_trust import WebhookTrust

HOSTILE: Final = "Hello\r\nBcc: third@example.net\r\n\r\nother\x00\x1b\u2028Cc: fourth@example.net"
FOREIGN: Final = ("third@example.net", "fourth@example.net")


def a_message(notifier: Notifier, to: str, channel: str, **changes: Any) -> OutgoingMessage:
    """Return a fresh message with a text of its own."""
    values: dict[str, Any] = {
        "id": uuid4(),
        "merchant_id": "default",
        "channel": channel,
        "to": to,
        "sender": Sender(name="Shop", reply_to="help@shop.example"),
        "subject": "About your payment",
        "text": f"Number {uuid4()}",
        "html": None,
        "locale": "en",
        "created_at": datetime(2026, 11, 23, 9, 0, tzinfo=UTC),
    }
    message = OutgoingMessage(**{**values, **changes})
    assert channel in notifier.capabilities.channels
    return message


class NotifierConformance:
    """The tests; every one gets a fresh bench."""

    CHANNEL: ClassVar[str]
    """By which of the notifier's channels it is asked."""
    KNOWS_ADDRESSES: ClassVar[bool] = True
    """Whether a wrong address can be told at once; with some providers only feedback tells."""
    LONGEST: ClassVar[int] = 10_000
    """Characters that the channel surely carries whole."""

    @pytest.fixture
    def bench(self) -> NotifierBench:
        """Give the kit your notifier; each plugin's tests define their own."""
        raise NotImplementedError("define the fixture `bench` in your subclass")

    def message(self, bench: NotifierBench, reader: Reader = Reader.REACHED, **changes: Any) -> OutgoingMessage:
        """Return a fresh message for such a reader."""
        return a_message(bench.notifier, bench.address(reader), self.CHANNEL, **changes)

    def times(self, bench: NotifierBench, message: OutgoingMessage) -> int:
        """Return how often a message's text was seen, by its own reader alone."""
        texts = [seen for seen in bench.seen() if message.text[:36] in seen.shown]
        if bench.notifier.capabilities.addressed:
            assert {seen.to for seen in texts} <= {message.to}
        return len(texts)

    def test_the_object_keeps_the_contract(self, bench: NotifierBench) -> None:
        """Name, capabilities and methods are there, and of the kind that flows use."""
        settings = NotifierSettings(name=bench.notifier.name, plugin="under_test")

        assert broken_notifier(bench.notifier, settings) is None

    @pytest.mark.asyncio
    async def test_a_message_reaches_its_reader(self, bench: NotifierBench) -> None:
        """Once, and nobody else."""
        message = self.message(bench)

        outcome = await send_guarded(bench.notifier, message)

        assert isinstance(outcome, Accepted)
        assert self.times(bench, message) == 1

    @pytest.mark.asyncio
    async def test_many_at_once_are_not_mixed_up(self, bench: NotifierBench) -> None:
        """Those who have no place are told to come again, and nothing of theirs left."""
        messages = [self.message(bench) for _ in range(AT_ONCE)]

        outcomes = await asyncio.gather(*(send_guarded(bench.notifier, each) for each in messages))

        assert all(isinstance(outcome, Accepted | NotNow) for outcome in outcomes)
        accepted = [int(isinstance(outcome, Accepted)) for outcome in outcomes]
        assert [self.times(bench, message) for message in messages] == accepted
        assert any(accepted)

    @pytest.mark.asyncio
    async def test_the_same_message_again_is_seen_once_where_that_is_promised(self, bench: NotifierBench) -> None:
        """`deduplicates` lets a lost answer be sent again; without, that never happens."""
        if not bench.notifier.capabilities.deduplicates:
            pytest.skip("it promises nothing")
        message = self.message(bench)

        outcomes = [await send_guarded(bench.notifier, message) for _ in range(3)]
        outcomes += await asyncio.gather(*(send_guarded(bench.notifier, message) for _ in range(AT_ONCE)))

        assert isinstance(outcomes[0], Accepted)
        assert all(isinstance(outcome, Accepted | NotNow) for outcome in outcomes)
        assert self.times(bench, message) == 1

    @pytest.mark.asyncio
    async def test_a_wrong_address_is_told(self, bench: NotifierBench) -> None:
        """It is marked, and nothing more is sent there; the reason does not repeat it."""
        if not self.KNOWS_ADDRESSES or not bench.notifier.capabilities.addressed:
            pytest.skip("it can't tell")
        message = self.message(bench, Reader.NOBODY)

        outcome = await send_guarded(bench.notifier, message)

        assert isinstance(outcome, NotAccepted)
        assert outcome.bad_address
        assert message.to not in outcome.reason
        assert self.times(bench, message) == 0

    @pytest.mark.asyncio
    async def test_a_provider_that_is_away_took_nothing(self, bench: NotifierBench) -> None:
        """Never accepted, and never refused for good: it comes back."""
        message = self.message(bench)
        bench.away()

        outcome = await send_guarded(bench.notifier, message)

        assert isinstance(outcome, NotNow | Unknown)
        assert self.times(bench, message) == 0

    @pytest.mark.asyncio
    async def test_a_lost_answer_is_unknown(self, bench: NotifierBench) -> None:
        """The reader may have it: said to be unsent, it would be sent twice."""
        message = self.message(bench, Reader.LOST_ANSWER)

        outcome = await send_guarded(bench.notifier, message)

        assert isinstance(outcome, Unknown)
        assert message.to not in outcome.reason or not message.to
        if bench.notifier.capabilities.deduplicates:
            assert isinstance(await send_guarded(bench.notifier, message), Accepted)
            assert self.times(bench, message) == 1

    @pytest.mark.asyncio
    async def test_a_slow_provider_is_waited_for(self, bench: NotifierBench) -> None:
        """A second is nothing unusual."""
        message = self.message(bench, Reader.SLOW)

        outcome = await send_guarded(bench.notifier, message)

        assert isinstance(outcome, Accepted)
        assert self.times(bench, message) == 1

    @pytest.mark.asyncio
    @pytest.mark.parametrize("field", ["subject", "sender", "reply_to", "locale", "unsubscribe_url", "text"])
    async def test_no_text_reaches_somebody_else(self, bench: NotifierBench, field: str) -> None:
        """A customer's name with a line break in it is no further reader, and no further header."""
        sender = Sender(
            name=HOSTILE if field == "sender" else "Shop", reply_to=HOSTILE if field == "reply_to" else None
        )
        changes = {"sender": sender} if field in ("sender", "reply_to") else {field: HOSTILE}
        message = self.message(bench, **changes)

        await send_guarded(bench.notifier, message)

        assert not [seen for seen in bench.seen() if seen.to in FOREIGN]
        assert len(bench.seen()) <= 1

    @pytest.mark.asyncio
    async def test_every_script_arrives(self, bench: NotifierBench) -> None:
        """Letters, currencies and right-to-left, as they were written."""
        text = f"{uuid4()} Grüße, 12,50 € — 日本語 עברית ไทย 🎉"
        message = self.message(bench, text=text, subject="Zahlung über 12,50 €")

        outcome = await send_guarded(bench.notifier, message)

        assert isinstance(outcome, Accepted)
        assert [text in seen.shown for seen in bench.seen()] == [True]

    @pytest.mark.asyncio
    async def test_long_texts_arrive_whole(self, bench: NotifierBench) -> None:
        """Without a break in them, too: mail lines end after 998 characters."""
        text = f"{uuid4()} " + "x" * (self.LONGEST - 40) + " end"
        message = self.message(bench, text=text)

        outcome = await send_guarded(bench.notifier, message)

        assert isinstance(outcome, Accepted)
        assert [text in seen.shown for seen in bench.seen()] == [True]

    @pytest.mark.asyncio
    async def test_markup_is_shown_to_nobody_as_text(self, bench: NotifierBench) -> None:
        """Where HTML can't be shown only the text is handed over."""
        message = self.message(bench, html="<p><b>Hello</b></p>")

        outcome = await send_guarded(bench.notifier, message)

        assert isinstance(outcome, Accepted)
        assert self.times(bench, message) == 1
        if not bench.notifier.capabilities.html:
            assert not [seen for seen in bench.seen() if "<b>" in seen.shown]

    @pytest.mark.asyncio
    async def test_health_answers_in_time_and_sends_nothing(self, bench: NotifierBench) -> None:
        """Readers don't hear of it."""
        async with asyncio.timeout(HEALTH_LIMIT_S):
            await bench.notifier.health()

        assert bench.seen() == []

    def test_its_repr_shows_no_option(self, bench: NotifierBench) -> None:
        """Logs and error pages print objects."""
        assert "://" not in repr(bench.notifier)


class FeedbackConformance(WebhookTrust):
    """For notifiers whose capabilities have `feedback`."""

    CHANNEL: ClassVar[str] = "email"

    @pytest.fixture
    def bench(self) -> FeedbackBench:
        """Give the kit your notifier; each plugin's tests define their own."""
        raise NotImplementedError("define the fixture `bench` in your subclass")

    def sent(
        self, bench: FeedbackBench, kind: FeedbackKind, away: timedelta = timedelta()
    ) -> tuple[Any, SignedWebhook]:
        """Return a message and what the provider tells of it; skip what it never tells."""
        message = a_message(bench.notifier, "anna@example.com", self.CHANNEL)
        delivery = bench.feedback(kind, message, bench.now() + away)
        if delivery is None:
            pytest.skip("the provider never tells it")
        return message, delivery

    @pytest.mark.parametrize("kind", list(FeedbackKind))
    def test_what_is_told_names_its_message_or_address(self, bench: FeedbackBench, kind: FeedbackKind) -> None:
        """And delivered twice it tells the same."""
        message, delivery = self.sent(bench, kind)
        reader = cast("FeedbackNotifier", bench.notifier)

        told, again = (reader.parse_feedback(delivery.headers, delivery.body) for _ in range(2))

        assert list(told) == list(again)
        assert [one.kind for one in told] == [kind]
        assert told[0].message_id == message.id or told[0].address == message.to or told[0].provider_ref
        assert told[0].occurred_at is None or told[0].occurred_at.tzinfo is not None

    @pytest.mark.parametrize("lie", ["old", "future", "body", "no headers", "other headers"])
    def test_what_can_not_be_trusted_is_refused(self, bench: FeedbackBench, lie: str) -> None:
        """A stranger can't take customers off the list."""
        if lie in ("old", "future") and not self.SIGNS_TIME:
            pytest.skip("the provider signs no time")
        away = {"old": -STALE, "future": STALE}.get(lie, timedelta())
        _, delivery = self.sent(bench, FeedbackKind.BOUNCED, away)
        body = self.tampered(delivery.body) if lie == "body" else delivery.body
        headers = {"no headers": {}, "other headers": {"content-type": "text/plain"}}.get(lie, delivery.headers)
        if (headers, body) == (delivery.headers, delivery.body) and lie not in ("old", "future"):
            pytest.skip("the provider signs it elsewhere")

        with pytest.raises(FeedbackRefused):
            cast("FeedbackNotifier", bench.notifier).parse_feedback(headers, body)

    @pytest.mark.parametrize(
        "garbage", ["", "x", "é=ü", "v1,", ",,,", "=" * 50, "\x00", "9" * 400, "Bearer ", "Basic é"]
    )
    def test_garbage_in_any_signature_header_is_refused(self, bench: FeedbackBench, garbage: str) -> None:
        """Whatever a stranger writes into a header ends in a refusal, never in another exception."""
        _, delivery = self.sent(bench, FeedbackKind.BOUNCED)

        for name in (name for name in delivery.headers if name != "content-type"):
            headers = {**delivery.headers, name: garbage}
            with pytest.raises(FeedbackRefused):
                cast("FeedbackNotifier", bench.notifier).parse_feedback(headers, delivery.body)

    @pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff\xfe\x00", b"[" * 10_000, b"null"])
    def test_a_stranger_s_body_is_refused(self, bench: FeedbackBench, body: bytes) -> None:
        """Whatever it is, without a signature."""
        with pytest.raises(FeedbackRefused):
            cast("FeedbackNotifier", bench.notifier).parse_feedback({}, body)
