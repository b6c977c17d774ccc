"""`recoup policy versions` and what is done with one, on a real database."""

import asyncio
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

Recoup = Callable[..., Any]


def text_of(note: str, name: str = "cards", scope: str = "{method: card}") -> str:
    return (
        f"kind: retry\nname: {name}\nnote: {note}\napplies_to: {scope}\nrules:\n"
        "  - {name: only, stop: exhausted}\nexamples:\n  - {given: {}, expect: only}\n"
    )


def digest_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """`file("new")` writes a policy with that note."""

    def write(note: str, **fields: str) -> Path:
        path = tmp_path / f"{note}.yaml"
        path.write_text(text_of(note, **fields))
        return path

    return write


@pytest.fixture
def merchant(configured: str) -> str:
    """A merchant of this database."""

    async def make() -> None:
        connection = await asyncpg.connect(configured)
        await connection.execute("INSERT INTO merchant VALUES ('shop', 'shop', NULL, now())")
        await connection.close()

    asyncio.run(make())
    return "shop"


def test_a_version_lives_from_submit_to_rollback(configured: str, file: Any, recoup: Recoup) -> None:
    """Brought in, put in force, replaced, rolled back, retired: each answer says what it is now."""
    old, new = digest_of(text_of("old"))[:12], digest_of(text_of("new"))[:12]

    submitted = recoup("policy", "submit", file("old"), "--note", "the first")
    assert (submitted.code, submitted.out.split()[:3]) == (0, ["retry/cards", old, "draft"])
    assert "the first" in submitted.out
    assert recoup("policy", "shadow", old).out.split()[2] == "shadow"
    assert recoup("policy", "activate", old, "--author", "anna").out.split()[2] == "live"
    recoup("policy", "submit", file("new"))
    recoup("policy", "activate", new)

    listed = {line.split()[1]: line.split()[2] for line in recoup("policy", "versions").out.splitlines()}
    assert listed == {old: "retired", new: "live"}
    back = recoup("policy", "rollback", "retry/cards")
    assert (back.code, back.out.split()[1:3]) == (0, [old, "live"])
    assert recoup("policy", "versions", "--state", "live").out.split()[1] == old
    assert recoup("policy", "retire", old).out.split()[2] == "retired"
    assert recoup("policy", "versions", "--state", "live").err == "there is no such version\n"


def test_a_versions_text_comes_back_byte_for_byte(configured: str, tmp_path: Path, recoup: Recoup) -> None:
    """Line ends included: the digest of what is printed is the version's."""
    text = text_of("x").replace("\n", "\r\n")
    (tmp_path / "x.yaml").write_bytes(text.encode())
    recoup("policy", "submit", tmp_path / "x.yaml")

    shown = recoup("policy", "show", digest_of(text))

    assert digest_of(shown.out) == digest_of(text)


def test_the_same_text_again_is_the_same_version(configured: str, file: Any, recoup: Recoup) -> None:
    """Said on the error stream, for scripts read the other one."""
    first = recoup("policy", "submit", file("old"))

    again = recoup("policy", "submit", file("old"))

    assert (again.code, again.out, again.err.splitlines()[0]) == (0, first.out, "the text was known already")


def test_a_merchants_versions_are_its_own(merchant: str, file: Any, recoup: Recoup) -> None:
    """Without --merchant the house's are meant."""
    digest = digest_of(text_of("own"))[:12]
    recoup("policy", "submit", file("own"), "--merchant", merchant)

    assert recoup("policy", "versions").out == ""
    assert digest in recoup("policy", "versions", "--merchant", merchant).out
    refused = recoup("policy", "activate", digest)
    assert (refused.code, refused.err.splitlines()[0]) == (1, f"recoup: the house has no version {digest}")
    assert recoup("policy", "activate", digest, "--merchant", merchant).out.split()[2] == "live"


def test_what_can_not_be_meant_is_one_clear_line(configured: str, file: Any, recoup: Recoup) -> None:
    """An unknown id, digest, policy or merchant, a mistake in the file, a clash with what is live."""
    recoup("policy", "submit", file("old"))
    recoup("policy", "activate", digest_of(text_of("old")))
    clashing = file("clash", name="other-cards")
    recoup("policy", "submit", clashing)
    bad = clashing.with_name("bad.yaml")
    bad.write_text(text_of("bad").replace("card}", "cart}"))

    def refused(*arguments: object) -> str:
        done = recoup("policy", *arguments)
        assert (done.code, done.out) == (1, "")
        first: str = done.err.splitlines()[0]
        return first

    unknown = uuid4()
    assert refused("activate", unknown) == f"recoup: there is no policy version {unknown}"
    assert "neither an id nor six or more digits" in refused("retire", "v2")
    assert refused("rollback", "retry/cards").endswith("has no earlier version to go back to")
    assert refused("rollback", "retry/nobody") == "recoup: there is no policy retry/nobody"
    assert refused("submit", clashing, "--merchant", "nobody") == "recoup: there is no such merchant"
    assert "bad.yaml:4:" in refused("submit", bad)
    assert "can both cover a payment" in refused("activate", digest_of(text_of("clash", name="other-cards")))


def test_the_next_command_is_named_beside_the_answer(configured: str, file: Any, recoup: Recoup) -> None:
    """On standard error, so that scripts that read the answer don't see it."""
    digest = digest_of(text_of("mine"))[:12]

    answers = [recoup("policy", "submit", file("mine")), recoup("policy", "shadow", digest)]
    answers.append(recoup("policy", "activate", digest))

    assert [answer.err.partition("  ")[0] for answer in answers] == [
        f"next: recoup policy shadow {digest}",
        f"next: recoup policy shadow-report {digest}",
        "next: recoup policy migrate --kind retry",
    ]


def test_who_meets_a_live_policy_under_another_name_is_told_how_to_replace_it(
    configured: str, file: Any, recoup: Recoup
) -> None:
    """The commonest reason for two policies that claim the same payments is a new text with a new name."""
    for note, name in (("old", "cards"), ("new", "my-cards")):
        recoup("policy", "submit", file(note, name=name))
    recoup("policy", "activate", digest_of(text_of("old"))[:12])

    refused = recoup("policy", "activate", digest_of(text_of("new", name="my-cards"))[:12])

    assert "under the same `kind` and `name`" in refused.err
