"""The small pages that links in messages open, for customers: no script, no key, nothing from elsewhere.

They stand outside the API and its document. What they show is decided in `recoup_core.flows.customer_pages`.
"""

from recoup_server.pages.handlers import make_router

__all__ = ["make_router"]
