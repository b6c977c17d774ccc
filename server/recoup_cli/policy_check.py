"""`recoup policy check`, and what editors and pipelines need around it: the schema, and what each problem means."""

from pathlib import Path

import click

from recoup_cli.check_output import Format, told, write
from recoup_cli.checking import STDIN_NAME, check_paths
from recoup_cli.refusals import FAILED, MISUSED, Refused
from recoup_core.rules.language.json_schema import policy_schema_text
from recoup_core.rules.language.problem_codes import PROBLEM_CODES, page_of, problems_page
from recoup_core.settings_reader import near
from recoup_core.wiring import shipped_policies


@click.command(
    epilog="""\b
Examples:
  recoup policy check policies
  recoup policy check policies --strict --format sarif > findings.sarif
  recoup policy check - --name mine.yaml < mine.yaml
"""
)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True, allow_dash=True))
@click.option(
    "--format",
    "form",
    type=click.Choice([form.value for form in Format]),
    default=Format.TEXT.value,
    show_default=True,
    help="text for people; json for scripts; sarif for code scanning; github for annotations in a workflow.",
)
@click.option("--strict", is_flag=True, help="Warnings fail the check, too.")
@click.option("--name", default=STDIN_NAME, show_default=True, help="What standard input (`-`) is called in messages.")
@click.option("--docs-url", metavar="URL", help="Where docs/ is published; rules in SARIF then link to their pages.")
def check(paths: tuple[Path, ...], form: str, strict: bool, name: str, docs_url: str | None) -> int:
    """Read, compile and test policy files and whole folders (default: the policies that come with Recoup).

    Finds everything at once and names file, line and column: mistakes in the text, unknown facts and words (with the
    nearest right one), rules that can never fire, rules without an example, examples that come out differently, two
    policies that claim the same payments, and any difference between the two evaluators.

    Exits with 1 when there is an error, with --strict also when there is a warning.
    """
    checked = check_paths(paths or (shipped_policies(),), name)
    write(told(checked, Format(form), docs_url))
    return FAILED if checked.errors or (strict and checked.warnings) else 0


@click.command(epilog="Example: recoup policy schema --out .vscode/recoup-policies.json")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it to a file instead of printing it."
)
def schema(out: Path | None) -> None:
    """Print the JSON Schema of policy files, for editors (docs/policies/editor.md)."""
    if out is None:
        click.echo(policy_schema_text(), nl=False)
        return
    try:
        out.write_text(policy_schema_text(), encoding="utf-8")
    except OSError as error:
        raise Refused(f"{out} can't be written: {error.strerror}") from error
    click.echo(f"wrote {out}")


@click.command(epilog="Example: recoup policy problems unreachable_rule")
@click.argument("code", required=False)
@click.option("--markdown", is_flag=True, help="Everything as the page docs/policies/problems.md.")
def problems(code: str | None, markdown: bool) -> None:
    """Say what a problem's code means and how it is mended; without a code, list them all."""
    if markdown:
        click.echo(problems_page(), nl=False)
        return
    if code is not None and code not in PROBLEM_CODES:
        like = near(code, tuple(PROBLEM_CODES))
        raise Refused(f"no problem has the code {code!r}", like and f"did you mean {like}?", code=MISUSED)
    for known in [PROBLEM_CODES[code]] if code else PROBLEM_CODES.values():
        click.echo(f"{known.code} ({known.severity.value}): {known.meaning} {known.mend}")
    if code:
        click.echo(f"more: docs/{page_of(code)}")
