"""How the fake Stripe answers: JSON, errors of Stripe's shape, pages of a list, and names without digits."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from recoup_core.domain.ids import new_id

LETTERS = str.maketrans("0123456789", "ghijklmnop")


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: Mapping[str, str] = {}


class LoseAnswer(Exception):
    """Break the connection instead of answering."""


def name(prefix: str) -> str:
    return prefix + new_id().hex.translate(LETTERS)


def as_json(status: int, value: Any, **headers: str) -> Answer:
    return Answer(status, json.dumps(value).encode(), headers)


def error(status: int, kind: str, code: str | None = None, **more: Any) -> Answer:
    return as_json(status, {"error": {"type": kind, "message": f"told: {code}", "code": code, **more}})


def page_of(found: Sequence[dict[str, Any]], query: Mapping[str, str], url: str, size: int | None) -> Answer:
    """Return the page that follows `starting_after`, as large as asked for or as the test wants it."""
    ids = [one["id"] for one in found]
    start = ids.index(query["starting_after"]) + 1 if "starting_after" in query else 0
    rest, limit = found[start:], size or int(query.get("limit", 10))
    return as_json(200, {"object": "list", "url": url, "has_more": len(rest) > limit, "data": rest[:limit]})
