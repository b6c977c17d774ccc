"""Expected failures and how they are told: one clear line each, what to do next, and a stable exit code."""

from collections.abc import Sequence
from typing import Final

from recoup_core.domain.errors import DomainError
from recoup_core.rules.language.errors import PolicyInvalid
from recoup_core.settings_reader import SettingsInvalid

FAILED: Final = 1
"""What was asked for did not succeed, or was found to be wrong."""

MISUSED: Final = 2
"""The command or the settings are wrong; nothing was tried."""


_SAME_NAME: Final = "  a text takes the place of one that is in force only under the same `kind` and `name`"


class Refused(Exception):
    """Something expected went wrong; `hint` says what to do about it."""

    def __init__(self, message: str, hint: str | None = None, *, code: int = FAILED) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


def told(failure: Exception) -> tuple[int, Sequence[str]] | None:
    """Return the exit code and the lines that tell of an expected failure; None for one that is a bug."""
    if isinstance(failure, Refused):
        hint = [f"  {failure.hint}"] if failure.hint else []
        return failure.code, [str(failure), *hint]
    if isinstance(failure, SettingsInvalid):
        return MISUSED, str(failure).splitlines()
    if isinstance(failure, PolicyInvalid):
        count = len(failure.problems)
        beside = [_SAME_NAME] if any(problem.code == "ambiguous" for problem in failure.problems) else []
        return FAILED, [*map(str, failure.problems), f"{count} problem{'s' if count != 1 else ''} found", *beside]
    if isinstance(failure, _expected()):
        return FAILED, [str(failure)]
    return None


def _expected() -> tuple[type[Exception], ...]:
    """Refusals of the rooms below; imported only when one is to be told, for they take a while."""
    from recoup_core.storage.engine import DatabaseUnavailable
    from recoup_core.storage.migrate import DatabaseIsNewer, MigrationFailed, MigrationLocked
    from recoup_workers.embedded_postgres import EmbeddedPostgresError

    return DomainError, DatabaseUnavailable, DatabaseIsNewer, MigrationFailed, MigrationLocked, EmbeddedPostgresError
