"""`recoup refund`: asked for in a person's name, decided at once, changed only as it was read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Recoup = Callable[..., Any]


@pytest.fixture
def mia(key_of: Callable[..., Path]) -> Path:
    """The key of an agent."""
    return key_of("mia")


def ask(recoup: Recoup, key: Path, payment: str, amount: str, *more: object) -> Any:
    reason = () if "--reason" in more else ("--reason", "withdrawal")
    return recoup("refund", "request", payment, "--amount", amount, "EUR", *reason, "--key-file", key, *more)


def refund_id(done: Any) -> str:
    """The id in `refund <id>  version ...`."""
    word: str = done.out.split()[1]
    return word


def test_a_small_one_is_approved_and_tells_why(captured: Callable[..., None], mia: Path, recoup: Recoup) -> None:
    """The policy answers at once; its story has the part, the lines and the rule."""
    captured("INV-7", 2, 1500)

    done = ask(recoup, mia, "INV-7", "35.00")
    shown = recoup("refund", "show", refund_id(done))

    assert (done.code, done.err) == (0, "")
    assert "35.00 EUR  approved" in done.out
    assert "fires  right of withdrawal" in shown.out
    assert "part 1   35.00 EUR  scheduled, refund through sandbox" in shown.out
    assert "line     mug: 30.00 EUR with 2.00 EUR tax" in shown.out
    assert "asked by mia" in shown.out
    assert "(command_line)" in shown.out


def test_pieces_of_a_line_come_back_with_their_tax(captured: Callable[..., None], mia: Path, recoup: Recoup) -> None:
    """A third of three pieces, no more and no less."""
    captured("INV-7", 3, 1500)

    done = ask(recoup, mia, "INV-7", "15.00", "--pieces", "mug", "1")
    story = json.loads(recoup("refund", "show", refund_id(done), "--json").out)

    assert [(line["quantity"], line["amount_minor"]) for line in story["file"]["lines"]] == [(1, 1500)]


def test_lines_that_do_not_come_to_the_amount_are_refused(
    captured: Callable[..., None], mia: Path, recoup: Recoup
) -> None:
    """Nothing is guessed: amount and lines must say the same."""
    captured("INV-7", 3, 1500)

    done = ask(recoup, mia, "INV-7", "16.00", "--pieces", "mug", "1")

    assert done.code == 1
    assert "15.00 EUR" in done.err


def test_more_than_is_left_is_refused_and_told(captured: Callable[..., None], mia: Path, recoup: Recoup) -> None:
    """What was asked for before is reserved."""
    captured("INV-7", 2, 1500)
    ask(recoup, mia, "INV-7", "30.00")

    done = ask(recoup, mia, "INV-7", "5.01")

    assert done.code == 1
    assert "5.00 EUR is refundable" in done.err


def test_an_amount_is_never_left_out(captured: Callable[..., None], mia: Path, recoup: Recoup) -> None:
    """Trap 14: an omitted amount is no full refund."""
    done = recoup("refund", "request", "INV-7", "--reason", "withdrawal", "--key-file", mia)

    assert done.code == 2
    assert "--amount" in done.err


def test_a_preview_says_why_and_writes_nothing(captured: Callable[..., None], mia: Path, recoup: Recoup) -> None:
    """Decision, what is refundable, parts and lines; afterwards there is no refund."""
    captured("INV-7", 2, 1500)

    done = recoup(
        "refund", "preview", "INV-7", "--amount", "5.00", "EUR", "--reason", "withdrawal", "--line", "shipping",
        "--key-file", mia,
    )  # fmt: skip
    listed = recoup("refund", "list")

    assert done.code == 0
    assert "would be decided: approve" in done.out
    assert "refundable now: 35.00 EUR" in done.out
    assert "line     shipping: 1 x, 5.00 EUR with 0.80 EUR tax" in done.out
    assert (listed.out, listed.err) == ("", "there is no such refund\n")


def test_the_same_key_and_request_is_one_refund(captured: Callable[..., None], mia: Path, recoup: Recoup) -> None:
    """A script that doesn't know whether it was heard says it again; the same key with another amount is refused."""
    captured("INV-7", 2, 1500)

    first = ask(recoup, mia, "INV-7", "10.00", "--idempotency-key", "once")
    second = ask(recoup, mia, "INV-7", "10.00", "--idempotency-key", "once")
    other = ask(recoup, mia, "INV-7", "11.00", "--idempotency-key", "once")

    assert first.out == second.out
    assert len(recoup("refund", "list").out.splitlines()) == 1
    assert other.code == 1


