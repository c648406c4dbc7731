"""Auth proxies: JWTs in headers and cookies, of issuers with several proxies, and those of AWS load balancers."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from lunacore.errors import ConfigError, StoreUnavailable, Unauthenticated
from lunacore.identity import Role, Session
from lunacore_http.identity import pems
from lunacore_http.identity.jwk import KeySetError, parse_pem
from lunacore_http.identity.jwt import ALGORITHMS
from lunacore_http.identity.pems import MAX_KEYS, MAX_UNKNOWN

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler
    from types import ModuleType

    from tests.http.identity.conftest import Desk, KeyServer

LOGIN = "https://login.example.com"
ARN = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/front/50dc6c495c0c9188"
DATA = "x-amzn-oidc-data"
KID = "f3b2e5c0-1c1f-4f5a-9d55-6a1de8a2b8f1"

# What a load balancer really sent, as its maker's own library documents it (awslabs/aws-jwt-verify, issue 109). It has expired.
REAL = (
    "eyJ0eXAiOiJKV1QiLCJraWQiOiJhYmI4Mjg5Zi1lM2E0LTRhMzQtOTQ3Mi1jMjEwNWUyYjI0ODIiLCJhbGciOiJFUzI1NiIsImlzcyI6Imh0dHBzOi8v"
    "Y29nbml0by1pZHAuZXUtd2VzdC0xLmFtYXpvbmF3cy5jb20vZXUtd2VzdC0xX2I5VmVRVWc2eSIsImNsaWVudCI6IjNhMzNhMDJyNWhuM29uaHR1MW1y"
    "MGRpdDIwIiwic2lnbmVyIjoiYXJuOmF3czplbGFzdGljbG9hZGJhbGFuY2luZzpldS13ZXN0LTE6MzczNTA4NTEzMzAyOmxvYWRiYWxhbmNlci9hcHAv"
    "QXdzSnd0LUFMQkFFLXFCd0Q4TzJRVGRjZC9hNGRmNDU2NDNjY2Y5OGFjIiwiZXhwIjoxNzM0OTYxNjQ0fQ==.eyJzdWIiOiI0YjViZWY5Yy1mMmI1LTQ"
    "wZmYtYTQxMi00MTJjYmE5ZDA3MDIiLCJlbWFpbF92ZXJpZmllZCI6InRydWUiLCJuYW1lIjoiSm9obiBEb2UgKy89LV8iLCJlbWFpbCI6ImpvaG5kb2V"
    "AZXhhbXBsZS5jb20iLCJ1c2VybmFtZSI6IjRiNWJlZjljLWYyYjUtNDBmZi1hNDEyLTQxMmNiYTlkMDcwMiIsImV4cCI6MTczNDk2MTY0NCwiaXNzIjo"
    "iaHR0cHM6Ly9jb2duaXRvLWlkcC5ldS13ZXN0LTEuYW1hem9uYXdzLmNvbS9ldS13ZXN0LTFfYjlWZVFVZzZ5In0=.KrfibN6u7zOXUibDelkutd82Mzo"
    "SvtCj38woXes0Fdo3o0ulcaBb2XAGouTxqjqWDhW8N-lSp0qpsSJfDCQgpQ=="
)


def refuses(match: str) -> Any:
    return pytest.raises(Unauthenticated, match=match)


def proxy(desk: Desk, name: str = "proxy", **given: Any) -> Any:
    defaults: dict[str, Any] = {"kind": "proxy", "issuer": LOGIN, "audience": "client", "direct": False}
    return desk.provider(name, **(defaults | {"header": "X-Jwt"} | given))


def user(desk: Desk, kit: ModuleType, **changed: Any) -> str:
    claims = desk.claims(**{"iss": LOGIN, "aud": "client", "sub": "alice", "session_id": None, "sid": "s-1"} | changed)
    return str(kit.sign(claims))


# In a cookie


@pytest.fixture
def by_cookie(desk: Desk) -> Desk:
    return desk.configure(proxy(desk, header="Authorization", cookie="CF_Authorization"), desk.provider("app"))


def test_a_proxys_jwt_in_its_cookie(by_cookie: Desk, kit: ModuleType) -> None:
    caller = by_cookie.cookie(user(by_cookie, kit), "CF_Authorization")
    assert caller.identity.session == Session("default", LOGIN, "s-1")
    assert caller.identity.role is Role.USER
    assert caller.by_cookie


@pytest.mark.parametrize("name", ["access_token", "__Host-access_token"])
def test_a_proxys_jwt_in_another_cookie(by_cookie: Desk, kit: ModuleType, name: str) -> None:
    with refuses("only in the place"):
        by_cookie.cookie(user(by_cookie, kit), name)


def test_a_proxys_jwt_in_a_header_though_it_belongs_in_a_cookie(by_cookie: Desk, kit: ModuleType) -> None:
    with refuses("only in the place"):
        by_cookie.bearer(user(by_cookie, kit))
    with refuses("no credential"):
        by_cookie.header("CF_Authorization", user(by_cookie, kit))


def test_an_applications_jwt_in_a_proxys_cookie(by_cookie: Desk, kit: ModuleType) -> None:
    with refuses("only as Authorization: Bearer"):
        by_cookie.cookie(kit.sign(by_cookie.application()), "CF_Authorization")


def test_a_proxys_cookie_goes_before_that_of_a_direct_provider(by_cookie: Desk, kit: ModuleType) -> None:
    sent = {"access_token": kit.sign(by_cookie.claims()), "CF_Authorization": user(by_cookie, kit)}
    caller = by_cookie.identities.identify(kit.presented(cookies=sent))
    assert caller.identity.session == Session("default", LOGIN, "s-1")


# Session claims


@pytest.mark.parametrize(
    ("claims", "session"),
    [
        ({"sid": "a", "nonce": "b"}, "a"),
        ({"sid": None, "nonce": "b"}, "b"),
        ({"sid": None}, "alice"),
    ],
)
def test_the_first_session_claim_that_is_there(desk: Desk, kit: ModuleType, claims: Any, session: str) -> None:
    desk.configure(proxy(desk, session_claim=("sid", "nonce", "sub")))
    assert desk.header("X-Jwt", user(desk, kit, **claims)).identity.session.id == session


@pytest.mark.parametrize("value", ["", 7, ["x"], "x" * 257, "a\nb"])
def test_a_session_claim_that_is_no_id_ends_the_search(desk: Desk, kit: ModuleType, value: object) -> None:
    desk.configure(proxy(desk, session_claim=("sid", "sub")))
    with refuses("sid of the JWT must be text"):
        desk.header("X-Jwt", user(desk, kit, sid=value))


def test_none_of_the_session_claims(desk: Desk, kit: ModuleType) -> None:
    desk.configure(proxy(desk, session_claim=("sid", "nonce")))
    with refuses("no sid or nonce"):
        desk.header("X-Jwt", user(desk, kit, sid=None))


@pytest.mark.parametrize("subject", ["application", "operator", "developer", "admin"])
def test_no_role_is_read_from_a_proxys_sub_even_if_it_is_the_session(desk: Desk, kit: ModuleType, subject: str) -> None:
    desk.configure(proxy(desk, session_claim=("sub",)))
    identity = desk.header("X-Jwt", user(desk, kit, sub=subject)).identity
    assert (identity.role, identity.may_read, identity.session.id) == (Role.USER, False, subject)


# One issuer, several proxies


@pytest.fixture
def shared(desk: Desk) -> Desk:
    """Two tenants behind the same log-in service, each with its own audience and header, and a load balancer."""
    return desk.configure(
        proxy(desk, "a", tenant="a"),
        proxy(desk, "b", tenant="b", audience="other", header="X-Other"),
        proxy(desk, "c", tenant="c", audience="", signer=ARN, header=DATA, session_claim=("sub",), allow_padding=True),
    )


def test_the_audience_chooses_among_the_proxies_of_an_issuer(shared: Desk, kit: ModuleType) -> None:
    assert shared.header("X-Jwt", user(shared, kit)).identity.tenant == "a"
    assert shared.header("X-Other", user(shared, kit, aud="other")).identity.tenant == "b"
    assert shared.header(DATA, balanced(shared, kit)).identity.tenant == "c"
    assert all(shared.identities.knows(tenant, LOGIN) for tenant in "abc")
    assert not shared.identities.knows("default", LOGIN)


def test_a_jwt_for_one_proxy_does_not_pass_as_anothers(shared: Desk, kit: ModuleType) -> None:
    with refuses("only in the place"):
        shared.header("X-Other", user(shared, kit))
    with refuses("only in the place"):
        shared.header(DATA, user(shared, kit))
    for audience in ("third", ["client", "other"], None):
        with refuses("aud"):
            shared.header("X-Jwt", user(shared, kit, aud=audience))


def test_proxies_that_nothing_tells_apart(desk: Desk) -> None:
    desk.configure(proxy(desk, "a", tenant="a"), proxy(desk, "b", tenant="b", header="X-Other"))
    with pytest.raises(ConfigError, match="tells their JWTs apart"):
        desk.identities.probe()
    desk.configure(proxy(desk, "a"), desk.provider("b", issuer=LOGIN))
    with pytest.raises(ConfigError, match="same issuer"):
        desk.identities.probe()


# AWS load balancers: signer, padding, no aud, no iat


def balanced(desk: Desk, kit: ModuleType, *, padded: bool = True, claims: Any = None, **header: Any) -> str:
    """What a load balancer sends: the header as it writes it, and every part padded."""
    now = int(desk.clock())
    members = {"sub": "4b5b", "email": "alice@example.com", "exp": now + 120, "iss": LOGIN} | (claims or {})
    header = {"typ": "JWT", "kid": "one", "alg": "ES256", "iss": LOGIN, "client": "c", "signer": ARN} | header
    encode = pad if padded else kit.encode
    kept = [{name: value for name, value in one.items() if value is not None} for one in (header, members)]
    signing = ".".join(encode(json.dumps(one).encode()) for one in kept)
    return f"{signing}.{encode(kit.signature(signing, kit.EC_KEY))}"


def pad(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode()


@pytest.fixture
def balancer(desk: Desk) -> Desk:
    settings = {"audience": "", "signer": ARN, "header": DATA, "session_claim": ("sub",), "allow_padding": True}
    return desk.configure(proxy(desk, "alb", algorithms=("ES256",), **settings), desk.provider("app"))


@pytest.mark.parametrize("padded", [True, False])
def test_what_a_load_balancer_sends(balancer: Desk, kit: ModuleType, padded: bool) -> None:
    identity = balancer.header(DATA, balanced(balancer, kit, padded=padded)).identity
    assert identity.session == Session("default", LOGIN, "4b5b")
    assert identity.expires == kit.NOW + 120


@pytest.mark.parametrize("signer", [None, "", ARN + "0", ARN.upper(), [ARN], {"arn": ARN}])
def test_another_signer(balancer: Desk, kit: ModuleType, signer: object) -> None:
    """The keys of a region sign for everybody's load balancers there: only the signer tells them apart."""
    with refuses("another load balancer"):
        balancer.header(DATA, balanced(balancer, kit, signer=signer))


