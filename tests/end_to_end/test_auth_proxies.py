"""Real auth proxies with a real OpenID provider, in front of a real application and a real tokenizer.

Users log in on the provider's pages. The proxies run the configuration that the how-to guides show.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest
from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from tests.end_to_end.notes_application import NotesApplication
from tests.http.tokenizer_server import STRING, TokenizerServer, exchange
from tests.servers import apache, nginx
from tests.servers.auth_application import AuthApplication
from tests.servers.auth_proxy import CLIENT_ID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.auth_proxy import AuthProxy
    from tests.servers.oidc_provider import OIDCProvider
    from tests.servers.startable import Startable

pytestmark = pytest.mark.xdist_group("auth_proxies")

VALUE = b"4111 1111 1111 1111"


@frozen
class Place:
    """A proxy, what is behind it, and the provider that it sends people to."""

    proxy: AuthProxy
    provider: OIDCProvider
    server: TokenizerServer
    application: NotesApplication
    open: ExitStack

    @property
    def tokenizer(self) -> str:
        return self.proxy.tokenizer.url

    def log_in(self, name: str) -> User:
        client = self.open.enter_context(httpx.Client(follow_redirects=True, timeout=60))
        self.provider.add_user(name, sid=f"sid-{name}")
        page = self.provider.log_in(client, f"{self.proxy.application.url}/", name)
        assert (page.status_code, page.text) == (200, f"sid-{name}")
        page = self.provider.log_in(client, f"{self.tokenizer}/session/verify", name)
        assert page.status_code == 200, page.text
        return User(self, client)


class User:
    """A user's browser: its cookies, and what a page of the tokenizer's origin sends."""

    def __init__(self, place: Place, client: httpx.Client) -> None:
        self.place = place
        self.client = client
        verified = client.get(f"{place.tokenizer}/session/verify")
        assert verified.json()["success"] is True, verified.text
        self.headers = {"origin": place.tokenizer, "lunasec-session-hash": verified.headers["lunasec-session-hash"]}

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        sent = {**self.headers, **headers}
        return self.client.post(self.place.tokenizer + path, json=body, headers=sent, follow_redirects=False)

    def data(self, path: str, body: Any) -> Any:
        answer = self.post(path, body)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def tokenize(self, value: bytes = VALUE) -> str:
        ticket = self.data("/tokenize", {"metadata": STRING})
        stored = self.client.put(ticket["uploadUrl"], content=value, headers=ticket["headers"])
        assert stored.status_code == 200, stored.text
        return str(ticket["tokenId"])

    def save(self, token: str) -> httpx.Response:
        return self.client.post(f"{self.place.proxy.application.url}/notes", json={"token": token})

    def note(self, number: str) -> str:
        return str(self.client.get(f"{self.place.proxy.application.url}/notes/{number}").json()["token"])

    def read(self, token: str) -> bytes:
        ticket = self.data("/detokenize", {"tokenId": token})
        return self.client.get(ticket["downloadUrl"], headers=ticket["headers"]).content


@pytest.fixture(scope="session", params=[pytest.param("apache", marks=pytest.mark.long), "nginx"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, oidc_provider: OIDCProvider
) -> Iterator[Place]:
    kind = request.param
    if reason := {"apache": apache, "nginx": nginx}[kind].missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp(kind)
    server = TokenizerServer(folder)
    application = NotesApplication(server.url, lambda: {"authorization": f"Bearer {credential()}"})
    running: list[Startable] = [application]
    proxy: apache.Apache | nginx.Nginx
    behind = {"application": application.url, "tokenizer": server.url}
    if kind == "apache":
        proxy = apache.Apache(folder, oidc_provider, **behind)
    else:
        log_in = AuthApplication(oidc_provider.url, CLIENT_ID)
        proxy = nginx.Nginx(folder, log_in, **behind)
        running.append(log_in)
    running.append(proxy)

    def credential() -> str:
        return server.issuer.application(proxy.tokenizer.url)

    server.config["tokenizer"]["public_url"] = proxy.tokenizer.url
    server.config["identity"][0]["direct"] = False
    server.config["identity"].append(
        {
            "name": kind,
            "kind": "proxy",
            "issuer": oidc_provider.url,
            "audience": CLIENT_ID,
            "jwks": oidc_provider.jwks,
            "session_claim": ["sid", "sub"],
        }
    )
    application.trust(oidc_provider.url, CLIENT_ID, httpx.get(oidc_provider.jwks, timeout=30).json())
    with ExitStack() as stack:
        for one in running:
            stack.enter_context(one)
        stack.enter_context(server)
        yield Place(proxy, oidc_provider, server, application, stack.enter_context(ExitStack()))


@pytest.fixture(scope="session")
def alice(place: Place) -> User:
    return place.log_in("alice")


@pytest.fixture(scope="session")
def bob(place: Place) -> User:
    return place.log_in("bob")


def refused(answer: httpx.Response, status: int, name: str) -> bool:
    return (answer.status_code, answer.json()["error"]["name"]) == (status, name)


def test_a_value_from_one_user_to_another(alice: User, bob: User) -> None:
    """The application's grants reach the sessions of its proxy, and only those that it gave."""
    token = alice.tokenize()
    assert bob.save(token).status_code == 403, "bob may not store a token that he only saw"
    saved = alice.save(token)
    assert saved.status_code == 201, saved.text
    assert alice.read(token) == VALUE
    assert refused(bob.post("/detokenize", {"tokenId": token}), 403, "grantMissing")
    assert bob.note(saved.text) == token
    assert bob.read(token) == VALUE


