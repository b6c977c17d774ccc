"""Versions of policies over HTTP: a merchant's own life cycle beside the house's."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

from recoup_core.wiring import Service


def text_of(note: str = "x", name: str = "cards-consumer", scope: str = "{method: card}") -> str:
    """A policy that stops at once; by default one in place of the house's of that name."""
    return (
        f"kind: retry\nname: {name}\nnote: {note}\napplies_to: {scope}\nrules:\n"
        "  - {name: only, stop: exhausted}\nexamples:\n  - {given: {}, expect: only}\n"
    )


async def submit(api: Any, text: str, **more: Any) -> dict[str, Any]:
    """Bring a text in."""
    answer = await api.post("/policies/versions", {"text": text, **more}, key=None)
    assert answer.status_code in (200, 201), answer.text
    found: dict[str, Any] = answer.json()
    return found


async def act(api: Any, version: dict[str, Any], what: str) -> Any:
    """Do something with a version."""
    return await api.post(f"/policies/versions/{version['id']}/{what}", key=None)


async def test_a_text_becomes_a_version_once(api: Any) -> None:
    """201 the first time, 200 with the same version afterwards; its author is the key's principal."""
    body = {"text": text_of(), "name": "mine.yaml", "note": "payday first"}

    first = await api.post("/policies/versions", body, key=None)
    again = await api.post("/policies/versions", body, key=None)

    assert (first.status_code, again.status_code) == (201, 200)
    version = first.json()
    assert again.json() == version
    assert (version["state"], version["house"], version["origin"]) == ("draft", False, "api")
    assert (version["author"], version["note"]) == ("key:tester-admin", "payday first")
    read = (await api.get(f"/policies/versions/{version['id']}")).json()
    assert read == {**{key: value for key, value in version.items() if key != "warnings"}, "text": body["text"]}


async def test_a_text_with_mistakes_is_refused_with_each_of_them(api: Any) -> None:
    """The problem lists them with their places, for whoever draws them into an editor."""
    text = text_of(scope="{metod: card}").replace("stop: exhausted", "stop: exhaustd")

    answer = await api.post("/policies/versions", {"text": text, "name": "mine.yaml"}, key=None)

    assert (answer.status_code, answer.json()["code"]) == (422, "policy_invalid")
    found = {(each["file"], each["line"], each["code"]) for each in answer.json()["problems"]}
    assert {("mine.yaml", 4, "unknown_fact"), ("mine.yaml", 6, "unknown_value")} <= found


async def test_what_is_activated_decides_for_this_merchant(
    api: Any, other: Any, report: Callable[..., Awaitable[Any]]
) -> None:
    """The list of policies in force follows, and other merchants keep the house's."""
    house = {item["name"]: item["digest"] for item in (await other.get("/policies")).json()["items"]}
    version = await submit(api, text_of())

    activated = await act(api, version, "activate")
    opened = await report()

    assert (activated.status_code, activated.json()["state"]) == (200, "live")
    assert opened["case"]["policy_digest"] == version["digest"]
    mine = {item["name"]: item["digest"] for item in (await api.get("/policies")).json()["items"]}
    assert mine == {**house, "cards-consumer": version["digest"]}
    assert {item["name"]: item["digest"] for item in (await other.get("/policies")).json()["items"]} == house


async def test_a_version_is_watched_activated_retired_and_none_of_it_twice(api: Any) -> None:
    """Each call again finds it done; what the state table refuses is a conflict."""
    version = await submit(api, text_of())

    steps = [("shadow", "shadow"), ("shadow", "shadow"), ("activate", "live"), ("activate", "live")]
    for what, state in steps:
        answer = await act(api, version, what)
        assert (answer.status_code, answer.json()["state"]) == (200, state)
    refused = await act(api, version, "shadow")
    assert (refused.status_code, refused.json()["code"]) == (409, "illegal_transition")
    for _ in range(2):
        assert (await act(api, version, "retire")).json()["state"] == "retired"


