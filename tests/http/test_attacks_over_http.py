"""Forged and misused JWTs against a real server: what the identity layer refuses, no way over HTTP lets through."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.http.identity.conftest import EC_KEY, ED_KEY, OTHER_RSA_KEY, RSA_KEY, KeyServer, encode, public_jwk, sign
from tests.http.tokenizer_server import STRING, TokenizerServer, exchange

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.xdist_group("attacks_over_http")

APP = "https://app.example.com"
PROXY = "https://proxy.example.com/"
HEADER = "X-Proxy-Jwt"
OTHER_EC_KEY = ec.generate_private_key(ec.SECP256R1())


class Victim:
    """A server with an application (RSA key), whose users it takes as they are, and a proxy (P-256 key)."""

    def __init__(self, server: TokenizerServer, keys: KeyServer) -> None:
        self.server = server
        self.keys = keys

    def claims(self, **changed: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {"iss": APP, "aud": self.server.url, "iat": now, "exp": now + 600, "sub": "application"}
        return {name: value for name, value in (claims | changed).items() if value is not None}

    def user(self, **changed: Any) -> dict[str, Any]:
        return self.claims(**{"sub": "user", "session_id": "s-1"} | changed)

    def proxied(self, **changed: Any) -> dict[str, Any]:
        return self.claims(**{"iss": PROXY, "aud": "client", "sub": "alice", "sid": "s-1"} | changed)

    def tokenize(self, headers: dict[str, str]) -> httpx.Response:
        return self.server.post("/tokenize", {"metadata": STRING}, headers)

    def bearer(self, text: str) -> httpx.Response:
        return self.tokenize({"authorization": f"Bearer {text}"})

    def cookie(self, text: str) -> httpx.Response:
        return self.tokenize({"cookie": f"access_token={text}"})

    def header(self, text: str) -> httpx.Response:
        return self.tokenize({HEADER: text})


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    keys = KeyServer()
    keys.keys = [public_jwk(EC_KEY, kid="proxy-1")]
    folder = tmp_path_factory.mktemp("attacks")
    path = folder / "keys.json"
    path.write_text(json.dumps({"keys": [public_jwk(RSA_KEY), public_jwk(ED_KEY, kid="enc", use="enc")]}))
    server = TokenizerServer(folder)
    app = {"name": "app", "kind": "application", "issuer": APP, "jwks": path.as_uri(), "direct": True}
    proxy = {
        "name": "proxy",
        "kind": "proxy",
        "issuer": PROXY,
        "audience": "client",
        "jwks": keys.url,
        "header": HEADER,
    }
    server.config["identity"] = [app, proxy]
    with keys, server:
        yield Victim(server, keys)


def app_jwt(claims: Any, key: Any = RSA_KEY, algorithm: str = "RS256", **header: Any) -> str:
    return sign(claims, key, algorithm, **header)


def proxy_jwt(claims: Any, key: Any = EC_KEY, **header: Any) -> str:
    return sign(claims, key, "ES256", **{"kid": "proxy-1"} | header)


def assert_refused(answer: httpx.Response, status: int = 401, name: str = "unauthenticated") -> None:
    assert (answer.status_code, answer.json()["error"]["name"]) == (status, name), answer.text
    assert answer.json()["data"] == {}


def test_what_is_in_order_passes(victim: Victim) -> None:
    assert victim.bearer(app_jwt(victim.claims())).status_code == 200
    assert victim.cookie(app_jwt(victim.user())).status_code == 200
    assert victim.header(proxy_jwt(victim.proxied())).status_code == 200


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
def test_alg_none(victim: Victim, algorithm: str) -> None:
    header = encode(json.dumps({"alg": algorithm, "kid": "one"}).encode())
    payload = encode(json.dumps(victim.claims()).encode())
    for signature in ("", "AA", "."):
        assert_refused(victim.bearer(f"{header}.{payload}.{signature}"))


@pytest.mark.parametrize("encoding", [serialization.Encoding.PEM, serialization.Encoding.DER])
def test_hs256_with_the_public_key(victim: Victim, encoding: serialization.Encoding) -> None:
    secret = RSA_KEY.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    header = encode(json.dumps({"alg": "HS256", "kid": "one"}).encode())
    signed = f"{header}.{encode(json.dumps(victim.claims()).encode())}"
    mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    assert_refused(victim.bearer(f"{signed}.{encode(mac)}"))


def test_another_providers_key(victim: Victim) -> None:
    assert_refused(victim.bearer(sign(victim.claims(), EC_KEY, "ES256", kid="proxy-1")))
    assert_refused(victim.bearer(sign(victim.claims(), EC_KEY, "ES256", kid=None)))
    assert_refused(victim.header(sign(victim.proxied(), RSA_KEY, "RS256", kid="one")))


def test_a_key_of_nobodys_under_a_known_kid(victim: Victim) -> None:
    assert_refused(victim.bearer(app_jwt(victim.claims(), OTHER_RSA_KEY)))


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": "https://elsewhere.example.com"},
        {"aud": None},
        {"aud": []},
        {"iss": "https://nobody.example.com"},
        {"iss": PROXY},
        {"iss": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "9999999999"},
        {"iat": None},
        {"nbf": 99_999_999_999},
        {"iat": 99_999_999_999},
        {"sub": "operator"},
        {"sub": "Application"},
        {"sub": ["application"]},
        {"sub": None},
    ],
)
def test_claims_that_are_wrong_or_missing(victim: Victim, changed: dict[str, Any]) -> None:
    assert_refused(victim.bearer(app_jwt(victim.claims(**changed))))


def test_a_list_of_audiences_and_an_assertions_audience(victim: Victim) -> None:
    url = victim.server.url
    for audience in ([url, "https://elsewhere.example.com"], f"{url}/session/create", [f"{url}/session/create"]):
        assert_refused(victim.bearer(app_jwt(victim.claims(aud=audience))))
        assert_refused(victim.cookie(app_jwt(victim.user(aud=audience))))


@pytest.mark.parametrize("parameter", ["jwk", "jku", "x5u", "x5c"])
def test_a_header_that_brings_its_own_key(victim: Victim, parameter: str) -> None:
    """Nothing is fetched from where the JWT says, and the key in it is not used."""
    value: Any = {"jwk": public_jwk(OTHER_RSA_KEY), "x5c": ["AA=="]}.get(parameter, victim.keys.url + "?own")
    before = victim.keys.requests
    assert_refused(victim.bearer(app_jwt(victim.claims(), OTHER_RSA_KEY, **{parameter: value})))
    assert victim.keys.requests == before


@pytest.mark.parametrize("critical", [["exp"], ["b64"], ["unknown"], [], "exp"])
def test_crit(victim: Victim, critical: object) -> None:
    assert_refused(victim.bearer(app_jwt(victim.claims(), crit=critical, unknown=True)))


def test_padding(victim: Victim) -> None:
    good = app_jwt(victim.claims()).split(".")
    padded = [part + "=" * (-len(part) % 4) for part in good]
    assert padded != good
    assert_refused(victim.bearer(".".join(padded)))
    standard = base64.b64encode(json.dumps(victim.claims(note="???>>>")).encode()).decode()
    assert_refused(victim.bearer(".".join([good[0], standard, good[2]])))


def test_a_key_that_is_not_for_signatures(victim: Victim) -> None:
    assert_refused(victim.bearer(sign(victim.claims(), ED_KEY, "EdDSA", kid="enc")))


def test_oversized(victim: Victim) -> None:
    assert_refused(victim.bearer(app_jwt(victim.claims(padding="x" * 8192))))
    assert_refused(victim.cookie("a." * 6000))


def test_a_storm_of_unknown_kids(victim: Victim) -> None:
    """It costs the provider one fetch a minute, and the users whose key is known nothing."""
    assert victim.header(proxy_jwt(victim.proxied())).status_code == 200
    before = victim.keys.requests
    with httpx.Client(timeout=30) as client:
        for number in range(40):
            forged = proxy_jwt(victim.proxied(), kid=f"kid-{number}")
            answer = client.post(f"{victim.server.url}/tokenize", json={"metadata": STRING}, headers={HEADER: forged})
            assert_refused(answer)
    assert victim.keys.requests <= before + 2
    assert victim.header(proxy_jwt(victim.proxied(jti="new"))).status_code == 200


# Places and roles


def test_a_users_jwt_on_calls_for_applications(victim: Victim) -> None:
    token = victim.cookie(app_jwt(victim.user())).json()["data"]["tokenId"]
    bodies = {
        "/grant/set": {"sessionId": "s-1", "tokenId": token},
        "/grant/verify": {"sessionId": "s-1", "tokenId": token},
        "/grant/revoke": {"sessionId": "s-1"},
        "/token/label": {"tokenId": token, "labels": ["alice"]},
        "/token/delete": {"tokenId": token},
        "/label/delete": {"label": "alice"},
    }
    places = [
        {"cookie": f"access_token={app_jwt(victim.user())}"},
        {"authorization": f"Bearer {app_jwt(victim.user())}"},
        {HEADER: proxy_jwt(victim.proxied())},
        {HEADER: proxy_jwt(victim.proxied(sub="application"))},
        {HEADER: proxy_jwt(victim.proxied(sub="operator", role="application", roles=["application"]))},
    ]
    for headers in places:
        for path, body in bodies.items():
            assert_refused(victim.server.post(path, body, headers), 403, "roleForbidden")


def test_a_jwt_in_a_place_that_is_not_its_providers(victim: Victim) -> None:
    assert_refused(victim.bearer(proxy_jwt(victim.proxied())))
    assert_refused(victim.cookie(proxy_jwt(victim.proxied())))
    assert_refused(victim.header(app_jwt(victim.claims())))
    assert_refused(victim.header(app_jwt(victim.user())))
    assert_refused(victim.cookie(app_jwt(victim.claims())))


def test_the_first_credential_decides(victim: Victim) -> None:
    """A good one behind a bad one is of no use, so that nobody gains by adding headers."""
    good = {"cookie": f"access_token={app_jwt(victim.user())}"}
    assert victim.tokenize(good).status_code == 200
    assert_refused(victim.tokenize(good | {HEADER: proxy_jwt(victim.proxied(), kid="unknown")}))
    assert_refused(victim.tokenize(good | {"authorization": "Bearer x.y.z"}))


@pytest.mark.parametrize("first", [True, False])
def test_copies_of_a_proxys_header_in_other_spellings(victim: Victim, first: bool) -> None:
    """A WSGI server reads ``X_Proxy_Jwt`` as ``X-Proxy-Jwt``. Whichever copy counts, an unsigned one is nobody."""
    good, forged = proxy_jwt(victim.proxied()), proxy_jwt(victim.proxied(sid="s-2"), OTHER_EC_KEY)
    lines = [f"{HEADER}: {good}", f"{HEADER.replace('-', '_')}: {forged}"]
    sent = "\r\n".join(
        [
            "GET /session/verify HTTP/1.1",
            f"Host: 127.0.0.1:{victim.server.port}",
            "Connection: close",
            *(lines if first else reversed(lines)),
            "",
            "",
        ]
    )
    honest = httpx.get(f"{victim.server.url}/session/verify", headers={HEADER: good}, timeout=30)
    session = honest.headers["lunasec-session-hash"].encode()
    received = exchange(victim.server.port, sent.encode())
    assert session in received or b'"success":false' in received.replace(b" ", b""), received


def test_no_answer_and_no_log_holds_the_jwt(victim: Victim) -> None:
    secret = app_jwt(victim.claims(aud="https://elsewhere.example.com"))
    answer = victim.bearer(secret)
    for part in secret.split(".")[1:]:
        assert part not in answer.text
        assert part not in victim.server.log
