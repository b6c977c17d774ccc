"""The sandbox's wallet: what customers stored, what becomes of it, and the bank's pages."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from recoup_core.domain.ids import new_id
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method, Network
from recoup_core.ports import CredentialChange, NoLink, StoredCredential, UpdateLink, UpdateLinkRequest
from recoup_plugins.gateways.sandbox import SandboxFault, SandboxGateway, SandboxOptions
from recoup_plugins.gateways.sandbox_credentials import manner_of
from recoup_plugins.gateways.sandbox_events import read_event
from recoup_plugins.gateways.sandbox_words import ScriptUnreadable

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


def a_card(token: str) -> StoredCredential:
    return StoredCredential(token=token, method=Method.CARD, network=Network.VISA, fingerprint=f"of-{token}")


def a_request(key: str = "key-1", customer: str | None = "cus_1") -> UpdateLinkRequest:
    return UpdateLinkRequest(
        idempotency_key=key,
        payment_id=new_id(),
        payment_reference="inv-1",
        amount=Money(1999, "EUR"),
        method=Method.CARD,
        customer_ref="anna",
        gateway_customer=customer,
        expires_at=NOW + timedelta(days=7),
    )


@pytest.fixture
def sandbox(tmp_path: Path) -> SandboxGateway:
    """A sandbox whose bank is a file."""
    return SandboxGateway("sandbox", SandboxOptions(path=str(tmp_path / "bank.sqlite3")))


def told(sandbox: SandboxGateway) -> list[Any]:
    """What the bank's webhooks say of credentials, in our words."""
    return [read_event(each.body).credential for each in sandbox.bank.due_deliveries(100)]


async def test_what_is_stored_is_listed_in_order(sandbox: SandboxGateway) -> None:
    """A customer's own, the oldest first, in every process that shares the bank."""
    for token, customer in (("a", "cus_1"), ("b", "cus_2"), ("c", "cus_1")):
        sandbox.bank.keep_credential(customer, a_card(token))

    assert await sandbox.list_credentials("cus_1") == [a_card("a"), a_card("c")]
    assert await sandbox.list_credentials("cus_3") == []


async def test_each_change_is_told_and_kept(sandbox: SandboxGateway) -> None:
    """Added, renewed, replaced, removed; a fraud warning changes nothing at the bank."""
    bank = sandbox.bank
    bank.keep_credential("cus_1", a_card("a"))
    bank.renew_credential("a", a_card("a"))
    bank.replace_credential("a", a_card("b"))
    bank.suspect_credential("b")
    kept = await sandbox.list_credentials("cus_1")
    bank.remove_credential("b")

    assert [(news.change, news.token, news.now and news.now.token) for news in told(sandbox)] == [
        (CredentialChange.ADDED, None, "a"),
        (CredentialChange.UPDATED, "a", "a"),
        (CredentialChange.REPLACED, "a", "b"),
        (CredentialChange.SUSPECTED, "b", None),
        (CredentialChange.REMOVED, "b", None),
    ]
    assert kept == [a_card("b")]
    assert await sandbox.list_credentials("cus_1") == []


async def test_one_key_is_one_page(sandbox: SandboxGateway) -> None:
    """The same page for the same key, another one for another."""
    first = await sandbox.update_link(a_request("key-1"))
    again = await sandbox.update_link(a_request("key-1"))
    other = await sandbox.update_link(a_request("key-2"))

    assert isinstance(first, UpdateLink)
    assert first == again != other
    assert (first.pays, first.expires_at) == (True, NOW + timedelta(days=7))


async def test_the_customers_name_says_how_asking_goes(sandbox: SandboxGateway) -> None:
    """Faults, pages that only renew, and none at all."""
    with pytest.raises(SandboxFault):
        await sandbox.list_credentials("cus_1~unreachable")
    assert await sandbox.list_credentials("cus_1~unreachable") == []
    assert isinstance(await sandbox.update_link(a_request(customer="cus_1~no_page")), NoLink)
    renewing = await sandbox.update_link(a_request("key-9", "cus_1~renews_only"))
    assert isinstance(renewing, UpdateLink)
    assert renewing.pays is False


@pytest.mark.parametrize("name", ["cus~nothing", "cus~unreachable*x", "cus~lose+hang"])
def test_an_unreadable_script_is_an_error(name: str) -> None:
    """A typing error is not taken for a customer who behaves."""
    with pytest.raises(ScriptUnreadable):
        manner_of(name)
