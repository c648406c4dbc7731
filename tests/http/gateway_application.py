"""The gateway over a directory, as a WSGI application that a server process loads; its settings come from the environment."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from lunacore.gateway_keys import FixedGatewayKeys
from lunacore.plugins import BackendURL, Surroundings
from lunacore.sigv4 import Credentials
from lunacore_backends import file_objects
from lunacore_http.gateway import create_gateway

if TYPE_CHECKING:
    from typing import Any

MAX_SIZE = 64 << 20
CREDENTIALS = Credentials(access_key="lunacore-gateway-1", secret_key="only for tests")
ALLOWED_ORIGIN = "https://secure.example.com"


def surroundings(gateway_url: str = "") -> Surroundings:
    return Surroundings(
        setting="objects",
        now=time.time,
        random=os.urandom,
        gateway_url=gateway_url,
        gateway_keys=FixedGatewayKeys([CREDENTIALS]),
    )


def create() -> Any:
    objects = file_objects.open_objects(BackendURL.parse(os.environ["GATEWAY_OBJECTS"], "objects"), surroundings())
    return create_gateway(
        objects,
        FixedGatewayKeys([CREDENTIALS]),
        now=time.time,
        max_size=MAX_SIZE,
        public_url=os.environ.get("GATEWAY_PUBLIC_URL", ""),
        allowed_origin=os.environ.get("GATEWAY_ALLOWED_ORIGIN", ""),
    )