async def test_a_rollback_is_one_call(api: Any) -> None:
    """With its key it is done once; with another key it goes back to where it came from."""
    first, second = await submit(api, text_of("a")), await submit(api, text_of("b"))
    path = "/policies/retry/cards-consumer/rollback"
    assert (await api.post(path)).status_code == 404  # nothing of its own was ever live
    await act(api, first, "activate")
    assert (await api.post(path)).json()["code"] == "not_allowed_now"  # there is none before the first
    await act(api, second, "activate")

    key = str(uuid4())
    answers = [await api.post(path, key=key) for _ in range(2)]

    assert [answer.json()["digest"] for answer in answers] == [first["digest"]] * 2
    assert (await api.post(path)).json()["digest"] == second["digest"]
    assert (await api.post(path, key=None)).json()["code"] == "idempotency_key_required"


async def test_an_ambiguous_activation_says_with_what(api: Any) -> None:
    """422 with the place in the text that is to be made narrower; nothing has changed."""
    version = await submit(api, text_of(name="mine"))

    answer = await act(api, version, "activate")

    assert (answer.status_code, answer.json()["code"]) == (422, "policy_invalid")
    assert [problem["code"] for problem in answer.json()["problems"]] == ["ambiguous"]
    assert (await api.get(f"/policies/versions/{version['id']}")).json()["state"] == "draft"


async def test_the_houses_versions_are_seen_and_not_changed(api: Any) -> None:
    """By their text one makes an own version."""
    items = (await api.get("/policies/versions", name="cards-consumer", state="live")).json()["items"]
    (house,) = [item for item in items if item["house"]]

    for what in ("shadow", "activate", "retire"):
        refused = await act(api, house, what)
        assert (refused.status_code, refused.json()["code"]) == (403, "house_version")
    text = (await api.get(f"/policies/versions/{house['id']}")).json()["text"]
    own = await submit(api, text)
    assert (own["digest"], own["house"]) == (house["digest"], False)
    assert (await act(api, own, "activate")).json()["state"] == "live"


async def test_versions_are_listed_page_by_page(api: Any, other: Any) -> None:
    """Newest first, narrowed by kind, name and state; other merchants' are never among them."""
    mine = [await submit(api, text_of(str(number), "mine", "{country: DE}")) for number in range(5)]
    await submit(other, text_of("theirs", "mine", "{country: DE}"))
    await act(api, mine[0], "retire")

    pages, cursor = [], None
    while True:
        given = {"name": "mine", "kind": "retry", "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await api.get("/policies/versions", **given)).json()
        pages.append([item["id"] for item in page["items"]])
        cursor = page["next_cursor"]
        if cursor is None:
            break

    ids = [version["id"] for version in reversed(mine)]
    assert pages == [ids[:2], ids[2:4], ids[4:]]
    retired = (await api.get("/policies/versions", name="mine", state="retired")).json()["items"]
    assert [item["id"] for item in retired] == [mine[0]["id"]]
    assert (await api.get("/policies/versions", kind="dunning", name="mine")).json()["items"] == []


async def test_a_set_of_files_is_deployed_for_the_merchant(api: Any, service: Service) -> None:
    """As a dry run first, then for good; again it changes nothing, and the house stays as it is."""
    gone = await submit(api, text_of("gone", "gone", "{method: card, country: FR, segment: consumer}"))
    await act(api, gone, "activate")
    files = [{"name": "cards.yaml", "text": text_of("new")}]

    dry = (await api.post("/policies/apply", {"files": files, "dry_run": True}, key=None)).json()
    done = (await api.post("/policies/apply", {"files": files}, key=None)).json()
    again = (await api.post("/policies/apply", {"files": files}, key=None)).json()

    assert (dry["dry_run"], done["dry_run"], done["changes"], again["changes"]) == (True, False, 2, 0)
    assert dry["lines"] == done["lines"]
    assert [(line["act"], line["name"]) for line in done["lines"]] == [("add", "cards-consumer"), ("remove", "gone")]
    names = {item["name"] for item in (await api.get("/policies")).json()["items"]}
    assert names == {compiled.policy.name for compiled in service.folder.policies}


async def test_what_was_done_with_policies_stands_among_the_events(api: Any, certain: Any) -> None:
    """Who, what, and in place of what."""
    version = await submit(api, text_of())
    await act(api, version, "activate")
    await certain()

    items = (await api.get("/events", limit=200)).json()["items"]

    told = [
        (item["kind"], item["actor"], item["data"]["policy"]) for item in items if item["kind"].startswith("policy")
    ]
    author, policy = "key:tester-admin", "retry/cards-consumer"
    assert told == [("policy.submitted", author, policy), ("policy.activated", author, policy)]
