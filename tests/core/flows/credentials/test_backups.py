"""A policy's backup, looked for at the bank: only where it is wanted, bounded, and never the card that failed."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from recoup_core.domain.payment import CredentialRole, Method, Network
from recoup_core.domain.recovery import CaseState, StepState
from recoup_core.flows.context import GatewayRules
from recoup_core.flows.credentials.asking import MAX_LISTED
from recoup_core.flows.credentials.backups import ASK_AGAIN, WAITS
from recoup_core.ports import StoredCredential
from recoup_core.settings import GatewayEntry
from recoup_core.wiring import rules_of

EXPIRED = {"code": "expired_card"}
SOFT = {"code": "insufficient_funds"}
NO_BACKUP = """
kind: retry
name: cards
applies_to: {method: card}
rules:
  - {name: waits, when: {attempt: 1}, retry: {after: [3d]}}
  - {name: give up, stop: exhausted}
examples:
  - {given: {}, expect: waits}
  - {given: {attempt: 2}, expect: give up}
"""

BACKUP_FIRST = """
kind: retry
name: cards
applies_to: {method: card}
rules:
  - name: the backup at once
    when: {attempt: {lte: 4}}
    retry: {after: [10m, 10m, 10m, 10m], credential: backup}
    otherwise: {retry: {after: [1h, 6h, 2d, 1d]}}
  - {name: give up, stop: exhausted}
examples:
  - {given: {}, expect: the backup at once}
  - {given: {attempt: 5}, expect: give up}
