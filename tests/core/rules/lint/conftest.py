"""Policies as text, and what lint finds in them."""

from collections.abc import Callable

import pytest

from recoup_core.rules.language.errors import Problem
from recoup_core.rules.sets.folder import PolicyFile, review_set

Check = Callable[..., list[str]]


def problems_of(*texts: str) -> tuple[Problem, ...]:
    """Check texts as the files of one folder: 0.yaml, 1.yaml, ..."""
    return review_set([PolicyFile(f"{n}.yaml", text) for n, text in enumerate(texts)], called="folder")[1]


@pytest.fixture
def check() -> Check:
    """Return what is found as `file:line code: message`, for whole texts."""

    def run(*texts: str) -> list[str]:
        return [f"{each.file}:{each.line} {each.code}: {each.message}" for each in problems_of(*texts)]

    return run


@pytest.fixture
def problems() -> Callable[..., tuple[Problem, ...]]:
    """Return what is found, whole."""
    return problems_of
