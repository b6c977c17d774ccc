"""Traps of people: who asks, who decides, by whose role and under which policy: 6, 7 and 9 of the list."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import pytest
from httpx import Response
from tests.stories.traps_shop import DECIDED, PEOPLE_DECIDE, Person, RefundShop, policy

from recoup_cli.main import run

Under = Callable[[str], Awaitable[RefundShop]]

ONE_LEVEL: Final = "{name: one person, review: {levels: [[support_lead]], within: 2d, expires: 30d}}"
MANY: Final = 1_000
AT_ONCE: Final = 8
"""Requests of the crowd under way at the same time."""


# -- 6: the requester edits, a colleague re-submits, the requester approves


async def touched_by_two(shop: RefundShop) -> tuple[Person, Person, Person, dict[str, Any]]:
    """Rita asks and edits, Cole submits again; both could approve what others ask for. Pat has had it sent back."""
    rita, cole = await shop.hire("rita", "support_lead"), await shop.hire("cole", "support_lead")
    pat = await shop.hire("pat", "support_lead", role="viewer")
    file = await shop.ask(await shop.paid(), 4_000, rita)
    for person, step in ((rita, _edit), (cole, _submit)):
        back = await pat.act(file, "send-back", comment="which item?")
        assert back.status_code == 200, back.text
        file = await step(person, back.json())
        assert file["refund"]["state"] == "in_review"
    assert file["refund"]["touched_by"] == ["rita", "cole"]
    return rita, cole, pat, file


async def _edit(person: Person, file: dict[str, Any]) -> dict[str, Any]:
    answer = await person.edit(file, amount_minor=3_000)
    assert answer.status_code == 200, answer.text
    edited: dict[str, Any] = answer.json()
    return edited


async def _submit(person: Person, file: dict[str, Any]) -> dict[str, Any]:
    answer = await person.act(file, "submit")
    assert answer.status_code == 200, answer.text
    submitted: dict[str, Any] = answer.json()
    return submitted


async def by_api(shop: RefundShop, rita: Person, file: dict[str, Any]) -> Response:
    """Rita says yes by the plain route."""
    return await rita.act(file, "approve")


async def by_another_key(shop: RefundShop, rita: Person, file: dict[str, Any]) -> Response:
    """Rita has a second key, made for approving; whoever made it wrote her name another way."""
    second = await shop.hire("  RITA ", "support_lead", role="viewer")
    return await second.act(file, "approve")


async def by_a_role_lent_to_her(shop: RefundShop, rita: Person, file: dict[str, Any]) -> Response:
    """Uwe, who has nothing to do with it, lends Rita his role; her own key of today has none."""
    await _lend(shop, await shop.hire("uwe", "support_lead", role="viewer"), "rita")
    return await (await shop.hire("rita", role="viewer")).act(file, "approve")


async def by_a_role_that_she_lent(shop: RefundShop, rita: Person, file: dict[str, Any]) -> Response:
    """Dora, who never saw it, decides in Rita's place with the role that Rita lent her."""
    await _lend(shop, rita, "dora")
    return await (await shop.hire("dora", role="viewer")).act(file, "approve")


async def _lend(shop: RefundShop, owner: Person, to: str) -> None:
    until = (shop.clock.now() + timedelta(days=1)).isoformat()
    answer = await owner.post("/delegations", {"delegate": to, "roles": ["support_lead"], "ends_at": until})
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("way", [by_api, by_another_key, by_a_role_lent_to_her, by_a_role_that_she_lent])
async def test_trap_06_whoever_touched_it_never_approves_it(refund_shop_under: Under, way: Any) -> None:
    """HMCTS's hole: the requester edits, a colleague submits again, the requester approves. Refused, by every route."""
    shop = await refund_shop_under(policy(ONE_LEVEL))
    rita, cole, pat, file = await touched_by_two(shop)

    answers = [await way(shop, rita, file), await cole.act(file, "approve")]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(403, "four_eyes")] * 2
    await _only_pat(shop, pat, file)


async def test_trap_06_nor_among_many(refund_shop_under: Under) -> None:
    """The bulk route does what it may, and names what it may not; the queue never offered it."""
    shop = await refund_shop_under(policy(ONE_LEVEL))
    rita, _, pat, file = await touched_by_two(shop)
    others = await shop.ask(await shop.paid(), 2_000)

    waiting = (await rita.get("/approvals"))["items"]
    items = [{"refund_id": each["refund"]["id"], "version": each["refund"]["version"]} for each in (file, others)]
    answer = await rita.post("/refunds/bulk", {"verdict": "approve", "items": items})

    assert [each["refund"]["id"] for each in waiting] == [others["refund"]["id"]]
    told = [(each["ok"], each["problem"] and each["problem"]["code"]) for each in answer.json()["items"]]
    assert told == [(False, "four_eyes"), (True, None)]
    await _only_pat(shop, pat, file)


