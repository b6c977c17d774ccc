"""The JSON Schema for editors: made from the language itself, never stricter than it, and sharp enough to help."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from recoup_core.rules.facts import VOCABULARIES, Fact, FactKind, PolicyKind
from recoup_core.rules.language.errors import PolicyInvalid
from recoup_core.rules.language.json_schema import policy_schema, policy_schema_text
from recoup_core.rules.language.names import read_names
from recoup_core.rules.language.schema import parse_policy

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "policies").rglob("*.yaml"))
PAGES = [ROOT / "policies" / "README.md", *sorted((ROOT / "docs" / "policies").glob("*.md"))]
SCHEMA = policy_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

# --- what an editor makes of a text ---------------------------------------------------------------------------------


class Reader11(yaml.SafeLoader):
    """YAML 1.1, as some editors read it; dates stay texts, for JSON has none."""


class Reader12(yaml.SafeLoader):
    """YAML 1.2's core schema, as most editors read it."""


Reader11.add_constructor("tag:yaml.org,2002:timestamp", yaml.SafeLoader.construct_yaml_str)
Reader11.add_constructor("tag:yaml.org,2002:value", yaml.SafeLoader.construct_yaml_str)
Reader12.yaml_implicit_resolvers = {}
for tag, pattern, first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
):
    Reader12.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), list(first))


def plain_number(loader: Any, node: Any) -> Any:
    """Read a whole number of YAML 1.2: leading zeros don't make it octal."""
    return int(node.value, 0) if node.value[:2] in ("0o", "0x") else int(node.value)


def decimal(loader: Any, node: Any) -> Any:
    return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


Reader12.add_constructor("tag:yaml.org,2002:int", plain_number)
Reader12.add_constructor("tag:yaml.org,2002:float", decimal)


def keys_as_written(loader: Any, node: Any) -> dict[str, Any]:
    """Keys are texts to every editor, also `on` and `no`."""
    return {key.value: loader.construct_object(value, deep=True) for key, value in node.value}


for reader in (Reader11, Reader12):
    reader.add_constructor("tag:yaml.org,2002:map", keys_as_written)


def refusals(text: str) -> list[str]:
    """Return what the schema says against a text in the eyes of either kind of editor, each with its place."""
    found: list[str] = []
    for loader in (Reader11, Reader12):
        document = yaml.load(text, Loader=loader)
        found += [f"{error.json_path}: {error.message[:200]}" for error in VALIDATOR.iter_errors(document)]
    return found


# --- the file -------------------------------------------------------------------------------------------------------


def test_the_committed_schema_is_the_one_that_is_made() -> None:
    """`recoup policy schema --out policies/schema.json` writes it anew; it is never edited by hand."""
    assert (ROOT / "policies" / "schema.json").read_text() == policy_schema_text()


def test_the_schema_is_a_schema() -> None:
    """JSON Schema 2020-12, and every reference leads somewhere."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)

    used = set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(SCHEMA)))

    assert used == set(SCHEMA["$defs"])


def test_patterns_mean_the_same_in_every_editor() -> None:
    """JavaScript, told to be strict, refuses escapes that need none, and knows none of Python's own."""

    def patterns(schema: Any) -> Iterator[str]:
        for key, each in schema.items() if isinstance(schema, dict) else enumerate(schema):
            if key == "pattern" and isinstance(each, str):
                yield each
            elif isinstance(each, dict | list):
                yield from patterns(each)

    found = set(patterns(SCHEMA))
    escapes = {escaped for pattern in found for escaped in re.findall(r"\\(.)", pattern)}

    assert len(found) > 8
    assert escapes <= {*"^$.*+?()[]{}|/", "\\", "S", "x"}
    assert not any("(?P" in pattern for pattern in found)


