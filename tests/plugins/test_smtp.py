"""The mail notifier against a real SMTP server: what arrives, what each refusal means, and what is certain."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import pytest
from tests.plugins.mail_server import HOST, PASSWORD, USER, Certificates, MailServer, mail_server, make_certificates

from recoup_core.flows.guard import Unknown
from recoup_core.flows.notifier_guard import send_guarded
from recoup_plugins import (
    Accepted,
    NotAccepted,
    NotifierSettings,
    NotNow,
    OutgoingMessage,
    PluginMisconfigured,
    Sender,
)
from recoup_plugins.notifier_bench import Reader, Seen
from recoup_plugins.notifier_conformance import NotifierConformance, a_message
from recoup_plugins.notifiers.smtp import SmtpNotifier, make_smtp

FROM = "billing@shop.example"


def a_notifier(server: MailServer, **options: Any) -> SmtpNotifier:
    given = {"host": HOST, "port": server.port, "security": "none", "from_address": FROM, "timeout_s": 5.0, **options}
    return make_smtp(NotifierSettings(name="mail", plugin="smtp", options=given))


def a_mail(notifier: SmtpNotifier, local: str = "anna", **changes: Any) -> OutgoingMessage:
    return a_message(notifier, f"{local}@example.com", "email", **changes)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def server() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
async def mail(server: MailServer) -> AsyncIterator[SmtpNotifier]:
    notifier = a_notifier(server)
    yield notifier
    await notifier.close()


class MailBench:
    """Readers whose mailboxes drop doubles by Message-ID, as Gmail's, Exchange's and Cyrus's do."""

    LOCAL: ClassVar = {Reader.REACHED: "anna", Reader.NOBODY: "nobody", Reader.LOST_ANSWER: "lost", Reader.SLOW: "slow"}

    def __init__(self, server: MailServer) -> None:
        self.server, self.notifier = server, a_notifier(server)

    def address(self, reader: Reader) -> str:
        return f"{self.LOCAL[reader]}@example.com"

    def seen(self) -> list[Seen]:
        first = {taken.mail["message-id"]: taken for taken in reversed(self.server.taken)}
        return [Seen(to, _shown(taken.mail)) for taken in first.values() for to in taken.to]

    def away(self) -> None:
        self.server.stop()


def _shown(mail: Any) -> str:
    part = mail.get_body(("plain",))
    return f"{mail['subject']}\n{part.get_content()}"


class TestSmtpConformance(NotifierConformance):
    """Our own kit."""

    CHANNEL = "email"

    @pytest.fixture
    def bench(self, server: MailServer) -> MailBench:
        return MailBench(server)