async def test_trap_06_nor_by_the_command_line(
    refund_shop_under: Under,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command line has the database's password, and still asks by whose key."""
    shop = await refund_shop_under(policy(ONE_LEVEL))
    rita, _, pat, file = await touched_by_two(shop)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECOUP_DATABASE_URL", database_url)
    monkeypatch.setenv("RECOUP_API_KEY", rita.secret)
    refund = file["refund"]

    code = await asyncio.to_thread(run, ["refund", "approve", refund["id"], "--version", str(refund["version"])])

    assert code != 0
    assert "rita can't decide this refund" in capsys.readouterr().err
    await _only_pat(shop, pat, file)


async def _only_pat(shop: RefundShop, pat: Person, file: dict[str, Any]) -> None:
    """The attempts have changed nothing, and somebody who never touched it can still approve it as it is."""
    answer = await pat.act(file, "approve")
    assert (answer.status_code, answer.json()["refund"]["state"]) == (200, "approved"), answer.text
    given = [(each["principal"], each["verdict"]) for each in answer.json()["approvals"]]
    assert given == [("pat", "send_back"), ("pat", "send_back"), ("pat", "approve")]


# -- 7: the policy is edited while a thousand refunds wait


async def test_trap_07_a_new_policy_moves_no_refund_that_waits(refund_shop_under: Under) -> None:
    """A thousand wait under the old one; not one of them changes until somebody changes that one."""
    shop = await refund_shop_under(policy(PEOPLE_DECIDE))
    lead, finance = await shop.hire("lea", "support_lead"), await shop.hire("finn", "finance")
    files = await _many(shop)
    before = await _waiting(shop)

    await _enact(shop, policy(DECIDED))
    await shop.work()
    await shop.service.sweep(shop.clock.now())
    await shop.wait(timedelta(hours=12))

    assert len(before) == MANY
    assert await _waiting(shop) == before
    edited = (await shop.agent.edit(files[0], amount_minor=7)).json()
    assert (edited["refund"]["state"], edited["decision"]["rule"]) == ("approved", "at once")
    assert edited["refund"]["policy_digest"] != files[0]["refund"]["policy_digest"]
    untouched = {ref: row for ref, row in before.items() if ref != files[0]["refund"]["id"]}
    assert {ref: row for ref, row in (await _waiting(shop)).items() if ref in untouched} == untouched

    first = (await lead.act(files[1], "approve")).json()
    second = (await finance.act(first, "approve")).json()
    assert [(each["refund"]["state"], each["refund"]["level"]) for each in (first, second)] == [
        ("in_review", 1),
        ("approved", 2),
    ]


async def _many(shop: RefundShop) -> list[dict[str, Any]]:
    """Ask for a thousand refunds, each of a few cents, of ten payments."""
    payments = [await shop.paid(100_000) for _ in range(10)]
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> dict[str, Any]:
        async with gate:
            return await shop.ask(payments[number % len(payments)], 5)

    return list(await asyncio.gather(*(one(number) for number in range(MANY))))


async def _waiting(shop: RefundShop) -> dict[str, str]:
    rows = await shop.rows(
        "SELECT r.id::text, to_jsonb(r)::text || (SELECT jsonb_agg(to_jsonb(p) ORDER BY p.number)::text"
        " FROM refund_part p WHERE p.refund_id = r.id) AS row FROM refund r"
    )
    return {row["id"]: row["row"] for row in rows}


async def _enact(shop: RefundShop, text: str) -> None:
    author = await shop.hire("paul", role="policy_author")
    version = (await author.post("/policies/versions", {"text": text, "name": "traps.yaml"})).json()
    answer = await author.post(f"/policies/versions/{version['id']}/activate")
    assert (answer.status_code, answer.json()["state"]) == (200, "live"), answer.text


# -- 9: the last level approves exactly once


async def test_trap_09_the_last_level_approves_exactly_once(refund_shop_under: Under) -> None:
    """Twelve people say yes at the same moment, by both routes: one of them is heard, and the money goes once."""
    shop = await refund_shop_under(policy(PEOPLE_DECIDE))
    lead = await shop.hire("lea", "support_lead")
    crowd = [await shop.hire(f"finn-{chr(97 + number)}", "finance") for number in range(12)]
    paid = await shop.paid()
    file = (await lead.act(await shop.ask(paid, 4_000), "approve")).json()
    refund = file["refund"]
    many = {"verdict": "approve", "items": [{"refund_id": refund["id"], "version": refund["version"]}]}

    answers = await asyncio.gather(
        *(person.act(file, "approve") for person in crowd[::2]),
        *(person.post("/refunds/bulk", many) for person in crowd[1::2]),
    )
    await shop.work()

    assert Counter(map(_said, answers)) == {"approved": 1, "refund_not_open": 11}
    told = await shop.told(file)
    given = [(each["level"], each["verdict"]) for each in told["approvals"]]
    assert (given, told["refund"]["state"]) == ([(0, "approve"), (1, "approve")], "succeeded")
    assert (await shop.kinds(file)).count("refund.approved") == 1
    assert [row["refunds"] for row in await shop.rows("SELECT refunds FROM refund_tally")] == [1, 1]
    assert (len(shop.line.sent), shop.moved(paid)) == (1, 4_000)
    await shop.require_books()


def _said(answer: Response) -> str:
    """What an answer comes to, of either route."""
    told = answer.json()
    if "items" in told:
        (told,) = told["items"]
        told = told if told["ok"] else told["problem"]
    word: str = told["code"] if "code" in told else told["refund"]["state"]
    return word
