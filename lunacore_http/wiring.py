"""From a configuration to running applications: the one place where the server's parts are put together."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from attrs import evolve
from prometheus_client import REGISTRY

from lunacore import segments
from lunacore.config import Config
from lunacore.deployment import Opening, open_deployment
from lunacore.errors import ConfigError
from lunacore.session_states import SessionStates
from lunacore_backends.sealed_objects import SealedObjects
from lunacore_http.answering import Bookkeeper, Door, Limits
from lunacore_http.application import GatewayParts, Services, create_app, create_operations_app
from lunacore_http.browser import origin_of
from lunacore_http.cookies import Cookies
from lunacore_http.gateway import create_gateway
from lunacore_http.identity.providers import Identities
from lunacore_http.metrics import CallMetrics, CountedAudit, CountedProblems
from lunacore_http.openapi import openapi_document
from lunacore_http.resources.fonts import fonts_in
from lunacore_http.resources.frame import frame_parts
from lunacore_http.resources.operations import store_checks
from lunacore_http.resources.session_flow import SessionFlow
from lunacore_http.work import Workplaces

if TYPE_CHECKING:
    from collections.abc import Callable

    import falcon
    from falcon import Request, Response
    from prometheus_client import CollectorRegistry

    from lunacore.deployment import Deployment
    from lunacore.gateway_keys import GatewayKeys


def get_app() -> falcon.App[Request, Response]:
    """The public application as the environment configures it, for any WSGI server: ``lunacore_http.wiring:get_app()``.

    ``LUNACORE_CONFIG`` names the TOML file, if there is one.
    """
    return open_application(Config.from_environment())


def open_application(config: Config) -> falcon.App[Request, Response]:
    """Open the stores that ``config`` names, and the public application over them. They stay open with the process.

    Raises:
        ConfigError: a setting is wrong.
        KeyringError: the keyring is missing or does not open.
        StoreUnavailable: a store cannot be reached.
    """
    return create_app(services_of(open_deployment(config), CallMetrics(REGISTRY)))


def open_worker(config: Config) -> falcon.App[Request, Response]:
    """As ``open_application``, for a process that serves from now on: it begins to fetch the keys of identity providers.

    So the first request need not wait for them, and a provider that is down holds up no start.
    """
    CountedProblems(REGISTRY).listen()
    services = services_of(open_deployment(config), CallMetrics(REGISTRY))
    services.session_flow.identities.prepare()
    return create_app(services)


def open_gateway(config: Config, keys: GatewayKeys) -> falcon.App[Request, Response]:
    """Open the object store, and the gateway over it: nothing else of the deployment, and no key but ``keys``.

    Raises:
        ConfigError: a setting is wrong or missing, or the objects are served by their own store.
        StoreUnavailable: the object store cannot be reached.
    """
    # The tokenizer's default is a folder of its data directory. On a machine of its own the gateway would make an empty one.
    if not config.tokenizer.objects:
        raise ConfigError(
            "tokenizer.objects is missing; name the folder that holds the tokenizer's objects, as in "
            "file:///srv/lunacore/objects (objects in the tokenizer's data directory, if it names none)"
        )
    objects: Any = Opening(config, time.time, os.urandom).objects(keys)
    if not isinstance(objects, SealedObjects):
        raise ConfigError("tokenizer.objects: this object store serves its objects itself; it needs no gateway")
    return create_gateway(
        objects,
        keys,
        now=time.time,
        max_size=segments.sealed_size(config.tickets.max_value_size),
        public_url=config.gateway.public_url,
        allowed_origin=origin_of(config.public_url),
    )


def services_of(deployment: Deployment, metrics: CallMetrics) -> Services:
    """What the public application is made of.

    Raises:
        ConfigError: the settings of an identity provider or of the frame are wrong.
    """
    config = deployment.config
    identities = identities_of(deployment)
    tokenizer = evolve(deployment.tokenizer, audit=CountedAudit(deployment.audit, metrics))
    limits = Limits(config.tokenizer.max_body, config.tokenizer.max_batch, at_work=Workplaces(config.tokenizer.threads))
    return Services(
        tokenizer=tokenizer,
        identities=identities,
        door=Door(identities, deployment.keyring, origin_of(config.public_url)),
        limits=limits,
        bookkeeper=Bookkeeper(deployment.random, metrics, strict_transport=config.public_url.startswith("https:")),
        now=deployment.now,
        session_flow=SessionFlow(
            tokenizer=tokenizer,
            identities=identities,
            states=SessionStates(deployment.grants, deployment.keyring, random=deployment.random),
            cookies=Cookies.of(config.public_url, config.sessions.cookie),
            max_ttl=config.sessions.max_ttl,
            at_work=limits.at_work,
            random=deployment.random,
        ),
        frame=frame_parts(
            config.public_url,
            config.frame.app_origins,
            deployment.objects.origin,
            config.sessions.cookie,
            fonts_in(config.frame.fonts),
        ),
        gateway=_gateway(deployment),
    )


def identities_of(deployment: Deployment) -> Identities:
    """The configured identity providers."""
    config = deployment.config
    return Identities(
        config.identity,
        public_url=config.public_url,
        max_session_ttl=config.sessions.max_ttl,
        now=deployment.now,
        keyring=deployment.keyring,
    )


def operations_of(
    deployment: Deployment, registry: CollectorRegistry, **checks: Callable[[], None]
) -> falcon.App[Request, Response]:
    """The operator's application over a deployment, with further readiness checks by name."""
    stores = store_checks(deployment, identities_of(deployment))
    return create_operations_app(
        Bookkeeper(deployment.random), {**checks, **stores}, registry, openapi_document(deployment.config.public_url)
    )


def _gateway(deployment: Deployment) -> GatewayParts | None:
    """The gateway, if objects need one and clients reach it on the tokenizer's own origin."""
    config = deployment.config
    objects: Any = deployment.objects
    if not isinstance(objects, SealedObjects) or origin_of(config.gateway_url) != origin_of(config.public_url):
        return None
    return GatewayParts(
        objects=objects,
        keys=deployment.keyring,
        max_size=segments.sealed_size(config.tickets.max_value_size),
        public_url=config.gateway_url,
    )
