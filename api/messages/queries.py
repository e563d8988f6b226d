"""Query parameters: one that a route does not know is refused, like an unknown field of a body.

Ignored, a misspelled filter would answer with everything.
"""

from __future__ import annotations

from typing import Any

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.routes import HTTPRoute

from api.messages.errors import MAX_MESSAGE_LENGTH, ProblemRaised, invalid

KNOWN = "query"
"""The key in a route's `opt` of the names that it knows."""


def note_known(app: Litestar) -> None:
    """Give every route the names of its query parameters."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler, takes in route.route_handler_map.values():
                handler.opt[KNOWN] = sorted(parameter.field_alias for parameter in takes.expected_query_params)


def refuse_unknown(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Litestar guard: nothing happens for a request with a parameter that its route does not know.

    Open routes take whatever a scraper or a browser adds. Raises ProblemRaised.
    """
    if not connection.scope["query_string"] or handler.opt.get("scope", "open") == "open":
        return
    known = handler.opt[KNOWN]
    for name in connection.query_params:
        if name not in known:
            message = f"no such parameter here; known: {', '.join(known) or 'none'}"
            raise ProblemRaised(invalid(name[:MAX_MESSAGE_LENGTH], message))
