"""Every code that a problem of a policy file can have: what it means and how it is mended.

`docs/policies/problems.md` and the help in SARIF logs are made from this table; a test finds codes it lacks.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from recoup_core.rules.language.errors import Severity


class ProblemCode(msgspec.Struct, frozen=True, kw_only=True):
    """What is behind one code."""

    code: str
    meaning: str
    mend: str
    severity: Severity = Severity.ERROR
    """What it is unless a file says more about it: an unknown role is an error where a names file lists the roles."""
    lint: bool = False
    """Whether the text is right by itself and its sense is in doubt; such codes have a page in docs/lint."""


_FILE: Final = {
    "empty": ("The file holds nothing.", "Write a policy, or remove the file."),
    "file_name": ("A file ends in `.yml`; the service reads only `.yaml`.", "Rename it."),
    "no_policies": ("There is no policy file below the folder.", "Name the right folder."),
    "not_utf8": ("The file is not UTF-8.", "Save it as UTF-8; the place of the first wrong byte is given."),
    "second_document": ("A second YAML document starts (`---`).", "Put each policy into a file of its own."),
    "too_large": ("The file is larger than 256 KiB.", "Split it by `applies_to`."),
    "unreadable": ("The file can't be opened.", "Check its permissions, and that it is a file."),
    "more": ("There are more problems than are listed.", "Mend those that are listed first."),
}
_YAML: Final = {
    "alias": ("An alias (`*name`) stands here.", "Name the condition in `define` and use that name."),
    "anchor": ("An anchor (`&name`) stands here.", "Name the condition in `define` and use that name."),
    "card_number": ("A text looks like a card number.", "Use tokens; no card number is ever stored."),
    "control_character": ("A character that can't be seen stands here.", "Delete it; it may change what people read."),
    "duplicate_key": ("The same key stands twice in one mapping.", "Keep one; YAML would silently drop the other."),
    "key_not_text": ("A list or mapping is used as a key.", "Keys are words."),
    "merge_key": ("A merge key (`<<`) stands here.", "Name the condition in `define` and use that name."),
    "tag": ("A tag (`!name`) stands here.", "Remove it; types come from the facts."),
    "too_deep": ("Something is nested too deeply.", "Name parts of it in `define`, or write it flatter."),
    "yaml": ("The text is not YAML.", "Look at the place, and at the indentation and quotes before it."),
}
_SHAPE: Final = {
    "bad_name": ("A name holds what names can't hold.", "The hint says which characters are allowed."),
    "duplicate_rule": ("Two rules have one name.", "Give each its own; decisions and examples name rules."),
    "empty_list": ("A list has no entries.", "Fill it or leave the key out."),
    "last_rule": ("The last rule has a `when`.", "Add a last rule without one, so that one always fires."),
    "missing_key": ("A key that must be there is not.", "Add it."),
    "no_effect": ("A key can't have any effect where it stands.", "Remove it, or what makes it idle."),
    "too_many": ("A list, text or condition is longer than its limit.", "Split it; the limit is in the message."),
    "two_actions": ("A rule has more than one action.", "Keep one; make a second rule for the other."),
    "unknown_key": ("There is no such key here.", "Take the near name in the hint."),
    "wrong_type": ("A value is not of the type that is needed here.", "The message says what is needed."),
}
_CONDITIONS: Final = {
    "always_known": ("`exists` or `missing` asks about a fact that is always known.", "Leave the test out."),
    "define_order": ("A definition uses one that comes later.", "Move it below the one that it uses."),
    "empty_condition": ("A condition asks nothing.", "Write one, or leave the key out."),
    "fact_alone": ("A fact's name stands where a condition is needed.", "Write `{fact: value}`."),
    "money_without_currency": ("An amount has no currency.", "Write `{lt: {EUR: 20.00}}`."),
    "never_true": ("The comparison can never be true.", "Check the bounds; the smaller one comes first."),
    "unknown_fact": ("There is no such fact, or not here.", "Take the near name; policies/README.md lists all facts."),
    "unknown_name": ("No condition in `define` has this name.", "Define it above, or take the near name."),
    "unknown_operator": ("The fact has no such operator.", "The hint lists those that its type has."),
    "write_positively": ("`exists: false` or `missing: false` stands here.", "Write the other one with `true`."),
}
_VALUES: Final = {
    "bad_amount": ("An amount is not digits with a decimal point.", "Write 20.00, with the currency's decimals."),
    "bad_date": ("A date is not written as year-month-day, or there is no such day.", "Write 2026-01-31."),
    "bad_duration": ("A wait is not a number and a unit, or is out of bounds.", "Write 30m, 6h, 10d or 2w."),
    "bad_text": (
        "A text holds quotes, backslashes or a leading `*`, or is too long.",
        "Use up to 64 plain characters.",
    ),
    "bad_time": ("A clock time is not written as hours and minutes.", 'Write "06:00", up to "23:59".'),
    "duplicate_value": ("A value stands twice in one list.", "Keep one."),
    "out_of_range": ("A number lies outside what the fact or key can be.", "The message says the limit."),
    "unknown_currency": ("There is no such currency (ISO 4217).", "Take the near code."),
    "unknown_value": ("The fact or key never has this value.", "Take the near word, or one of those listed."),
    "unknown_zone": ("There is no such time zone.", "Write `customer` or an IANA name like Europe/Berlin."),
}
_ACTIONS: Final = {
    "after_the_end": (
        "A step comes after the debt was given up or the subscription ended.",
        "Move it before, or drop it.",
    ),
    "duplicate_step": (
        "A rule has the same step, or notice, twice at one time.",
        "Keep one; name all channels in one `by`.",
    ),
    "currencies_differ": (
        "A currency is in one bound of `approve` and not in another.",
        "List it in each: what can't be told to be within a bound is never approved.",
    ),
    "expires_too_soon": (
        "A review is closed before the time that its levels have is over.",
        "Let `expires` be longer than `within`.",
    ),
    "limit_lowered": (
        "A level of a review may decide less alone than one before it.",
        "Let `limits` rise from level to level.",
    ),
    "limits_and_levels": (
        "`limits` does not go with the levels of its review.",
        "Give one entry per level, or one fewer: then the last level may decide any amount alone.",
    ),
    "empty_window": ("`between` starts and ends at the same time.", "Give a window that has a length."),
    "jitter_too_long": ("`jitter` is as long as the window or longer.", "Shorten it, or widen `between`."),
    "no_time": ("A retry has neither `after` nor `on`.", "Say when to try again."),
    "unbounded": ("A retry without `after` would go on for ever.", "Add `max` or `within`."),
    "unreachable_max": ("`max` is larger than the number of waits.", "Lower it, or add waits."),
    "wrong_moment": ("A step's `on`, `after`, `ahead` and action don't go together.", "The message says what does."),
    "unreachable_wait": ("The waits add up to more than `within`.", "Drop the last waits, or widen `within`."),
}
_EXAMPLES: Final = {
    "example_failed": ("Another rule fires for an example.", "Mend the rule or the example: one of them is wrong."),
    "answer_failed": ("A refund example gets another answer.", "Mend the bounds or the example: one is wrong."),
    "impossible_facts": (
        "An example or a timeline gives facts that never come together.",
        "Leave out what follows from the rest; amounts are in one currency, above 0.",
    ),
    "example_outside": ("An example's facts are outside `applies_to`.", "Give facts that the policy is for."),
    "unknown_rule": ("An example expects a rule that there is not.", "Take the near name."),
}
_TIMELINES: Final = {
    "bad_moment": ("A time is not written as date and time, or the clocks skip it.", "Write 2026-03-13T06:00."),
    "duplicate_timeline": ("Two timelines have one name.", "Give each its own."),
    "timeline_failed": (
        "The policy comes to other steps or times than a timeline expects.",
        "The message has both; mend the one that is wrong.",
    ),
    "timeline_order": (
        "The failures or times of a timeline don't fit each other.",
        "Put them in the order they happen.",
    ),
    "timeline_outside": ("A timeline's facts are outside `applies_to`.", "Give facts that the policy is for."),
    "told_by_timeline": ("A fact is given that follows from the sequence.", "Leave it out."),
}
_FOLDER: Final = {
    "duplicate_names": ("A second file lists names.", "Put all lists into one file."),
    "duplicate_policy": ("Two policies of a kind have one name.", "Rename one."),
    "engine_disagrees": ("The two evaluators differ on this policy.", "Report it: this is a fault of Recoup."),
}
_TEMPLATES: Final = {
    "template_file_name": ("A file of templates has a name that none has.", "Call it `<template>/<language>.txt`."),
    "template_forbidden": ("A template does more than fill words in.", "Use variables, filters, functions and `if`."),
    "template_insecure_link": ("A link doesn't begin with https.", "Use the page's https address."),
    "template_long_subject": ("A subject is too long, or has several lines.", "Keep it in one line of 78 characters."),
    "template_missing_language": (
        "A template lacks a language that others have.",
        "Translate it.",
    ),
    "template_missing_part": (
        "A template lacks text, subject or SMS.",
        "Write the file that the hint names.",
    ),
    "template_no_unsubscribe_link": ("A mail has no way to be left alone.", "Add a link to `unsubscribe_url`."),
    "template_no_update_link": (
        "A template asks for money and doesn't lead to the page to pay.",
        "Add the button, or say `{# no-link: why #}`.",
    ),
    "template_not_for": (
        "A policy sends a template that speaks of what its messages don't have.",
        "Take another template, or ask in it: `{% if upcoming %}`.",
    ),
    "template_subject": ("A template speaks of a debt and of a charge to come.", "Ask first which of them is there."),
    "template_syntax": ("A template can't be read.", "Close each `{{`, `{%` and `if`."),
    "template_too_long": (
        "A file of templates is larger than 32 KiB.",
        "Shorten it; long mails are cut off.",
    ),
    "template_unformatted": ("A value is printed without the filter that fits it.", "Take the filter in the hint."),
    "template_unguarded": (
        "A variable may be missing where it is used.",
        "Put it inside `{% if ... %}`.",
    ),
    "template_unknown_filter": ("There is no such filter.", "Take the near name; docs/templates.md lists them."),
    "template_unknown_function": ("There is no such function.", "Take the near name; docs/templates.md lists them."),
    "template_unknown_variable": ("There is no such variable.", "Take the near name; docs/templates.md lists them."),
    "template_words": (
        "The words that a language shares are incomplete.",
        "Copy `_words/en.toml`, translate.",
    ),
}
_LINT: Final = {
    "unreachable_rule": (Severity.ERROR, "A rule can never fire.", "Move it up, or narrow what stands above it."),
    "shadowed_rule": (
        Severity.WARNING,
        "A listed value or an alternative can never be why its rule fires.",
        "Remove it, or narrow what takes it before.",
    ),
    "beyond_limits": (
        Severity.WARNING,
        "A network or scheme limit would move or forbid a retry that is planned.",
        "Plan fewer tries or longer waits.",
    ),
    "suspension_before_notice": (
        Severity.ERROR,
        "A subscription is suspended, or a debt given up, before the customer was told or while retries go on.",
        "Let a message come first, and let the step wait for `on: exhausted`.",
    ),
    "late_notice": (
        Severity.WARNING,
        "A notice can never come as long before the charge, or the card's end, as it says.",
        "Shorten `ahead`, or let the rule fire earlier.",
    ),
    "idle_notice": (
        Severity.WARNING,
        "A notice about the end of a card stands in a rule for charges before which no card ends.",
        "Move it to a rule with `card_expires_before_charge: true`.",
    ),
    "approval_gap": (
        Severity.WARNING,
        "Amounts between those of two rules fall through to the last rule.",
        "Let the bands of amounts meet.",
    ),
    "approval_overlap": (
        Severity.WARNING,
        "More money needs less approval, or bands of amounts overlap.",
        "Let the bands of amounts meet, and each be at least as strict as those below it.",
    ),
    "review_limits": (
        Severity.WARNING,
        "A level of a review never decides, or a currency has a limit at one level and none at the next.",
        "List the same currencies in every entry of `limits`, and let each level have amounts of its own.",
    ),
    "unknown_role": (Severity.WARNING, "There is no such role.", "Take the near name, or add it to the names file."),
    "unknown_template": (
        Severity.WARNING,
        "There is no such template.",
        "Take the near name, or add it to the names file.",
    ),
    "unknown_channel": (
        Severity.WARNING,
        "There is no such channel.",
        "Take the near name, or add it to the names file.",
    ),
    "unknown_gateway": (
        Severity.WARNING,
        "There is no such gateway.",
        "Take the near name, or add it to the names file.",
    ),
    "unknown_plan": (Severity.WARNING, "There is no such plan.", "Take the near name, or add it to the names file."),
    "lint_undecided": (
        Severity.WARNING,
        "Whether some rules can fire took too long to decide.",
        "Write fewer or simpler alternatives; until then, trust only the examples.",
    ),
    "ambiguous": (Severity.ERROR, "Two policies can both cover a payment.", "Make one's `applies_to` narrower."),
    "no_example": (Severity.ERROR, "A rule has no example.", "Add one; examples are the policy's tests."),
}

GROUPS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "The file": _FILE,
    "YAML": _YAML,
    "Shape": _SHAPE,
    "Conditions": _CONDITIONS,
    "Values": _VALUES,
    "Actions": _ACTIONS,
    "Examples": _EXAMPLES,
    "Timelines": _TIMELINES,
    "Policies beside each other": _FOLDER,
    "Templates": _TEMPLATES,
}
"""The codes of what can't be read as it stands, by where it goes wrong."""