def test_without_a_log_in_nothing_gets_through(place: Place) -> None:
    asked: Any = {"json": {"metadata": STRING}, "timeout": 30}
    answer = httpx.post(f"{place.tokenizer}/tokenize", **asked)
    assert answer.status_code in (302, 401)
    assert "tokenId" not in answer.text
    by_script = httpx.post(f"{place.tokenizer}/tokenize", headers={"sec-fetch-dest": "empty"}, **asked)
    assert by_script.status_code == 401
    page = httpx.get(f"{place.tokenizer}/frame", headers={"sec-fetch-dest": "iframe"}, timeout=30)
    assert page.status_code == 302


def test_a_request_around_the_proxy(place: Place, alice: User) -> None:
    """The tokenizer itself knows neither the proxy's cookies nor what the proxy would have said of the user."""
    cookies = "; ".join(f"{one.name}={one.value}" for one in alice.client.cookies.jar)
    assert cookies
    for headers in (
        {},
        {"cookie": cookies},
        {"cookie": cookies, "origin": place.tokenizer, **alice.headers},
        {"oidc-claim-sub": "alice", "oidc-claim-sid": "sid-alice", "remote-user": "alice"},
        {"x-forwarded-user": "alice", "x-auth-request-user": "alice", "x-remote-user": "alice"},
        {"authorization": "Basic YWxpY2U6"},
    ):
        assert refused(place.server.post("/tokenize", {"metadata": STRING}, headers), 401, "unauthenticated"), headers


def forged(place: Place, **changed: Any) -> str:
    """An ID token for alice that the provider did not sign."""
    now = int(time.time())
    claims = {
        "iss": place.provider.url,
        "aud": CLIENT_ID,
        "sub": "alice",
        "sid": "sid-alice",
        "iat": now,
        "exp": now + 60,
    }
    return jwt.encode(claims | changed, generate_private_key(65537, 2048), algorithm="RS256")


@pytest.mark.parametrize("header", ["Authorization", "OIDC-id-token", "OIDC_id_token", "X-Forwarded-Access-Token"])
def test_a_forged_copy_of_the_header_around_the_proxy(place: Place, header: str) -> None:
    value = f"Bearer {forged(place)}" if header == "Authorization" else forged(place)
    answer = place.server.post("/tokenize", {"metadata": STRING}, {header: value})
    assert refused(answer, 401, "unauthenticated")


@pytest.mark.parametrize(
    "name", ["Authorization", "AUTHORIZATION", "OIDC_id_token", "OIDC-id-token", "Authorization_", "X-Original-URI"]
)
def test_a_forged_copy_of_the_header_through_the_proxy(bob: User, name: str) -> None:
    """The proxy replaces it; the user stays who he is."""
    token = bob.tokenize()
    answer = bob.post("/metadata/get", {"tokenId": token}, **{name: f"Bearer {forged(bob.place)}"})
    assert answer.status_code == 200, answer.text
    verified = bob.client.get(f"{bob.place.tokenizer}/session/verify", headers={name: f"Bearer {forged(bob.place)}"})
    assert verified.headers["lunasec-session-hash"] == bob.headers["lunasec-session-hash"]


