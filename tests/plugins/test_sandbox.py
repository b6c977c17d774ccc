"""The sandbox: its tokens do what they say, and its bank counts right whatever happens."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plugins import charging

from recoup_core.domain.decline import DeclineCategory, Retryable
from recoup_core.domain.ids import new_id
from recoup_core.flows.guard import Unknown, charge_guarded
from recoup_plugins import (
    ChargeRequest,
    Declined,
    GatewaySettings,
    Method,
    Money,
    NotFound,
    NotSent,
    Pending,
    PluginMisconfigured,
    Succeeded,
)
from recoup_plugins.gateways.sandbox import SandboxFault, SandboxGateway, make_sandbox
from recoup_plugins.gateways.sandbox_script import parse_script
from recoup_plugins.gateways.sandbox_words import ScriptUnreadable

Build = Callable[..., ChargeRequest]


def a_sandbox(**options: Any) -> SandboxGateway:
    return make_sandbox(GatewaySettings(name="sandbox", plugin="sandbox", options=options))


# --- tokens -----------------------------------------------------------------------------------------------------------


async def test_a_chain_is_walked_one_step_per_attempt(a_request: Build) -> None:
    """Two declines and then the money: what a retry engine dreams of; the last step stays."""
    sandbox = a_sandbox()
    tries = [a_request("tok_insufficient_funds|do_not_honor|approve", payment_reference="inv") for _ in range(4)]

    outcomes = [await sandbox.charge(one) for one in tries]

    codes = [outcome.decline.code for outcome in outcomes[:2] if isinstance(outcome, Declined)]
    assert codes == ["insufficient_funds", "do_not_honor"]
    assert all(isinstance(outcome, Succeeded) for outcome in outcomes[2:])


async def test_the_same_attempt_does_not_walk_on(a_request: Build) -> None:
    """A re-send is the same attempt: same step, same answer."""
    sandbox, request = a_sandbox(), a_request("tok_insufficient_funds|approve")

    first, again = await sandbox.charge(request), await sandbox.charge(request)

    assert isinstance(first, Declined)
    assert again == first


async def test_network_and_advice_codes_can_be_scripted(a_request: Build) -> None:
    """The classification sees what a network would say."""
    outcome = await a_sandbox().charge(a_request("tok_decline:do_not_honor:05:03"))

    assert isinstance(outcome, Declined)
    assert (outcome.decline.network_code, outcome.decline.advice_code) == ("05", "03")
    assert outcome.decline.retryable is Retryable.NO


async def test_a_code_in_no_table_must_be_meant(a_request: Build) -> None:
    """`decline:` takes any code; a bare word is checked, so that a typing error is not a decline."""
    meant = await a_sandbox().charge(a_request("tok_decline:brand_new_code"))
    mistyped = await a_sandbox().charge(a_request("tok_aprove"))

    assert isinstance(meant, Declined)
    assert meant.decline.category is DeclineCategory.UNKNOWN
    assert isinstance(mistyped, Declined)
    assert (mistyped.decline.code, mistyped.decline.category) == ("invalid_token", DeclineCategory.CONFIGURATION)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "tok_",
        "pm_123",
        "tok_approve+insufficient_funds",
        "tok_lose+hang",
        "tok_delay:soon",
        "tok_delay:100d",
        "tok_random:7",
        "tok_random:7:101",
        "tok_decline:",
        "tok_decline:a:b:c:d",
        "tok_lose*x",
        "x" * 600,
        "|".join(["approve"] * 50),
    ],
)
def test_what_is_not_in_the_language_is_refused(token: str) -> None:
    """A script that is read wrong would test something else."""
    with pytest.raises(ScriptUnreadable):
        parse_script(token)


@pytest.mark.parametrize("token", ["tok_unreachable", "tok_busy"])
async def test_what_is_not_sent_did_nothing_and_goes_through_next_time(a_request: Build, token: str) -> None:
    """The same key again, and the outcome of the step applies."""
    sandbox, request = a_sandbox(), a_request(token)

    first, second = await sandbox.charge(request), await sandbox.charge(request)

    assert isinstance(first, NotSent)
    assert isinstance(second, Succeeded)


@pytest.mark.parametrize(("token", "moved"), [("tok_lose_before", 0), ("tok_error500", 0), ("tok_lose", 1999)])
async def test_lost_answers_raise_with_or_without_the_money(a_request: Build, token: str, moved: int) -> None:
    """Both look the same from outside; only the bank knows."""
    sandbox, request = a_sandbox(), a_request(token)

    with pytest.raises(SandboxFault):
        await sandbox.charge(request)

    assert sandbox.bank.totals()[request.payment_reference].moved_minor == moved
    assert isinstance(await sandbox.find_charge(request), Succeeded if moved else NotFound)
    assert isinstance(await sandbox.charge(request), Succeeded)
    assert sandbox.bank.totals()[request.payment_reference].moved_minor == 1999


async def test_a_fault_can_last_several_sends(a_request: Build) -> None:
    """`*2`: the third send gets through."""
    sandbox, request = a_sandbox(), a_request("tok_unreachable*2+insufficient_funds")

    outcomes = [await sandbox.charge(request) for _ in range(3)]

    assert [type(outcome) for outcome in outcomes] == [NotSent, NotSent, Declined]


async def test_a_slow_answer_is_given_up_and_the_money_has_moved(a_request: Build) -> None:
    """The bank does it at once and answers late: the worst case of a time limit."""
    sandbox, request = a_sandbox(), a_request("tok_delay:5s")

    outcome = await charge_guarded(sandbox, request, timeout_s=0.02)

    assert isinstance(outcome, Unknown)
    assert sandbox.bank.totals()[request.payment_reference].charges == 1


async def test_a_hanging_bank_never_answers_but_can_be_asked(a_request: Build) -> None:
    """The look-up is what settles it."""
    sandbox, request = a_sandbox(), a_request("tok_hang+insufficient_funds")

    outcome = await charge_guarded(sandbox, request, timeout_s=0.02)

    assert isinstance(outcome, Unknown)
    assert isinstance(await sandbox.find_charge(request), Declined)


async def test_pending_settles_when_its_time_has_come(a_request: Build, standing_clock: Any) -> None:
    """A bank debit: no money until the result stands."""
    sandbox, request = a_sandbox(clock=standing_clock), a_request("tok_pending:3d+insufficient_funds|pending:1h")
    paid = a_request(request.token, payment_reference=request.payment_reference)

    answers = [await sandbox.charge(request), await sandbox.charge(paid)]
    standing_clock.forward(hours=2)
    early = [await sandbox.find_charge(request), await sandbox.find_charge(paid)]
    standing_clock.forward(days=3)
    late = await sandbox.find_charge(request)

    assert all(isinstance(answer, Pending) for answer in answers)
    assert [type(one) for one in early] == [Pending, Succeeded]
    assert isinstance(late, Declined)
    assert sandbox.bank.totals()[request.payment_reference].moved_minor == 1999


# --- the bank ---------------------------------------------------------------------------------------------------------


async def test_a_key_used_with_another_request_is_refused(a_request: Build) -> None:
    """As Stripe's `idempotency_error`: nothing is done, the first answer stands."""
    sandbox, request = a_sandbox(), a_request()
    await sandbox.charge(request)

    for other in ({"amount": Money(2000, "EUR")}, {"amount": Money(1999, "USD")}, {"payment_reference": "other"}):
        same = {"attempt_id": request.attempt_id, "payment_reference": request.payment_reference}
        outcome = await charge_guarded(sandbox, a_request(**{**same, **other}))
        assert isinstance(outcome, Unknown)
        assert "idempotency_error" in outcome.reason

    (total,) = sandbox.bank.totals().values()
    assert (total.moved_minor, total.currency, total.charges, total.sends) == (1999, "EUR", 1, 1)


