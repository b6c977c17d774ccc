"""The webhook and Apprise notifiers against a real HTTP server, and what relays tell of mails later."""

import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from recoup_plugins import FeedbackKind, FeedbackRefused, NotAccepted, NotifierSettings, OutgoingMessage
from recoup_plugins.conformance import SignedWebhook
from recoup_plugins.notifier_bench import Reader, Seen
from recoup_plugins.notifier_conformance import FeedbackConformance, NotifierConformance, a_message
from recoup_plugins.notifiers.apprise import make_apprise
from recoup_plugins.notifiers.mail_feedback import FeedbackOptions, FeedbackReader
from recoup_plugins.notifiers.signatures import read_secret, signed
from recoup_plugins.notifiers.smtp import make_smtp
from recoup_plugins.notifiers.webhook import make_webhook

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
PLAIN = "a-secret-of-some-length"


class Receiver:
    """Takes JSON; once an answer is lost it is taken all the same."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, dict[str, str], bytes]] = []
        self.lost: set[str] = set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.taken.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                if b"slow" in body or "slow" in self.path:
                    time.sleep(1)
                if (
                    "lost" in self.path + body.decode()
                    and (key := self.headers.get("webhook-id", self.path)) not in receiver.lost
                ):
                    receiver.lost.add(key)
                    self.connection.close()
                    return
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def do_HEAD(self) -> None:
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.stop()


class HookBench:
    """A delivery service of one's own: it verifies with another implementation, and tells doubles apart by id."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        options = {"url": f"http://{receiver.url}/hook", "secrets": [SECRET], "channels": ["webhook", "sms"]}
        self.notifier = make_webhook(NotifierSettings(name="hook", plugin="webhook", options=options))

    def address(self, reader: Reader) -> str:
        return f"+49151{reader}"

    def seen(self) -> list[Seen]:
        first = {headers["webhook-id"]: (headers, body) for _, headers, body in reversed(self.receiver.taken)}
        told = [Webhook(SECRET).verify(body, headers)["data"] for headers, body in first.values()]
        return [Seen(each["to"], f"{each['subject']}\n{each['text']}") for each in told]

    def away(self) -> None:
        self.receiver.stop()


class TestWebhookConformance(NotifierConformance):
    """Our own kit, with the `standardwebhooks` package as the receiver."""

    CHANNEL = "sms"
    KNOWS_ADDRESSES = False

    @pytest.fixture
    def bench(self, receiver: Receiver) -> HookBench:
        return HookBench(receiver)


class AppriseBench:
    """Apprise's `json://`, which stands for any provider that is spoken to by HTTP."""

    ADDRESSES: ClassVar = {Reader.NOBODY: "two, readers", Reader.LOST_ANSWER: "lost", Reader.SLOW: "slow"}

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        options = {"url": f"json://{receiver.url}/{{to}}", "channels": ["chat"]}
        self.notifier = make_apprise(NotifierSettings(name="chat", plugin="apprise", options=options))

    def address(self, reader: Reader) -> str:
        return self.ADDRESSES.get(reader, "anna")

    def seen(self) -> list[Seen]:
        told = [(path.strip("/"), json.loads(body)) for path, _, body in self.receiver.taken]
        return [Seen(to, f"{each['title']}\n{each['message']}") for to, each in told]

    def away(self) -> None:
        self.receiver.stop()


class TestAppriseConformance(NotifierConformance):
    """Our own kit."""

    CHANNEL = "chat"

    @pytest.fixture
    def bench(self, receiver: Receiver) -> AppriseBench:
        return AppriseBench(receiver)


class RelayBench:
    """The mail notifier with feedback in our generic form."""

    def __init__(self) -> None:
        options = {
            "host": "x.example",
            "from_address": "a@shop.example",
            "feedback": {"format": "generic", "secret": SECRET},
        }
        self.notifier = make_smtp(NotifierSettings(name="mail", plugin="smtp", options=options))

    def feedback(self, kind: FeedbackKind, message: OutgoingMessage, sent_at: datetime) -> SignedWebhook:
        body = json.dumps({"events": [{"kind": kind, "message_id": str(message.id), "address": message.to}]}).encode()
        return SignedWebhook(signed([read_secret(SECRET)], "evt_1", sent_at, body), body)

    def now(self) -> datetime:
        return datetime.now(UTC)


class TestGenericFeedback(FeedbackConformance):
    """Our own kit."""

    @pytest.fixture
    def bench(self) -> RelayBench:
        return RelayBench()


def a_report(status: str, action: str, ours: UUID) -> bytes:
    """A bounce as Postfix writes it."""
    return (
        "From: MAILER-DAEMON@mx.example\r\nTo: bounces@shop.example\r\nDate: Mon, 23 Nov 2026 09:00:00 +0000\r\n"
        'MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n"
        f"Final-Recipient: rfc822; anna@example.com\r\nAction: {action}\r\nStatus: {status}\r\n\r\n"
        f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nX-Recoup-Message: {ours}\r\nSubject: x\r\n\r\n--b--\r\n"
    ).encode()


