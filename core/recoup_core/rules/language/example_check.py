"""Examples are a policy's tests: each runs through the plain evaluator whenever the policy is read."""

from recoup_core.rules.language.closures import closure
from recoup_core.rules.language.effort import MAX_EXAMPLE_COMPARISONS, reaches
from recoup_core.rules.language.errors import Report, shown
from recoup_core.rules.language.policy import Policy


def check_examples(policy: Policy, report: Report) -> None:
    """Run every example through the plain evaluator."""
    reach = dict(zip((rule.name for rule in policy.rules), reaches(rule.when for rule in policy.rules), strict=True))
    examples = [example for example in policy.examples if example.expect in reach]
    if sum(reach[example.expect] for example in examples) > MAX_EXAMPLE_COMPARISONS:
        message = f"it would take more than {MAX_EXAMPLE_COMPARISONS:,} comparisons to run the examples"
        report.add(None, "too_many", message, "give fewer examples, or put rules with large conditions last")
        return
    tests = [(rule.name, closure(rule.when) if rule.when is not None else None) for rule in policy.rules]
    baseline = policy.baseline
    for example in examples:
        facts = example.facts(policy.vocabulary, baseline)
        if not policy.applies_to.covers(facts):
            report.add(example, "example_outside", "the example's facts are outside the policy's `applies_to`")
            continue
        if why := policy.vocabulary.impossible(facts):
            report.add(example, "impossible_facts", f"these facts never come together: {why}")
            continue
        fired = next(name for name, test in tests if test is None or test(facts) is True)
        if fired != example.expect:
            report.add(example, "example_failed", f"expected {shown(example.expect)}, but {shown(fired)} fires")
