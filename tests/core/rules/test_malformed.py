"""Whatever stands in a file: an answer with places, never a crash, never a hang, and nothing loads by mistake.

The corpus stands in `malformed/`. A file says in its first lines what is expected of it (`# expect: code, code` and,
where a word is misspelt, `# hint: the right word`); for files that can't say it, `malformed/index.txt` does.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recoup_core.rules.language.errors import PolicyInvalid, Problem, Severity
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.language.yamltext import MAX_BYTES

HERE: Final = Path(__file__).parent
FOLDER: Final = HERE / "malformed"
POLICIES: Final = HERE.parents[2] / "policies"
LEAST: Final = 300
"""Files that the corpus has at least."""


class Expected(msgspec.Struct, frozen=True):
    """What must be told of one file."""

    content: bytes
    codes: frozenset[str]
    hint: str | None = None


def _written() -> Iterator[tuple[str, Expected]]:
    """Yield the files of the corpus, each with what is expected of it."""
    lines = (FOLDER / "index.txt").read_text().splitlines()
    index = dict(line.split(": ", 1) for line in lines if not line.startswith("#"))
    for path in sorted(FOLDER.rglob("*.yaml")):
        name, content = path.relative_to(FOLDER).as_posix(), path.read_bytes()
        head = f"# expect: {index[name]}" if name in index else content.decode()
        codes = re.match(r"# expect: (.+)\n?(?:# hint: (.+))?", head)
        assert codes is not None, f"{name} does not say what is expected of it"
        yield name, Expected(content, frozenset(codes[1].split(", ")), codes[2])


_HEAD: Final = "kind: retry\nname: a\napplies_to: {}\n"
_REST: Final = "- {name: rest, stop: exhausted}\n"
_BIG: Final = ", ".join(f"{{attempt: {{gte: {1000 + n}}}}}" for n in range(90))
_LARGE: Final[dict[str, tuple[str, str]]] = {
    "too large": ("#\n" * (MAX_BYTES // 2) + "a: 1\n", "too_large"),
    "100,000 keys": ("".join(f"{n:x}:\n" for n in range(100_000)), "too_large"),
    "40,000 keys": ("".join(f"{n:x}:\n" for n in range(40_000)), "unknown_key, more"),
    "60,000 times one key": ("a:\n" * 60_000, "duplicate_key, more"),
    "a long line": (f"kind: {'x' * 200_000}\n", "unknown_value, missing_key"),
    "a long key": ("x" * 200_000 + ": 1\n", "yaml"),
    "a long quoted key": (f'? "{"x" * 200_000}"\n: 1\n', "unknown_key, missing_key"),
    "50,000 rules": (_HEAD + "rules:\n" + "- {}\n" * 50_000 + "examples: []\n", "too_many, empty_list"),
    "5,000 examples": (
        _HEAD + "rules:\n" + _REST + "examples:\n" + "- {given: {}, expect: rest}\n" * 5_000,
        "too_many",
    ),
    "examples that take too long": (
        f"{_HEAD}define: {{big: {{any: [{_BIG}]}}}}\nrules:\n"
        + "".join(f"- {{name: r{n}, when: {{any: [big, {{retries: {n}}}]}}, stop: exhausted}}\n" for n in range(999))
        + f"{_REST}examples:\n- {{given: {{}}, expect: rest}}\n"
        + "".join(f"- {{given: {{retries: {n}}}, expect: r{n}}}\n" for n in range(999)),
        "too_many",
    ),
}
"""Files too large to keep: their text is made here."""

CORPUS: Final = dict(_written()) | {
    name: Expected(text.encode(), frozenset(codes.split(", "))) for name, (text, codes) in _LARGE.items()
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Problem, ...]]:
    """Read every file, each as a book of its own, in one other process, and return what was told of each."""
    root = tmp_path_factory.mktemp("malformed")
    folders = [root / str(number) for number in range(len(CORPUS))]
    for folder, expected in zip(folders, CORPUS.values(), strict=True):
        folder.mkdir()
        (folder / "p.yaml").write_bytes(expected.content)
    asked = "".join(f"{folder}\n" for folder in folders)
    script = HERE / "read_each.py"
    done = subprocess.run([sys.executable, str(script)], input=asked, text=True, capture_output=True, check=False)
    answers = done.stdout.splitlines()
    assert len(answers) == len(CORPUS), f"{list(CORPUS)[len(answers)]} ended the reader: {done.stderr}"
    told = (msgspec.json.decode(answer, type=tuple[Problem, ...]) for answer in answers)
    return dict(zip(CORPUS, told, strict=True))


@pytest.mark.parametrize("name", CORPUS)
def test_malformed_file_is_refused_for_the_right_reasons(name: str, found: dict[str, tuple[Problem, ...]]) -> None:
    """Each file is refused with exactly the codes expected, at lines it has, and with the right word as a hint."""
    expected = CORPUS[name]
    problems = [problem for problem in found[name] if problem.severity is Severity.ERROR]

    assert {problem.code for problem in problems} == expected.codes
    lines = len(re.findall(rb"\r\n|\r|\n", expected.content)) + 1
    assert all(problem.file == "p.yaml" and problem.message for problem in problems)
    assert all(1 <= problem.line <= lines and problem.column >= 1 for problem in problems)
    assert expected.hint is None or any(expected.hint in (problem.hint or "") for problem in problems)


def test_the_corpus_is_a_corpus() -> None:
    """So many different files; every code that a file's text can have is expected of some; no index line is stale."""
    contents = {expected.content.partition(b"\n")[2] for expected in CORPUS.values()}
    listed = {line.split(":")[0] for line in (FOLDER / "index.txt").read_text().splitlines() if line[0] != "#"}

    assert len(contents) >= LEAST
    assert listed <= CORPUS.keys()


