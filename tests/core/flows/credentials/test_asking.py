"""Whatever a plugin answers: nothing is kept that can't be, and no customer is sent where they don't belong."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recoup_core.domain.ids import new_id
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method
from recoup_core.flows.credentials.asking import MAX_LISTED, link_guarded, list_guarded, safe_address
from recoup_core.flows.guard import Unknown
from recoup_core.ports import NoLink, StoredCredential, UpdateLink, UpdateLinkRequest

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


class Answers:
    """A gateway that answers just this, or raises it."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def _say(self, _: Any) -> Any:
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer

    list_credentials = update_link = _say


def a_card(token: str = "tok_1", **fields: Any) -> StoredCredential:
    return StoredCredential(**{"token": token, "method": Method.CARD, **fields})


def a_request() -> UpdateLinkRequest:
    return UpdateLinkRequest(
        idempotency_key="recoup-1",
        payment_id=new_id(),
        payment_reference="inv-1",
        amount=Money(1999, "EUR"),
        method=Method.CARD,
        customer_ref="cus-1",
        expires_at=NOW + timedelta(days=7),
    )


async def listed(answer: Any) -> Any:
    return await list_guarded(Answers(answer), "cus_1")  # type: ignore[arg-type]  # as much of a gateway as is asked


async def linked(answer: Any) -> Any:
    return await link_guarded(Answers(answer), a_request())  # type: ignore[arg-type]  # as above


async def test_a_list_is_taken_up_to_its_end() -> None:
    """The first ones are what the customer prefers."""
    cards = [a_card(f"tok_{number}") for number in range(MAX_LISTED + 3)]

    assert await listed(cards) == tuple(cards[:MAX_LISTED])


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "tok_1",
        [None],
        [a_card("")],
        [a_card("x" * 501)],
        [a_card("a\0b")],
        [a_card("4242424242424242")],
        [a_card(fingerprint="4242 4242 4242 4242")],
        [a_card(method="cash")],
        [a_card(network=7)],
        RuntimeError("sk_live_123"),
        TimeoutError(),
    ],
    ids=repr,
)
async def test_what_can_not_be_kept_is_no_list(answer: Any) -> None:
    """One bad row says that the plugin can't be trusted with the others; nothing secret is in the reason."""
    found = await listed(answer)

    assert isinstance(found, Unknown)
    assert "4242" not in found.reason
    assert "sk_live" not in found.reason


async def test_a_page_is_handed_on_and_a_refusal_without_its_secrets() -> None:
    """The reason is shown to the merchant."""
    page = UpdateLink(url="https://pay.example.com/p/1", pays=True)

    assert await linked(page) == page
    assert await linked(NoLink(reason="no page: api_key=abc")) == NoLink(reason="no page: [redacted]")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "https://pay.example.com",
        UpdateLink(url="javascript:alert(1)", pays=True),
        UpdateLink(url="https://pay.example.com", pays="yes"),  # type: ignore[arg-type]  # what a plugin may do
        UpdateLink(url="https://pay.example.com", pays=True, expires_at=datetime(2026, 11, 24)),  # noqa: DTZ001 # the fault
        OSError("reset"),
    ],
    ids=repr,
)
async def test_what_is_no_page_is_not_handed_on(answer: Any) -> None:
    """It may be asked for again."""
    assert isinstance(await linked(answer), Unknown)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://pay.example.com/p?x=1#y", True),
        ("https://pay.example.com:8443/", True),
        ("http://127.0.0.1:4711/page", True),
        ("http://localhost/page", True),
        ("http://[::1]:80/", True),
        ("http://pay.example.com/", False),
        ("ftp://pay.example.com/", False),
        ("https://", False),
        ("//pay.example.com", False),
        ("https://bank.example.com@evil.example.com/", False),
        ("https://user:secret@pay.example.com/", False),
        ("https://pay.example.com\\@evil.example.com", False),
        ("https://pay.example.com/\r\nX: y", False),
        ("https://pay.example.com/ x", False),
        ("https://pay.example.com:port/", False),
        ("http://127.0.0.1.evil.example.com/", False),
        ("https://pay.example.com/" + "x" * 4096, False),
        ("", False),
    ],
)
def test_customers_are_sent_only_where_the_address_says(url: str, safe: bool) -> None:
    """Encrypted, with a host, and with nothing in it that hides where it leads."""
    assert safe_address(url) is safe
