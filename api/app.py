"""The application: every route under one set of rules; no I/O until it is started."""

from __future__ import annotations

from litestar import Litestar
from litestar.datastructures import State
from litestar.exceptions import ImproperlyConfiguredException
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp

from api import (
    cart_items,
    carts,
    categories,
    checkout,
    coupons,
    hold_batches,
    holds,
    items,
    operations,
    orders,
    prices,
    pricing_rules,
    products,
    stock,
    variants,
)
from api.access.authentication import require_scope
from api.access.rate_limits import tell_limits
from api.documentation import document
from api.messages.bodies import JsonBody
from api.messages.errors import answer_exception
from api.messages.queries import note_known, refuse_unknown
from api.messages.requests import ApiRequest
from api.process.observation import Observed, Observer
from api.process.resources import Resources
from api.serving.short_way import ShortWay
from engine.settings import Settings

ROUTES = (
    stock.StockRoutes,
    holds.HoldRoutes,
    hold_batches.router,
    categories.CategoryRoutes,
    products.ProductRoutes,
    variants.VariantRoutes,
    items.ItemRoutes,
    pricing_rules.PricingRuleRoutes,
    prices.router,
    coupons.CouponRoutes,
    carts.CartRoutes,
    cart_items.CartItemRoutes,
    checkout.router,
    orders.OrderRoutes,
    operations.router,
    document.router,
)


def create_app(settings: Settings) -> Litestar:
    """The routes. Raises ImproperlyConfiguredException for a route that does not say who may use it."""
    resources = Resources(settings)
    app = Litestar(
        route_handlers=ROUTES,
        request_class=ApiRequest,
        dto=JsonBody,
        guards=[require_scope, refuse_unknown],
        exception_handlers={Exception: answer_exception},
        before_send=[] if resources.rate_limits is None else [tell_limits],
        openapi_config=document.config(),
        state=State({"resources": resources}),
        lifespan=[resources.lifespan],
        logging_config=None,
        request_max_body_size=None,  # api/messages/body_limits.py bounds bodies, and answers as the contract says
    )
    _check_scopes(app)
    note_known(app)
    return app


def create_server_app(settings: Settings) -> tuple[ASGIApp, ShortWay, Resources]:
    """What the server runs: the application, and the short way past it; both are observed."""
    app = create_app(settings)
    resources: Resources = app.state.resources
    observer = Observer(resources)
    return Observed(app, observer), ShortWay(resources, observer), resources


def _check_scopes(app: Litestar) -> None:
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            raise ImproperlyConfiguredException(f"{route.path} is no HTTP route: nothing guards it")
        for handler in route.route_handlers:
            if "scope" not in handler.opt and "OPTIONS" not in handler.http_methods:
                raise ImproperlyConfiguredException(f"{route.path} does not say who may use it: opt=allow(…)")
