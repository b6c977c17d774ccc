"""Test results as JUnit XML, the form that CI systems read."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from recoup_core.rules.language.errors import Problem
from recoup_core.rules.study.self_test import Result, SelfTest


def junit_xml(runs: Sequence[SelfTest], broken: Sequence[Problem]) -> bytes:
    """Return one suite per policy and one for files that can't be read, each problem of those an error."""
    root = Element("testsuites", name="recoup policy test")
    for run in runs:
        _suite(root, run)
    if broken:
        suite = SubElement(root, "testsuite", name="files", tests=str(len(broken)), errors=str(len(broken)))
        for problem in broken:
            case = SubElement(suite, "testcase", classname=problem.file, name=problem.code, line=str(problem.line))
            SubElement(case, "error", type=problem.code, message=problem.message).text = str(problem)
    indent(root)
    written: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _suite(root: Element, run: SelfTest) -> None:
    counts = {"tests": str(len(run.results)), "failures": str(run.failed), "errors": "0"}
    suite = SubElement(root, "testsuite", {"name": f"{run.policy.kind}/{run.policy.name}", **counts})
    properties = SubElement(suite, "properties")
    for name, value in (("digest", run.policy.digest), ("coverage", str(run.coverage.percent))):
        SubElement(properties, "property", name=name, value=value)
    for test in run.results:
        _case(suite, run.policy.source, test)


def _case(suite: Element, file: str, test: Result) -> None:
    case = SubElement(
        suite, "testcase", classname=f"{file}.{test.kind}", name=test.name, file=file, line=str(test.line)
    )
    if test.problems:
        first = test.problems[0]
        failure = SubElement(case, "failure", type=first.code, message=first.message)
        failure.text = "\n".join(map(str, test.problems))
