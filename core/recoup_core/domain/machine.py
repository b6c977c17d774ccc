"""A state machine is a table: a pair of state and event that is absent is refused."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, TypeVar

from recoup_core.domain.errors import IllegalTransition

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


class Machine(Generic[S, E]):
    """One thing's state table, with the thing's name for its refusals."""

    def __init__(self, name: str, table: Mapping[tuple[S, E], S]) -> None:
        self.name = name
        self.table = table

    def after(self, state: S, event: E) -> S:
        """Return the state that follows; an absent pair raises `IllegalTransition`."""
        following = self.table.get((state, event))
        if following is None:
            raise IllegalTransition(self.name, state, event)
        return following

    def allows(self, state: S, event: E) -> bool:
        """Return whether the pair is in the table."""
        return (state, event) in self.table
