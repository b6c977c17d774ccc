"""Which arm of an experiment a case belongs to: the same for one customer, whoever asks and however often."""

from enum import StrEnum
from hashlib import sha256
from typing import Final

WHOLE_BP: Final = 10_000
"""All, in hundredths of a per cent."""

_RANGE: Final = 2**64


class Arm(StrEnum):
    """One side of an experiment."""

    CONTROL = "control"
    """Decided by the live version."""
    TREATMENT = "treatment"
    """Decided by the version under test."""


def arm_of(salt: str, customer_ref: str, share_bp: int) -> Arm:
    """Return the arm of a customer while the treatment's share is `share_bp` hundredths of a per cent.

    Who is in the treatment at a share is in it at every larger one: ramping up moves nobody out, ramping down nobody
    in. Another salt, as every experiment has, deals anew.
    """
    place = int.from_bytes(sha256(f"{salt}\x00{customer_ref}".encode()).digest()[:8])
    return Arm.TREATMENT if place * WHOLE_BP < share_bp * _RANGE else Arm.CONTROL
