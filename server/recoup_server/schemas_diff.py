"""Bodies about the difference between two texts of a policy."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta

from recoup_core.rules.study.diff import PolicyDiff
from recoup_server.errors import RequestInvalid
from recoup_server.schemas_in import Body
from recoup_server.schemas_out import Out
from recoup_server.schemas_policies import POLICY_FILE, FileName, Text


class DiffTextIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the two: a text, or a version of the caller's merchant or of the house."""

    text: Text | None = None
    name: FileName = POLICY_FILE
    version_id: UUID | None = None

    def check(self, field: str) -> None:
        """Refuse what names none of them, or both."""
        if (self.text is None) is (self.version_id is None):
            raise RequestInvalid(field, "takes either text or version_id")


class DiffIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two texts to be held against each other."""

    old: Annotated[
        DiffTextIn | None, Meta(description="If not given: the policy in force that has the kind and name of `new`.")
    ] = None
    new: DiffTextIn

    def check(self) -> None:
        """Refuse what can't be understood."""
        self.new.check("new")
        if self.old is not None:
            self.old.check("old")


class DiffOut(Out, frozen=True, kw_only=True):
    """What changes when the new text takes the old one's place, in words and as data."""

    words: list[str]
    diff: PolicyDiff
