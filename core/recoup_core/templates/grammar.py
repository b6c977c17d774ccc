"""One template file: what it may hold, and every mistake in it with its place.

Allowed is what fills words in: variables, filters, functions, `if`. There are no loops, macros, imports or includes, so
a template's output is as long as the file and its values, and it is made in one pass.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from jinja2 import Environment, TemplateSyntaxError, nodes

from recoup_core.rules.language.errors import Problem, Report, Severity, shown
from recoup_core.templates.declared import FILTERS, FUNCTIONS, LAYOUT, LINKS, SUBJECTS, VARIABLES, Kind

_PRINTED: Final = frozenset({Kind.TEXT})
_FORMATTED: Final = {Kind.MONEY: "money", Kind.DAY: "day", Kind.MOMENT: "day", Kind.METHOD: "method"}
_PARTS_OF_HTML: Final = (nodes.Extends, nodes.Block)
_SYNTAX: Final = re.compile(r"\{[{%#]")
_INSECURE: Final = re.compile(r"http://[^\s\"'<>]*", re.IGNORECASE)


class Used(msgspec.Struct):
    """What a file speaks of."""

    paths: set[str] = msgspec.field(default_factory=set)
    functions: set[str] = msgspec.field(default_factory=set)
    needs: set[str] = msgspec.field(default_factory=set)
    """Subjects that it speaks of without asking whether they are there."""
    extends: bool = False
    blocks: set[str] = msgspec.field(default_factory=set)
    """The blocks of the layout that it has of its own."""


class Reading:
    """Reads one file; `part` is `subject`, `text`, `sms`, `html` or `layout`."""

    def __init__(self, file: str, text: str, part: str) -> None:
        self.used = Used()
        self._text, self._part = text, part
        self._file = file
        self._lines = text.splitlines()
        self._near = Report(file)
        self._found: list[Problem] = []
        self._html = part in ("html", "layout")

    def problems(self, environment: Environment) -> list[Problem]:
        """Return what is wrong with the file, in its order."""
        try:
            tree = environment.parse(self._text)
        except TemplateSyntaxError as error:
            message = (error.message or "the template can't be read").rstrip(".")
            self._add(error.lineno, None, "template_syntax", message, _hint(message))
            return self._found
        self._statements(tree.body, frozenset())
        if self.used.needs >= set(SUBJECTS):
            message = "speaks of both debt and upcoming; no message has both"
            self._add(1, None, "template_subject", message, "ask first: {% if upcoming %}")
        for number, line in enumerate(self._lines, 1):
            for found in _INSECURE.finditer(line):
                hint = "customers are warned of pages without https"
                self._add(number, found[0], "template_insecure_link", f"{shown(found[0])} is not https", hint)
        return sorted(self._found, key=lambda problem: (problem.line, problem.column))

    def _statements(self, body: Sequence[nodes.Node], known: frozenset[str]) -> None:
        for node in body:
            if isinstance(node, nodes.Output):
                for each in node.nodes:
                    if not isinstance(each, nodes.TemplateData):
                        self._printed(each, known)
            elif isinstance(node, nodes.If):
                self._if(node, known)
            elif isinstance(node, _PARTS_OF_HTML) and self._html:
                self._inherits(node, known)
            else:
                self._forbidden(node)

    def _inherits(self, node: nodes.Node, known: frozenset[str]) -> None:
        if isinstance(node, nodes.Block):
            self.used.blocks.add(node.name)
            self._statements(node.body, known)
        elif isinstance(node, nodes.Extends):
            self.used.extends = True
            base = node.template
            if not isinstance(base, nodes.Const) or base.value != "_layout.html":
                self._add(node.lineno, "extends", "template_forbidden", "only _layout.html can be extended")

    def _if(self, node: nodes.If, known: frozenset[str]) -> None:
        """Look at each branch, with what is known to be there in it."""
        branches: list[nodes.If] = [node, *node.elif_]
        for branch in branches:
            there, absent = self._asked(branch.test, known)
            self._statements(branch.body, known | there)
            known = known | absent
        self._statements(node.else_, known)

    def _asked(self, test: nodes.Node, known: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
        """Return which variables are there if the test holds, and which if it doesn't."""
        nothing: frozenset[str] = frozenset()
        if isinstance(test, nodes.Not):
            there, absent = self._asked(test.node, known)
            return absent, there
        if isinstance(test, nodes.And | nodes.Or):
            left_there, left_absent = self._asked(test.left, known)
            second = known | (left_there if isinstance(test, nodes.And) else left_absent)
            right_there, right_absent = self._asked(test.right, second)
            if isinstance(test, nodes.And):
                return left_there | right_there, left_absent & right_absent
            return left_there & right_there, left_absent | right_absent
        if isinstance(test, nodes.Compare):
            there, _ = self._asked(test.expr, known)
            for operand in test.ops:
                self._asked(operand.expr, known)
            return (there if all(op.op == "eq" for op in test.ops) else nothing), nothing
        if isinstance(test, nodes.Const):
            return nothing, nothing
        path = self._path(test, known, asking=True)
        return (frozenset(_and_above(path)), nothing) if path else (nothing, nothing)

    def _printed(self, node: nodes.Expr, known: frozenset[str]) -> None:
        """Look at what is printed: a variable as it is, one through a filter, or a function."""
        if isinstance(node, nodes.CondExpr):
            there, absent = self._asked(node.test, known)
            self._printed(node.expr1, known | there)
            if node.expr2 is not None:
                self._printed(node.expr2, known | absent)
        elif isinstance(node, nodes.Const) and isinstance(node.value, str):
            return
        elif isinstance(node, nodes.Filter):
            self._filter(node, known)
        elif isinstance(node, nodes.Call):
            self._call(node, known)
        elif isinstance(node, nodes.Name | nodes.Getattr):
            self._variable(node, known)
        else:
            self._forbidden(node)

    def _variable(self, node: nodes.Name | nodes.Getattr, known: frozenset[str]) -> None:
        path = self._path(node, known)
        if path is None:
            return
        variable = VARIABLES[path]
        if variable.kind not in _PRINTED:
            fit = _FORMATTED.get(variable.kind) or next(
                (n for n, f in FILTERS.items() if variable.kind in f.takes), None
            )
            hint = f"write {{{{ {path} | {fit} }}}}" if fit else "ask about it with {% if %}"
            self._add(node.lineno, path, "template_unformatted", f"{path} can't be printed as it is", hint)

    def _filter(self, node: nodes.Filter, known: frozenset[str]) -> None:
        rule = FILTERS.get(node.name)
        if rule is None:
            hint = self._near.suggest(node.name, list(FILTERS))
            self._add(node.lineno, node.name, "template_unknown_filter", f"there is no filter {shown(node.name)}", hint)
            return
        if not isinstance(node.node, nodes.Name | nodes.Getattr) or node.args or node.kwargs:
            self._forbidden(node)
            return
        path = self._path(node.node, known)
        if path is not None and VARIABLES[path].kind not in rule.takes:
            message = f"{node.name} doesn't fit {path}"
            self._add(node.lineno, path, "template_unformatted", message, f"it is written {rule.example}")

    def _call(self, node: nodes.Call, known: frozenset[str]) -> None:
        name = node.node.name if isinstance(node.node, nodes.Name) else ""
        rule = FUNCTIONS.get(name)
        if rule is None:
            hint = self._near.suggest(name, list(FUNCTIONS))
            self._add(
                node.lineno, name or None, "template_unknown_function", f"there is no function {shown(name)}", hint
            )
            return
        self.used.functions.add(name)
        if len(node.args) != rule.arguments or node.kwargs or node.dyn_args or node.dyn_kwargs:
            message = f"{name} takes {rule.arguments} values"
            self._add(node.lineno, name, "template_forbidden", message, f"it is written {rule.example}")
            return
        if self._part in ("subject", "sms"):
            self._add(node.lineno, name, "template_forbidden", f"{name}() has no place in a single line of text")
        for argument in node.args:
            self._printed(argument, known)
        if name == "button" and isinstance(node.args[1], nodes.Const):
            self._leads(node.args[1])

    def _leads(self, address: nodes.Const) -> None:
        """Look at the address that a template writes out itself."""
        url = str(address.value)
        if not url.lower().startswith(("https://", "mailto:", "http://")):  # http is told of wherever it stands
            message = f"{shown(url)} is no address to lead to"
            self._add(address.lineno, None, "template_insecure_link", message, "it begins with https:// or mailto:")

    def _path(self, node: nodes.Node, known: frozenset[str], *, asking: bool = False) -> str | None:
        """Return the declared variable that is meant; what is not declared, or may be missing, is a problem."""
        path = _dotted(node)
        if path is None:
            self._forbidden(node)
            return None
        if self._html and path in LAYOUT:
            self.used.paths.add(path)
            return None
        if path not in VARIABLES:
            head = path.rpartition(".")[0]
            near = [each for each in VARIABLES if each.rpartition(".")[0] == head or not head]
            hint = self._near.suggest(path, near) or "docs/templates.md lists them"
            self._add(node.lineno, path, "template_unknown_variable", f"there is no variable {shown(path)}", hint)
            return None
        self.used.paths.add(path)
        for above in _and_above(path):
            if (asking and above == path) or not VARIABLES[above].optional or above in known or above in LINKS:
                continue
            if above in SUBJECTS:
                self.used.needs.add(above)
                continue
            hint = f"put it between {{% if {above} %}} and {{% endif %}}"
            self._add(node.lineno, path, "template_unguarded", f"{above} may be missing", hint)
            break
        return path

    def _forbidden(self, node: nodes.Node) -> None:
        words = {nodes.For: "for", nodes.Macro: "macro", nodes.Include: "include", nodes.Assign: "set"}
        word = next((word for shape, word in words.items() if isinstance(node, shape)), None)
        what = word or type(node).__name__.lower()
        hint = "templates fill words in: variables, filters, functions and if"
        self._add(node.lineno, word, "template_forbidden", f"a template can't use {shown(what)} here", hint)

    def _add(self, line: int, word: str | None, code: str, message: str, hint: str | None = None) -> None:
        at = max(1, min(line, len(self._lines) or 1))
        text = self._lines[at - 1] if self._lines else ""
        column = text.find(word) + 1 if word and word in text else 0
        if not column:
            begins = _SYNTAX.search(text)
            column = begins.start() + 1 if begins else 1
        self._found.append(
            Problem(
                file=self._file,
                line=at,
                column=column,
                code=code,
                message=message,
                hint=hint,
                severity=Severity.ERROR,
            )
        )


def _dotted(node: nodes.Node) -> str | None:
    if isinstance(node, nodes.Name):
        return node.name
    if isinstance(node, nodes.Getattr):
        above = _dotted(node.node)
        return None if above is None else f"{above}.{node.attr}"
    return None


def _and_above(path: str) -> Iterator[str]:
    """Yield what has to be there for a variable to be there: what holds it first."""
    parts = path.split(".")
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])


def _hint(message: str) -> str | None:
    if "unknown tag" in message:
        return "templates fill words in: variables, filters, functions and if"
    if "end of" in message or "unexpected '}'" in message:
        return "each {% if %} needs its {% endif %}, each {{ its }}"
    return None
