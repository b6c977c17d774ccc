"""`recoup case show`: one payment's whole story, past and future, each step with its reason."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import click
import msgspec

from recoup_cli import case_credentials
from recoup_cli.admin import with_open_database
from recoup_cli.case_finding import find_case
from recoup_cli.case_forecast import show_forecast
from recoup_cli.refusals import Refused
from recoup_cli.single import MERCHANT
from recoup_core.domain.attempt import Attempt
from recoup_core.domain.message import Message
from recoup_core.domain.recovery import StepState, TimelineStep
from recoup_core.rules.deciding.words import moment, stored_words
from recoup_core.settings import Settings
from recoup_core.storage.engine import Database
from recoup_core.storage.listing import CaseStory, DecisionRow, read_story


@click.group()
def case() -> None:
    """Look at recovery cases, and at what their customers pay with."""


for command in (case_credentials.credentials_command, case_credentials.link_command):
    case.add_command(command)


@case.command(epilog="Examples: recoup case show INV-0042   |   recoup case show INV-0042 --forecast")
@click.argument("wanted", metavar="ID|REFERENCE")
@click.option("--merchant", default=MERCHANT, show_default=True)
@click.option("--forecast", "ahead", is_flag=True, help="What is still to come, also if each retry is declined.")
@click.option("--why", is_flag=True, help="Each rule that did not fire, too, with every condition's value.")
@click.option("--json", "as_json", is_flag=True, help="Everything that is stored, as JSON.")
def show(wanted: str, merchant: str, ahead: bool, why: bool, as_json: bool) -> None:
    """Show a payment, everything that was tried, what comes next, and why.

    Takes the id of a case or a payment, or the merchant's reference of the payment. Looks into the database of the
    settings, else into the one that `recoup up` or `recoup demo` runs in this folder.
    """

    if ahead:
        show_forecast(merchant, wanted, as_json)
        return

    async def look(database: Database, _: Settings) -> CaseStory | None:
        case_id = await find_case(database, merchant, wanted)
        return None if case_id is None else await read_story(database, merchant, case_id)

    story = with_open_database(look)
    if story is None:
        raise Refused(f"the merchant {merchant} has no case or payment {wanted}")
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(story)).decode())
        return
    for line in story_lines(story, full=why):
        click.echo(line)


def story_lines(story: CaseStory, *, full: bool) -> Iterator[str]:
    """Yield the story in words, oldest first; `full` explains the rules that did not fire, too."""
    payment, the_case = story.payment, story.case
    yield f"payment {payment.reference}  {payment.amount}  {payment.state}  ({payment.method}, {payment.gateway})"
    ended = f", closed {moment(the_case.closed_at)}" if the_case.closed_at else ""
    reason = f" ({the_case.stop_reason.replace('_', ' ')})" if the_case.stop_reason else ""
    yield f"case    {the_case.id}  {the_case.state}{reason}, opened {moment(the_case.opened_at)}{ended}"
    yield f"policy  {the_case.policy_name} {the_case.policy_digest[:12]}, kept for the whole case"
    if the_case.dunning_digest is not None:
        yield f"dunning {the_case.dunning_name} {the_case.dunning_digest[:12]}, kept for the whole case"
    for _, lines in sorted(_moments(story, full), key=lambda entry: entry[0]):
        yield ""
        yield from lines


def _moments(story: CaseStory, full: bool) -> Iterator[tuple[datetime, list[str]]]:
    for attempt in story.attempts:
        yield attempt.finished_at or attempt.submitted_at or attempt.created_at, [_attempt_words(attempt)]
    for decision in story.decisions:
        steps = [step for step in story.steps if step.decision_id == decision.id]
        yield decision.decided_at, _decision_lines(decision, steps, story.messages, full)
    for step in story.steps:
        if step.decision_id is None:
            asked = f"{moment(step.created_at)}  {step.planned_by} asked for a try"
            yield step.created_at, [f"{asked}: {_step_words(step)}"]


def _attempt_words(attempt: Attempt) -> str:
    at = attempt.submitted_at or attempt.created_at
    decline = attempt.decline
    why = f": {decline.category} (code {decline.code}, retryable {decline.retryable})" if decline else ""
    sent = f", sent {attempt.sends} times with one key" if attempt.sends > 1 else ""
    return f"{moment(at)}  attempt {attempt.number} ({attempt.origin}) {attempt.state}{why}{sent}"


def _decision_lines(
    decision: DecisionRow, steps: Sequence[TimelineStep], messages: Sequence[Message], full: bool
) -> list[str]:
    outcome, *why = stored_words(decision.kind, decision.outcome, decision.explanation, full=full)
    lines = [f"{moment(decision.decided_at)}  decided: {outcome}"]
    lines += [f"    {line}" for line in why]
    for step in steps:
        lines.append(f"    -> {_named(step)}{_step_words(step)}")
        lines += [f"       {message_words(message)}" for message in messages if message.step_id == step.id]
    return lines


def message_words(message: Message) -> str:
    """Return what became of a message, in one line; the address it went to stands with the customer."""
    at = f" at {moment(message.sent_at)}" if message.sent_at else ""
    because = f": {message.because}" if message.because else ""
    return f"{message.channel} {message.template} {message.state}{at}{because}"


def _named(step: TimelineStep) -> str:
    return f"{step.key.partition('#')[0]}: " if step.key is not None else ""


def _step_words(step: TimelineStep) -> str:
    if step.state is StepState.PLANNED:
        held = f" (held back: {step.held_because})" if step.held_because else ""
        return f"to come at {moment(step.due_at)}{held}"
    if step.state is StepState.SKIPPED:
        return f"skipped: {step.skipped_because}"
    finished = f" at {moment(step.finished_at)}" if step.finished_at else ""
    return f"{step.state}{finished}"