def test_every_key_fact_and_operator_is_explained() -> None:
    """Whatever an editor completes, it can say something about: itself, or what it refers to."""

    def silent(schema: Any, path: str) -> Iterator[str]:
        if not isinstance(schema, dict):
            return
        for name, each in schema.get("properties", {}).items():
            target = SCHEMA["$defs"][each["$ref"].rpartition("/")[2]] if "$ref" in each else {}
            if not (
                each.get("description") or target.get("description") or each.get("const") in (*PolicyKind, "names")
            ):
                yield f"{path}.{name}"
        for key, each in schema.items():
            for inner in each if isinstance(each, list) else [each]:
                if key not in ("if", "then", "else"):  # they say when keys go together, not what they mean
                    yield from silent(inner, f"{path}.{key}")

    assert list(silent(SCHEMA, "$")) == []


# --- never stricter than the readers --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_policy_fits(path: Path) -> None:
    """And says to editors where the schema is."""
    text = path.read_text()

    assert refusals(text) == []
    assert text.splitlines()[0] == "# yaml-language-server: $schema=../schema.json"


SNIPPETS = [
    pytest.param(found[1], id=f"{page.stem}-{number}")
    for page in PAGES
    for number, found in enumerate(re.finditer(r"^```yaml policy\n(.*?)^```$", page.read_text(), re.M | re.S))
]


@pytest.mark.parametrize("text", SNIPPETS)
def test_a_policy_in_the_manual_fits(text: str) -> None:
    """What people copy shows no mistakes in their editor."""
    assert refusals(text) == []


NAMES_FILE = """kind: names
note: 2026
roles: [support_lead, no]
templates: [reminder, 007]
channels: [email]
gateways: [stripe-eu]
plans: [free, Pro plan]
"""


def test_a_names_file_fits() -> None:
    """A file that lists words is no policy, and helped by the same schema."""
    names, problems = read_names(NAMES_FILE, source="names.yaml")

    assert (names is not None, problems, refusals(NAMES_FILE)) == (True, (), [])
    assert marked(NAMES_FILE.replace("plans:", "plan:")) == {"$"}
    assert marked(NAMES_FILE.replace("[email]", "[]")) == {"$.channels"}


SEMANTIC = {"example_failed", "example_outside", "no_example"}
"""What only running the examples can find."""


def readable(text: str) -> bool:
    """Say whether the readers take every word of a text, whatever its examples come to."""
    try:
        parse_policy(text, source="p.yaml")
    except PolicyInvalid as refusal:
        return {problem.code for problem in refusal.problems} <= SEMANTIC
    return True


NAMES = st.sampled_from(("hit", "Überfällig", "404", "a, b (c)", "yes", "NO", "2026-01-31", "1e3", "9_9"))
TEXTS = st.sampled_from(
    ("gold", "no", "on", "007", "1_000", "1e5", ".5", "0x1F", "6:00", "2026-01-31", "'null'", "ü b", "NaN")
)


def constant(fact: Fact) -> st.SearchStrategy[str]:
    """Return a fact's constants as people write them."""
    if fact.kind is FactKind.CHOICE:
        return st.sampled_from(fact.choices)
    if fact.kind is FactKind.INT:
        return st.integers(fact.low, min(fact.high, fact.low + 50)).map(str)
    if fact.kind is FactKind.BOOL:
        return st.sampled_from(("true", "false"))
    return st.sampled_from(("2026-01-31", "'1999-12-01'")) if fact.kind is FactKind.DATE else TEXTS


AMOUNTS = st.sampled_from(("20.00", "'20.00'", "20", "007", "0.5", "1"))