def test_two_copies_of_the_header_at_once(place: Place, bob: User) -> None:
    """What the user adds to what the proxy sets, in any order and spelling, makes nobody else of him."""
    jar = [one for one in bob.client.cookies.jar if one.domain == "127.0.0.1"]
    cookies = "; ".join(f"{one.name}={one.value}" for one in jar)
    lines = [f"Authorization: Bearer {forged(place)}"] * 2 + [f"aUTHORIZATION: Bearer {forged(place)}"]
    request = ["GET /session/verify HTTP/1.1", f"Host: 127.0.0.1:{place.proxy.tokenizer.port}", "Connection: close"]
    sent = "\r\n".join([*request, f"Cookie: {cookies}", *lines, "", ""]).encode()
    received = exchange(place.proxy.tokenizer.port, sent)
    if b" 200 " in received.split(b"\r\n")[0]:
        assert bob.headers["lunasec-session-hash"].encode() in received
    else:
        assert received.startswith(b"HTTP/1.1 400"), "nginx takes no header twice"


def test_a_users_jwt_is_no_applications(place: Place, alice: User) -> None:
    """Through the proxy a user cannot call what is for the application, whatever he calls himself."""
    token = alice.tokenize()
    asked = {"sessionId": "sid-alice", "sessionIssuer": place.provider.url, "tokenId": token}
    for path in ("/grant/set", "/grant/verify", "/grant/revoke", "/token/delete"):
        body = {"tokenId": token} if path == "/token/delete" else asked
        assert refused(alice.post(path, body), 403, "roleForbidden"), path


def test_a_user_whose_name_is_a_role(place: Place) -> None:
    climber = place.log_in("application")
    token = climber.tokenize()
    assert refused(climber.post("/token/delete", {"tokenId": token}), 403, "roleForbidden")


def test_the_browsers_rules_hold_behind_a_proxy(alice: User) -> None:
    """The proxy's cookie is sent with every request, whoever made the page that asks."""
    body = {"metadata": STRING}
    assert refused(alice.post("/tokenize", body, origin="https://evil.example.com"), 403, "sessionMismatch")
    without = {"origin": alice.place.tokenizer}
    answer = alice.client.post(f"{alice.place.tokenizer}/tokenize", json=body, headers=without)
    assert refused(answer, 403, "sessionMismatch")


def test_an_application_does_not_reach_another_issuers_sessions(place: Place, alice: User) -> None:
    token = alice.tokenize()
    credential = {"authorization": f"Bearer {place.server.issuer.application(place.tokenizer)}"}
    for issuer in ("http://127.0.0.1:1", place.provider.url + "/"):
        asked = {"sessionId": "sid-alice", "sessionIssuer": issuer, "tokenId": token}
        assert place.server.post("/grant/set", asked, credential).status_code == 400
    # Without the issuer the session would be one of the application's own, which has the same name and is another.
    own = {"sessionId": "sid-bob", "tokenId": token}
    assert place.server.data("/grant/set", own, credential) == {}
    bob = place.log_in("bob")
    assert refused(bob.post("/detokenize", {"tokenId": token}), 403, "grantMissing")


def test_the_application_ends_a_session_of_the_proxy(place: Place) -> None:
    carol = place.log_in("carol")
    token = carol.tokenize()
    assert carol.read(token) == VALUE
    credential = {"authorization": f"Bearer {place.server.issuer.application(place.tokenizer)}"}
    ended = place.server.post(
        "/session/end", {"sessionId": "sid-carol", "sessionIssuer": place.provider.url}, credential
    )
    assert ended.status_code == 200, ended.text
    answer = carol.post("/detokenize", {"tokenId": token})
    assert answer.status_code in (401, 403), answer.text


def test_the_values_way_needs_no_log_in_but_its_key(alice: User) -> None:
    ticket = alice.data("/tokenize", {"metadata": STRING})
    assert httpx.put(ticket["uploadUrl"], content=VALUE, timeout=30).status_code == 403
    assert httpx.put(ticket["uploadUrl"], content=VALUE, headers=ticket["headers"], timeout=30).status_code == 200


def test_no_log_holds_a_jwt(place: Place, alice: User) -> None:
    alice.tokenize()
    assert place.application.seen, "the application saw requests"
    credential = place.application.seen[0]["Authorization"].removeprefix("Bearer ")
    assert credential.count(".") == 2
    for secret in (credential, *credential.split(".")[1:]):
        assert secret not in place.server.log
