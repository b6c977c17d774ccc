"""`recoup case show --forecast`: what is still to come for a case, beforehand."""

from collections.abc import Iterator

import click

from recoup_cli.case_finding import find_case
from recoup_cli.refund_desk import print_json, with_flows
from recoup_cli.refusals import Refused
from recoup_core.flows.context import Context
from recoup_core.flows.forecast import Forecast, ForecastEntry, forecast
from recoup_core.rules.deciding.words import moment


def show_forecast(merchant: str, wanted: str, as_json: bool) -> None:
    """Print the forecast of the case that a person named; `Refused` where there is none."""

    async def look(context: Context) -> Forecast:
        case_id = await find_case(context.database, merchant, wanted)
        if case_id is None:
            raise Refused(f"the merchant {merchant} has no case or payment {wanted}")
        return await forecast(context, merchant, case_id)

    told = with_flows(look)
    if as_json:
        print_json(told)
        return
    for line in forecast_lines(told):
        click.echo(line)


def forecast_lines(told: Forecast) -> Iterator[str]:
    """Yield a forecast in words, in the order in which things come."""
    yield f"case    {told.case_id}  {told.state}"
    if told.note:
        yield f"note    {told.note}"
    if told.assumption:
        yield f"if      {told.assumption}"
    for entry in told.entries:
        yield f"{moment(entry.at)}  {entry.certainty:<9}  {_words(entry)}"
    if told.exhausted_at is not None:
        reason = (told.stop_reason or "exhausted").replace("_", " ")
        yield f"no retry follows after {moment(told.exhausted_at)} ({reason})"


def _words(entry: ForecastEntry) -> str:
    about = entry.template or entry.plan or entry.text or (f"at {entry.gateway}" if entry.gateway else "")
    by = f" by {', '.join(entry.channels)}" if entry.channels else ""
    words = f"{entry.kind.value.replace('_', ' ')} {about}".rstrip() + by
    if entry.left_out:
        return f"{words}: will not come ({entry.left_out})"
    return f"{words} (held back: {entry.held_because})" if entry.held_because else words
