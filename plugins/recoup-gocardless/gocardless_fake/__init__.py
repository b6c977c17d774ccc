"""A GoCardless for tests: stateful, on loopback, of the objects that its API reference documents. Not in the wheel."""

from gocardless_fake.banks import WORDS
from gocardless_fake.server import SECRET, TOKEN, FakeGoCardless

__all__ = ["SECRET", "TOKEN", "WORDS", "FakeGoCardless"]
