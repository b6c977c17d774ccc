"""The life of a version: brought in, put in force, replaced, rolled back; owners, ambiguity, the audit trail."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from recoup_core.domain.errors import CardNumberRefused, IllegalTransition
from recoup_core.domain.versions import VersionState
from recoup_core.flows.operate import NotAllowedNow, NotFound
from recoup_core.flows.versions import HouseVersion, activate, retire, roll_back, shadow, submit
from recoup_core.rules.language.errors import NoPolicyApplies, PolicyInvalid
from recoup_core.storage.calls import Call

LIVE = "SELECT digest FROM policy_version WHERE state = 'live' AND merchant_id IS NULL ORDER BY name"
TOLD = "SELECT kind FROM event WHERE kind LIKE 'policy.%' ORDER BY id"


async def test_a_new_text_is_a_draft_that_decides_nothing(installation: Any) -> None:
    """Bringing a version in changes nothing that runs."""
    service = await installation.start(installation.text())
    draft = await installation.bring(service, installation.text(note="new"))

    opened = await installation.open_case(service)

    assert draft.state is VersionState.DRAFT
    assert opened.case.policy_digest != draft.digest


async def test_the_same_text_is_the_same_version(installation: Any) -> None:
    """A version is its text: submitting again makes nothing new and forgets nothing."""
    service = await installation.start(installation.text())
    text = installation.text(note="new")

    first = await submit(service.context, text, "a.yaml", installation.by(note="first"))
    again = await submit(service.context, text, "b.yaml", installation.by(note="second"))

    assert (first.fresh, again.fresh) == (True, False)
    assert again.version == first.version
    assert again.version.note == "first"


@pytest.mark.parametrize("text", ["", "kind: retry\n", "kind: retry\nname: cards\nrules: []\n"])
async def test_a_text_with_mistakes_is_no_version(text: str, installation: Any) -> None:
    """Nothing of it is stored."""
    service = await installation.start(installation.text())

    with pytest.raises(PolicyInvalid):
        await submit(service.context, text, "a.yaml", installation.by())

    assert await installation.rows(service, "SELECT count(*) FROM policy_version") == [1]
    assert await installation.rows(service, "SELECT count(*) FROM policy_text") == [1]


async def test_a_card_number_in_a_note_is_refused(installation: Any) -> None:
    """Promise 11 holds for whatever is stored."""
    service = await installation.start(installation.text())

    with pytest.raises(CardNumberRefused):
        await submit(service.context, installation.text(note="n"), "a.yaml", installation.by(note="4111111111111111"))


async def test_what_is_activated_decides_and_what_was_live_is_retired(installation: Any) -> None:
    """New cases get it at once; a running case keeps the version it opened with."""
    service = await installation.start(installation.text())
    before = await installation.open_case(service)

    version = await installation.put_in_force(service, installation.text(note="new"))
    after = await installation.open_case(service)

    assert version.state is VersionState.LIVE
    assert after.case.policy_digest == version.digest != before.case.policy_digest
    kept = await installation.rows(service, "SELECT policy_digest FROM recovery_case WHERE id = $1", before.case.id)
    assert kept == [before.case.policy_digest]
    states = await installation.rows(service, "SELECT digest, state FROM policy_version ORDER BY created_at, id")
    assert states == [(before.case.policy_digest, "retired"), (version.digest, "live")]


async def test_activating_again_changes_nothing(installation: Any) -> None:
    """A client that lost the answer asks again."""
    service = await installation.start(installation.text())
    version = await installation.put_in_force(service, installation.text(note="new"))
    told = await installation.rows(service, TOLD)

    again = await activate(service.context, version.id, installation.by())

    assert again == version
    assert await installation.rows(service, TOLD) == told


async def test_a_rollback_brings_the_one_before_back(installation: Any, clock: Any) -> None:
    """One call; a second one brings the version back that was left. Drafts that were retired don't count."""
    service = await installation.start(installation.text())
    first = (await installation.rows(service, LIVE))[0]
    second = await installation.put_in_force(service, installation.text(note="second"))
    clock.advance(timedelta(minutes=1))
    dropped = await installation.bring(service, installation.text(note="never live"))
    await retire(service.context, dropped.id, installation.by())

    back = await roll_back(service.context, "retry", "cards", installation.by())
    opened = await installation.open_case(service)

    assert back.digest == opened.case.policy_digest == first
    clock.advance(timedelta(minutes=1))
    assert (await roll_back(service.context, "retry", "cards", installation.by())).digest == second.digest


