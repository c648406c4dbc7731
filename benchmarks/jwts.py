"""JWTs: verified for the first time, by algorithm, and remembered."""

from __future__ import annotations

import json
import time
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from benchmarks.operations import Operation
from lunacore.config import IdentitySettings
from lunacore_http.identity.providers import Identities, Presented

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REMEMBERED: Final = "JWT: remembered"

_ISSUER: Final = "https://app.example.com"
_AUDIENCE: Final = "https://secure.example.com"
_COUNT: Final = 100
_HOUR: Final = 3600


def operations(folder: Path) -> list[Operation]:
    """Verifying with each algorithm, and being remembered."""
    keys: dict[str, Any] = {
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "RS256": rsa.generate_private_key(65537, 2048),
    }
    jwks = folder / "jwks.json"
    jwks.write_text(
        json.dumps({"keys": [_jwk(name, key.public_key()) for name, key in keys.items()]}), encoding="utf-8"
    )
    settings = IdentitySettings(name="app", kind="application", issuer=_ISSUER, jwks=jwks.as_uri(), direct=True)
    signed = {name: [_sign(name, key, number) for number in range(_COUNT)] for name, key in keys.items()}
    verifying = [
        Operation(f"JWT: verify {name} anew", _verifying(settings, texts), limit=_COUNT)
        for name, texts in signed.items()
    ]
    return [Operation(REMEMBERED, _remembering(settings, signed["EdDSA"][0])), *verifying]


def _verifying(settings: IdentitySettings, texts: list[str]) -> Callable[[int], Callable[[], None]]:
    def prepare(count: int) -> Callable[[], None]:
        identities = _identities(settings)
        presented = [_presented(text) for text in texts[:count]]

        def run() -> None:
            for one in presented:
                identities.identify(one)

        return run

    return prepare


def _remembering(settings: IdentitySettings, text: str) -> Callable[[int], Callable[[], None]]:
    def prepare(count: int) -> Callable[[], None]:
        identities = _identities(settings)
        presented = _presented(text)
        identities.identify(presented)

        def run() -> None:
            for _ in repeat(None, count):
                identities.identify(presented)

        return run

    return prepare


def _identities(settings: IdentitySettings) -> Identities:
    """Providers that remember nobody yet."""
    return Identities([settings], public_url=_AUDIENCE, max_session_ttl=12 * _HOUR, now=time.time)


def _presented(text: str) -> Presented:
    return Presented(authorization=f"Bearer {text}", cookies={}, header=lambda _: None)


def _sign(algorithm: str, key: Any, number: int) -> str:  # noqa: ANN401 - a private key of any kind
    now = int(time.time())
    claims = {
        "iss": _ISSUER,
        "aud": _AUDIENCE,
        "sub": "user",
        "session_id": str(number),
        "iat": now,
        "exp": now + _HOUR,
    }
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": algorithm})


def _jwk(algorithm: str, public: Any) -> dict[str, Any]:  # noqa: ANN401 - a public key of any kind
    maker: Any = {"EdDSA": OKPAlgorithm, "ES256": ECAlgorithm, "RS256": RSAAlgorithm}[algorithm]
    return {**maker.to_jwk(public, as_dict=True), "kid": algorithm, "alg": algorithm, "use": "sig"}