def test_a_signer_among_the_claims_is_none(balancer: Desk, kit: ModuleType) -> None:
    with refuses("another load balancer"):
        balancer.header(DATA, balanced(balancer, kit, signer=None, claims={"signer": ARN}))


@pytest.mark.parametrize("claim", ["exp", "iss", "sub"])
def test_what_a_load_balancers_jwt_needs_all_the_same(balancer: Desk, kit: ModuleType, claim: str) -> None:
    with refuses(f"no {claim}"):
        balancer.header(DATA, balanced(balancer, kit, claims={claim: None}))


def test_without_iat_a_jwt_must_end_before_the_longest_session(balancer: Desk, kit: ModuleType) -> None:
    longest = kit.NOW + kit.MAX_SESSION
    assert balancer.header(DATA, balanced(balancer, kit, claims={"exp": longest})).identity.expires == longest
    with refuses("has no iat"):
        balancer.header(DATA, balanced(balancer, kit, claims={"exp": longest + 1}))
    with refuses("not valid yet"):
        balancer.header(DATA, balanced(balancer, kit, claims={"iat": kit.NOW + 31}))
    balancer.clock.now += 120
    with refuses("expired"):
        balancer.header(DATA, balanced(balancer, kit, claims={"exp": kit.NOW + 120}))