async def test_a_rollback_goes_to_the_version_before_whatever_the_clocks_say(installation: Any, clock: Any) -> None:
    """Of three versions, from the third to the second, though the second came by a process whose clock is behind."""
    service = await installation.start(installation.text())
    digests = []
    for note in ("second", "third"):
        clock.advance(timedelta(minutes=-5))
        digests.append((await installation.put_in_force(service, installation.text(note=note))).digest)

    back = await roll_back(service.context, "retry", "cards", installation.by())

    assert back.digest == digests[0]


async def test_the_same_rollback_again_is_answered_and_not_done_twice(installation: Any) -> None:
    """A lost answer must not bring the bad version back."""
    service = await installation.start(installation.text())
    own = [await installation.put_in_force(service, installation.text(note=note), "default") for note in ("a", "b")]
    call = Call("key-1", b"POST rollback")

    first = await roll_back(service.context, "retry", "cards", installation.by("default"), call)
    again = await roll_back(service.context, "retry", "cards", installation.by("default"), call)

    assert first == again
    assert first.digest == own[0].digest
    live = "SELECT digest FROM policy_version WHERE state = 'live' AND merchant_id = 'default'"
    assert await installation.rows(service, live) == [own[0].digest]


async def test_a_rollback_to_nothing_is_refused(installation: Any) -> None:
    """The first version has none before it, and an unknown name none at all."""
    service = await installation.start(installation.text())

    with pytest.raises(NotAllowedNow):
        await roll_back(service.context, "retry", "cards", installation.by())
    with pytest.raises(NotFound):
        await roll_back(service.context, "retry", "nobody", installation.by())


async def test_a_merchants_own_version_stands_in_for_the_houses(installation: Any) -> None:
    """For that merchant alone; retired, the house's is in force again."""
    service = await installation.start(installation.text())
    house = (await installation.rows(service, LIVE))[0]
    own = await installation.put_in_force(service, installation.text(note="own"), "other")

    async def decided_by(merchant: str) -> str:
        digest: str = (await installation.open_case(service, merchant)).case.policy_digest
        return digest

    assert [await decided_by("default"), await decided_by("other")] == [house, own.digest]
    await retire(service.context, own.id, installation.by("other"))
    assert await decided_by("other") == house


async def test_only_the_owner_changes_a_version(installation: Any) -> None:
    """Another merchant's is not found; the house's is refused with what to do instead."""
    service = await installation.start(installation.text())
    mine = await installation.bring(service, installation.text(note="own"), "other")
    house = await installation.bring(service, installation.text(note="house"))

    for act in (shadow, activate, retire):
        with pytest.raises(NotFound):
            await act(service.context, mine.id, installation.by("default"))
        with pytest.raises(NotFound):
            await act(service.context, mine.id, installation.by(None))
        with pytest.raises(NotFound):
            await act(service.context, uuid4(), installation.by("default"))
        with pytest.raises(HouseVersion):
            await act(service.context, house.id, installation.by("other"))
    assert await installation.rows(service, "SELECT DISTINCT state FROM policy_version WHERE digest <> ALL ($1)",
                                   await installation.rows(service, LIVE)) == ["draft"]  # fmt: skip


async def test_a_live_version_is_not_put_in_the_shadow(installation: Any) -> None:
    """It would leave its payments without a policy; that has to be said as retiring."""
    service = await installation.start(installation.text())
    (live,) = await installation.rows(service, "SELECT id FROM policy_version WHERE state = 'live'")

    with pytest.raises(IllegalTransition):
        await shadow(service.context, live, installation.by())


async def test_retiring_the_last_policy_leaves_payments_without_one(installation: Any) -> None:
    """Nothing is decided by a policy that is not in force."""
    service = await installation.start(installation.text())
    (live,) = await installation.rows(service, "SELECT id FROM policy_version WHERE state = 'live'")

    await retire(service.context, live, installation.by())

    with pytest.raises(NoPolicyApplies):
        await installation.open_case(service)