STEPS = st.sampled_from(
    ["approve", "do_not_honor", "lose", "lose+expired_card", "lose_before", "error500*2", "unreachable*2", "busy"]
)


@settings(max_examples=60, deadline=None)
@given(script=st.lists(STEPS, min_size=1, max_size=4), sends=st.lists(st.integers(0, 3), max_size=14))
def test_however_it_goes_wrong_each_key_moves_money_once(script: list[str], sends: list[int]) -> None:
    """The bank's count equals the keys that were ever approved; the look-up agrees with it."""
    sandbox = a_sandbox()
    now = datetime.now(UTC)
    keys = [new_id() for _ in range(4)]
    requests = [
        ChargeRequest(
            idempotency_key=str(key),
            attempt_id=key,
            payment_reference="inv",
            amount=Money(100, "EUR"),
            method=Method.CARD,
            token="tok_" + "|".join(script),
            first_sent_at=now,
        )
        for key in keys
    ]

    async def run() -> None:
        outcomes = [(number, await charge_guarded(sandbox, requests[number])) for number in sends]
        found = [await sandbox.find_charge(request) for request in requests]

        collected = sum(isinstance(one, Succeeded) for one in found)
        total = sandbox.bank.totals().get("inv")
        assert (total.moved_minor if total else 0) == 100 * collected
        assert (total.sends if total else 0) == len(sends)
        for number, outcome in outcomes:
            assert not isinstance(outcome, Succeeded | Declined) or outcome == found[number]

    asyncio.run(run())


