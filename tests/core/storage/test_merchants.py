"""Merchants and API keys: a key is shown once, kept as a hash, and good for one merchant until it is taken back."""

from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from recoup_core.storage.merchants import (
    KEY_PREFIX,
    KeyInvalid,
    Role,
    ensure_merchants,
    find_key,
    list_keys,
    mint_key,
    revoke_key,
)
from recoup_core.storage.tables import bind_tables


@pytest.fixture
def keys(shelf: Any) -> Any:
    """The database with the models bound to it."""
    bind_tables(shelf.database.engine)
    return shelf.database


async def test_a_merchant_is_made_once(keys: Any, shelf: Any, records: Any) -> None:
    """Every start of every process asks for it; what is there stays as it is."""
    await ensure_merchants(keys, ["new", "default"], "BR", records.now)
    await ensure_merchants(keys, ["new"], "US", records.now + timedelta(days=1))

    rows = await shelf.rows("SELECT id, acquirer_country, created_at FROM merchant ORDER BY id")
    assert [tuple(row[:2]) for row in rows] == [("default", None), ("new", "BR"), ("other", None)]
    assert rows[1]["created_at"] == records.now
    assert await shelf.one("SELECT timezone FROM merchant WHERE id = 'new'") == "UTC"


async def test_the_calendar_of_the_settings_holds_for_merchants_that_are_there(
    keys: Any, shelf: Any, records: Any
) -> None:
    """What refund policies allow per day goes by the merchant's own day, once the operator says which."""
    await ensure_merchants(keys, ["default"], None, records.now, timezone="Europe/Berlin")
    await ensure_merchants(keys, ["default"], None, records.now)

    assert await shelf.one("SELECT timezone FROM merchant WHERE id = 'default'") == "Europe/Berlin"
    assert await shelf.one("SELECT timezone FROM merchant WHERE id = 'other'") == "UTC"


@pytest.mark.parametrize("name", ["", "With Blank", "Upper", "-x", "a" * 64, "a'; DROP TABLE merchant; --"])
async def test_a_name_that_is_none_is_refused(keys: Any, shelf: Any, records: Any, name: str) -> None:
    """A merchant's id appears in URLs and logs."""
    with pytest.raises(asyncpg.CheckViolationError):
        await ensure_merchants(keys, ["fine", name], None, records.now)

    assert await shelf.one("SELECT count(*) FROM merchant") == 2


async def test_a_key_is_found_by_its_secret_which_is_nowhere(keys: Any, shelf: Any, records: Any) -> None:
    """Only the hash and the last four characters are kept, in no table more."""
    minted = await mint_key(keys, "default", "anna", {Role.AGENT, Role.VIEWER}, records.now, actor="operator:root")

    found = await find_key(keys, minted.secret)

    assert found == minted.key
    assert minted.secret.startswith(KEY_PREFIX)
    assert len(minted.secret) >= 40
    assert found is not None
    assert (found.roles, found.hint) == ((Role.AGENT, Role.VIEWER), minted.secret[-4:])
    everything = await shelf.one(
        "SELECT (SELECT string_agg(k::text, '') FROM api_key k) || (SELECT string_agg(e::text, '') FROM event e)"
    )
    assert minted.secret not in everything
    assert await find_key(keys, minted.secret + "x") is None
    assert await find_key(keys, "") is None


async def test_two_keys_are_never_alike(keys: Any, records: Any) -> None:
    """Each has 256 random bits of its own."""
    one, two = [await mint_key(keys, "default", "anna", {Role.VIEWER}, records.now, actor="x") for _ in range(2)]

    assert one.secret != two.secret
    assert await list_keys(keys, "default") == [two.key, one.key]
    assert await list_keys(keys, "other") == []


async def test_a_revoked_or_expired_key_is_not_usable(keys: Any, records: Any) -> None:
    """Revoked for good from the first time on; expired from its time on."""
    end = records.now + timedelta(days=1)
    minted = await mint_key(keys, "default", "anna", {Role.VIEWER}, records.now, actor="x", expires_at=end)
    again = await mint_key(keys, "default", "anna", {Role.VIEWER}, records.now, actor="x")

    first = await revoke_key(keys, "default", again.key.id, records.now, actor="x")
    second = await revoke_key(keys, "default", again.key.id, end, actor="x")

    assert minted.key.usable(end - timedelta(microseconds=1))
    assert not minted.key.usable(end)
    assert first == second
    assert first is not None
    assert first.revoked_at == records.now
    assert not first.usable(records.now)
    assert await find_key(keys, again.secret) == first


