"""Fixtures for plugin authors: put `pytest_plugins = ["recoup_plugins.testing.fixtures"]` into your conftest.py."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from recoup_plugins.testing.fault_proxy import FaultProxy
from recoup_plugins.testing.fault_proxy import fault_proxy as running


@pytest.fixture
def fault_proxy() -> Iterator[Callable[[str], FaultProxy]]:
    """`fault_proxy(url)` starts a `FaultProxy` in front of a provider; it stops with the test."""
    with ExitStack() as stack:
        yield lambda upstream: stack.enter_context(running(upstream))