@st.composite
def comparisons(draw: st.DrawFn, fact: Fact) -> str:
    """Return one comparison of a fact, in any spelling."""
    key = fact.name
    if fact.kind is FactKind.MONEY:
        op = draw(st.sampled_from(("lt", "lte", "gt", "gte", "between")))
        value = draw(AMOUNTS) if op != "between" else f"[1, {draw(AMOUNTS)}]"
        return f"{key}: {{{op}: {{EUR: {value}, JPY: {'3' if op != 'between' else '[1, 2]'}}}}}"
    value, other = draw(constant(fact)), draw(constant(fact))
    forms = [value]
    if fact.kind is not FactKind.BOOL:
        forms += [f"[{value}, {other}]", f"{{not: {value}}}", f"{{in: [{value}]}}", f"{{not: [{value}, {other}]}}"]
    if fact.kind in (FactKind.INT, FactKind.DATE):
        forms += [f"{{gte: {value}, lte: {other}}}", f"{{between: [{value}, {other}]}}"]
    if fact.optional:
        forms += ["{exists: true}", "{missing: true}"]
    group, dot, field = key.partition(".")
    form = draw(st.sampled_from(forms))
    return f"{group}: {{{field}: {form}}}" if dot and draw(st.booleans()) else f"{key}: {form}"


def conditions(kind: PolicyKind) -> st.SearchStrategy[str]:
    """Return conditions of a kind as texts."""
    facts = st.sampled_from(tuple(VOCABULARIES[kind].facts.values()))
    leaves = facts.flatmap(comparisons).map(lambda inner: f"{{{inner}}}") | st.just("small") | st.just("{small: false}")
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"{{all: [{', '.join(parts)}]}}"),
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"{{any: [{', '.join(parts)}]}}"),
            inner.map(lambda part: f"{{not: {part}}}"),
        ),
        max_leaves=6,
    )


ACTION_TEXTS = {
    PolicyKind.RETRY: (
        "stop: exhausted",
        "retry: {after: [30m, 6h, 0010d, 2w], between: [06:00, 10:00], zone: Etc/GMT+1, credential: backup}",
        "retry: {on: payday, within: 28d}",
        "retry: {on: business_day, max: 3, gateway: 007}",
        "retry: {after: [3d]}\n    otherwise: {stop: needs_customer}",
    ),
    PolicyKind.DUNNING: (
        "quiet: 42",
        "steps: [{message: reminder, by: email}, {on: exhausted, after: 30d, write_off: true}]",
        "steps: [{message: no, by: [email, sms], after: 3d, between: [9:00, 18:00], zone: customer}]".replace(
            "9:", "09:"
        ),
        "steps: [{on: before_retry, ahead: 1d, message: retry_notice, by: email}, {task: call, on: after_retry}]",
        "steps: [{pause_subscription: true}, {after: 1d, downgrade_subscription: 1.5}]",
        "steps: [{after: 2d, cancel_subscription: true}]",
    ),
    PolicyKind.REFUND: (
        "approve: auto",
        "approve: {per_agent_day: {EUR: 500.00}, per_day: {EUR: '5000'}}\n    otherwise: {deny: no}",
        "approve: {per_customer: {count: 3, within: 30d}, within: 2w}\n    otherwise: {review: {levels: [[yes]]}}",
        "review: {levels: [[support_lead], [finance, director]], within: 2d}",
        "review: {levels: [[a], [no]], limits: [{EUR: 5, JPY: '07'}], within: 2d, escalate_to: [on, b], expires: 003d}",
        "review: {levels: [[a], [b]], limits: [{EUR: 5.00}, {EUR: 5.00, NOK: 1}], expires: 2w}",
        "deny: outside_window",
    ),
    PolicyKind.NOTICE: (
        "quiet: 42",
        "notices: [{message: no, by: [email, on]}, {on: announced, after: 3d, task: call}]",
        "notices: [{on: before_charge, ahead: 014d, message: a, by: b, between: [06:00, 20:00], zone: customer}]",
        "notices: [{on: before_expiry, ahead: 4w, message: 007, by: email}, {on: before_expiry, ahead: 1h, task: 7}]",
    ),
}
REST = {
    PolicyKind.RETRY: "stop: exhausted",
    PolicyKind.DUNNING: "quiet: nothing to say",
    PolicyKind.REFUND: "deny: no",
    PolicyKind.NOTICE: "quiet: nothing to say",
}
MORE = {
    PolicyKind.RETRY: (
        "timelines: [{name: 1, start: 2026-03-02T10:00, failures: [fraud], expect: [{stop: exhausted, rule: rest}]}]",
        "timelines: [{name: a, given: {customer: {tier: no}}, start: 2026-03-02T10:00:00Z, zone: Europe/Berlin,"
        " paydays: [1], acquirer: NO, failures: [{decline: fraud, decline_code: 05}, success],"
        " expect: [{retry: 2026-03-05T06:00+01:00}]}]",
        "late_success: ask",
    ),
    PolicyKind.DUNNING: (
        "timelines: [{name: b, start: 2026-03-02T10:00, retries: [2026-03-03T10:00], failures: [fraud, success],"
        " stop: exhausted, expect: [{message: no, at: 2026-03-02T10:00},"
        " {write_off: true, at: 2026-03-03T10:00, rule: rest}]}]",
    ),
    PolicyKind.REFUND: (
        "effective: {from: 2026-01-01, until: '2026-12-31'}",
        "balance_retries: []",
        "balance_retries: [4h, 01d]",
        "effective: {until: 2026-12-31}\nreasons: {requested_by_customer: {}, no: {evidence: [photo, on]}}",
    ),
    PolicyKind.NOTICE: (
        "timelines: [{name: c, given: {has_backup: true}, start: 2026-03-02T10:00, charge: 2026-04-02T10:00,"
        " expires: '2026-03-31', zone: Europe/Berlin, expect: [{message: no, at: 2026-03-05T10:00, rule: rest}]}]",
        "timelines: [{name: d, start: 2026-03-02T10:00, charge: 2026-04-02T10:00Z, expect: [{quiet: no}]},"
        " {name: e, start: 2026-03-02T10:00, charge: 2026-03-02T10:01, expect: []}]",
    ),
}
"""Keys that only one kind has."""


