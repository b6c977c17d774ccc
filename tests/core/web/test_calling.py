"""Calls to addresses that others chose: to the machine that was checked, under the name that was asked for."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path

import pytest
from tests.core.flows.receiver import Reply, certificate, receiving

from recoup_core.web.addresses import LOOPBACK
from recoup_core.web.calling import Answer, Caller
from recoup_core.web.urls import Reach

HERE = Reach(allowed=LOOPBACK)
ONLY_ONE = Reach(allowed=(ip_network("127.0.0.1/32"),))
"""Stands for the public internet; the rest of this machine for the networks behind it."""


class Names:
    """A resolver that gives its answers one after the other, the last for ever, as an attacker's would."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not answer:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return answer


async def post(caller: Caller, url: str) -> Answer:
    return await caller.post(url, {"X-Test": "1"}, b"{}")


async def test_a_name_that_changes_its_meaning_leads_nowhere_else() -> None:
    """DNS rebinding: the name is looked up once a call, and the address that was checked is the one connected to."""
    async with receiving() as outside, receiving(host="127.0.0.2", port=outside.port) as inside:
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        caller = Caller(ONLY_ONE, names)
        url = f"http://rebinding.example:{outside.port}/hook"

        first, second = await post(caller, url), await post(caller, url)

    assert (first.status, second.status) == (200, None)
    assert "127.0.0.2, which is no public address" in str(second.error)
    assert (len(outside.got), len(inside.got), len(names.asked)) == (1, 0, 2)


@pytest.mark.parametrize("answer", [["127.0.0.1", "10.0.0.1"], ["10.0.0.1"], ["::ffff:10.0.0.1"], ["169.254.169.254"]])
async def test_one_bad_address_among_good_ones_is_enough(answer: list[str]) -> None:
    """Else a second try would get there by luck."""
    async with receiving() as outside:
        done = await post(Caller(ONLY_ONE, Names(answer)), f"http://mixed.example:{outside.port}/")

    assert "no public address" in str(done.error)
    assert outside.got == []


async def test_an_address_that_does_not_answer_is_passed_over() -> None:
    """A host with several addresses is reached by the next one."""
    async with receiving() as receiver:
        caller = Caller(HERE, Names(["127.0.0.9", "127.0.0.1"]))

        assert (await post(caller, f"http://two.example:{receiver.port}/")).status == 200


async def test_tls_is_verified_for_the_name_while_the_address_is_called(tmp_path: Path) -> None:
    """Server name and Host are the URL's; a certificate for another name, or of an unknown issuer, ends it."""
    server, trusting = certificate(tmp_path, "hooks.example")
    async with receiving(server) as receiver:
        names = Names(["127.0.0.1"])
        good = await post(Caller(HERE, names, trusting), f"https://hooks.example:{receiver.port}/a?b=c")
        other = await post(Caller(HERE, names, trusting), f"https://other.example:{receiver.port}/")
        unknown = await post(
            Caller(HERE, names, ssl.create_default_context()), f"https://hooks.example:{receiver.port}/"
        )

    assert good.status == 200
    assert [(got.path, got.headers["host"]) for got in receiver.got] == [("/a?b=c", f"hooks.example:{receiver.port}")]
    assert "certificate" in str(other.error).lower()
    assert "certificate" in str(unknown.error).lower()


async def test_an_address_as_host_needs_a_certificate_for_it(tmp_path: Path) -> None:
    """An IP address is verified as such."""
    server, trusting = certificate(tmp_path, "127.0.0.1")
    async with receiving(server) as receiver:
        assert (await post(Caller(HERE, tls=trusting), f"https://127.0.0.1:{receiver.port}/")).status == 200
        assert (await post(Caller(HERE, tls=trusting), f"https://localhost:{receiver.port}/")).status is None


async def test_redirects_are_answers_and_not_followed() -> None:
    """Whoever redirects us inside gets no further than saying so."""
    async with receiving() as receiver, receiving() as inside:
        receiver.answer(307, Location=f"http://127.0.0.1:{inside.port}/")
        done = await post(Caller(HERE), f"http://127.0.0.1:{receiver.port}/")

    assert (done.status, done.arrived, inside.got) == (307, False, [])


async def test_the_environments_proxies_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would look names up by itself, behind our checks."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with receiving() as receiver:
        assert (await post(Caller(HERE), f"http://127.0.0.1:{receiver.port}/")).status == 200


async def test_plain_http_and_odd_ports_stay_within_allowed_networks() -> None:
    """A name may mean a public address where the settings allow a private network, too."""
    caller = Caller(Reach(allowed=(ip_network("10.0.0.0/8"),)), Names(["8.8.8.8"]))

    assert "plain http" in str((await post(caller, "http://mixed.example/")).error)
    assert "port 8443" in str((await post(caller, "https://mixed.example:8443/")).error)


async def test_a_name_nobody_knows_is_told() -> None:
    """It says which name, for people."""
    done = await post(Caller(HERE, Names([])), "https://nowhere.example/")

    assert (done.status, done.error) == (
        None,
        "OSError: the name nowhere.example is not known (Name or service not known)",
    )


async def test_an_answer_without_an_end_costs_neither_time_nor_memory() -> None:
    """The status counts; of the body no more than 64 KiB are read, and none of it for longer than the limit."""
    caller = Caller(HERE, total_s=1.0)
    async with receiving() as receiver:
        url = f"http://127.0.0.1:{receiver.port}/"
        receiver.reply = lambda _: Reply(200, body=b"x" * 10_000, drip_s=0.2)
        dripping = await post(caller, url)
        receiver.reply = lambda _: Reply(200, body=b"y" * 3_000_000)
        large = await post(caller, url)
        receiver.reply = lambda _: Reply(200, after_s=3)
        silent = await post(caller, url)

    assert (dripping.status, dripping.ms < 2_000) == (200, True)
    assert (large.status, len(str(large.response))) == (200, 200)
    assert (silent.status, silent.error, silent.ms < 2_000) == (None, "no answer within 1 s", True)


async def test_what_comes_back_is_kept_short_and_without_secrets() -> None:
    """Receivers repeat what they know; the log shows the beginning, on one line."""
    body = "error for anna@example.com\n\x00 token=abc123 card 4242 4242 4242 4242 " + "x" * 999
    async with receiving() as receiver:
        receiver.reply = lambda _: Reply(500, body=body.encode())
        done = await post(Caller(HERE), f"http://127.0.0.1:{receiver.port}/")

    told = str(done.response)
    assert len(told) <= 256
    assert not any(each in told for each in ("anna", "abc123", "4242", "\n", "\x00"))


async def test_what_is_no_http_is_an_error_and_never_raised() -> None:
    """Whatever listens there."""

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    done = await post(Caller(HERE), f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    server.close()

    assert done.status is None
    assert "RemoteProtocolError" in str(done.error)