async def test_a_mail_is_what_mail_programs_expect(server: MailServer) -> None:
    """Both parts, who it is from, how to get off, and that a machine wrote it."""
    notifier = a_notifier(server, envelope_from="bounces+{id}@shop.example", feedback_id="recoup-1")
    url = "https://pay.shop.example/unsubscribe/" + "t" * 200
    message = a_mail(
        notifier, text="Hello\n.\n.dot\nFrom here", html="<p>Héllo</p>", unsubscribe_url=url, locale="de-AT"
    )

    assert isinstance(await notifier.send(message), Accepted)

    (taken,) = server.taken
    mail = taken.mail
    assert taken.sender == f"bounces+{message.id.hex}@shop.example"
    assert taken.to == ("anna@example.com",)
    assert mail["from"].addresses[0].addr_spec == FROM
    assert mail["from"].addresses[0].display_name == "Shop"
    assert mail["to"] == "anna@example.com"
    assert mail["reply-to"] == "help@shop.example"
    assert mail["message-id"] == f"<{message.id}@shop.example>"
    assert UUID(mail["x-recoup-message"]) == message.id
    assert mail["list-unsubscribe"] == f"<{url}>"
    assert f"List-Unsubscribe: <{url}>\r\n".encode() in taken.raw  # in one piece: folded it would be broken
    assert mail["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    assert mail["auto-submitted"] == "auto-generated"
    assert mail["feedback-id"] == "default::email:recoup-1"
    assert mail["content-language"] == "de-AT"
    assert mail["date"].datetime == message.created_at
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert mail.get_body(("plain",)).get_content().splitlines() == ["Hello", ".", ".dot", "From here"]
    assert "Héllo" in mail.get_body(("html",)).get_content()
    assert taken.raw.isascii()
    assert max(map(len, taken.raw.split(b"\r\n"))) <= 998
    assert b"\n" not in taken.raw.replace(b"\r\n", b"")


async def test_the_second_sending_is_the_first_to_the_byte(server: MailServer, mail: SmtpNotifier) -> None:
    """Whoever looks for doubles finds them."""
    message = a_mail(mail, html="<p>x</p>")

    for _ in range(2):
        await mail.send(message)

    assert server.taken[0].raw == server.taken[1].raw


async def test_a_name_with_a_line_break_is_no_header(server: MailServer, mail: SmtpNotifier) -> None:
    """Not in any field, and no further reader in the envelope."""
    evil = "x\r\nBcc: third@example.net\r\n\r\n<script>\x85X-Evil: 1\u2028X-Evil: 2"
    message = a_mail(mail, subject=evil, sender=Sender(name=evil, reply_to=evil), locale=evil, unsubscribe_url=evil)

    await mail.send(message)

    (taken,) = server.taken
    assert taken.to == ("anna@example.com",)
    assert {name.lower() for name in taken.mail} == {
        "from", "to", "subject", "date", "message-id", "auto-submitted", "x-recoup-message", "mime-version",
        "content-type", "content-transfer-encoding", "content-language",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("local", "meaning", "bad_address"),
    [
        ("nobody", NotAccepted, True),
        ("gone", NotAccepted, True),
        ("blocked", NotAccepted, False),
        ("plain550", NotAccepted, False),
        ("full", NotAccepted, False),
        ("spam", NotAccepted, False),
        ("grey", NotNow, None),
        ("busy", NotNow, None),
        ("late", NotNow, None),
    ],
)
async def test_each_refusal_means_what_it_says(
    mail: SmtpNotifier, local: str, meaning: type, bad_address: bool | None
) -> None:
    """Only a dead address is marked: a policy's block, a full mailbox and a code that says nothing are not."""
    outcome = await mail.send(a_mail(mail, local))

    assert type(outcome) is meaning
    assert getattr(outcome, "bad_address", None) is bad_address
    assert "@" not in outcome.reason.replace("[address]", "")
    assert "nobody" not in outcome.reason


async def test_after_a_refusal_the_connection_is_used_again(server: MailServer, mail: SmtpNotifier) -> None:
    """One wrong address costs nobody else a connection."""
    for local in ("nobody", "anna", "spam", "berta"):
        await mail.send(a_mail(mail, local))

    assert server.sessions == 1
    assert [taken.to[0] for taken in server.taken] == ["anna@example.com", "berta@example.com"]


async def test_a_sender_that_the_relay_does_not_know_is_for_somebody_to_mend(
    server: MailServer, mail: SmtpNotifier
) -> None:
    """It is our settings, and no reader's fault: the mail goes out later."""
    server.refuse_senders = True

    assert isinstance(await mail.send(a_mail(mail)), NotNow)


@pytest.mark.parametrize(
    "address", ["", "anna", "@example.com", "a b@example.com", "anna@", "anna@ex ample", "a@b@c", "anna@-x.example",
                "anna@example.com\r\nBcc: x@y.z", "anna@exa\x00mple.com", "a..b@example.com", "x" * 65 + "@example.com",
                "anna@example.com,berta@example.com", "<anna@example.com>", "\ud800@example.com"],
)  # fmt: skip
async def test_what_is_no_address_is_not_tried(server: MailServer, mail: SmtpNotifier, address: str) -> None:
    """Told without asking anybody."""
    outcome = await mail.send(a_message(mail, address, "email"))

    assert isinstance(outcome, NotAccepted)
    assert outcome.bad_address
    assert server.sessions == 0


@pytest.mark.parametrize("address", ["anna@bücher.example", "ännä@bücher.example", "o'neil+x@example.com"])
async def test_international_addresses_arrive(server: MailServer, mail: SmtpNotifier, address: str) -> None:
    """The domain in ASCII; the part before it by SMTPUTF8, which this server speaks."""
    outcome = await mail.send(a_message(mail, address, "email"))

    assert isinstance(outcome, Accepted)
    assert server.taken[0].to[0].partition("@")[0] == address.partition("@")[0]


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_tls_and_login(security: str, certificates: Certificates) -> None:
    """By either way, with an authority of our own."""
    with mail_server(security, certificates, auth=security == "starttls") as server:
        login = {"username": USER, "password": PASSWORD} if security == "starttls" else {}
        notifier = a_notifier(server, security=security, ca_file=str(certificates.authority), **login)

        assert isinstance(await notifier.send(a_mail(notifier)), Accepted)
        await notifier.health()
        await notifier.close()


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("wrong", ["authority", "host"])
async def test_a_certificate_that_can_not_be_trusted_gets_no_mail(
    security: str, wrong: str, certificates: Certificates, tmp_path: Path
) -> None:
    """Somebody in the middle reads nothing; it is certain, and said again later."""
    other = make_certificates(tmp_path, "127.0.0.2")
    with mail_server(security, certificates if wrong == "authority" else other) as server:
        options = {"ca_file": str(other.authority)}
        notifier = a_notifier(server, security=security, **options)

        outcome = await notifier.send(a_mail(notifier))

        assert isinstance(outcome, NotNow)
        assert server.taken == []
        with pytest.raises(Exception, match=r"(?i)certificate|ssl"):
            await notifier.health()


async def test_a_relay_without_starttls_gets_no_mail(server: MailServer, certificates: Certificates) -> None:
    """Whoever strips the offer from the conversation does not get a mail in the clear."""
    notifier = a_notifier(server, security="starttls", ca_file=str(certificates.authority))

    assert isinstance(await notifier.send(a_mail(notifier)), NotNow)
    assert server.taken == []


async def test_a_wrong_password_is_for_somebody_to_mend(certificates: Certificates) -> None:
    """And is not in the reason."""
    with mail_server("starttls", certificates, auth=True) as server:
        options = {"security": "starttls", "ca_file": str(certificates.authority), "username": USER}
        notifier = a_notifier(server, password="wrong-password", **options)

        outcome = await notifier.send(a_mail(notifier))

    assert isinstance(outcome, NotNow)
    assert "wrong-password" not in outcome.reason


async def test_a_relay_that_is_down_for_a_while_changes_nothing_but_lateness(server: MailServer) -> None:
    """Each mail is told to come again, and arrives once when it does; idle connections that died are noticed."""
    notifier = a_notifier(server)
    await notifier.send(a_mail(notifier, "first"))
    messages = [a_mail(notifier, f"reader{at}") for at in range(5)]
    server.stop()

    down = [await notifier.send(message) for message in messages]
    server.start()
    up = [await notifier.send(message) for message in messages]

    assert {type(outcome) for outcome in down} == {NotNow}
    assert {type(outcome) for outcome in up} == {Accepted}
    assert [taken.to[0] for taken in server.taken[1:]] == [message.to for message in messages]
    await notifier.close()


async def test_connections_are_few_and_used_again(server: MailServer) -> None:
    """Relays count both."""
    notifier = a_notifier(server, connections=2)

    outcomes = await asyncio.gather(*(notifier.send(a_mail(notifier, f"r{at}")) for at in range(20)))

    assert {type(outcome) for outcome in outcomes} == {Accepted}
    assert len(server.taken) == 20
    assert server.sessions <= 2
    await notifier.close()


async def test_without_a_free_connection_it_is_not_now(server: MailServer) -> None:
    """Waiting for ever would hold the worker."""
    notifier = a_notifier(server, connections=1, timeout_s=0.4)

    slow, waiting = await asyncio.gather(
        notifier.send(a_mail(notifier, "slow")), notifier.send(a_mail(notifier, "anna"))
    )

    assert isinstance(slow, Accepted)
    assert isinstance(waiting, NotNow)
    await notifier.close()


async def test_a_send_that_is_given_up_leaves_no_half_connection(server: MailServer, mail: SmtpNotifier) -> None:
    """The next mail has one of its own."""
    outcome = await send_guarded(mail, a_mail(mail, "slow"), timeout_s=0.3)

    assert isinstance(outcome, Unknown)
    assert isinstance(await mail.send(a_mail(mail, "anna")), Accepted)
    assert server.sessions == 2


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"security": "none", "host": "relay.example"}, "security"),
        ({"username": "u"}, "password"),
        ({"from_address": "nobody"}, "from_address"),
        ({"from_address": "ä@shop.example"}, "from_address"),
        ({"envelope_from": "x y@z"}, "envelope_from"),
        ({"ca_file": "/no/such/file"}, "ca_file"),
        ({"hots": "x"}, "options"),
        ({"security": "ssl"}, "security"),
        ({"feedback": {"format": "generic", "secret": "not-a-whsec-secret-at-all"}}, "feedback.secret"),
        ({"feedback": {"format": "rfc3464", "secret": "short"}}, "feedback.secret"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], field: str) -> None:
    """At the start, by their field and without their value."""
    given = {"host": "127.0.0.1", "from_address": FROM, **options}

    with pytest.raises(PluginMisconfigured) as refusal:
        make_smtp(NotifierSettings(name="mail", plugin="smtp", options=given))

    assert refusal.value.field == field
    assert not any(
        isinstance(value, str) and len(value) > 6 and value in str(refusal.value) for value in options.values()
    )


def test_its_options_show_no_password(server: MailServer) -> None:
    """Objects are printed in logs."""
    notifier = a_notifier(server, username=USER, password=PASSWORD)

    shown: Callable[[object], str] = repr
    assert PASSWORD not in shown(notifier) + shown(vars(notifier))