def test_an_audience_beside_the_signer_is_judged_too(desk: Desk, kit: ModuleType) -> None:
    desk.configure(proxy(desk, signer=ARN, header=DATA, session_claim=("sub",), allow_padding=True))
    assert desk.header(DATA, balanced(desk, kit, claims={"aud": "client"})).identity.session.id == "4b5b"
    for audience in ("other", None):
        with refuses("aud"):
            desk.header(DATA, balanced(desk, kit, claims={"aud": audience}))


def test_padding_only_for_the_provider_that_may(balancer: Desk, kit: ModuleType) -> None:
    padded = [part + "=" * (-len(part) % 4) for part in kit.sign(balancer.claims(padding="xx")).split(".")]
    assert any("=" in part for part in padded)
    with refuses(r"padded with ="):
        balancer.bearer(".".join(padded))


def test_a_padded_jwt_where_nobody_may(desk: Desk, kit: ModuleType) -> None:
    desk.configure(proxy(desk, audience="", signer=ARN, header=DATA, session_claim=("sub",)))
    assert desk.header(DATA, balanced(desk, kit, padded=False))
    with refuses("not a well-formed JWT"):
        desk.header(DATA, balanced(desk, kit))


def test_padding_is_signed_with_the_rest(balancer: Desk, kit: ModuleType) -> None:
    bare = balanced(balancer, kit, padded=False)
    for text in (balanced(balancer, kit).replace("=", ""), ".".join(p + "=" * (-len(p) % 4) for p in bare.split("."))):
        assert ("=" in text) is (text.replace("=", "") == bare)
        with refuses("signature"):
            balancer.header(DATA, text)


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("change", ["=", "==", "===", "====", "A=", "\n", "!", "=A"])
def test_padding_that_is_none(balancer: Desk, kit: ModuleType, part: int, change: str) -> None:
    parts = balanced(balancer, kit).split(".")
    parts[part] = parts[part] + change
    with refuses("well-formed|signature"):
        balancer.header(DATA, ".".join(parts))


