"""Every code that a problem can have is explained, and every one that is explained can come up."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import recoup_cli
from recoup_core import rules, templates
from recoup_core.rules.language.problem_codes import PROBLEM_CODES, page_of, problems_page

ROOT = Path(__file__).parents[3]
SOURCES = [
    path
    for package in (rules, templates, recoup_cli)
    for path in Path(package.__path__[0]).rglob("*.py")
    if path.name != "problem_codes.py"
]
CORPUS = Path(__file__).with_name("malformed")
CODE = re.compile(r"[a-z]+(?:_[a-z0-9]+)*")
PLACES = {"add": 1, "_problem": 1, "problem_at": 2, "finding": 0}
"""Where the code stands among the arguments of what makes problems."""


def texts(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def codes(tree: ast.AST) -> Iterator[str]:
    """Yield what stands where a code belongs: in calls that make problems, and in (key, code, message) triples."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            name = called.rpartition(".")[2]
            place = PLACES.get(name)
            if place is not None and len(node.args) > place and (name != "add" or called.endswith("report.add")):
                yield from outcomes(node.args[place])
            if name in ("Problem", *PLACES):
                yield from (code for word in node.keywords if word.arg == "code" for code in outcomes(word.value))
        elif isinstance(node, ast.Tuple) and len(node.elts) == 3:
            key, code, message = node.elts
            if (
                isinstance(key, ast.Constant)
                and isinstance(code, ast.Constant)
                and any(" " in t for t in texts(message))
            ):
                yield from texts(code)


def outcomes(node: ast.expr) -> Iterator[str]:
    """Yield the texts that an argument may come to: itself, or both sides of a condition."""
    if isinstance(node, ast.IfExp):
        yield from (*outcomes(node.body), *outcomes(node.orelse))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def test_every_code_is_explained() -> None:
    """A problem without an explanation has no page to link to."""
    made = {code for path in SOURCES for code in codes(ast.parse(path.read_text())) if CODE.fullmatch(code)}
    expected = {
        code.strip()
        for path in CORPUS.rglob("*.yaml")
        for code in path.read_bytes().partition(b"\n")[0].decode("latin-1").partition("expect:")[2].split(",")
        if CODE.fullmatch(code.strip())
    }

    assert len(made) > 60
    assert (made | expected) - PROBLEM_CODES.keys() == set()


def test_no_explanation_is_stale() -> None:
    """What nothing can say any more is not explained."""
    written = {text for path in SOURCES for text in texts(ast.parse(path.read_text()))}

    assert PROBLEM_CODES.keys() - written == set()


def test_the_page_of_problems_is_the_one_that_is_made() -> None:
    """`recoup policy problems --markdown` writes docs/policies/problems.md."""
    assert (ROOT / "docs" / "policies" / "problems.md").read_text() == problems_page()


def test_every_code_has_its_place_in_the_documents() -> None:
    """SARIF and people are led to a page, or an anchor, that there is."""
    for code in PROBLEM_CODES:
        page, _, anchor = page_of(code).partition("#")
        text = (ROOT / "docs" / page).read_text()
        assert (f'<a id="{anchor}"></a>' if anchor else f"# {code} ") in text, code


def test_explanations_are_whole_sentences() -> None:
    """They are shown side by side, in tables and one after the other."""
    for known in PROBLEM_CODES.values():
        assert known.meaning.endswith("."), known.code
        assert known.mend.endswith("."), known.code
        assert "|" not in known.meaning + known.mend, known.code
