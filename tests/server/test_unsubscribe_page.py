"""Unsubscribing by the link in a message: by one click of a mailbox, or by a person's own; never by a look."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from httpx import AsyncClient

from recoup_core.flows.links import UNSUBSCRIBE_LIFETIME
from recoup_core.wiring import Service


@pytest.fixture
async def address(service: Service, merchants: tuple[str, str]) -> UUID:
    """An address of a customer."""
    made = uuid4()
    async with service.database.connection() as connection:
        await connection.execute(
            "INSERT INTO customer (merchant_id, ref, locale, created_at, changed_at)"
            " VALUES ($1, 'cus-1', 'de', now(), now())",
            merchants[0],
        )
        await connection.execute(
            "INSERT INTO customer_address (id, merchant_id, customer_ref, channel, address, state, created_at,"
            " changed_at) VALUES ($1, $2, 'cus-1', 'email', $3, 'usable', now(), now())",
            made,
            merchants[0],
            f"{made}@example.com",
        )
    return made


@pytest.fixture
def link(service: Service, merchants: tuple[str, str], address: UUID) -> str:
    """The path of the link in a message to that address."""
    links = service.context.messaging.links
    return links.unsubscribe(address, merchants[0], "cus-1", service.clock.now()).removeprefix(links.base)


@pytest.fixture
def standing(service: Service, address: UUID) -> Callable[[], Awaitable[tuple[str, int]]]:
    """How the address stands, and how often it was told that it is blocked."""

    async def look() -> tuple[str, int]:
        async with service.database.connection() as connection:
            state = await connection.fetchval("SELECT state FROM customer_address WHERE id = $1", address)
            told = await connection.fetchval(
                "SELECT count(*) FROM event WHERE kind = 'address.blocked' AND data ->> 'address' = $1", str(address)
            )
        return state, told

    return look


async def test_looking_at_the_link_changes_nothing(
    client: AsyncClient, link: str, standing: Callable[[], Awaitable[tuple[str, int]]], address: UUID
) -> None:
    """Mail scanners fetch every link; the page asks first, in the customer's language, and never shows the address."""
    for _ in range(2):
        answer = await client.get(link)
    await client.head(link)

    assert answer.status_code == 200
    assert "Diese Nachrichten abbestellen?" in answer.text
    assert "<form" in answer.text
    assert str(address) not in answer.text
    assert await standing() == ("usable", 0)


@pytest.mark.parametrize("body", ["List-Unsubscribe=One-Click", ""])
async def test_one_post_takes_the_address_off(
    client: AsyncClient, link: str, standing: Callable[[], Awaitable[tuple[str, int]]], body: str
) -> None:
    """RFC 8058: no cookie, no question, no redirect; and once more without harm."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    answers = [await client.post(link, content=body, headers=form) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert "Sie erhalten diese Nachrichten nicht mehr" in answers[0].text
    assert "set-cookie" not in answers[0].headers
    assert await standing() == ("unsubscribed", 1)
    assert "<form" not in (await client.get(link)).text


async def test_a_wrong_link_unsubscribes_nobody(
    client: AsyncClient,
    service: Service,
    merchants: tuple[str, str],
    link: str,
    address: UUID,
    standing: Callable[[], Awaitable[tuple[str, int]]],
) -> None:
    """Forged, of another merchant or customer, or the link of a case's page: all are the same 404."""
    links, now = service.context.messaging.links, service.clock.now()
    wrong = [
        link[:-1],
        links.unsubscribe(address, merchants[1], "cus-1", now).removeprefix(links.base),
        links.unsubscribe(address, merchants[0], "cus-2", now).removeprefix(links.base),
        links.unsubscribe(uuid4(), merchants[0], "cus-1", now).removeprefix(links.base),
        links.update(address, merchants[0], "cus-1", now + timedelta(days=1))
        .removeprefix(links.base)
        .replace("/pay/", "/unsubscribe/"),
    ]

    answers = [await client.post(path) for path in wrong]

    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1
    assert await standing() == ("usable", 0)


async def test_the_link_works_for_more_than_a_year(
    client: AsyncClient, service: Service, merchants: tuple[str, str], address: UUID
) -> None:
    """And then says who can help."""
    links, now = service.context.messaging.links, service.clock.now()
    old, older = (
        links.unsubscribe(address, merchants[0], "cus-1", now - age).removeprefix(links.base)
        for age in (timedelta(days=366), UNSUBSCRIBE_LIFETIME + timedelta(hours=2))
    )

    assert (await client.get(old)).status_code == 200
    assert (await client.post(older)).status_code == 410
