"""The body and the answer of a simulation."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from recoup_core.rules.sets.folder import MAX_FILES
from recoup_core.rules.sets.simulation import SimulationReport
from recoup_server.schemas_in import Body, Moment
from recoup_server.schemas_out import Out
from recoup_server.schemas_policies import PolicyFileIn

MAX_CASES: Final = 10_000
"""Cases of one request; more of them are the command line's to simulate."""

USUAL_CASES: Final = 1_000


class SimulateIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """New texts, and which past cases they are tried on: the latest of those opened in a period."""

    texts: Annotated[tuple[PolicyFileIn, ...], Meta(min_length=1, max_length=MAX_FILES)]
    since: Annotated[Moment | None, Meta(description="The period begins; at the beginning, if not given.")] = None
    until: Annotated[Moment | None, Meta(description="The period ends; now, if not given.")] = None
    limit: Annotated[int, Meta(ge=1, le=MAX_CASES, description="At most so many cases.")] = USUAL_CASES


class SimulateOut(Out, frozen=True, kw_only=True):
    """What would change, and what nobody can know."""

    words: Annotated[list[str], msgspec.Meta(description="The report as lines of text.")]
    report: SimulationReport