def a_policy(kind: PolicyKind, action: str = "", more: str = "") -> str:
    """Return a policy of one rule `hit` and the last rule `rest`."""
    lines = [
        f"kind: {kind}",
        "name: a-policy",
        "applies_to: {}",
        "define: {small: {amount: {lt: {EUR: 5}}}}",
        more,
        "rules:",
    ]
    lines += ["  - name: hit", "    when: {amount: {gt: {EUR: 9}}}", f"    {action or REST[kind]}"]
    lines += [f"  - {{name: rest, {REST[kind]}}}", "examples:", "  - {given: {}, expect: rest}"]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("kind", "action", "more"),
    [
        *((kind, action, "") for kind, actions in ACTION_TEXTS.items() for action in actions),
        *((kind, "", more) for kind, keys in MORE.items() for more in keys),
    ],
)
def test_every_action_and_key_in_odd_spellings_fits(kind: PolicyKind, action: str, more: str) -> None:
    """What the random policies are put together from is in the language, each by itself."""
    text = a_policy(kind, action, more)

    assert readable(text)
    assert refusals(text) == []


@st.composite
def policy_texts(draw: st.DrawFn) -> str:
    """Return policies of any kind with whatever conditions, scopes, examples and actions the readers know."""
    kind = draw(st.sampled_from(tuple(PolicyKind)))
    vocabulary = VOCABULARIES[kind]
    scope = draw(st.sampled_from([vocabulary.facts[name] for name in vocabulary.scope_facts]))
    scoped = draw(constant(scope))
    shown = draw(st.sampled_from([fact for fact in vocabulary.facts.values() if fact.name != "currency"]))
    value = f"{{EUR: {draw(AMOUNTS)}}}" if shown.kind is FactKind.MONEY else draw(constant(shown))
    value = draw(st.sampled_from((value, "{missing: true}"))) if shown.optional else value
    return "\n".join(
        [
            f"kind: {kind.value}",
            f"name: {draw(st.sampled_from(('a-policy', '0-1', '123', 'no', 'true')))}",
            f"note: {draw(TEXTS)}",
            f"applies_to: {{{scope.name}: {draw(st.sampled_from((scoped, f'[{scoped}, {scoped}]')))}}}",
            "define: {small: {amount: {lt: {EUR: 5}}}}",
            "rules:",
            f"  - name: {draw(NAMES)}",
            f"    when: {draw(conditions(kind))}",
            f"    {draw(st.sampled_from(ACTION_TEXTS[kind]))}",
            f"  - {{name: rest, {REST[kind]}}}",
            draw(st.sampled_from(("", *MORE[kind]))),
            "examples:",
            f"  - {{given: {{{shown.name}: {value}}}, expect: rest}}",
        ]
    )


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(text=policy_texts())
def test_what_the_readers_take_the_schema_takes(text: str) -> None:
    """Over random policies of every kind, in spellings that YAML's readers type differently."""
    assume(readable(text))

    assert refusals(text) == []


