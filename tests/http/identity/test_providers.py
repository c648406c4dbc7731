"""Which credential counts, where each provider's JWTs are taken, and what is remembered of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from lunacore.config import Config
from lunacore.errors import ConfigError, Unauthenticated
from lunacore.identity import Role, Session
from lunacore_http.identity import jwt, providers
from lunacore_http.identity.providers import Identities, Presented

if TYPE_CHECKING:
    from types import ModuleType

    from lunacore_http.identity.jwk import Key
    from tests.http.identity.conftest import Desk

PROXY = "https://proxy.example.com/"
HEADER = "Cf-Access-Jwt-Assertion"


@pytest.fixture
def proxied(desk: Desk, kit: ModuleType) -> Desk:
    """A direct application, an application with sessions, and two proxies; each with a key of its own."""
    return desk.configure(
        desk.provider(),
        desk.provider("strict", [kit.public_jwk(kit.RSA_KEY)], issuer="https://strict.example.com", direct=False),
        desk.provider(
            "proxy", [kit.public_jwk(kit.ED_KEY)], kind="proxy", issuer=PROXY, audience="lunacore", direct=False
        ),
        desk.provider(
            "edge",
            [kit.public_jwk(kit.OTHER_RSA_KEY)],
            kind="proxy",
            issuer="https://edge.example.com",
            header=HEADER,
            session_claim=("https://edge.example.com/session",),
            tenant="other",
            direct=False,
        ),
    )


def proxy_jwt(desk: Desk, kit: ModuleType, **changed: Any) -> str:
    claims = desk.claims(
        **{"iss": PROXY, "aud": "lunacore", "sub": "alice", "session_id": None, "sid": "p-1"} | changed
    )
    return str(kit.sign(claims, kit.ED_KEY, "EdDSA"))


def edge_jwt(desk: Desk, kit: ModuleType, **changed: Any) -> str:
    session = {"https://edge.example.com/session": "e-1"}
    claims = desk.claims(iss="https://edge.example.com", sub="bob", session_id=None, **session | changed)
    return str(kit.sign(claims, kit.OTHER_RSA_KEY, "RS256"))


def refuses(match: str) -> Any:
    return pytest.raises(Unauthenticated, match=match)


# Application providers


def test_an_application_by_bearer(desk: Desk, kit: ModuleType) -> None:
    caller = desk.bearer(kit.sign(desk.application()))
    assert (caller.identity.role, caller.by_cookie) == (Role.APPLICATION, False)


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "Bearer   "])
def test_the_scheme_in_any_spelling(desk: Desk, kit: ModuleType, scheme: str) -> None:
    token = kit.sign(desk.claims())
    assert desk.identities.identify(kit.presented(authorization=scheme + token)).identity.role is Role.USER


@pytest.mark.parametrize("name", ["access_token", "__Host-access_token"])
def test_a_direct_user_by_cookie(desk: Desk, kit: ModuleType, name: str) -> None:
    caller = desk.cookie(kit.sign(desk.claims()), name)
    assert caller.by_cookie
    assert caller.identity.session == Session("default", kit.ISSUER, "s-1")


def test_an_application_jwt_as_cookie(desk: Desk, kit: ModuleType) -> None:
    token = kit.sign(desk.application())
    desk.bearer(token)
    with refuses("not as a cookie"):
        desk.cookie(token)


def test_users_of_a_provider_that_is_not_direct(proxied: Desk, kit: ModuleType) -> None:
    claims = proxied.claims(iss="https://strict.example.com")
    user = kit.sign(claims, kit.RSA_KEY, "RS256")
    for try_it in (proxied.bearer, proxied.cookie):
        with refuses("not taken as they are"):
            try_it(user)
    application = kit.sign({**claims, "sub": "application"}, kit.RSA_KEY, "RS256")
    assert proxied.bearer(application).identity.role is Role.APPLICATION


def test_cookies_count_for_nothing_without_a_direct_provider(desk: Desk, kit: ModuleType) -> None:
    desk.configure(desk.provider(direct=False))
    with refuses("no credential"):
        desk.cookie(kit.sign(desk.claims()))


def test_no_credential(proxied: Desk, kit: ModuleType) -> None:
    for authorization in (None, "", "Basic YTpi", "Negotiate abc", "Digest x=y"):
        with refuses("no credential"):
            proxied.identities.identify(kit.presented(authorization=authorization, cookies={"other": "x"}))
    with refuses("well-formed"):
        proxied.identities.identify(kit.presented(authorization="Bearer "))


def test_without_any_provider_nobody_is_known(kit: ModuleType, desk: Desk) -> None:
    desk.configure()
    desk.identities.probe()
    assert not desk.identities.knows("default", kit.ISSUER)
    with refuses("issuer"):
        desk.bearer(kit.sign(desk.claims()))


def test_another_servers_credentials_leave_the_cookie_in_force(desk: Desk, kit: ModuleType) -> None:
    sent = kit.presented(authorization="Basic YTpi", cookies={"access_token": kit.sign(desk.claims())})
    assert desk.identities.identify(sent).by_cookie


def test_the_first_credential_decides_alone(desk: Desk, kit: ModuleType) -> None:
    good, bad = kit.sign(desk.claims()), kit.sign(desk.claims(exp=kit.NOW))
    with refuses("expired"):
        desk.identities.identify(kit.presented(authorization=f"Bearer {bad}", cookies={"access_token": good}))
    both = {"access_token": good, "__Host-access_token": bad}
    with refuses("expired"):
        desk.identities.identify(kit.presented(cookies=both))
    planted = {"access_token": bad, "__Host-access_token": good}
    assert desk.identities.identify(kit.presented(cookies=planted)).by_cookie


# Proxies


@pytest.mark.parametrize("scheme", ["", "Bearer ", "bearer "])
def test_a_proxys_user(proxied: Desk, kit: ModuleType, scheme: str) -> None:
    sent = kit.presented(authorization=scheme + proxy_jwt(proxied, kit))
    caller = proxied.identities.identify(sent)
    assert caller.identity.session == Session("default", PROXY, "p-1")
    assert (caller.identity.role, caller.identity.may_read) == (Role.USER, False)
    assert caller.by_cookie, "the proxy goes by a cookie, so the browser rules apply"
    edge = proxied.header(HEADER, scheme + edge_jwt(proxied, kit))
    assert edge.identity.session == Session("other", "https://edge.example.com", "e-1")
    assert edge.by_cookie


@pytest.mark.parametrize("subject", ["application", "operator", "developer", "user"])
def test_a_proxys_sub_is_no_role(proxied: Desk, kit: ModuleType, subject: str) -> None:
    assert proxied.bearer(proxy_jwt(proxied, kit, sub=subject)).identity.role is Role.USER


def test_a_proxys_jwt_needs_its_session_claim(proxied: Desk, kit: ModuleType) -> None:
    with refuses("no sid"):
        proxied.bearer(proxy_jwt(proxied, kit, sid=None, session_id="s-1"))


def test_a_proxys_jwt_around_the_proxy(proxied: Desk, kit: ModuleType) -> None:
    for try_it in (proxied.bearer, proxied.cookie):
        with refuses("go through the proxy"):
            try_it(edge_jwt(proxied, kit))
    with refuses("go through the proxy"):
        proxied.header(HEADER, proxy_jwt(proxied, kit))
    with refuses("go through the proxy"):
        proxied.cookie(proxy_jwt(proxied, kit))


def test_an_applications_jwt_in_a_proxys_header(proxied: Desk, kit: ModuleType) -> None:
    for claims in (proxied.application(), proxied.claims()):
        with refuses("only as Authorization"):
            proxied.header(HEADER, kit.sign(claims))


def test_an_unsigned_header_says_nothing(proxied: Desk, kit: ModuleType) -> None:
    for value in ("alice", '{"sub":"alice"}', kit.encode(b'{"sub":"alice"}')):
        with refuses("well-formed"):
            proxied.header(HEADER, value)
    with refuses("no credential"):
        proxied.header("X-Forwarded-User", "alice")


def test_headers_go_before_cookies_and_authorization_before_all(proxied: Desk, kit: ModuleType) -> None:
    cookie = {"access_token": kit.sign(proxied.claims())}
    edge = proxied.header(HEADER, edge_jwt(proxied, kit), cookies=cookie)
    assert edge.identity.tenant == "other"
    application = kit.sign(proxied.application())
    caller = proxied.header(HEADER, edge_jwt(proxied, kit), cookies=cookie, authorization=f"Bearer {application}")
    assert caller.identity.role is Role.APPLICATION


# Tenants


def test_knows(proxied: Desk, kit: ModuleType) -> None:
    identities = proxied.identities
    assert identities.knows("default", kit.ISSUER)
    assert identities.knows("default", PROXY)
    assert identities.knows("other", "https://edge.example.com")
    assert not identities.knows("default", "https://edge.example.com")
    assert not identities.knows("other", kit.ISSUER)
    assert not identities.knows("default", "https://nobody.example.com")


# What is remembered


def count_verifications(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """One entry for each signature that is verified from now on, as it always is."""
    verified: list[object] = []
    verify = jwt.verify_signature

    def counted(unverified: jwt.UnverifiedJWT, key: Key) -> None:
        verified.append(unverified)
        verify(unverified, key)

    monkeypatch.setattr(jwt, "verify_signature", counted)
    return verified


def test_a_jwt_is_verified_once(desk: Desk, kit: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    verified = count_verifications(monkeypatch)
    token = kit.sign(desk.claims())
    for _ in range(3):
        assert not desk.bearer(token).by_cookie
    assert len(verified) == 1
    for _ in range(3):
        assert desk.cookie(token).by_cookie, "each place is remembered by itself"
    assert len(verified) == 2
    desk.clock.now += 600
    with refuses("expired"):
        desk.bearer(token)


def test_what_is_refused_is_not_remembered(desk: Desk, kit: ModuleType) -> None:
    token = kit.sign(desk.claims(nbf=kit.NOW + jwt.LEEWAY + 10))
    with refuses("not valid yet"):
        desk.bearer(token)
    desk.clock.now += 10
    assert desk.bearer(token).identity.role is Role.USER


def test_a_refused_place_stays_refused_once_remembered(proxied: Desk, kit: ModuleType) -> None:
    token = edge_jwt(proxied, kit)
    proxied.header(HEADER, token)
    with refuses("go through the proxy"):
        proxied.bearer(token)


def test_memory_is_bounded_and_keeps_what_is_used(desk: Desk, kit: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "MAX_REMEMBERED", 20)
    verified = count_verifications(monkeypatch)
    favourite = kit.sign(desk.claims(session_id="favourite"))
    for number in range(60):
        desk.bearer(kit.sign(desk.claims(session_id=f"s-{number}")))
        desk.bearer(favourite)
    assert len(verified) == 61
    assert len(desk.identities._remembered) <= 20


def test_several_threads_get_their_own_callers(desk: Desk, kit: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "MAX_REMEMBERED", 8)
    tokens = {f"s-{number}": kit.sign(desk.claims(session_id=f"s-{number}")) for number in range(12)}
    identities = desk.identities

    def ask(session: str) -> bool:
        caller = identities.identify(kit.presented(authorization=f"Bearer {tokens[session]}"))
        return caller.identity.session is not None and caller.identity.session.id == session

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, list(tokens) * 25))


def test_no_jwt_is_kept_or_shown(desk: Desk, kit: ModuleType) -> None:
    token = kit.sign(desk.claims(session_id="hidden-session"))
    sent = kit.presented(authorization=f"Bearer {token}", cookies={"access_token": token})
    caller = desk.identities.identify(sent)
    for shown in (repr(sent), repr(caller), repr(desk.identities._remembered)):
        assert token not in shown
        assert "hidden-session" not in shown
    kept = [*desk.identities._remembered._young.items()]
    assert token.rsplit(".", 1)[1] not in repr(kept)


# Settings


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"issuer": ""}, "issuer must not be empty"),
        ({"tenant": ""}, "tenant must not be empty"),
        ({"algorithms": ()}, "algorithms must not be empty"),
        ({"kind": "proxy"}, "is a proxy: direct"),
        ({"kind": "proxy", "direct": False, "may_read": True}, "is a proxy: direct, may_read"),
        ({"kind": "proxy", "direct": False, "callback": "https://app.example.com"}, "is a proxy: .*callback"),
        ({"kind": "proxy", "direct": False, "default": True}, "is a proxy: .*default"),
        ({"kind": "proxy", "direct": False, "roles": ("application",)}, "users only"),
        ({"kind": "proxy", "direct": False, "header": "Cookie"}, "header"),
        ({"kind": "proxy", "direct": False, "header": "X Header"}, "header"),
        ({"kind": "proxy", "direct": False, "header": "X_Header"}, "header"),
        ({"kind": "proxy", "direct": False, "header": ""}, "header"),
        ({"kind": "proxy", "direct": False, "session_claim": ()}, "session_claim"),
    ],
)
def test_settings_that_are_refused(desk: Desk, changed: dict[str, Any], match: str) -> None:
    desk.configure(desk.provider(**changed))
    with pytest.raises(ConfigError, match=rf"identity\[app\].*{match}"):
        desk.identities.probe()


def test_two_providers_with_one_issuer(desk: Desk) -> None:
    desk.configure(desk.provider(), desk.provider("two"))
    with pytest.raises(ConfigError, match="same issuer"):
        desk.identities.probe()


def test_the_configuration_as_documented(desk: Desk, kit: ModuleType) -> None:
    """The page shows both kinds of provider; what it shows is what the settings take."""
    keys = desk.publish("app", [kit.public_jwk(kit.EC_KEY)]).as_uri()
    config = Config.from_mapping(
        {
            "identity": [
                {
                    "name": "app",
                    "kind": "application",
                    "tenant": "default",
                    "issuer": kit.ISSUER,
                    "jwks": keys,
                    "callback": "https://app.example.com/.lunasec/secure-frame",
                    "roles": ["user", "application"],
                    "default": True,
                    "may_read": False,
                    "direct": False,
                    "algorithms": ["ES256"],
                    "jwks_ca": "",
                },
                {
                    "name": "proxy",
                    "kind": "proxy",
                    "issuer": PROXY,
                    "audience": "lunacore",
                    "jwks": keys,
                    "header": "Authorization",
                    "session_claim": "sid",
                },
            ]
        },
        {},
    )
    identities = Identities(config.identity, public_url=kit.URL, max_session_ttl=60, now=desk.clock)
    identities.probe()
    token = kit.sign(desk.application())
    sent = Presented(authorization=f"Bearer {token}", cookies={}, header=lambda name: None)
    assert identities.identify(sent).identity.role is Role.APPLICATION