async def test_an_ambiguous_activation_is_refused_whole(installation: Any) -> None:
    """Neither is narrower: which one decided would be chance. What was live stays so, and nothing is told."""
    service = await installation.start(installation.text())
    clashing = await installation.bring(service, installation.text("also-cards"))
    told = await installation.rows(service, TOLD)

    with pytest.raises(PolicyInvalid, match="can both cover a payment"):
        await activate(service.context, clashing.id, installation.by())

    assert await installation.rows(service, "SELECT name FROM policy_version WHERE state = 'live'") == ["cards"]
    assert await installation.rows(service, TOLD) == told


async def test_a_house_version_that_is_ambiguous_for_one_merchant_is_refused(installation: Any) -> None:
    """Every merchant's effective set is checked, and the merchant is named."""
    service = await installation.start(installation.text("all", "{}"))
    await installation.put_in_force(service, installation.text("mine", "{method: card, segment: consumer}"), "other")
    clashing = await installation.bring(service, installation.text("german", "{method: card, country: DE}"))

    with pytest.raises(PolicyInvalid, match="for the merchant other"):
        await activate(service.context, clashing.id, installation.by())


async def test_a_merchant_may_replace_what_would_clash(installation: Any) -> None:
    """Its own version of the same name takes the house's out of its set."""
    service = await installation.start(installation.text("all", "{}"), installation.text("cards"))
    await installation.put_in_force(service, installation.text("cards", "{method: card, country: FR}"), "other")

    own = await installation.put_in_force(service, installation.text("mine", "{method: card, country: DE}"), "other")

    assert (await installation.open_case(service, "other")).case.policy_digest == own.digest


async def test_of_two_racing_activations_that_would_clash_one_is_refused(installation: Any) -> None:
    """Each alone is fine; both together would be ambiguous. In two processes, ten times."""
    one, other = [await installation.start(installation.text("all", "{}")) for _ in range(2)]

    for round_number in range(10):
        first = await installation.bring(one, installation.text("a", "{country: DE}", f"{round_number}"))
        second = await installation.bring(other, installation.text("b", "{method: card}", f"{round_number}"))
        ended = await asyncio.gather(
            activate(one.context, first.id, installation.by()),
            activate(other.context, second.id, installation.by()),
            return_exceptions=True,
        )

        refused = [end for end in ended if isinstance(end, PolicyInvalid)]
        assert len(refused) == 1, ended
        live = "SELECT id FROM policy_version WHERE state = 'live' AND name IN ('a', 'b')"
        (won,) = await installation.rows(one, live)
        await retire(one.context, won, installation.by())


async def test_of_two_racing_versions_of_one_name_the_later_is_live(installation: Any) -> None:
    """Neither is refused: one after the other, and the one that lost its place is retired."""
    one, other = [await installation.start(installation.text()) for _ in range(2)]

    for number in range(10):
        first = await installation.bring(one, installation.text(note=f"{number} a"))
        second = await installation.bring(other, installation.text(note=f"{number} b"))
        await asyncio.gather(
            activate(one.context, first.id, installation.by()), activate(other.context, second.id, installation.by())
        )

        states = "SELECT state FROM policy_version WHERE id = ANY ($1::uuid[])"
        assert sorted(await installation.rows(one, states, [first.id, second.id])) == ["live", "retired"]


async def test_every_change_is_told_with_who_and_what(installation: Any) -> None:
    """The audit trail names the version, its digest, what it replaced and whether it is the house's."""
    service = await installation.start(installation.text())
    (before,) = await installation.rows(service, LIVE)

    own = await installation.put_in_force(service, installation.text(note="own"), "other")
    new = await installation.put_in_force(service, installation.text(note="new"))
    await roll_back(service.context, "retry", "cards", installation.by())

    told = await installation.rows(
        service,
        "SELECT kind, merchant_id, actor, data ->> 'policy', data ->> 'digest', data ->> 'house', data ->> 'replaced'"
        " FROM event WHERE actor <> 'system' AND kind LIKE 'policy.%' ORDER BY id",
    )
    anna, name = "operator:anna", "retry/cards"
    assert told == [
        ("policy.submitted", "other", anna, name, own.digest, "false", None),
        ("policy.activated", "other", anna, name, own.digest, "false", None),
        ("policy.submitted", "default", anna, name, new.digest, "true", None),
        ("policy.retired", "default", anna, name, before, "true", None),
        ("policy.activated", "default", anna, name, new.digest, "true", before),
        ("policy.retired", "default", anna, name, new.digest, "true", None),
        ("policy.rolled_back", "default", anna, name, before, "true", new.digest),
    ]
