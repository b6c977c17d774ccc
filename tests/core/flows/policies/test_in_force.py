"""Activation is atomic: every decision is made with one set of policies, one that was in force when it was made."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from recoup_core.flows.registry import MAX_BOOKS, MOVED_TRIES, PoliciesMoved, PoliciesUnusable, PolicyRegistry
from recoup_core.flows.versions import activate, roll_back
from recoup_core.rules.engine.compile import CompiledPolicy, EngineChoice, compile_policy
from recoup_core.rules.engine.texts import CompiledTexts
from recoup_core.rules.language.schema import Policy
from recoup_core.storage.versions import live_set

ACTIVATIONS = 50
OPENERS = 4


async def test_cases_opened_during_activations_get_what_was_live_at_that_moment(installation: Any) -> None:
    """Three processes open cases while fifty activations run through: each case has a version that was live between the
    start and the end of its transaction, and its decision was made by that very version."""
    processes = [await installation.start(installation.text()) for _ in range(3)]
    desk = processes[0]
    versions = [await installation.bring(desk, installation.text(note=str(number))) for number in range(ACTIVATIONS)]
    (first,) = await installation.rows(desk, "SELECT digest FROM policy_version WHERE state = 'live'")
    order = [first, *(version.digest for version in versions)]
    asked = done = 0
    seen: list[tuple[int, int, str]] = []

    async def open_all(number: int) -> None:
        while done < ACTIVATIONS:
            earliest = done  # certainly committed before this case was begun
            opened = await installation.open_case(processes[number % len(processes)])
            seen.append((earliest, asked, opened.case.policy_digest))  # `asked`: begun by now, so perhaps in force

    openers = [asyncio.create_task(open_all(number)) for number in range(OPENERS)]
    for number, version in enumerate(versions):
        asked = number + 1
        await activate(processes[number % 2].context, version.id, installation.by())
        done = number + 1
    await asyncio.gather(*openers)

    assert len(seen) >= OPENERS
    for earliest, latest, digest in seen:
        assert digest in order[earliest : latest + 1]
    mixed = (
        "SELECT count(*) FROM decision d JOIN recovery_case c ON c.id = d.case_id"
        " WHERE d.policy_digest <> c.policy_digest"
    )
    assert await installation.rows(desk, mixed) == [0]
    assert await installation.rows(desk, "SELECT count(*) FROM decision") == [len(seen)]
    last = [(await installation.open_case(process)).case.policy_digest for process in processes]
    assert last == [versions[-1].digest] * len(processes)


async def test_a_decision_that_is_always_overtaken_comes_to_an_end(installation: Any) -> None:
    """After some tries it keeps changes out for as long as it takes."""
    service = await installation.start(installation.text())
    other = await installation.start(installation.text())
    digests = [
        (await installation.put_in_force(other, installation.text(note=note))).digest for note in ("even", "odd")
    ]
    tries: list[bool] = []

    async def act(hold: bool) -> str:
        tries.append(hold)
        if not hold:  # somebody is always faster
            await roll_back(other.context, "retry", "cards", installation.by())
        async with service.database.transaction() as connection:
            epoch = (await live_set(connection, "default")).epoch
            book = await service.context.policies.current(connection, "default", epoch, hold=hold)
            if hold:
                overtaking = asyncio.create_task(roll_back(other.context, "retry", "cards", installation.by()))
                done, _ = await asyncio.wait([overtaking], timeout=0.2)
                assert not done  # it waits for this decision
                later.append(overtaking)
            (policy,) = book.policies
            return policy.digest

    later: list[asyncio.Task[Any]] = []
    decided_by = await service.context.policies.in_force("default", act)
    await asyncio.gather(*later)

    assert tries == [False] * MOVED_TRIES + [True]
    assert decided_by in digests


async def test_a_book_of_an_older_number_is_never_used(installation: Any) -> None:
    """What the process holds is of no use once the database's number has moved, and of full use until then."""
    service = await installation.start(installation.text())
    policies = service.context.policies
    book = await policies.refresh("default")
    async with service.database.transaction() as connection:
        epoch = (await live_set(connection, "default")).epoch
        assert await policies.current(connection, "default", epoch) is book
        with pytest.raises(PoliciesMoved):
            await policies.current(connection, "default", epoch + 1)
        with pytest.raises(PoliciesMoved):
            await policies.current(connection, "other", epoch)


async def test_a_text_is_compiled_once_for_everybody(installation: Any) -> None:
    """Whoever asks for it, and however often what is in force moves to and fro."""
    service = await installation.start(installation.text())
    compiled: Counter[str] = Counter()

    def counting(policy: Policy, *, engine: EngineChoice) -> CompiledPolicy:
        compiled[policy.digest] += 1
        return compile_policy(policy, engine=engine)

    texts = CompiledTexts(EngineChoice.CLOSURES, counting)
    policies = PolicyRegistry(service.database, texts)
    await asyncio.gather(*(policies.refresh(merchant) for merchant in ("default", "other") for _ in range(5)))
    old = (await policies.refresh("default")).policies[0]

    await installation.put_in_force(service, installation.text("elsewhere", "{method: sepa_debit}"))
    books = await asyncio.gather(*(policies.refresh(merchant) for merchant in ("default", "other")))
    new = await installation.put_in_force(service, installation.text(note="new"))
    await asyncio.gather(*(policies.refresh(merchant) for merchant in ("default", "other")))

    assert books[0] is books[1]
    assert set(compiled.values()) == {1}
    assert len(compiled) == 3
    assert texts.get(old.digest) is old  # only running cases need it: kept while there is room
    assert texts.get(new.digest) is not None


async def test_the_books_kept_are_bounded(installation: Any) -> None:
    """The merchant unused for longest makes room, and what others still have in common stays."""
    service = await installation.start(installation.text())
    policies = PolicyRegistry(service.database, service.folder.texts)
    own = await installation.put_in_force(service, installation.text(note="own"), "other")
    await policies.refresh("other")
    common = await policies.refresh("default")

    for number in range(MAX_BOOKS):
        assert await policies.refresh(f"merchant-{number}") is common

    async with service.database.transaction() as connection:
        epoch = (await live_set(connection, "default")).epoch
        for made_room in ("other", "default"):
            with pytest.raises(PoliciesMoved):
                await policies.current(connection, made_room, epoch)
        assert await policies.current(connection, "merchant-0", epoch) is common
    assert (await policies.refresh("other")).policies[0].digest == own.digest


async def test_a_live_text_that_is_refused_today_decides_nothing(installation: Any) -> None:
    """A newer release may be stricter. No broader policy steps in for it in silence; its replacement mends it."""
    service = await installation.start(installation.text())
    async with service.database.transaction() as connection:
        await connection.execute(
            "INSERT INTO policy_text SELECT encode(sha256('nonsense'), 'hex'), 'retry', 'german', 'x', 'nonsense',"
            " now()"
        )
        await connection.execute(
            "INSERT INTO policy_version (id, kind, name, digest, state, origin, author, created_at, changed_at,"
            " live_since) SELECT gen_random_uuid(), 'retry', 'german', encode(sha256('nonsense'), 'hex'), 'live',"
            " 'cli', 'x', now(), now(), now()"
        )

    with pytest.raises(PoliciesUnusable, match="can't be used"):
        await installation.open_case(service)

    mended = await installation.put_in_force(service, installation.text("german", "{method: card, country: DE}"))
    assert (await installation.open_case(service)).case.policy_digest == mended.digest
