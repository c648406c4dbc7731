"""The application: which path leads to what. Wiring of routes and nothing else; ``wiring`` opens what it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import falcon
from attrs import frozen

from lunacore_http import wire
from lunacore_http.answering import JSON, Bookkeeper, Door, Endpoint, Identifies, Limits, NotedRequest, answer_error
from lunacore_http.gateway import add_gateway
from lunacore_http.resources.frame import add_frame
from lunacore_http.resources.grants import Grants
from lunacore_http.resources.operations import HealthResource, MetricsResource, OpenApiResource, ReadyResource
from lunacore_http.resources.session_flow import CreateSession, EndSession, EnsureSession
from lunacore_http.resources.sessions import Sessions, VerifySession
from lunacore_http.resources.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from falcon import Request, Response
    from prometheus_client import CollectorRegistry

    from lunacore.gateway_keys import GatewayKeys
    from lunacore.tokenizer import Tokenizer
    from lunacore_http.gateway import ServedObjects
    from lunacore_http.resources.frame import FrameParts
    from lunacore_http.resources.session_flow import SessionFlow


@frozen
class GatewayParts:
    """What the gateway needs where it runs within the tokenizer; ``max_size`` is of one object, in bytes."""

    objects: ServedObjects
    keys: GatewayKeys
    max_size: int
    public_url: str


@frozen
class Services:
    """What the public application is made of.

    Attributes:
        gateway: None where objects are served by someone else.
    """

    tokenizer: Tokenizer
    identities: Identifies
    door: Door
    limits: Limits
    bookkeeper: Bookkeeper
    now: Callable[[], float]
    session_flow: SessionFlow
    frame: FrameParts
    gateway: GatewayParts | None = None


def create_app(services: Services) -> falcon.App[Request, Response]:
    """The public application: every call of the tokenizer, and the gateway if it runs here."""
    app = _app(services.bookkeeper)
    _add_calls(app, services)
    app.add_route("/session/verify", VerifySession(services.door, services.tokenizer, services.session_flow.identities))
    app.add_route("/session/ensure", EnsureSession(services.session_flow))
    app.add_route("/session/create", CreateSession(services.session_flow))
    add_frame(app, services.frame)
    app.add_route("/health", HealthResource())
    gateway = services.gateway
    if gateway is not None:
        add_gateway(
            app,
            gateway.objects,
            gateway.keys,
            now=services.now,
            max_size=gateway.max_size,
            public_url=gateway.public_url,
        )
    return app


def create_operations_app(
    bookkeeper: Bookkeeper,
    checks: Mapping[str, Callable[[], None]],
    registry: CollectorRegistry,
    document: Mapping[str, Any],
) -> falcon.App[Request, Response]:
    """The operator's application. It tells nothing of tokens, but is for operators alone."""
    app = _app(bookkeeper)
    app.add_route("/health", HealthResource())
    app.add_route("/ready", ReadyResource(checks))
    app.add_route("/metrics", MetricsResource(registry))
    app.add_route("/openapi.json", OpenApiResource(document))
    return app


def _app(bookkeeper: Bookkeeper) -> falcon.App[Request, Response]:
    app: falcon.App[Request, Response] = falcon.App(media_type=JSON, request_type=NotedRequest, middleware=[bookkeeper])
    app.add_error_handler(Exception, answer_error)
    app.add_error_handler(falcon.HTTPError, answer_error)
    return app


def _add_calls(app: falcon.App[Request, Response], services: Services) -> None:
    tokens = Tokens(services.tokenizer, services.identities)
    grants = Grants(services.tokenizer, services.identities)
    sessions = Sessions(services.tokenizer, services.identities)
    door, limits = services.door, services.limits
    app.add_route("/tokenize", Endpoint(wire.TOKENIZE, tokens.tokenize, door, limits))
    app.add_route("/detokenize", Endpoint(wire.BY_TOKEN, tokens.detokenize, door, limits, shows_session=True))
    app.add_route("/grant/set", Endpoint(wire.SET_GRANT, grants.set, door, limits))
    app.add_route("/grant/verify", Endpoint(wire.VERIFY_GRANT, grants.verify, door, limits))
    app.add_route("/grant/revoke", Endpoint(wire.REVOKE_GRANT, grants.revoke, door, limits))
    app.add_route("/metadata/get", Endpoint(wire.BY_TOKEN, tokens.metadata, door, limits))
    app.add_route("/token/label", Endpoint(wire.LABEL_TOKEN, tokens.label, door, limits))
    app.add_route("/token/delete", Endpoint(wire.BY_TOKEN, tokens.delete, door, limits))
    app.add_route("/label/delete", Endpoint(wire.DELETE_LABEL, tokens.delete_label, door, limits))
    app.add_route("/session/end", EndSession(sessions, door, limits, services.session_flow.cookies))
