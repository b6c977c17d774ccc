"""`recoup demo`: the sample repeats, the whole play holds together, and a second start plays nothing again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from recoup_cli.demo.outcome import judge
from recoup_cli.demo.population import MONTH, make_samples
from recoup_cli.demo.state import DemoClock, DemoState, load_state, save_state
from recoup_cli.refusals import Refused
from recoup_cli.single import bound, listen
from recoup_core.domain.attempt import Attempt, AttemptState, Origin
from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.decline import Decline, DeclineCategory, DeclineSource, Retryable
from recoup_core.domain.ids import new_id
from recoup_core.domain.payment import Customer, Method, Payment, PaymentState
from recoup_core.domain.recovery import CaseState, RecoveryCase
from recoup_core.settings import ApiSettings, Settings
from recoup_core.wiring import public_url
from recoup_plugins.gateways.sandbox_rows import PaymentTotal
from recoup_plugins.gateways.sandbox_script import parse_script

START = datetime(2026, 10, 24, 9, tzinfo=UTC)
PLAY_LIMIT_S = 120.0
STOP_LIMIT_S = 30.0


def demo(folder: Path, *options: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "recoup_cli.main",
        "demo",
        "--port",
        "0",
        "--data-dir",
        str(folder / "demo"),
        *options,
    ]


COLLECTED = json.dumps(
    {
        "reference": "ORD-9000",
        "customer": {"ref": "somebody"},
        "amount_minor": 1200,
        "currency": "EUR",
        "gateway": "sandbox",
        "gateway_ref": "sbx_reported_somebody",
        "method": "card",
        "captured_at": "2026-11-01T10:00:00Z",
    }
)


def recoup(folder: Path, *arguments: str, told: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "recoup_cli.main", *arguments]
    environ = os.environ | {"RECOUP_DATA_DIR": str(folder)}
    return subprocess.run(
        command, cwd=folder, env=environ, input=told, capture_output=True, text=True, check=False, timeout=STOP_LIMIT_S
    )


def play(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = demo(folder, *options)
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PLAY_LIMIT_S)


# --- the sample -----------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_month() -> None:
    """A demo can be repeated and compared."""
    assert make_samples(50, "spring", START) == make_samples(50, "spring", START)
    assert make_samples(50, "spring", START) != make_samples(50, "autumn", START)


def test_samples_happen_inside_the_month_in_order() -> None:
    """No failure is reported before it happened, none lies outside the month."""
    samples = make_samples(300, "recoup", START)

    moments = [sample.at for sample in samples]
    assert moments == sorted(moments)
    assert moments[0] >= START
    assert moments[-1] < START + MONTH
    assert all(attempt.at < sample.at for sample in samples for attempt in sample.report.attempts)


def test_every_token_is_a_script_and_no_account_is_shared() -> None:
    """Limits count per account: customers who share a script must not share an account."""
    credentials = [c for sample in make_samples(600, "recoup", START) for c in sample.report.credentials]

    assert all(parse_script(credential.token) for credential in credentials)
    assert max(Counter(credential.account_key for credential in credentials).values()) == 1


def test_no_first_decline_is_unknown() -> None:
    """Every code of the sample stands in the code tables."""
    samples = make_samples(600, "recoup", START)

    categories = Counter(sample.report.attempts[0].decline.category for sample in samples)
    assert DeclineCategory.UNKNOWN not in categories
    assert categories[DeclineCategory.ISSUER_GENERIC] > 600 // 3


# --- clock and state ------------------------------------------------------------------------------------------------


def test_the_clock_stands_until_it_is_let_go() -> None:
    """Time moves only when nothing is in flight, and is the machine's afterwards."""
    clock = DemoClock(START)
    stood = clock.now()
    clock.move_to(START + MONTH)
    moved = clock.now()
    clock.let_go()

    assert (stood, moved) == (START, START + MONTH)
    assert abs(clock.now() - datetime.now(UTC)).total_seconds() < 5


def test_the_state_is_kept_and_a_broken_one_is_told(tmp_path: Path) -> None:
    """The next start goes on from there; a file nobody can read is an expected failure."""
    state = DemoState(payments=5, seed="x", start=START, end=START + MONTH, position=START)
    assert load_state(tmp_path) is None

    save_state(tmp_path, state)
    kept = load_state(tmp_path)
    (tmp_path / "demo.json").write_text("{")

    assert kept == state
    with pytest.raises(Refused, match="can't be read"):
        load_state(tmp_path)


# --- judging --------------------------------------------------------------------------------------------------------


def a_file(captured_minor: int) -> CaseFile:
    payment_id, case_id = new_id(), new_id()
    payment = Payment(
        id=payment_id,
        merchant_id="default",
        reference="INV-0001",
        customer=Customer(ref="c"),
        amount_minor=1000,
        currency="EUR",
        captured_minor=captured_minor,
        gateway="sandbox",
        method=Method.CARD,
        state=PaymentState.PAID if captured_minor else PaymentState.OWED,
        first_failed_at=START,
        created_at=START,
    )
    case = RecoveryCase(
        id=case_id,
        merchant_id="default",
        payment_id=payment_id,
        state=CaseState.RECOVERED if captured_minor else CaseState.OPEN,
        policy_name="p",
        policy_digest="d",
        opened_at=START,
    )
    failed = Attempt(
        id=new_id(),
        merchant_id="default",
        payment_id=payment_id,
        case_id=case_id,
        number=1,
        origin=Origin.REPORTED,
        gateway="sandbox",
        account_key="a",
        method=Method.CARD,
        amount_minor=1000,
        currency="EUR",
        state=AttemptState.DECLINED,
        decline=Decline(
            code="51",
            source=DeclineSource.ISO8583,
            category=DeclineCategory.INSUFFICIENT_FUNDS,
            retryable=Retryable.YES,
        ),
        created_at=START,
        submitted_at=START,
    )
    return CaseFile(payment=payment, case=case, attempts=(failed,))