async def test_nobody_revokes_another_merchants_key(keys: Any, records: Any) -> None:
    """As if it did not exist."""
    minted = await mint_key(keys, "other", "bob", {Role.VIEWER}, records.now, actor="x")

    assert await revoke_key(keys, "default", minted.key.id, records.now, actor="x") is None
    found = await find_key(keys, minted.secret)
    assert found is not None
    assert found.usable(records.now)


async def test_making_and_revoking_keys_is_told(keys: Any, shelf: Any, records: Any) -> None:
    """Who did it, for whom, with which roles."""
    minted = await mint_key(keys, "default", "anna", {Role.ADMIN}, records.now, actor="operator:root")
    await revoke_key(keys, "default", minted.key.id, records.now, actor="key:anna")

    told = await shelf.rows("SELECT kind, actor, data ->> 'key_id' AS key, data ->> 'roles' AS roles FROM event")

    assert [tuple(row) for row in told] == [
        ("api_key.created", "operator:root", str(minted.key.id), '["admin"]'),
        ("api_key.revoked", "key:anna", str(minted.key.id), '["admin"]'),
    ]


async def test_a_key_for_nobody_is_not_made(keys: Any, shelf: Any, records: Any) -> None:
    """An unknown merchant, or no role at all: neither key nor event."""
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await mint_key(keys, "nobody", "anna", {Role.VIEWER}, records.now, actor="x")
    with pytest.raises(asyncpg.CheckViolationError):
        await mint_key(keys, "default", "anna", set(), records.now, actor="x")

    assert await shelf.one("SELECT (SELECT count(*) FROM api_key) + (SELECT count(*) FROM event)") == 0


async def test_a_principal_is_kept_in_one_form(keys: Any, shelf: Any, records: Any) -> None:
    """All keys of one person are one person's, however each was written (promise 8)."""
    names = ["Anna Meier", " anna  meier", "ANNA MEIER\u200b"]
    minted = [await mint_key(keys, "default", name, {Role.VIEWER}, records.now, actor="x") for name in names]

    found = [await find_key(keys, each.secret) for each in minted]

    assert {key.principal for key in found if key is not None} == {"anna meier"}
    assert await shelf.one("SELECT count(DISTINCT principal) FROM api_key") == 1


async def test_a_key_from_before_names_had_one_form_is_the_same_person(keys: Any, shelf: Any, records: Any) -> None:
    """What an older release has stored is read in that form."""
    minted = await mint_key(keys, "default", "anna", {Role.VIEWER}, records.now, actor="x")
    await shelf.sql("UPDATE api_key SET principal = 'Anna '")

    found = await find_key(keys, minted.secret)

    assert found is not None
    assert found.principal == "anna"
    assert [key.principal for key in await list_keys(keys, "default")] == ["anna"]


@pytest.mark.parametrize("name", ["", "  ", "\u200b", "x" * 201, "\u00df" * 101, "a\x07b"])
async def test_a_key_needs_somebody_behind_it(keys: Any, shelf: Any, records: Any, name: str) -> None:
    """Nobody, or a name that does not fit once it is in its one form."""
    with pytest.raises(KeyInvalid) as refusal:
        await mint_key(keys, "default", name, {Role.VIEWER}, records.now, actor="x")

    assert refusal.value.field == "principal"
    assert await shelf.one("SELECT count(*) FROM api_key") == 0


async def test_a_key_approves_by_the_roles_it_was_given(keys: Any, shelf: Any, records: Any) -> None:
    """Each once, told in the event; no other role stands for one, not even an administrator's."""
    approves = ["support_lead", "finance", "finance"]
    lead = await mint_key(keys, "default", "anna", {Role.VIEWER}, records.now, actor="x", approves=approves)
    root = await mint_key(keys, "default", "root", {Role.ADMIN}, records.now, actor="x")

    found = [await find_key(keys, minted.secret) for minted in (lead, root)]

    assert [key.approves for key in found if key is not None] == [("finance", "support_lead"), ()]
    told = await shelf.rows("SELECT data ->> 'approves' AS approves FROM event ORDER BY id")
    assert [row["approves"] for row in told] == ['["finance", "support_lead"]', "[]"]


@pytest.mark.parametrize("role", ["", "Support_Lead", "support lead", "support-lead", "1st", "x" * 61, "lead\n"])
async def test_an_approval_role_is_one_that_a_policy_could_name(keys: Any, records: Any, role: str) -> None:
    """A misspelt role would wait for ever for a level of its own."""
    with pytest.raises(KeyInvalid) as refusal:
        await mint_key(keys, "default", "anna", {Role.VIEWER}, records.now, actor="x", approves=["finance", role])

    assert refusal.value.field == "approves"
