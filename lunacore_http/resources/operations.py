"""For operators: liveness on the public listener; readiness, metrics and OpenAPI on their own."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from lunacore.errors import LunaCoreError, StoreUnavailable
from lunacore.stores import Probe
from lunacore_http import metrics, wire
from lunacore_http.errors import MethodNotAllowed, refusal_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from falcon import Request, Response
    from prometheus_client import CollectorRegistry

    from lunacore.deployment import Deployment
    from lunacore_http.identity.providers import Identities

_LOG: Final = logging.getLogger("lunacore.operations")
_OK: Final = "ok"


class HealthResource:
    """``GET /health``: the process answers. It asks no store, so that one which is down gets no server restarted."""

    def __init__(self) -> None:
        self._answer = wire.encode(wire.Success(data=wire.Health()))

    def on_get(self, req: Request, resp: Response) -> None:  # noqa: ARG002 - Falcon's
        resp.data = self._answer

    on_head = on_get

    def on_options(self, req: Request, resp: Response) -> None:  # noqa: ARG002 - Falcon's
        """No pre-flight request is ever granted."""
        raise MethodNotAllowed("GET, HEAD")


@frozen
class ReadyResource:
    """``GET /ready``: whether every part can be reached; 503 and the parts that cannot where not."""

    checks: Mapping[str, Callable[[], None]]

    def on_get(self, req: Request, resp: Response) -> None:
        told = {name: _outcome(name, check) for name, check in self.checks.items()}
        failed = [name for name, outcome in told.items() if outcome != _OK]
        if not failed:
            resp.data = wire.encode(wire.Success(data=wire.Readiness(told)))
            return
        message = "; ".join(f"{name}: {told[name]}" for name in failed)
        refusal = refusal_of(StoreUnavailable(message), req.context.request)
        req.context.outcome = refusal.name
        resp.status = refusal.status
        resp.set_headers(dict(refusal.headers))
        resp.data = wire.encode(refusal.failure)


def _outcome(name: str, check: Callable[[], None]) -> str:
    try:
        check()
    except LunaCoreError as problem:
        return problem.message
    except Exception as problem:  # noqa: BLE001 - whatever a part of another project raises, it is not ready
        _LOG.error("event=readiness_check_failed check=%s error=%s", name, type(problem).__qualname__)
        return "the check failed; see the log"
    return _OK


def store_checks(deployment: Deployment, identities: Identities) -> dict[str, Callable[[], None]]:
    """The readiness checks of every part of a deployment. A store without a probe counts as reached."""
    parts: dict[str, Any] = {
        "records": deployment.records,
        "grants": deployment.grants,
        "objects": deployment.objects,
        "audit": deployment.audit,
        "keyring_store": deployment.keyring_store,
    }
    checks = {name: part.probe for name, part in parts.items() if isinstance(part, Probe)}

    def keyring() -> None:
        deployment.keyring.refresh()
        if deployment.keyring.problem is not None:
            raise StoreUnavailable(deployment.keyring.problem)

    return {**checks, "keyring": keyring, "identities": identities.probe}


class MetricsResource:
    """``GET /metrics``: for Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def on_get(self, req: Request, resp: Response) -> None:  # noqa: ARG002 - Falcon's
        resp.content_type = metrics.CONTENT_TYPE
        resp.data = metrics.exposition(self._registry)


class OpenApiResource:
    """``GET /openapi.json``: the OpenAPI 3.1 document of the public listener."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._answer = json.dumps(document).encode()

    def on_get(self, req: Request, resp: Response) -> None:  # noqa: ARG002 - Falcon's
        resp.data = self._answer
