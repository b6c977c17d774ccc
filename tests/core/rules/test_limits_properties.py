"""Who follows `check_limits` breaks no limit, whatever happened before: by a slow checker that reads the rules anew."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from recoup_core.domain.decline import DeclineCategory, DeclineSource
from recoup_core.domain.payment import Method, Network
from recoup_core.rules.deciding.limits import Allowed, Blocked, LimitQuestion, PastAttempt, check_limits

START = datetime(2026, 11, 23, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

VISA_NEVER: Final = frozenset(["04", "07", "12", "14", "15", "41", "43", "46", "57", "83", "R0", "R1", "R3"])
WAITS_H: Final = {"02": 72, "24": 1, "25": 24, "26": 48, "27": 96, "28": 144, "29": 192, "30": 240}
HARD: Final = (DeclineCategory.FRAUD, DeclineCategory.LOST_OR_STOLEN, DeclineCategory.REVOKED_MANDATE)
REPEATABLE: Final = {Method.ACH_DEBIT: ("R01", "R09"), Method.SEPA_DEBIT: ("AM04", "MS03"), Method.BACS_DEBIT: ("0",)}
REVOKED: Final = {
    Method.ACH_DEBIT: ("R05", "R07", "R10", "R29", "R51"),
    Method.SEPA_DEBIT: ("MD01", "MD06", "MD07", "MS02", "RR04", "FRAD"),
    Method.BACS_DEBIT: (),
}
DEBIT_DAYS: Final = {Method.ACH_DEBIT: 180, Method.SEPA_DEBIT: 42, Method.BACS_DEBIT: 30}
ALL_REATTEMPTS: Final = {
    Network.ELO: 15 - 2,
    Network.AMERICAN_EXPRESS: 15 - 2,
    Network.DISCOVER: 15 - 2,
    Network.OTHER: 7,
}
SCHEME: Final = {
    Method.ACH_DEBIT: DeclineSource.ACH,
    Method.SEPA_DEBIT: DeclineSource.SEPA,
    Method.BACS_DEBIT: DeclineSource.BACS,
}


def broken(question: LimitQuestion) -> list[str]:
    """Judge an attempt sent at `question.at` by walking through all that came before, rule by rule."""
    before = sorted(question.history, key=lambda a: a.at)
    run: list[PastAttempt] = []
    for attempt in before:
        if attempt.succeeded:
            run = [a for a in run if a.at == attempt.at]
        else:
            run.append(attempt)
    if question.method is not Method.CARD:
        return broken_for_debits(question, before, run)
    faults = ["hard stop" for a in run if a.category in HARD or a.blocked_by_gateway]
    networks = [question.network] if question.network else list(Network)
    for network in networks:
        faults += broken_for_cards(network, question, [a for a in before if not a.succeeded], run)
    return faults


def broken_for_cards(
    network: Network, question: LimitQuestion, declines: list[PastAttempt], run: list[PastAttempt]
) -> list[str]:
    faults: list[str] = []
    if network is Network.VISA:
        faults += ["category 1" for a in run if a.visa_category == 1 or a.network_code in VISA_NEVER]
        if fullest(question.at, run[1:], 30 * DAY) + bool(run) > 15 - 2:
            faults.append("visa 30 days")
    elif network is Network.MASTERCARD:
        faults += ["advice 03, 21" for a in run if a.advice_code in ("03", "21")]
        for a in run:
            if question.at - a.at < WAITS_H.get(a.advice_code or "", 0) * HOUR:
                faults.append("advice wait")
        if fullest(question.at, declines, DAY) + 1 > (7 if question.acquirer_country == "BR" else 10 - 2):
            faults.append("mastercard day")
        if fullest(question.at, declines, 30 * DAY) + 1 > 35 - 2:
            faults.append("mastercard 30 days")
    elif fullest(question.at, declines[1:], 30 * DAY) + bool(declines) > ALL_REATTEMPTS[network]:
        faults.append("30 days")
    return faults


def fullest(at: datetime, tries: list[PastAttempt], window: timedelta) -> int:
    """Slide a half-open window over every start that keeps `at` inside; return the most tries any of them holds."""
    starts = [*(a.at for a in tries), at]
    return max(
        sum(1 for a in tries if start <= a.at <= at and a.at < start + window)
        for start in starts
        if start <= at < start + window
    )


def broken_for_debits(question: LimitQuestion, before: list[PastAttempt], run: list[PastAttempt]) -> list[str]:
    faults = ["hard stop" for a in run if a.category in HARD or a.blocked_by_gateway]
    faults += ["revoked" for a in run if a.code in REVOKED[question.method]]
    faults += ["not repeatable" for a in run if a.payment_id == question.payment_id and not repeatable(question, a)]
    tries = [a for a in before if a.payment_id == question.payment_id and not a.succeeded]
    if len(tries) > 2:
        faults.append("third repetition")
    if tries and question.at - tries[0].at >= DEBIT_DAYS[question.method] * DAY:
        faults.append("too late")
    if any(a.amount_minor != question.amount_minor for a in tries):
        faults.append("another amount")
    return faults


def repeatable(question: LimitQuestion, attempt: PastAttempt) -> bool:
    return attempt.code is None or attempt.code in REPEATABLE[question.method]


# --- what may happen --------------------------------------------------------------------------------------------------

offsets = st.one_of(
    st.integers(0, 60 * 24).map(lambda n: n * MINUTE),
    st.integers(0, 60).map(lambda n: n * DAY / 2),
    st.integers(0, 190 * 86400 * 10**6).map(lambda n: timedelta(microseconds=n)),
)
soft_card: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {}, {"network_code": "51"}, {"network_code": "05", "visa_category": 4}, {"advice_code": "24"}]
)
any_card: st.SearchStrategy[dict[str, Any]] = st.one_of(
    soft_card,
    soft_card,
    st.fixed_dictionaries({"network_code": st.sampled_from(["51", "57", "83", "R1", "14", "5C", "ZZ"])}),
    st.fixed_dictionaries({"advice_code": st.sampled_from(["01", "02", "03", "21", "25", "27", "30"])}),
    st.fixed_dictionaries({"category": st.sampled_from([*HARD, DeclineCategory.INSUFFICIENT_FUNDS])}),
    st.just({"visa_category": 1}),
    st.just({"blocked_by_gateway": True}),
)


def debit_answers(method: Method) -> st.SearchStrategy[dict[str, Any]]:
    good = st.sampled_from(REPEATABLE[method])
    bad = st.sampled_from({"ach_debit": ["R02", "R07", "R11"], "sepa_debit": ["MD01", "AC04"]}.get(method, ["1", "5"]))
    codes = st.one_of(good, good, good, bad).map(lambda code: {"source": SCHEME[method], "code": code})
    return st.one_of(codes, codes, st.just({}))


@st.composite
def attempts(draw: st.DrawFn, said: st.SearchStrategy[dict[str, Any]]) -> PastAttempt:
    won = draw(st.integers(0, 9)) == 0
    return PastAttempt(
        at=START + draw(offsets),
        amount_minor=draw(st.sampled_from([2000, 2000, 2000, 1500])),
        currency="EUR",
        payment_id=UUID(int=draw(st.integers(1, 2))),
        succeeded=won,
        **({} if won else draw(said)),
    )


@st.composite
def questions(draw: st.DrawFn, hard: bool = True, most: int = 25) -> LimitQuestion:
    method = draw(st.sampled_from([Method.CARD, Method.CARD, Method.CARD, *REPEATABLE]))
    card = method is Method.CARD
    said = (any_card if hard else soft_card) if card else debit_answers(method)
    return LimitQuestion(
        at=START + draw(offsets),
        method=method,
        network=draw(st.sampled_from([*Network, None])) if card else None,
        amount_minor=2000,
        currency="EUR",
        payment_id=UUID(int=1),
        acquirer_country=draw(st.sampled_from([None, "BR"])),
        history=tuple(draw(st.lists(attempts(said), max_size=most))),
    )


def rank(answer: Allowed | Blocked) -> tuple[bool, datetime]:
    """Order answers from permissive to strict."""
    return (isinstance(answer, Blocked), answer.at if isinstance(answer, Allowed) else START)


# --- what must hold ---------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(questions())
def test_the_answer_is_the_first_moment_that_breaks_nothing(question: LimitQuestion) -> None:
    """Allowed at a moment: nothing is broken then, and something is just before it; Blocked: something always is."""
    past = tuple(a for a in question.history if a.at <= question.at)
    question = replace(question, history=past)

    answer = check_limits(question)

    if isinstance(answer, Blocked):
        for later in (timedelta(), HOUR, 10 * DAY, 200 * DAY):
            assert broken(replace(question, at=question.at + later))
        return
    assert answer.at >= question.at
    assert broken(replace(question, at=answer.at)) == []
    if answer.at > question.at:
        assert broken(replace(question, at=answer.at - timedelta(microseconds=1)))


@settings(max_examples=60, deadline=None)
@given(
    questions(hard=False, most=12),
    st.lists(st.tuples(st.integers(0, 60 * 30).map(lambda n: n * MINUTE), st.integers(0, 19)), max_size=45),
)
def test_who_follows_the_answers_breaks_no_limit(question: LimitQuestion, wishes: list[tuple[timedelta, int]]) -> None:
    """Any sequence of our attempts among attempts made elsewhere: each of ours was within every limit when it left."""
    elsewhere = sorted(question.history, key=lambda a: a.at)
    ours: list[PastAttempt] = []
    now = START + 20 * DAY
    for gap, luck in wishes:
        now += gap
        wish = replace(question, at=now, history=(*ours, *(a for a in elsewhere if a.at <= now)))
        answer = check_limits(wish)
        if isinstance(answer, Blocked):
            assert broken(wish)
            continue
        known = (*ours, *(a for a in elsewhere if a.at <= answer.at))
        sent = replace(wish, at=answer.at, history=known)
        final = check_limits(sent)
        if not isinstance(final, Allowed) or final.at > sent.at:
            continue  # somebody else came first; the check just before the call holds it back
        assert broken(sent) == []
        now = answer.at
        result = {"succeeded": luck == 0, "payment_id": question.payment_id}
        ours.append(PastAttempt(at=now, amount_minor=2000, currency="EUR", **result))


@pytest.mark.parametrize("country", [None, "BR"])
@pytest.mark.parametrize("network", [*Network, None])
def test_the_greediest_caller_stays_within_every_limit(network: Network | None, country: str | None) -> None:
    """Ask again at once after each decline, 80 times: every window fills up to its cap and not beyond."""
    question = LimitQuestion(
        at=START,
        method=Method.CARD,
        network=network,
        amount_minor=2000,
        currency="EUR",
        payment_id=UUID(int=1),
        acquirer_country=country,
        history=(),
    )
    pushed = 0

    for _ in range(80):
        answer = check_limits(question)
        assert isinstance(answer, Allowed)
        assert broken(replace(question, at=answer.at)) == []
        pushed += answer.at > question.at
        sent = PastAttempt(
            at=answer.at, amount_minor=2000, currency="EUR", payment_id=question.payment_id, succeeded=False
        )
        question = replace(question, at=answer.at, history=(*question.history, sent))

    assert pushed >= 4


@settings(max_examples=200, deadline=None)
@given(questions(), st.integers(0, 10**10), st.integers(0, 60 * 86400 * 10**6))
def test_asking_for_later_never_gives_earlier(question: LimitQuestion, near_us: int, far_us: int) -> None:
    """And between the moment asked for and the one answered, the answer stays the same."""
    answer = check_limits(question)

    for later_us in (near_us, far_us):
        later = check_limits(replace(question, at=question.at + timedelta(microseconds=later_us)))
        assert rank(later) >= rank(answer)
    if isinstance(answer, Allowed):
        between = question.at + (answer.at - question.at) // 2
        assert rank(check_limits(replace(question, at=between))) == rank(answer)
        assert rank(check_limits(replace(question, at=answer.at))) == rank(answer)


@settings(max_examples=200, deadline=None)
@given(questions(), st.data())
def test_one_more_past_decline_never_makes_it_more_permissive(question: LimitQuestion, data: st.DataObject) -> None:
    """Neither by its time, nor by its amount, nor by what it said."""
    said = any_card if question.method is Method.CARD else debit_answers(question.method)
    extra = data.draw(attempts(said).map(lambda a: replace(a, succeeded=False)))

    worse = check_limits(replace(question, history=(*question.history, extra)))

    assert rank(worse) >= rank(check_limits(question))
