"""Streams of past cases: in pages, in order, each once, and worked on a few pieces ahead."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from recoup_core.flows.ahead import mapped
from recoup_core.flows.history import latest_cases, stored_cases
from recoup_core.storage.decisions import Span


async def three_cases(shop: Any) -> tuple[list[str], Span]:
    """Three cases, one a day; one is retried to its end."""
    ids = []
    for _ in range(3):
        opened = await shop.open("tok_insufficient_funds")
        ids.append(str(opened.case.id))
        shop.clock.advance(timedelta(days=1))
    await shop.live(timedelta(days=40))
    return ids, Span(until=shop.clock.now() + timedelta(seconds=1), kind="retry")


async def test_cases_come_oldest_first_whatever_the_page(shop: Any) -> None:
    """Each once, with its decisions in order and what became of it."""
    ids, span = await three_cases(shop)

    for size in (1, 2, 500):
        pages = [page async for page in stored_cases(shop.service.database, span, page=size)]
        cases = [case for page in pages for case in page]
        assert [case.case for case in cases] == ids
        assert all(case.result == "exhausted" for case in cases)
        assert all(len(case.decisions) > 1 for case in cases)
        assert all(list(case.decisions) == sorted(case.decisions, key=lambda each: each.at) for case in cases)


async def test_a_limit_ends_the_stream(shop: Any) -> None:
    """From the front, or of the latest."""
    ids, span = await three_cases(shop)

    first = [case.case async for page in stored_cases(shop.service.database, span, 2, page=1) for case in page]
    latest = [case.case async for page in latest_cases(shop.service.database, _of(span), 2) for case in page]

    assert first == ids[:2]
    assert latest == [ids[2], ids[1]]


async def test_the_latest_cases_are_looked_for_only_so_far(shop: Any) -> None:
    """A period long ago does not make one request walk through everything."""
    _, span = await three_cases(shop)

    found = [page async for page in latest_cases(shop.service.database, _of(span), 10, most_scanned=0)]

    assert found == []


async def test_only_the_span_is_read(shop: Any) -> None:
    """By when cases were opened, whose they are, and the kind of decision."""
    ids, span = await three_cases(shop)
    start = (await shop.rows("SELECT opened_at FROM recovery_case ORDER BY id"))[1][0]

    async def cases(**changes: Any) -> list[str]:
        parts = {"until": span.until, "kind": "retry"} | changes
        return [c.case async for page in stored_cases(shop.service.database, Span(**parts)) for c in page]

    assert await cases(since=start) == ids[1:]
    assert await cases(until=start) == ids[:1]
    assert await cases(merchant_id="another") == []
    assert await cases(merchant_id="default") == ids
    assert await cases(kind="refund") == []


def _of(span: Span) -> Span:
    return Span(until=span.until, merchant_id="default", kind=span.kind)


async def test_answers_keep_their_order_and_few_are_under_way() -> None:
    """The slow first piece holds the others' answers back, but never more than a few are begun."""
    begun = done = most = 0

    async def source() -> AsyncIterator[int]:
        for number in range(12):
            yield number

    async def work(number: int) -> int:
        nonlocal begun, done, most
        begun += 1
        most = max(most, begun - done)
        for _ in range(12 - number):
            await asyncio.sleep(0)
        done += 1
        return number

    assert [each async for each in mapped(source(), work, ahead=3)] == list(range(12))
    assert most <= 3


async def test_a_reader_that_leaves_ends_what_is_under_way() -> None:
    """Nothing goes on behind its back."""
    cancelled: list[int] = []

    async def source() -> AsyncIterator[int]:
        for number in range(5):
            yield number

    async def work(number: int) -> int:
        try:
            await asyncio.sleep(0 if number == 0 else 3600)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    answers = mapped(source(), work, ahead=3)
    assert await anext(answers) == 0
    await answers.aclose()
    await asyncio.sleep(0)

    assert cancelled == [1, 2]
