"""What the API says and takes about who of the staff is told what."""

from datetime import datetime

import msgspec

from recoup_core.domain.staff import StaffKind
from recoup_core.flows.staff.muting import ReaderView
from recoup_server.schemas_in import Moment


class HeardOut(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of thing that a reader is told of."""

    kind: StaffKind
    muted: bool
    muted_until: datetime | None
    """None while muted: until somebody unmutes it."""
    muted_by: str | None
    last_sent_at: datetime | None


class StaffReaderOut(msgspec.Struct, frozen=True, kw_only=True):
    """One of the staff, or a room of theirs, as the settings name them; addresses are not shown."""

    name: str
    notifier: str
    channel: str
    locale: str
    timezone: str
    kinds: list[HeardOut]


class StaffList(msgspec.Struct, frozen=True, kw_only=True):
    """All of a merchant's readers: they stand in the settings, and there are a handful."""

    items: list[StaffReaderOut]


class MuteIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be heard no more, and for how long."""

    kind: StaffKind | None = None
    """None: of every kind."""
    until: Moment | None = None
    """None: until it is unmuted."""


class UnmuteIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be heard again."""

    kind: StaffKind | None = None
    """None: every kind."""


def reader_out(view: ReaderView) -> StaffReaderOut:
    """Return a reader as callers see it."""
    return msgspec.convert(view, StaffReaderOut, from_attributes=True)
