"""YAML is read as written: no guesses about texts, no sharing, and every trap has a place in the file."""

from collections.abc import Callable

import pytest

from recoup_core.rules.language.errors import Report
from recoup_core.rules.language.yamltext import (
    MAX_BYTES,
    MAX_DEPTH,
    Map,
    Node,
    Scalar,
    as_bool,
    as_int,
    as_text,
    read_tree,
)


def read(text: str) -> tuple[Node | None, list[str]]:
    report = Report("p.yaml")
    tree = read_tree(text, report)
    return tree, [f"{problem.line}:{problem.column} {problem.code}" for problem in report.problems]


TRAPS = {
    "anchor": ("a: &x 1\nb: 2\n", ["1:4 anchor"]),
    "alias": ("a: 1\nb: *x\n", ["2:4 alias"]),
    "merge key": ("a:\n  <<: {b: 1}\n", ["2:3 merge_key"]),
    "tag": ("a: !!python/object:os.system x\n", ["1:4 tag"]),
    "local tag on a mapping": ("a: !thing {b: 1}\n", ["1:4 tag"]),
    "duplicate key": ("a: 1\nb: 2\na: 3\n", ["3:1 duplicate_key"]),
    "duplicate key, other quotes": ('a: 1\n"a": 3\n', ["2:1 duplicate_key"]),
    "list as key": ("? [a]\n: 1\n", ["1:3 key_not_text"]),
    "two documents": ("a: 1\n---\nb: 2\n", ["3:1 second_document"]),
    "empty": ("", ["1:1 empty"]),
    "only a comment": ("# nothing\n", ["1:1 empty"]),
    "null byte": ("a: 1\nb: \x00\n", ["2:4 control_character"]),
    "byte order mark": ("\ufeffa: 1\n", ["1:1 control_character"]),
    "right-to-left override": ("a: x\u202ey\n", ["1:5 control_character"]),
    "line separator": ("a: x\u2028b: 1\n", ["1:5 control_character"]),
    "lone surrogate": ("a: \ud800\n", ["1:4 control_character"]),
    "control character by escape": ('a: "\\x07"\n', ["1:4 control_character"]),
    "escape beyond Unicode": ('a: "\\U00110000"\n', ["1:1 yaml"]),
    "unclosed list": ("a: [1, 2\n", ["1:4 yaml"]),
    "tab as indentation": ("a:\n\tb: 1\n", ["2:1 yaml"]),
    "nested too deeply": ("[" * (MAX_DEPTH + 1), [f"1:{MAX_DEPTH + 1} too_deep"]),
    "a card number": ("a: 4242 4242 4242 4242\n", ["1:4 card_number"]),
    "too large": ("#" * (MAX_BYTES + 1), ["1:1 too_large"]),
    "too large in bytes": ("#" + "ü" * (MAX_BYTES // 2), ["1:1 too_large"]),
}


@pytest.mark.parametrize("name", TRAPS)
def test_trap_is_refused_at_its_place(name: str) -> None:
    """What YAML allows and people trip over is refused with line and column."""
    text, expected = TRAPS[name]

    _, problems = read(text)

    assert problems == expected


def test_several_traps_are_found_in_one_pass() -> None:
    """One run tells everything that is wrong with the notation."""
    _, problems = read("a: &x 1\nb: *x\nb: !t 2\n")

    assert problems == ["1:4 anchor", "2:4 alias", "3:1 duplicate_key", "3:4 tag"]


@pytest.mark.parametrize(
    "word", ["no", "NO", "yes", "on", "off", "null", "~", "6:00", "1_000", "0x1F", "010", "1e3", ".5", "2026-01-01"]
)
def test_text_stays_as_written(word: str) -> None:
    """YAML 1.1 would make booleans, sexagesimal numbers and dates of these."""
    tree, problems = read(f"a: {word}\n")

    assert problems == []
    assert isinstance(tree, Map)
    assert tree.entries[0][1] == Scalar(1, 4, word, True)


def test_on_is_an_ordinary_key() -> None:
    """Our own key `on` is YAML 1.1's true."""
    tree, _ = read("on: payday\n")

    assert isinstance(tree, Map)
    assert tree.get("on") == Scalar(1, 5, "payday", True)


def read_typed(text: str, reader: Callable[[Node, str, Report], object]) -> tuple[object, list[str]]:
    report = Report("p.yaml")
    tree = read_tree(text, report)
    assert tree is not None
    return reader(tree, "x", report), [problem.code for problem in report.problems]


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("-3", -3), ("9007199254740991", 2**53 - 1)])
def test_plain_digits_are_whole_numbers(text: str, number: int) -> None:
    """Whole numbers are read exactly."""
    assert read_typed(text, as_int) == (number, [])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1_000", "wrong_type"),
        ("6:00", "wrong_type"),
        ("010", "wrong_type"),
        ("0x1F", "wrong_type"),
        ("+1", "wrong_type"),
        ("1.0", "wrong_type"),
        ("1e3", "wrong_type"),
        ('"5"', "wrong_type"),
        ("[1]", "wrong_type"),
        ("9007199254740992", "out_of_range"),
        ("99999999999999999999", "wrong_type"),
    ],
)
def test_other_notations_are_no_whole_numbers(text: str, code: str) -> None:
    """Octal, hexadecimal, sexagesimal, quoted and inexact numbers are refused, never guessed."""
    assert read_typed(text, as_int) == (None, [code])


@pytest.mark.parametrize("text", ["yes", "no", "on", "True", "1", '"true"', "[true]"])
def test_only_true_and_false_are_booleans(text: str) -> None:
    """`no` is Norway."""
    assert read_typed(text, as_bool) == (None, ["wrong_type"])


@pytest.mark.parametrize("text", ["{}", "[]", '""', '" "'])
def test_a_text_is_not_empty(text: str) -> None:
    """Nothing, a list and a mapping are no texts."""
    assert read_typed(text, as_text) == (None, ["wrong_type"])


@pytest.mark.parametrize("word", ["~", "null", "Null", "NULL"])
def test_what_yaml_takes_for_nothing_is_no_text(word: str) -> None:
    """`tier: null` is no tier of that name: whoever means the text writes it in quotes."""
    assert read_typed(word, as_text) == (None, ["wrong_type"])
    assert read_typed(f"'{word}'", as_text) == (word, [])