def _all() -> dict[str, ProblemCode]:
    found = {
        code: ProblemCode(code=code, meaning=meaning, mend=mend)
        for group in GROUPS.values()
        for code, (meaning, mend) in group.items()
    }
    lint = {
        code: ProblemCode(code=code, meaning=meaning, mend=mend, severity=severity, lint=True)
        for code, (severity, meaning, mend) in _LINT.items()
    }
    return found | lint


PROBLEM_CODES: Final[Mapping[str, ProblemCode]] = _all()
"""Every code with its meaning."""


def page_of(code: str) -> str:
    """Return where docs/ has more about a code: the path of a page, with an anchor where it shares one."""
    return f"lint/{code}.md" if PROBLEM_CODES[code].lint else f"policies/problems.md#{code}"


def problems_page() -> str:
    """Return `docs/policies/problems.md`."""
    lines = [
        "# Problems: what `recoup policy check` can say",
        "",
        "Each problem has a stable code, in brackets at the end of its line. `recoup policy problems CODE` prints",
        "what stands here. An error keeps a policy from being used; a warning fails a check only with `--strict`.",
        "This page is made from the program by `recoup policy problems --markdown`.",
    ]
    for title, group in GROUPS.items():
        lines += ["", f"## {title}", "", "| code | what it means | how to mend it |", "|---|---|---|"]
        lines += [f'| <a id="{code}"></a>`{code}` | {meaning} | {mend} |' for code, (meaning, mend) in group.items()]
    lines += ["", "## Lint: the text is right, its sense is in doubt", ""]
    lines += ["| code | severity | what it means | how to mend it |", "|---|---|---|---|"]
    lines += [
        f"| [`{code}`](../lint/{code}.md) | {severity.value} | {meaning} | {mend} |"
        for code, (severity, meaning, mend) in _LINT.items()
    ]
    return "\n".join(lines) + "\n"
