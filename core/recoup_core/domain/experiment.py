"""Which arm of an experiment a case belongs to: the same for one customer, whoever asks and however often."""

from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec

WHOLE_BP: Final = 10_000
"""All, in hundredths of a per cent."""

_RANGE: Final = 2**64

DEFAULT_MATURITY: Final = 30
"""Days; the usual window of a recovery case."""
MAX_MATURITY: Final = 366
DEFAULT_MIN_MATURED: Final = 400
"""Matured customers of each arm; fewer can't tell rates ten percentage points apart."""


class Arm(StrEnum):
    """One side of an experiment."""

    CONTROL = "control"
    """Decided by the live version."""
    TREATMENT = "treatment"
    """Decided by the version under test."""


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """A version that decides for a share of the new cases which the live version of the same name would get."""

    id: UUID
    merchant_id: str | None = None
    """Whose cases; None for every merchant's that has no own version of the name."""
    kind: str
    name: str
    version_id: UUID
    control_digest: str
    """The live version when it began."""
    share_bp: int
    """The treatment's present share, in hundredths of a per cent."""
    ramp: int = 1
    """Number of the period with this share."""
    salt: str
    maturity_days: int
    """How long after it opened a case counts, whatever became of it."""
    min_cases: int
    """Matured customers of each arm before anything is concluded."""
    started_at: datetime
    stopped_at: datetime | None = None
    stopped_because: str | None = None
    winner: Arm | None = None
    """The arm that was better, where the stop rule said so."""
    told: str | None = None
    """What the stop rule said when a person was last asked about it."""

    def arm(self, merchant_id: str, customer_ref: str) -> Arm:
        """Return the arm of a merchant's customer."""
        return arm_of(self.salt, f"{merchant_id}/{customer_ref}", self.share_bp)


def arm_of(salt: str, customer_ref: str, share_bp: int) -> Arm:
    """Return the arm of a customer while the treatment's share is `share_bp` hundredths of a per cent.

    Who is in the treatment at a share is in it at every larger one: ramping up moves nobody out, ramping down nobody
    in. Another salt, as every experiment has, deals anew.
    """
    place = int.from_bytes(sha256(f"{salt}\x00{customer_ref}".encode()).digest()[:8])
    return Arm.TREATMENT if place * WHOLE_BP < share_bp * _RANGE else Arm.CONTROL