SCRAPS = [
    "", " ", "\n", "#", "---", "...", "--- ---", "%", "%YAML 9.9\n---\na: 1", "%YAML 99999999999999999999.1\n--- a",
    "%TAG ! x", "&", "*", "!", "!!", "|", ">", "@", "`", "?", "? ", ":", ": :", "-", "- -", "- - -", "[", "]", "{", "}",
    "[[", "{{", "{a", "{a:", "{a: b", "[a,", ",", "'", '"', "'a", '"a', '"\\', '"\\q"', '"\\x"', '"\\ud800"', "a: b: c",
    "a:\n\t- b", "\t", "\r", "\r\n\r\n", "a: |\n b\n  c\n d", "a: >2\nb", "? {a: b}\n: c", "{[a]: b}", "a: &a *a",
    "&a a: *a",
    "!!binary x", "!!set {a, b}", "<<: {a: b}", "<<: *x", "x" * 1000, "- " * 500, "[" * 5000, "{a: " * 5000,
    "a" * (MAX_BYTES + 1),
    "\ufffe", "\x00", "\x7f", "a\x85b", "\ud800", "null", "~", "1", "true", "kind: null", "kind: [retry]",
    "kind: {a: b}",
    "kind: retry\nrules: [null, 1, [], {}, {name: }, {when: }]",
    "kind: retry\nrules:\n  - name: [a]\n    when: {all: [{not: {}}, [], null, 1]}\n    retry: {between: [[], {}]}",
    "kind: retry\ndefine: {a: {b: {c: {d: {}}}}, '': {}, a b: 1}\nexamples: [1, [], {given: [], expect: []}]",
    "kind: retry\napplies_to: {customer: {customer: {tier: a}}, amount: {lt: 1}}\nexamples: {given: {}}",
    "kind: retry\nrules: [{name: a, when: {amount: {lt: {USD: [1]}, between: {EUR: [1, [2]]}}}, retry: {after: {}}}]",
    "kind: retry\nrules: [{name: a, when: {customer: {customer: 1}}, stop: [], otherwise: {otherwise: {}}}]",
    "kind: retry\nexamples: [{given: {customer: 1, amount: {}, network: {missing: {}}}, expect: x}]",
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(SCRAPS)))
def test_scrap_is_refused_with_places(number: int) -> None:
    """Texts that no file need hold, lone surrogates among them, are refused like files."""
    with pytest.raises(PolicyInvalid) as refusal:
        parse_policy(SCRAPS[number], source="p.yaml")

    assert refusal.value.problems
    assert all(problem.line >= 1 and problem.column >= 1 and problem.message for problem in refusal.value.problems)


SHIPPED: Final = {path.relative_to(POLICIES).as_posix(): path.read_text() for path in sorted(POLICIES.rglob("*.yaml"))}
_SCRAP: Final = st.text("{}[]:,-&*!|>'\"#%@`?\n\r\t 0aéx\u202e\u0000", max_size=4)


@st.composite
def slips(draw: st.DrawFn) -> str:
    """A shipped policy after one to three slips of the hand."""
    text = draw(st.sampled_from(list(SHIPPED.values())))
    for _ in range(draw(st.integers(1, 3))):
        text = draw(st.sampled_from((_dropped, _line_moved, _word_swapped)))(draw, text)
    return text


def _dropped(draw: st.DrawFn, text: str) -> str:
    at, drop = draw(st.integers(0, len(text))), draw(st.integers(0, 12))
    return text[:at] + draw(_SCRAP) + text[at + drop :]


def _line_moved(draw: st.DrawFn, text: str) -> str:
    lines = text.split("\n")
    line = lines[draw(st.integers(0, len(lines) - 1))]
    if draw(st.booleans()):
        lines.remove(line)
    lines.insert(draw(st.integers(0, len(lines))), " " * draw(st.integers(0, 3)) + line)
    return "\n".join(lines)


def _word_swapped(draw: st.DrawFn, text: str) -> str:
    words = sorted(set(re.findall(r"\w+", text)))
    old, new = draw(st.sampled_from(words)), draw(st.sampled_from((*words, "no", "~", "1e3", "0x1F", "[]", "{}", "")))
    return re.sub(rf"\b{re.escape(old)}\b", lambda _: new, text, count=draw(st.integers(0, 2)))


@settings(max_examples=150, deadline=None)
@given(text=slips())
def test_damaged_policy_is_read_or_refused(text: str) -> None:
    """A slip of the hand anywhere in a shipped policy gives a policy or a list of problems, nothing else."""
    problems: tuple[Problem, ...] = ()
    policy = None
    try:
        policy = parse_policy(text, source="p.yaml")
    except PolicyInvalid as refusal:
        problems = refusal.problems

    assert bool(problems) is (policy is None)
    assert policy is None or policy.text == text