def test_without_a_key_nothing_is_asked_for(
    captured: Callable[..., None], recoup: Recoup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks must be known, or four eyes could be two; the way to a key is named."""
    captured("INV-7", 2, 1500)
    request = ("refund", "request", "INV-7", "--amount", "1.00", "EUR", "--reason", "withdrawal")

    nobody = recoup(*request)
    monkeypatch.setenv("RECOUP_API_KEY", "rk_of_somebody_else")
    stranger = recoup(*request)

    assert (nobody.code, stranger.code) == (2, 1)
    assert "recoup keys create" in nobody.err
    assert "not known here" in stranger.err
    assert "rk_of_somebody_else" not in stranger.err


def test_a_key_that_only_reads_asks_for_nothing(
    captured: Callable[..., None], key_of: Callable[..., Path], recoup: Recoup
) -> None:
    """The same roles as over HTTP."""
    captured("INV-7", 2, 1500)

    done = ask(recoup, key_of("eve", role="viewer"), "INV-7", "1.00")

    assert done.code == 1
    assert "agent" in done.err


def test_evidence_that_is_missing_is_handed_in_by_an_edit(
    captured: Callable[..., None], mia: Path, recoup: Recoup
) -> None:
    """It reserves meanwhile, and is decided anew with the photo."""
    captured("INV-7", 2, 1500)

    asked = ask(recoup, mia, "INV-7", "15.00", "--reason", "damaged", "--pieces", "mug", "1")
    photo = ("--evidence", "photo=https://example.com/7.jpg")
    edited = recoup("refund", "edit", refund_id(asked), "--version", 1, *photo, "--key-file", mia)

    assert "incomplete" in asked.out
    assert "--evidence KIND=REF" in asked.err
    assert edited.code == 0
    assert "15.00 EUR  approved" in edited.out


def test_only_the_version_that_was_read_is_changed(captured: Callable[..., None], mia: Path, recoup: Recoup) -> None:
    """Two people at one refund don't overwrite one another."""
    captured("INV-7", 2, 1500)
    asked = ask(recoup, mia, "INV-7", "15.00", "--reason", "damaged", "--pieces", "mug", "1")
    change = ("refund", "edit", refund_id(asked), "--amount", "5.00", "EUR", "--line", "shipping", "--key-file", mia)

    first = recoup(*change, "--version", 1)
    second = recoup(*change, "--version", 1)

    assert first.code == 0
    assert second.code == 1
    assert "has changed since" in second.err


def test_a_canceled_one_lets_go_of_its_money(captured: Callable[..., None], mia: Path, recoup: Recoup) -> None:
    """Nothing of it has left; afterwards all can be asked for again."""
    captured("INV-7", 2, 1500)
    asked = ask(recoup, mia, "INV-7", "35.00")

    canceled = recoup("refund", "cancel", refund_id(asked), "--reason", "a mistake", "--key-file", mia)
    again = ask(recoup, mia, "INV-7", "35.00")

    assert canceled.code == 0
    assert "canceled" in canceled.out
    assert again.code == 0


def test_what_the_bank_still_has_pending_is_canceled_there(
    captured: Callable[..., None], mia: Path, recoup: Recoup, work_off: Callable[[], None]
) -> None:
    """The gateway is asked, and only then is the money free again."""
    captured("INV-7", 2, 1500, gateway_ref="sbx_reported_inv7~pending:3d")
    asked = ask(recoup, mia, "INV-7", "35.00")
    work_off()
    pending = recoup("refund", "show", refund_id(asked))

    canceled = recoup("refund", "cancel", refund_id(asked), "--reason", "a mistake", "--key-file", mia)
    again = ask(recoup, mia, "INV-7", "35.00")

    assert "35.00 EUR  pending" in pending.out
    assert canceled.code == 0
    assert "canceled" in canceled.out
    assert again.code == 0


def test_only_a_failed_one_is_tried_again(captured: Callable[..., None], mia: Path, recoup: Recoup) -> None:
    """What is on its way is left alone."""
    captured("INV-7", 2, 1500)
    asked = ask(recoup, mia, "INV-7", "35.00")

    done = recoup("refund", "retry", refund_id(asked), "--key-file", mia)

    assert done.code == 1
    assert "approved" in done.err


def test_where_the_card_is_gone_it_goes_as_store_credit(
    captured: Callable[..., None], mia: Path, recoup: Recoup, work_off: Callable[[], None]
) -> None:
    """A failed refund tells why, and is paid another way once the policy has decided anew."""
    captured("INV-7", 2, 1500, gateway_ref="sbx_reported_inv7~refused:lost_or_stolen_card")
    asked = ask(recoup, mia, "INV-7", "35.00")

    work_off()
    failed = recoup("refund", "show", refund_id(asked))
    retried = recoup("refund", "retry", refund_id(asked), "--store-credit", "--key-file", mia)
    work_off()
    paid = recoup("refund", "show", refund_id(asked))

    assert "state    failed (method gone)" in failed.out
    assert "failed: method gone (code lost_or_stolen_card), refund through sandbox" in failed.out
    assert "refund.failed  by gateway:sandbox: method gone (code lost_or_stolen_card)" in failed.out
    assert retried.code == 0
    assert "state    succeeded" in paid.out
    assert "35.00 EUR  succeeded, as store credit" in paid.out


def test_why_shows_the_rules_that_did_not_fire(captured: Callable[..., None], mia: Path, recoup: Recoup) -> None:
    """Every condition that was false stands there with the fact's value."""
    captured("INV-7", 2, 1500)
    asked = ask(recoup, mia, "INV-7", "35.00")

    short = recoup("refund", "show", refund_id(asked))
    full = recoup("refund", "show", refund_id(asked), "--why")

    assert "outside the window" not in short.out
    assert "no     outside the window" in full.out


def test_a_key_file_that_is_not_there_is_told(captured: Callable[..., None], recoup: Recoup, tmp_path: Path) -> None:
    """A mistyped path is a wrong call."""
    done = ask(recoup, tmp_path / "nowhere", "INV-7", "1.00")

    assert done.code == 2
    assert "--key-file" in done.err


def test_an_order_goes_back_over_its_payments(captured: Callable[..., None], mia: Path, recoup: Recoup) -> None:
    """Newest first, or as it is given."""
    captured("INV-7", 2, 1000, order_ref="ORD-1")
    captured("INV-8", 2, 1000, order_ref="ORD-1")
    asking = ("refund", "request", "--order", "ORD-1", "--reason", "withdrawal", "--key-file", mia, "--json")

    newest = json.loads(recoup(*asking, "--amount", "30.00", "EUR").out)
    recoup("refund", "cancel", newest["refund"]["id"], "--reason", "otherwise", "--key-file", mia)
    shares = ("--share", "INV-7=12.00", "--share", "INV-8=3.00")
    given = json.loads(recoup(*asking, "--amount", "15.00", "EUR", *shares).out)

    assert sorted(part["amount_minor"] for part in newest["parts"]) == [500, 2500]
    assert sorted(part["amount_minor"] for part in given["parts"]) == [300, 1200]


@pytest.mark.parametrize("wrong", [("INV-7", "--order", "ORD-1"), (), ("INV-7", "--share", "INV-7=1.00")])
def test_a_payment_or_an_order(wrong: tuple[str, ...], mia: Path, recoup: Recoup) -> None:
    """Both, neither, or shares of a single payment: the call is wrong."""
    done = recoup("refund", "request", *wrong, "--amount", "1.00", "EUR", "--reason", "withdrawal", "--key-file", mia)

    assert done.code == 2


def test_a_list_is_narrowed(captured: Callable[..., None], mia: Path, recoup: Recoup) -> None:
    """By state, payment, customer."""
    captured("INV-7", 2, 1500)
    captured("INV-8", 2, 1500)
    ask(recoup, mia, "INV-7", "10.00")
    ask(recoup, mia, "INV-8", "11.00")

    found = {
        filters: [line.split()[1] for line in recoup("refund", "list", *filters).out.splitlines()]
        for filters in [("--payment", "INV-7"), ("--state", "denied"), ("--customer", "customer-1")]
    }

    assert list(found.values()) == [["10.00"], [], ["11.00", "10.00"]]


def test_what_is_not_there_is_told(shop: None, recoup: Recoup) -> None:
    """An unknown refund and an unknown payment are one line each."""
    shown = recoup("refund", "show", "00000000-0000-0000-0000-000000000000")
    listed = recoup("refund", "list", "--payment", "INV-404")

    assert (shown.code, listed.code) == (1, 1)
    assert "has no refund" in shown.err
    assert "has no payment INV-404" in listed.err


def test_a_story_begins_with_what_was_asked(captured: Callable[..., None], mia: Path, recoup: Recoup) -> None:
    """Asked, then decided, then what followed, though all of it is one moment; with the money that was meant."""
    captured("INV-7", 2, 4500)
    asked = ask(recoup, mia, "INV-7", "60.00", "--reason", "cancellation")
    recoup("refund", "edit", refund_id(asked), "--version", 1, "--amount", "70.00", "EUR", "--key-file", mia)

    shown = recoup("refund", "show", refund_id(asked)).out

    wanted = ("refund.requested", "decided: review", "refund.in_review", "refund.edited", "60.00 EUR before")
    found = [shown.index(words) for words in wanted]
    assert found == sorted(found)


def test_a_story_over_an_order_names_its_payments(captured: Callable[..., None], mia: Path, recoup: Recoup) -> None:
    """Two payments with lines of the same names are told apart."""
    captured("INV-7", 2, 1500, order_ref="ORDER")
    captured("INV-8", 2, 1500, order_ref="ORDER")
    order = ("--order", "ORDER", "--amount", "50.00", "EUR", "--reason", "cancellation", "--key-file", mia)

    shown = recoup("refund", "show", refund_id(recoup("refund", "request", *order))).out

    lines = [line for line in shown.splitlines() if line.startswith(("part ", "line "))]
    assert {line.rpartition("of payment ")[2] for line in lines} == {"INV-7", "INV-8"}


def test_why_somebody_canceled_is_told(captured: Callable[..., None], mia: Path, recoup: Recoup) -> None:
    """In their words, and the state once."""
    captured("INV-7", 2, 4500)
    asked = ask(recoup, mia, "INV-7", "60.00", "--reason", "cancellation")

    done = recoup("refund", "cancel", refund_id(asked), "--reason", "the customer keeps it", "--key-file", mia)

    assert done.out.endswith("60.00 EUR  canceled\n")
    assert "the customer keeps it" in recoup("refund", "show", refund_id(asked)).out


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (("25.00",), "such as 12.50 EUR"),
        (("25,00", "EUR"), "a point and at most 2 decimals"),
        (("25.5", "JPY"), "no decimals"),
    ],
)
def test_how_an_amount_is_written_is_told(
    captured: Callable[..., None], mia: Path, recoup: Recoup, amount: tuple[str, ...], said: str
) -> None:
    """A forgotten currency, a comma, decimals that the currency has not."""
    captured("INV-7", 2, 1500)

    done = recoup("refund", "preview", "INV-7", "--amount", *amount, "--reason", "withdrawal", "--key-file", mia)

    assert done.code == 2
    assert said in " ".join(done.err.split())


def test_an_unlisted_reason_is_answered_with_the_list(captured: Callable[..., None], mia: Path, recoup: Recoup) -> None:
    """Nobody has to read the policy to find the word."""
    captured("INV-7", 2, 1500)
    amount = ("--amount", "5.00", "EUR", "--reason", "damagd")

    done = recoup("refund", "preview", "INV-7", *amount, "--key-file", mia)

    assert "not in the policy's list, which is requested_by_customer, " in done.out