SMALL = [a_policy(kind, action, more) for kind in PolicyKind for action in ACTION_TEXTS[kind] for more in MORE[kind]]


@settings(max_examples=400, deadline=None)
@given(
    base=st.sampled_from(SMALL),
    at=st.floats(0, 1, exclude_max=True),
    drop=st.integers(0, 4),
    put=st.text("{}[]:,-'\"#\n 0159aeno_.~é", max_size=3),
)
def test_a_slip_that_the_readers_take_the_schema_takes(base: str, at: float, drop: int, put: str) -> None:
    """A policy changed anywhere: wherever it would still work, the schema does not refuse it."""
    place = int(at * len(base))
    text = base[:place] + put + base[place + drop :]

    assert not readable(text) or refusals(text) == []


# --- sharp enough to help -------------------------------------------------------------------------------------------

RETRY, DUNNING, REFUND, NOTICE = PolicyKind
STEP = "steps: [{message: reminder, by: email}]"
TOLD = "notices: [{message: reminder, by: email}]"
REVIEW = "review: {levels: [[support_lead]]}"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (a_policy(RETRY).replace("kind: retry", "kind: retri"), "$.kind"),
        (a_policy(RETRY).replace("kind: retry\n", ""), "$"),
        (a_policy(RETRY).replace("name: a-policy", "name: A Policy"), "$.name"),
        (a_policy(RETRY).replace("name: a-policy", "name:"), "$.name"),
        (a_policy(RETRY).replace("examples:", "exampels:"), "$"),
        (a_policy(RETRY).replace("applies_to: {}", "applies_to: {attempt: 1}"), "$.applies_to"),
        (a_policy(RETRY).replace("applies_to: {}", "applies_to: {method: cash}"), "$.applies_to.method"),
        (a_policy(RETRY).replace("{small:", "{Small:"), "$.define"),
        (a_policy(RETRY).replace("lt: {EUR: 5}", "less: {EUR: 5}"), "$.define.small.amount"),
        (a_policy(RETRY).replace("EUR: 9", "EURO: 9"), "$.rules[0].when.amount.gt"),
        (a_policy(RETRY).replace("EUR: 9", "EUR: nine"), "$.rules[0].when.amount.gt.EUR"),
        (a_policy(RETRY).replace("amount: {gt: {EUR: 9}}", "amunt: {gt: 9}"), "$.rules[0].when.amunt"),
        (a_policy(RETRY).replace("amount: {gt: {EUR: 9}}", "decline: frau"), "$.rules[0].when.decline"),
        (a_policy(RETRY).replace("amount: {gt: {EUR: 9}}", "attempt: {lte: four}"), "$.rules[0].when.attempt.lte"),
        (a_policy(RETRY).replace("amount: {gt: {EUR: 9}}", "attempt: 0"), "$.rules[0].when.attempt"),
        (a_policy(RETRY).replace("amount: {gt: {EUR: 9}}", "attempt: {exists: true}"), "$.rules[0].when.attempt"),
        (a_policy(RETRY).replace("amount: {gt: {EUR: 9}}", "all: []"), "$.rules[0].when.all"),
        (a_policy(RETRY).replace("amount: {gt: {EUR: 9}}", "customer: {teir: gold}"), "$.rules[0].when.customer"),
        (a_policy(RETRY, "stop: enough"), "$.rules[0].stop"),
        (a_policy(RETRY, "retry: {after: 3d}"), "$.rules[0].retry.after"),
        (a_policy(RETRY, "retry: {after: [3x]}"), "$.rules[0].retry.after[0]"),
        (a_policy(RETRY, "retry: {on: payday}"), "$.rules[0].retry"),
        (a_policy(RETRY, "retry: {after: [3d], betwen: [1, 2]}"), "$.rules[0].retry"),
        (a_policy(RETRY, "retry: {after: [3d], between: ['25:00', '06:00']}"), "$.rules[0].retry.between[0]"),
        (a_policy(RETRY, "retry: {after: [3d]}\n    stop: exhausted"), "$.rules[0].stop"),
        (a_policy(RETRY, STEP), "$.rules[0]"),
        (a_policy(RETRY).replace("given: {}", "given: {currency: EUR}"), "$.examples[0].given"),
        (a_policy(RETRY).replace("given: {}", "given: {attempt: {lte: 3}}"), "$.examples[0].given.attempt"),
        (a_policy(RETRY, more="effective: {from: 2026-01-01}"), "$"),
        (a_policy(RETRY, more=MORE[RETRY][0].replace("2026-03-02T10:00", "soon")), "$.timelines[0].start"),
        (a_policy(RETRY, more=MORE[RETRY][0].replace("rule:", "rul:")), "$.timelines[0].expect[0]"),
        (a_policy(DUNNING, STEP.replace(", by: email", "")), "$.rules[0].steps[0]"),
        (a_policy(DUNNING, STEP.replace("email", "email, ahead: 1d")), "$.rules[0].steps[0].ahead"),
        (a_policy(DUNNING, STEP.replace("email", "email, on: before_retry")), "$.rules[0].steps[0]"),
        (a_policy(DUNNING, STEP.replace("email", "email, on: never")), "$.rules[0].steps[0].on"),
        (a_policy(DUNNING, STEP.replace("email", "email, task: call")), "$.rules[0].steps[0].task"),
        (a_policy(RETRY, more="late_success: keep"), "$.late_success"),
        (a_policy(DUNNING, more="late_success: ask"), "$"),
        (a_policy(NOTICE, TOLD.replace(", by: email", "")), "$.rules[0].notices[0]"),
        (a_policy(NOTICE, TOLD.replace("email", "email, ahead: 1d")), "$.rules[0].notices[0].ahead"),
        (a_policy(NOTICE, TOLD.replace("email", "email, on: before_charge")), "$.rules[0].notices[0]"),
        (
            a_policy(NOTICE, TOLD.replace("email", "email, on: before_charge, ahead: 1d, after: 1d")),
            "$.rules[0].notices[0].after",
        ),
        (a_policy(NOTICE, TOLD.replace("email", "email, on: before_retry")), "$.rules[0].notices[0].on"),
        (a_policy(NOTICE, "notices: [{pause_subscription: true}]"), "$.rules[0].notices[0]"),
        (a_policy(NOTICE, STEP), "$.rules[0]"),
        (a_policy(NOTICE, more=MORE[NOTICE][0].replace("charge: 2026-04-02T10:00,", "")), "$.timelines[0]"),
        (a_policy(NOTICE, more=MORE[NOTICE][1].replace("charge", "failures", 1)), "$.timelines[0]"),
        (a_policy(DUNNING, "steps: [{write_off: false}]"), "$.rules[0].steps[0].write_off"),
        (a_policy(DUNNING, "stop: exhausted"), "$.rules[0]"),
        (a_policy(REFUND, "approve: yes"), "$.rules[0].approve"),
        (a_policy(REFUND, "approve: {per_day: {EUR: 5, XYZ: 5}}"), "$.rules[0].approve.per_day"),
        (a_policy(REFUND, "approve: {per_customer: {within: 30d}}"), "$.rules[0].approve.per_customer"),
        (a_policy(REFUND, REVIEW.replace("[[", "[").replace("]]", "]")), "$.rules[0].review.levels[0]"),
        (a_policy(REFUND, REVIEW.replace("support_lead", "Support Lead")), "$.rules[0].review.levels[0][0]"),
        (a_policy(REFUND, REVIEW[:-1] + ", limits: [{EUR: five}]}"), "$.rules[0].review.limits[0].EUR"),
        (a_policy(REFUND, REVIEW[:-1] + ", limits: [{}]}"), "$.rules[0].review.limits[0]"),
        (a_policy(REFUND, REVIEW[:-1] + ", limits: {EUR: 5}}"), "$.rules[0].review.limits"),
        (a_policy(REFUND, REVIEW[:-1] + ", escalate_to: [admin]}"), "$.rules[0].review"),
        (a_policy(REFUND, REVIEW[:-1] + ", within: 1d, escalate_to: []}"), "$.rules[0].review.escalate_to"),
        (a_policy(REFUND, REVIEW[:-1] + ", expires: soon}"), "$.rules[0].review.expires"),
        (a_policy(REFUND, more="balance_retries: 4h"), "$.balance_retries"),
        (a_policy(REFUND, more="balance_retries: [4x]"), "$.balance_retries[0]"),
        (a_policy(REFUND).replace("expect: rest}", "expect: rest, levels: [[a]]}"), "$.examples[0]"),
        (
            a_policy(REFUND).replace("expect: rest}", "expect: rest, answer: review, levels: [a]}"),
            "$.examples[0].levels[0]",
        ),
        (a_policy(REFUND, "deny: outside window"), "$.rules[0].deny"),
        (a_policy(REFUND, more="effective: {from: 31.1.2026}"), "$.effective.from"),
        (a_policy(REFUND, more="reasons: {damaged: {evidnce: [photo]}}"), "$.reasons.damaged"),
    ],
)
def test_a_mistake_is_marked_where_it_is(text: str, place: str) -> None:
    """The readers refuse each of these; an editor marks it before anybody runs anything."""
    assert not readable(text)

    assert place in marked(text)