@pytest.mark.parametrize(
    ("status", "action", "kind"),
    [
        ("5.1.1", "failed", FeedbackKind.BOUNCED),
        ("5.7.1", "failed", FeedbackKind.DELAYED),
        ("5.2.2", "failed", FeedbackKind.DELAYED),
        ("4.4.1", "delayed", FeedbackKind.DELAYED),
        ("2.0.0", "delivered", FeedbackKind.DELIVERED),
    ],
)
def test_a_bounce_of_a_mail_server_is_read(status: str, action: str, kind: FeedbackKind) -> None:
    """Only a dead address is a bounce for good."""
    ours = uuid4()
    reader = FeedbackReader(FeedbackOptions(format="rfc3464", secret=PLAIN))

    (told,) = reader.read({"authorization": f"Bearer {PLAIN}"}, a_report(status, action, ours))

    assert (told.kind, told.message_id, told.address) == (kind, ours, "anna@example.com")


def test_a_mail_that_is_no_report_tells_nothing() -> None:
    """Out-of-office notes come to the same address."""
    mail = EmailMessage()
    mail["Subject"] = "I am away"
    mail.set_content("Back on Monday")
    reader = FeedbackReader(FeedbackOptions(format="rfc3464", secret=PLAIN))

    assert not reader.read({"authorization": f"Bearer {PLAIN}"}, mail.as_bytes())


@pytest.mark.parametrize("age_s", [0, 1200])
def test_mailgun_signs_a_time_and_old_ones_are_refused(age_s: int) -> None:
    """Its own HMAC, and a window for stolen ones."""
    ours, stamp = uuid4(), str(int(time.time()) - age_s)
    signature = hmac.digest(PLAIN.encode(), f"{stamp}tok".encode(), "sha256").hex()
    event = {
        "event": "failed",
        "severity": "permanent",
        "recipient": "anna@example.com",
        "delivery-status": {"message": "550 5.1.1 no such user"},
        "user-variables": {"recoup_message": str(ours)},
    }
    body = json.dumps({"signature": {"timestamp": stamp, "token": "tok", "signature": signature}, "event-data": event})
    reader = FeedbackReader(FeedbackOptions(format="mailgun", secret=PLAIN))

    if age_s:
        with pytest.raises(FeedbackRefused):
            reader.read({}, body.encode())
        return
    (told,) = reader.read({}, body.encode())
    assert (told.kind, told.message_id) == (FeedbackKind.BOUNCED, ours)


@pytest.mark.parametrize(("of", "kind"), [("HardBounce", FeedbackKind.BOUNCED), ("Blocked", FeedbackKind.DELAYED)])
def test_postmark_tells_with_basic_authentication(of: str, kind: FeedbackKind) -> None:
    """By the metadata that our mail carried."""
    ours = uuid4()
    body = {"RecordType": "Bounce", "Type": of, "Email": "anna@example.com", "Metadata": {"recoup-message": str(ours)}}
    reader = FeedbackReader(FeedbackOptions(format="postmark", secret="user:a-long-password"))
    headers = {"authorization": "Basic " + base64.b64encode(b"user:a-long-password").decode()}

    (told,) = reader.read(headers, json.dumps(body).encode())

    assert (told.kind, told.message_id) == (kind, ours)
    with pytest.raises(FeedbackRefused):
        reader.read({"authorization": "Basic x"}, json.dumps(body).encode())


@given(st.binary(max_size=2000))
def test_whatever_a_relay_pipes_is_read_or_refused(noise: bytes) -> None:
    """Nothing else: bounces are written by every program there is."""
    reader = FeedbackReader(FeedbackOptions(format="rfc3464", secret=PLAIN))
    cut = a_report("5.1.1", "failed", uuid4())

    for body in (noise, cut[: len(noise)] + noise, cut.replace(b"5.1.1", noise[:20])):
        try:
            reader.read({"authorization": f"Bearer {PLAIN}"}, body)
        except FeedbackRefused:
            continue


@pytest.mark.parametrize("to", ["a%2Cb", "a%252Cb", "a%0Ab", "a,b", "a;b", "a b", "..", "."])
async def test_an_address_on_a_chat_is_one_reader_and_no_option(receiver: Receiver, to: str) -> None:
    """Apprise unquotes options twice: what would be another reader, a line or a step up by then is no address."""
    options = {"url": f"json://{receiver.url}/room/{{to}}", "channels": ["chat"]}
    notifier = make_apprise(NotifierSettings(name="chat", plugin="apprise", options=options))

    outcome = await notifier.send(a_message(notifier, to, "chat"))

    assert isinstance(outcome, NotAccepted)
    assert outcome.bad_address
    assert receiver.taken == []