"""


def stored(token: str, fingerprint: str | None = None) -> StoredCredential:
    """A card that the bank keeps."""
    return StoredCredential(
        token=token, method=Method.CARD, network=Network.VISA, fingerprint=fingerprint or f"bank-{token}"
    )


def keeps(teller: Any, *cards: StoredCredential, customer: str = "cus_anna") -> None:
    """The customer stored these long ago."""
    for card in cards:
        teller.shop.gateway.bank.keep_credential(customer, card, tell=False)


def asked(teller: Any, customer: str = "cus_anna") -> int:
    return int(teller.shop.gateway.bank.times_asked(customer, "list"))


async def test_a_case_that_stopped_for_want_of_a_backup_goes_on_with_one(teller: Any) -> None:
    """The bank keeps another card of the customer: it is stored as backup, told, and tried as the policy says."""
    keeps(teller, msgspec.structs.replace(stored("tok_approve"), expires_on="2031-05"))

    opened = await teller.open("tok_expired_card", **EXPIRED)
    await teller.shop.live()

    file = await teller.shop.file(opened.payment.id)
    assert (file.case.state, teller.moved()) == (CaseState.RECOVERED, 1999)
    found = file.credentials[-1]
    assert (found.token, found.role, found.gateway_customer) == ("tok_approve", CredentialRole.BACKUP, "cus_anna")
    assert found.expires_on == "2031-05"
    assert file.attempts[-1].credential_id == found.id
    assert [each["gateway"] for each in await teller.told("credential.found")] == ["sandbox"]


async def test_an_open_case_decides_anew_with_the_backup(shop_under: Any, telling: Any) -> None:
    """What was planned without it is left out."""
    teller = telling(await shop_under(BACKUP_FIRST))
    keeps(teller, stored("tok_approve"))

    opened = await teller.open("tok_approve|approve", **SOFT)

    file = await teller.shop.file(opened.payment.id)
    assert [(s.state, s.skipped_because) for s in file.steps] == [
        (StepState.PLANNED, None),
        (StepState.SKIPPED, "a backup was found"),
    ]
    assert file.planned_retry is not None
    assert file.planned_retry.credential_id == file.credentials[-1].id


async def test_a_decision_that_would_use_no_backup_asks_nobody(teller: Any) -> None:
    """The shipped policy tries a backup for an expired card, not where the money was short."""
    keeps(teller, stored("tok_approve"))

    await teller.open("tok_approve|approve", **SOFT)

    assert asked(teller) == 0


async def test_the_card_that_failed_is_no_backup_under_another_token(teller: Any) -> None:
    """Neither the same token nor the same account: the issuer has said no to it already."""
    opened = await teller.open("tok_expired_card", customer={"ref": "cus-one"}, known_as=None, **EXPIRED)
    account = (await teller.shop.file(opened.payment.id)).credentials[0].account_key.removeprefix("fp:")
    await teller.shop.rows("UPDATE credential SET gateway_customer = 'cus_anna'")
    keeps(teller, stored("tok_expired_card"), stored("tok_other_name|approve", account))

    again = await teller.open(customer={"ref": "cus-one"}, **EXPIRED)
    await teller.shop.live()

    file = await teller.shop.file(again.payment.id)
    assert (len(file.credentials), asked(teller), teller.moved()) == (1, 1, 0)


@pytest.mark.parametrize("why", ["known", "nameless", "forbidden"])
async def test_nobodys_other_card_is_touched_without_need(teller: Any, why: str) -> None:
    """A known backup, no name of the customer at the bank, or a merchant who forbids it: the bank is not asked."""
    keeps(teller, stored("tok_approve"))
    if why == "forbidden":
        context = teller.shop.context
        rules = {"sandbox": GatewayRules(finds_backups=False)}
        object.__setattr__(context, "gateway_rules", rules)

    tokens = ("tok_expired_card", "tok_lost_card") if why == "known" else ("tok_expired_card",)
    await teller.open(*tokens, known_as=None if why == "nameless" else "cus_anna", **EXPIRED)
    await teller.shop.live()

    assert asked(teller) == 0
    assert await teller.stored("tok_approve") == []


async def test_a_policy_without_a_backup_asks_nobody(shop_under: Any, telling: Any) -> None:
    """The bank is asked for what a policy would use, and for nothing else."""
    shop = await shop_under(NO_BACKUP)
    teller = telling(shop)
    keeps(teller, stored("tok_approve"))

    await teller.open("tok_expired_card", **EXPIRED)
    await shop.live()

    assert asked(teller) == 0


async def test_a_bank_that_can_not_be_asked_is_asked_later_a_few_times(teller: Any) -> None:
    """The second answer comes: nothing was lost by the first silence."""
    customer = "cus_anna~lose_before*2"
    keeps(teller, stored("tok_approve"), customer=customer)

    opened = await teller.open("tok_expired_card", known_as=customer, **EXPIRED)
    first = asked(teller, customer)
    await teller.shop.live()

    assert (first, asked(teller, customer)) == (1, 3)
    assert (await teller.shop.file(opened.payment.id)).case.state is CaseState.RECOVERED


async def test_a_bank_that_never_answers_is_given_up_for_the_day(teller: Any) -> None:
    """Bounded: the waits are few, and then it is left alone."""
    customer = "cus_anna~lose_before*99"
    await teller.open("tok_expired_card", known_as=customer, **EXPIRED)

    await teller.shop.live()

    assert asked(teller, customer) == 1 + len(WAITS)


async def test_a_gateway_is_asked_once_a_day_for_a_case(shop_under: Any, telling: Any) -> None:
    """A case that decides several times on one day asks once; the next day it may ask again."""
    teller = telling(await shop_under(BACKUP_FIRST))
    opened = await teller.open("tok_do_not_honor", **SOFT)
    start = teller.shop.clock.now()

    await teller.shop.live(until=timedelta(hours=20))
    within, attempts = asked(teller), len((await teller.shop.file(opened.payment.id)).attempts)
    await teller.shop.live(until=timedelta(days=3))

    assert teller.shop.clock.now() > start + ASK_AGAIN
    assert (within, attempts, asked(teller)) == (1, 3, 2)


async def test_no_more_than_so_many_are_kept(teller: Any) -> None:
    """However many cards a customer stored, the list ends."""
    keeps(teller, *(stored(f"tok_card_{number}|expired_card") for number in range(MAX_LISTED + 5)))

    opened = await teller.open("tok_expired_card", **EXPIRED)

    file = await teller.shop.file(opened.payment.id)
    assert len([c for c in file.credentials if c.role is CredentialRole.BACKUP]) == MAX_LISTED


def test_the_settings_can_forbid_it() -> None:
    """Per gateway; allowed unless they say otherwise."""
    entry = GatewayEntry(name="sandbox", plugin="sandbox")

    assert rules_of(entry).finds_backups is True
    assert rules_of(msgspec.structs.replace(entry, finds_backups=False)).finds_backups is False