CORPUS = Path(__file__).with_name("malformed")
SHAPE = {
    "always_known", "bad_name", "bad_text", "bad_time", "empty_condition", "empty_list", "money_without_currency",
    "no_time", "two_actions", "unbounded", "unknown_currency", "unknown_key", "unknown_operator", "write_positively",
}  # fmt: skip
"""Mistakes that a schema can always see; for others the whole file, or its examples, must be known."""


def test_mistakes_of_shape_in_the_malformed_corpus_are_marked() -> None:
    """Whatever the readers refuse for its shape alone, an editor marks as well."""
    unmarked, looked_at = [], 0
    for path in sorted(CORPUS.rglob("*.yaml")):
        raw = path.read_bytes()
        expected = raw.partition(b"\n")[0].decode("latin-1").partition("expect:")[2].split(",")
        if {code.strip() for code in expected} <= SHAPE:
            looked_at += 1
            unmarked += [] if marked(raw.decode()) else [path.name]

    assert looked_at > 100
    assert unmarked == []


def marked(text: str) -> set[str]:
    """Return the places that an editor marks, those of the nearest alternative included."""

    def places(error: jsonschema.ValidationError) -> Iterator[str]:
        yield error.json_path
        for inner in error.context or ():
            yield from places(inner)

    document = yaml.load(text, Loader=Reader12)
    return {place for error in VALIDATOR.iter_errors(document) for place in places(error)}