def a_total(moved_minor: int, charges: int) -> PaymentTotal:
    return PaymentTotal(moved_minor=moved_minor, currency="EUR", charges=charges, attempts=charges, sends=charges)


@pytest.mark.parametrize(
    ("captured_minor", "bank", "says"),
    [
        (1000, {"INV-0001": a_total(1000, 1)}, []),
        (0, {}, []),
        (0, {"INV-0001": a_total(1000, 1)}, ["the bank moved 1000, the books say 0"]),
        (1000, {}, ["the bank moved 0, the books say 1000"]),
        (1000, {"INV-0001": a_total(2000, 2)}, ["charged it 2 times", "the bank moved 2000, the books say 1000"]),
    ],
)
def test_the_banks_books_are_held_against_ours(
    captured_minor: int, bank: dict[str, PaymentTotal], says: list[str]
) -> None:
    """Money lost, invented or charged twice is named; agreement is silence."""
    outcome = judge([a_file(captured_minor)], bank)

    assert len(outcome.differences) == len(says)
    assert all(text in told for text, told in zip(says, outcome.differences, strict=True))


# --- the whole of it ------------------------------------------------------------------------------------------------


def test_a_month_is_played_and_not_played_again(open_folder: Path) -> None:
    """Real processes and database: books agree, the audit trail is whole, and a second start finds its data."""
    first = play(open_folder, "--payments", "40", "--fast-exit")
    second = play(open_folder, "--payments", "40", "--fast-exit")

    assert (first.returncode, first.stderr) == (0, "")
    assert "Playing 40 failed payments" in first.stdout
    assert "nothing was charged twice, and nothing refunded twice" in " ".join(first.stdout.split())
    assert "refunds asked for" in first.stdout
    assert "The ledger balances" in first.stdout
    assert "audit trail is whole" in first.stdout
    assert (second.returncode, second.stderr) == (0, "")
    assert "none is played again" in second.stdout
    assert recovered(second.stdout) == recovered(first.stdout)
    assert refunds(second.stdout) == refunds(first.stdout)


def test_it_stays_up_to_be_looked_at_and_stops_cleanly(open_folder: Path) -> None:
    """The API answers with the printed key, commands find database and gateway; Ctrl-C leaves no PostgreSQL behind."""
    process = subprocess.Popen(
        demo(open_folder, "--payments", "5"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        lines = list(until(iter(process.stdout.readline, ""), "the audit trail"))
        call = next((line for line in lines if "a first call" in line), None)
        assert call is not None, (lines, process.stderr and process.stderr.read())
        url = call.split()[-1]
        answer = httpx.get(url, headers={"Authorization": f"Bearer {call.split('Bearer ')[1].split(chr(39))[0]}"})
        queue = recoup(open_folder, "approvals", "list", "--key-file", "demo/approver-key")
        report = recoup(open_folder, "payment", "report-captured", "-", told=COLLECTED)
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=STOP_LIMIT_S)

    assert answer.status_code == 200
    assert len(answer.json()["items"]) == 5
    assert queue.returncode == 0
    assert "12.00 EUR can be refunded" in report.stdout
    assert any(f"RECOUP_DATA_DIR={open_folder / 'demo'}" in line for line in lines), "no command would find this folder"
    assert (process.returncode, errors) == (0, "")
    assert not (open_folder / "demo" / "postgres" / "url").exists()


def test_a_play_that_was_stopped_goes_on_where_it_was(open_folder: Path) -> None:
    """Ctrl-C in the middle loses nothing: the second start plays the rest and the books agree."""
    process = subprocess.Popen(
        demo(open_folder, "--payments", "60", "--fast-exit"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    state = wait_for_progress(open_folder / "demo")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=STOP_LIMIT_S)

    rest = play(open_folder, "--fast-exit")

    assert process.returncode == 0
    assert not state.finished
    assert (rest.returncode, rest.stderr) == (0, "")
    assert "of 60 payments recovered" in rest.stdout
    assert "nothing was charged twice" in rest.stdout


def test_a_database_that_outlived_its_state_is_refused(open_folder: Path) -> None:
    """Half an old demo must not pass for a new one; what to remove is named."""
    first = play(open_folder, "--payments", "1", "--fast-exit")
    (open_folder / "demo" / "demo.json").unlink()

    second = play(open_folder, "--payments", "1", "--fast-exit")

    assert (first.returncode, second.returncode) == (0, 1)
    assert "holds an earlier demo" in second.stderr
    assert f"remove {open_folder}" in second.stderr


def recovered(output: str) -> str:
    return next(line for line in output.splitlines() if "payments recovered" in line)


def refunds(output: str) -> str:
    return next(line for line in output.splitlines() if "refunds asked for" in line)


def until(lines: Iterator[str], last: str) -> Iterator[str]:
    for line in lines:
        yield line
        if line.strip().startswith(last):
            return


def wait_for_progress(folder: Path) -> DemoState:
    deadline = time.monotonic() + PLAY_LIMIT_S
    while time.monotonic() < deadline:
        state = load_state(folder)
        if state is not None and state.position > state.start:
            return state
        time.sleep(0.02)
    raise TimeoutError("the demo did not get anywhere")


def test_links_lead_to_the_port_that_was_taken() -> None:
    """Where any free port was asked for, a link to port 0 would open nothing."""
    settings = Settings(api=ApiSettings(port=0))
    with listen(settings.api.host, settings.api.port) as listener:
        taken = listener.getsockname()[1]
        assert public_url(bound(settings, listener)) == f"http://127.0.0.1:{taken}"