def test_padding_alone(balancer: Desk) -> None:
    for text in ("=.=.=", "====.====.====", "..", "==..==", "="):
        with refuses("well-formed"):
            balancer.header(DATA, text)


def test_the_form_of_a_real_one(desk: Desk, kit: ModuleType) -> None:
    """It is read to the end: what remains to refuse it is its key, and with no key of ours that cannot be mended."""
    issuer = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_b9VeQUg6y"
    arn = "arn:aws:elasticloadbalancing:eu-west-1:373508513302:loadbalancer/app/AwsJwt-ALBAE-qBwD8O2QTdcd/a4df45643ccf98ac"
    settings: dict[str, Any] = {
        "issuer": issuer,
        "audience": "",
        "header": DATA,
        "session_claim": ("sub",),
        "allow_padding": True,
    }
    keys = [kit.public_jwk(kit.EC_KEY, kid="abb8289f-e3a4-4a34-9472-c2105e2b2482")]
    desk.configure(proxy(desk, keys=keys, signer=arn, **settings))
    with refuses("signature of the JWT does not hold"):
        desk.header(DATA, REAL)
    desk.configure(proxy(desk, keys=keys, signer=ARN, **settings))
    with refuses("another load balancer"):
        desk.header(DATA, REAL)


# One PEM for each key id


