"""What may become of a gateway's event once it is stored."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from recoup_core.domain.machine import Machine


class InboundState(StrEnum):
    """How far a stored event is."""

    RECEIVED = "received"
    """Stored, and not applied yet."""
    APPLIED = "applied"
    """It changed something."""
    IGNORED = "ignored"
    """It said nothing new, or nothing that concerns us."""
    REFUSED = "refused"
    """A rule keeps us from taking in what it says; a person was asked."""
    DEAD = "dead"
    """It could not be applied, time after time: a fault of ours. A person was asked; nothing is tried until then."""
    DISMISSED = "dismissed"
    """A person said that it is not to be applied."""


class InboundMove(StrEnum):
    """What can happen to a stored event."""

    APPLY = "apply"
    IGNORE = "ignore"
    REFUSE = "refuse"
    GIVE_UP = "give_up"
    TRY_AGAIN = "try_again"
    DISMISS = "dismiss"


_S, _M = InboundState, InboundMove

TRANSITIONS: Final[Mapping[tuple[InboundState, InboundMove], InboundState]] = {
    (_S.RECEIVED, _M.APPLY): _S.APPLIED,
    (_S.RECEIVED, _M.IGNORE): _S.IGNORED,
    (_S.RECEIVED, _M.REFUSE): _S.REFUSED,
    (_S.RECEIVED, _M.GIVE_UP): _S.DEAD,
    (_S.RECEIVED, _M.DISMISS): _S.DISMISSED,
    (_S.IGNORED, _M.TRY_AGAIN): _S.RECEIVED,  # what it is about may have been reported since
    (_S.REFUSED, _M.TRY_AGAIN): _S.RECEIVED,
    (_S.REFUSED, _M.DISMISS): _S.DISMISSED,
    (_S.DEAD, _M.TRY_AGAIN): _S.RECEIVED,
    (_S.DEAD, _M.DISMISS): _S.DISMISSED,
    (_S.DISMISSED, _M.TRY_AGAIN): _S.RECEIVED,  # people err, too
}
"""What was applied stays applied: what it changed is undone by what the gateway tells next, never by hand here."""

INBOUND_EVENT: Final = Machine("inbound event", TRANSITIONS)
