"""Where a word stands in a policy's text: conditions know their line, actions are values without a place."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from recoup_core.rules.language.errors import Placed, Report
from recoup_core.rules.language.yamltext import Map, Node, Scalar, Seq, read_tree

MAX_TREES: Final = 1
"""Trees kept; findings come policy by policy. A text is only read again when lint has found something in it."""

_SPOKEN: Final = frozenset({"name", "note", "task", "quiet"})
"""Keys whose values are words for people; a role or template of the same word is not meant by them."""


def place_of(text: str, line: int, word: str) -> Placed | None:
    """Return where a word stands on a line, or in the rule that begins there; None where it can't be told."""
    nodes = list(_walk(_tree(text)))
    start = next((node for node in nodes if isinstance(node, Map) and node.line == line), None)
    on_it = [node for node in nodes if isinstance(node, Scalar) and node.line == line]
    return next((node for node in (*on_it, *_walk(start)) if isinstance(node, Scalar) and node.text == word), None)


def key_place(text: str, line: int, key: str) -> Placed | None:
    """Return where a key stands in the rule that begins on a line, if it does so exactly once."""
    start = next((node for node in _walk(_tree(text)) if isinstance(node, Map) and node.line == line), None)
    maps = (node for node in _walk(start) if isinstance(node, Map))
    found = [name for each in maps for name, _ in each.entries if name.text == key]
    return found[0] if len(found) == 1 else None


@lru_cache(maxsize=MAX_TREES)
def _tree(text: str) -> Node | None:
    return read_tree(text, Report(""))


def _walk(node: Node | None) -> Iterator[Node]:
    """Yield a node and all below it in the order of the file; `read_tree` bounds the depth."""
    if node is None:
        return
    yield node
    if isinstance(node, Seq):
        for item in node.items:
            yield from _walk(item)
    elif isinstance(node, Map):
        for key, value in node.entries:
            if key.text not in _SPOKEN:
                yield from _walk(value)