def pem(key: Any) -> bytes:
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_key().public_bytes(serialization.Encoding.PEM, spki))


class PEMServer:
    """Answers with the PEM of the last part of the path, and keeps the paths."""

    def __init__(self, server: KeyServer, kit: ModuleType) -> None:
        self.server = server
        self.pems: dict[str, bytes] = {KID: pem(kit.EC_KEY)}
        self.paths: list[str] = []
        self.status = 404
        server.answer = self.answer

    @property
    def template(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/keys/{{kid}}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.paths.append(request.path)
        found = self.pems.get(request.path.removeprefix("/keys/"))
        self.server.send(request, found or b"<html>", 200 if found else self.status)


@pytest.fixture
def pem_server(key_server: KeyServer, kit: ModuleType) -> PEMServer:
    return PEMServer(key_server, kit)


@pytest.fixture
def by_pem(desk: Desk, pem_server: PEMServer) -> Desk:
    settings = {"audience": "", "signer": ARN, "header": DATA, "session_claim": ("sub",), "allow_padding": True}
    return desk.configure(proxy(desk, "alb", jwks="", pem=pem_server.template, **settings))


def test_a_key_is_fetched_once_by_its_id(by_pem: Desk, kit: ModuleType, pem_server: PEMServer) -> None:
    for step in range(3):
        by_pem.clock.now += step
        assert by_pem.header(DATA, balanced(by_pem, kit, kid=KID)).identity.session.id == "4b5b"
    assert pem_server.paths == [f"/keys/{KID}"]
    by_pem.identities.probe()


def test_two_keys_side_by_side(by_pem: Desk, kit: ModuleType, pem_server: PEMServer) -> None:
    pem_server.pems["two"] = pem(kit.EC_KEY)
    pem_server.pems["three"] = pem(ec.generate_private_key(ec.SECP256R1()))
    assert by_pem.header(DATA, balanced(by_pem, kit, kid=KID))
    assert by_pem.header(DATA, balanced(by_pem, kit, kid="two"))
    with refuses("signature"):
        by_pem.header(DATA, balanced(by_pem, kit, kid="three"))


@pytest.mark.parametrize(
    "kid",
    [
        "../secret",
        "..",
        ".",
        "a/b",
        "a%2fb",
        "a?b",
        "a#b",
        "a b",
        "a\nb",
        "a:b@c",
        "\\a",
        "é",
        "{kid}",
        "x" * 129,
        "a\0",
    ],
)
def test_ids_that_are_never_asked_for(by_pem: Desk, kit: ModuleType, pem_server: PEMServer, kid: str) -> None:
    with refuses("key that its issuer does not publish"):
        by_pem.header(DATA, balanced(by_pem, kit, kid=kid))
    assert pem_server.paths == []


def test_without_an_id(by_pem: Desk, kit: ModuleType, pem_server: PEMServer) -> None:
    with refuses("key that its issuer does not publish"):
        by_pem.header(DATA, balanced(by_pem, kit, kid=None))
    assert pem_server.paths == []


def test_nothing_is_fetched_for_another_signer(by_pem: Desk, kit: ModuleType, pem_server: PEMServer) -> None:
    with refuses("another load balancer"):
        by_pem.header(DATA, balanced(by_pem, kit, kid=KID, signer="arn:other"))
    assert pem_server.paths == []


@pytest.mark.parametrize("status", [403, 404, 410])
def test_an_id_that_is_not_published(by_pem: Desk, kit: ModuleType, pem_server: PEMServer, status: int) -> None:
    pem_server.status = status
    with refuses("key that its issuer does not publish"):
        by_pem.header(DATA, balanced(by_pem, kit, kid="unknown"))
    by_pem.identities.probe()


def test_a_storm_of_unknown_ids(by_pem: Desk, kit: ModuleType, pem_server: PEMServer) -> None:
    """It costs a few fetches a minute, and leaves the key that is in use alone."""
    assert by_pem.header(DATA, balanced(by_pem, kit, kid=KID))
    refused = {StoreUnavailable: 0, Unauthenticated: 0}
    for number in range(200):
        with pytest.raises((StoreUnavailable, Unauthenticated)) as caught:
            by_pem.header(DATA, balanced(by_pem, kit, kid=f"unknown-{number}"))
        refused[caught.type] += 1
    assert len(pem_server.paths) == MAX_UNKNOWN
    assert refused[Unauthenticated] == MAX_UNKNOWN - 1
    by_pem.clock.now += 1
    assert by_pem.header(DATA, balanced(by_pem, kit, kid=KID))
    by_pem.clock.now += 60
    pem_server.pems["new"] = pem(kit.EC_KEY)
    assert by_pem.header(DATA, balanced(by_pem, kit, kid="new"))


def test_keys_that_are_kept_are_few(
    by_pem: Desk, kit: ModuleType, pem_server: PEMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pems, "MAX_KEYS", 3)
    assert MAX_KEYS > 3
    for number in range(6):
        by_pem.clock.now += 60
        pem_server.pems[f"k{number}"] = pem(kit.EC_KEY)
        assert by_pem.header(DATA, balanced(by_pem, kit, kid=KID))
        assert by_pem.header(DATA, balanced(by_pem, kit, kid=f"k{number}"))
    assert pem_server.paths.count(f"/keys/{KID}") == 1, "the one in use stays"
    (provider,) = by_pem.identities._all()
    assert isinstance(provider.keys, pems.PEMKeys)
    assert len(provider.keys._known) == 3
    assert by_pem.header(DATA, balanced(by_pem, kit, kid="k0")), "a displaced one is fetched anew"


def test_a_withdrawn_key(by_pem: Desk, kit: ModuleType, pem_server: PEMServer) -> None:
    token = balanced(by_pem, kit, kid=KID, claims={"exp": kit.NOW + 3600})
    assert by_pem.header(DATA, token)
    del pem_server.pems[KID]
    by_pem.clock.now += 601
    with refuses("key that its issuer does not publish"):
        by_pem.header(DATA, token)


def test_the_server_of_keys_is_down(by_pem: Desk, kit: ModuleType, pem_server: PEMServer) -> None:
    pem_server.status = 500
    with pytest.raises(StoreUnavailable):
        by_pem.header(DATA, balanced(by_pem, kit, kid="unknown"))
    with pytest.raises(StoreUnavailable, match=r"alb \(http://127\.0\.0\.1:\d+/keys/unknown answered 500"):
        by_pem.identities.probe()
    assert by_pem.header(DATA, balanced(by_pem, kit, kid=KID, claims={"exp": kit.NOW + 3600}))
    by_pem.identities.probe()
    del pem_server.pems[KID]
    by_pem.clock.now += 700
    assert by_pem.header(DATA, balanced(by_pem, kit, kid=KID, claims={"exp": kit.NOW + 3600})), "the last one goes on"


@pytest.mark.parametrize(
    "body", ["private", "certificate", "two", "garbage", "p384", "rsa1024", "rsa-3", "empty", "der"]
)
def test_what_is_no_public_key_in_pem(kit: ModuleType, body: str) -> None:
    encoding, none = serialization.Encoding.PEM, serialization.NoEncryption()
    good = pem(kit.EC_KEY)
    given = {
        "private": kit.EC_KEY.private_bytes(encoding, serialization.PrivateFormat.PKCS8, none),
        "certificate": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "two": good + good,
        "garbage": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "p384": pem(ec.generate_private_key(ec.SECP384R1())),
        "rsa1024": pem(rsa.generate_private_key(65537, 1024)),
        "rsa-3": pem(rsa.generate_private_key(3, 2048)),
        "empty": b"",
        "der": kit.EC_KEY.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    }[body]
    with pytest.raises(KeySetError):
        parse_pem(given, "one", ALGORITHMS)
    assert parse_pem(good, "one", ALGORITHMS).keys


def test_what_a_key_in_pem_verifies(kit: ModuleType) -> None:
    def algorithms(key: Any, *allowed: str) -> set[str]:
        (found,) = parse_pem(pem(key), "one", allowed or ALGORITHMS).keys
        assert found.id == "one"
        return set(found.algorithms)

    assert algorithms(kit.EC_KEY) == {"ES256"}
    assert algorithms(kit.RSA_KEY) == {"RS256", "PS256"}
    assert algorithms(kit.RSA_KEY, "PS256", "ES256") == {"PS256"}
    assert algorithms(ed25519.Ed25519PrivateKey.generate()) == {"EdDSA"}
    with pytest.raises(KeySetError, match="fits no algorithm"):
        parse_pem(pem(kit.EC_KEY), "one", ("RS256",))


def test_garbage_under_an_id_does_not_spoil_readiness(
    by_pem: Desk, kit: ModuleType, pem_server: PEMServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever sends a JWT chooses the id."""
    pem_server.pems["index"] = b"<html>"
    with refuses("key that its issuer does not publish"):
        by_pem.header(DATA, balanced(by_pem, kit, kid="index"))
    by_pem.identities.probe()
    assert "the key with the kid 'index' is ignored" in caplog.text


def test_redirects_of_single_keys_are_not_followed(by_pem: Desk, kit: ModuleType, pem_server: PEMServer) -> None:
    pem_server.server.answer = lambda request: pem_server.server.send(request, b"", 302, Location=f"/keys/{KID}")
    with pytest.raises(StoreUnavailable):
        by_pem.header(DATA, balanced(by_pem, kit, kid="unknown"))
    assert pem_server.server.requests == 1


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("https://keys.example.com/", "once, in its path"),
        ("https://{kid}.example.com/", "once, in its path"),
        ("https://keys.example.com/?id={kid}", "once, in its path"),
        ("https://keys.example.com/{kid}/{kid}", "once, in its path"),
        ("https://keys.example.com/{kid}/{region}", "once, in its path"),
        ("https://keys.example.com/{kid}#x", "fragment"),
        ("http://keys.example.com/{kid}", "https://"),
        ("https://user@keys.example.com/{kid}", "user name"),
        ("file:///keys/{kid}", "must be a URL"),
    ],
)
def test_templates_that_are_refused(desk: Desk, url: str, match: str) -> None:
    desk.configure(proxy(desk, jwks="", pem=url))
    with pytest.raises(ConfigError, match=rf"identity\[proxy\]\.pem .*{match}"):
        desk.identities.probe()


# Settings


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"cookie": "a b"}, r"cookie must be a cookie's name"),
        ({"cookie": "a;b"}, r"cookie must be a cookie's name"),
        ({"cookie": "access_token"}, "of the tokenizer itself"),
        ({"cookie": "__Host-access_token"}, "of the tokenizer itself"),
        ({"cookie": "__Host-lunasec_browser"}, "of the tokenizer itself"),
        ({"cookie": "CF_Authorization", "header": "X-Jwt"}, "both header and cookie"),
        ({"session_claim": ("sid", "")}, "session_claim must not be empty"),
        ({"pem": "https://keys.example.com/{kid}"}, "either in jwks or in pem"),
        ({"kind": "application", "signer": ARN}, "signer is for proxies"),
        ({"kind": "application", "cookie": "x"}, "cookie is for proxies"),
        ({"kind": "application", "header": "X-Jwt"}, "header is for proxies"),
        ({"kind": "application", "session_claim": ("sub",)}, "session_claim is for proxies"),
        ({"kind": "application", "allow_padding": True}, "allow_padding is for proxies"),
        ({"kind": "application", "jwks": "", "pem": "https://keys.example.com/{kid}"}, "pem is for proxies"),
    ],
)
def test_settings_that_are_refused(desk: Desk, changed: dict[str, Any], match: str) -> None:
    desk.configure(proxy(desk, **{"header": "Authorization"} | changed))
    with pytest.raises(ConfigError, match=rf"identity\[proxy\].*{match}"):
        desk.identities.probe()