@pytest.fixture
def a_charging_process() -> Iterator[Callable[[str, int], "subprocess.Popen[bytes]"]]:
    """Start another process that charges `count` payments at the bank in a file."""
    started: list[subprocess.Popen[bytes]] = []

    def start(path: str, count: int) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen([sys.executable, charging.__file__, path, str(count)])
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_several_processes_are_one_bank(
    tmp_path: Path, a_charging_process: Callable[[str, int], "subprocess.Popen[bytes]"]
) -> None:
    """Workers share the file: the same keys from three processes move money once."""
    path = str(tmp_path / "bank.sqlite")
    workers = [a_charging_process(path, 150) for _ in range(3)]

    assert [worker.wait(60) for worker in workers] == [0, 0, 0]

    totals = a_sandbox(path=path).bank.totals()
    assert len(totals) == 150
    assert all((total.charges, total.moved_minor, total.sends) == (1, 100, 3) for total in totals.values())


@pytest.mark.chaos
def test_a_killed_process_leaves_a_bank_that_still_counts(
    tmp_path: Path, a_charging_process: Callable[[str, int], "subprocess.Popen[bytes]"]
) -> None:
    """kill -9 amidst charges: what was done is kept, nothing is half done, and the keys can be sent again."""
    path = str(tmp_path / "bank.sqlite")
    worker = a_charging_process(path, 100_000)
    bank = a_sandbox(path=path).bank
    while len(bank.totals()) < 200:
        assert worker.poll() is None
    worker.kill()
    worker.wait(10)

    done = len(bank.totals())
    asyncio.run(charging.charge_many(path, done + 50))

    totals = bank.totals()
    assert 200 <= done < 100_000
    assert len(totals) == done + 50
    assert all(total.charges == 1 for total in totals.values())


async def test_a_durable_bank_keeps_the_loop_free(a_request: Build, tmp_path: Path) -> None:
    """It waits for the disk in a thread; concurrent charges are all counted."""
    sandbox = a_sandbox(path=str(tmp_path / "bank.sqlite"), durable=True)

    await asyncio.gather(*(sandbox.charge(a_request()) for _ in range(20)))

    assert len(sandbox.bank.totals()) == 20


def test_making_a_sandbox_touches_nothing(tmp_path: Path) -> None:
    """Construction is without I/O, even with a path that can't be opened."""
    sandbox = a_sandbox(path=str(tmp_path / "missing" / "bank.sqlite"))

    assert sandbox.name == "sandbox"
    assert not (tmp_path / "missing").exists()


async def test_health_tells_a_bank_that_can_not_be_opened(tmp_path: Path) -> None:
    """The operator sees a wrong path."""
    with pytest.raises(Exception, match="unable to open"):
        await a_sandbox(path=str(tmp_path / "missing" / "bank.sqlite")).health()


@pytest.mark.parametrize("options", [{"pth": "x"}, {"clock": "noon"}, {"durable": "yes"}, {"webhook_secrets": [""]}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    """A misspelt option is not ignored."""
    with pytest.raises(PluginMisconfigured):
        a_sandbox(**options)
