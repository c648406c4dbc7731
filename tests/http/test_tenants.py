"""Several applications and proxies at once: nothing of one tenant ever works for another.

Two tenants have an application and two proxies each. The users' sessions all have the same few names, and one log-in service stands
behind proxies of both tenants, so that only tenant and issuer tell the sessions apart. A model says who may do what.
"""

from __future__ import annotations

import json
import time
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import falcon.testing
import httpx
import pytest
from attrs import frozen
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule, run_state_machine_as_test
from prometheus_client import CollectorRegistry

from lunacore.config import Config
from lunacore.deployment import open_deployment
from lunacore_http.application import create_app
from lunacore_http.metrics import CallMetrics
from lunacore_http.wiring import services_of
from tests.http.identity.conftest import EC_KEY, ED_KEY, OTHER_RSA_KEY, RSA_KEY, public_jwk, sign
from tests.http.tokenizer_server import JSON, STRING, TokenizerServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# One worker runs them all, and so makes what they share once.
pytestmark = pytest.mark.xdist_group("tenants")

URL: Final = "https://secure.example.com"
LOGIN: Final = "https://login.example.com"
SESSIONS: Final = ("s-1", "s-2")


@frozen
class Provider:
    """One identity provider and its key."""

    name: str
    tenant: str
    issuer: str
    key: Any
    algorithm: str
    audience: str = ""
    header: str = ""

    @property
    def is_proxy(self) -> bool:
        return bool(self.header)

    def settings(self, folder: Path) -> dict[str, Any]:
        path = folder / f"{self.name}.json"
        path.write_text(json.dumps({"keys": [public_jwk(self.key)]}))
        common = {"name": self.name, "tenant": self.tenant, "issuer": self.issuer, "jwks": path.as_uri()}
        if self.is_proxy:
            return {**common, "kind": "proxy", "audience": self.audience, "header": self.header}
        return {**common, "kind": "application", "direct": True}

    def user(self, session: str, url: str) -> dict[str, str]:
        if self.is_proxy:
            return {self.header: self._sign(aud=self.audience, sub="application", sid=session)}
        return {"authorization": f"Bearer {self._sign(aud=url, sub='user', session_id=session)}"}

    def application(self, url: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self._sign(aud=url, sub='application')}"}

    @cache  # noqa: B019 - there are six providers
    def _sign(self, **claims: str) -> str:
        now = int(time.time())
        return sign({"iss": self.issuer, "iat": now, "exp": now + 3600, **claims}, self.key, self.algorithm)


RED: Final = Provider("red", "red", "https://red.example.com", RSA_KEY, "RS256")
BLUE: Final = Provider("blue", "blue", "https://blue.example.com", OTHER_RSA_KEY, "RS256")
PROVIDERS: Final = (
    RED,
    BLUE,
    Provider("red-proxy", "red", "https://proxy.red.example.com", EC_KEY, "ES256", "red", "X-Red"),
    Provider("blue-proxy", "blue", "https://proxy.blue.example.com", ED_KEY, "EdDSA", "blue", "X-Blue"),
    Provider("red-login", "red", LOGIN, EC_KEY, "ES256", "red-client", "X-Login"),
    Provider("blue-login", "blue", LOGIN, EC_KEY, "ES256", "blue-client", "X-Login"),
)
APPLICATIONS: Final = {one.tenant: one for one in (RED, BLUE)}


@frozen
class User:
    """One session of a provider."""

    provider: Provider
    session: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.provider.tenant, self.provider.issuer, self.session


USERS: Final = [User(provider, session) for provider in PROVIDERS for session in SESSIONS]
users: Final = st.sampled_from(USERS)
tenants: Final = st.sampled_from(sorted(APPLICATIONS))


class Tenants(RuleBasedStateMachine):
    """Calls of all sorts over HTTP, judged by who was granted what."""

    post: Callable[[str, Any, dict[str, str]], tuple[int, Any]]
    url = URL

    tokens = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        self.owner: dict[str, str] = {}
        self.readable: set[tuple[tuple[str, str, str], str]] = set()
        self.storable: set[tuple[tuple[str, str, str], str]] = set()

    def ask(self, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
        return type(self).post(path, body, headers)

    @rule(target=tokens, user=users)
    def tokenize(self, user: User) -> str:
        status, data = self.ask("/tokenize", {"metadata": STRING}, user.provider.user(user.session, self.url))
        assert status == 200
        token = str(data["tokenId"])
        self.owner[token] = user.provider.tenant
        self.readable.add((user.key, token))
        self.storable.add((user.key, token))
        return token

    @rule(user=users, token=tokens)
    def metadata(self, user: User, token: str) -> None:
        status, data = self.ask("/metadata/get", {"tokenId": token}, user.provider.user(user.session, self.url))
        if (user.key, token) in self.readable:
            assert (status, data) == (200, {"metadata": STRING})
        else:
            assert (status, data) == (403, "grantMissing")

    @rule(user=users, token=tokens)
    def detokenize(self, user: User, token: str) -> None:
        status, data = self.ask("/detokenize", {"tokenId": token}, user.provider.user(user.session, self.url))
        if (user.key, token) in self.readable:
            assert status == 200
        else:
            assert (status, data) == (403, "grantMissing")

    @rule(tenant=tenants, user=users, token=tokens, named=st.booleans())
    def grant(self, tenant: str, user: User, token: str, named: bool) -> None:
        """An application grants to a session of any provider; it must be of its tenant, and so must the token."""
        application = APPLICATIONS[tenant]
        body = {"sessionId": user.session, "tokenId": token}
        body |= {"sessionIssuer": user.provider.issuer} if named else {}
        status, data = self.ask("/grant/set", body, application.application(self.url))
        issuer = user.provider.issuer if named else application.issuer
        if not self.knows(tenant, issuer):
            assert (status, data) == (400, "invalidRequest")
        elif self.owner[token] != tenant:
            assert (status, data) == (404, "tokenNotFound")
        else:
            assert status == 200
            self.readable.add(((tenant, issuer, user.session), token))

    @rule(tenant=tenants, user=users, token=tokens)
    def verify(self, tenant: str, user: User, token: str) -> None:
        body = {"sessionId": user.session, "sessionIssuer": user.provider.issuer, "tokenId": token}
        status, data = self.ask("/grant/verify", body, APPLICATIONS[tenant].application(self.url))
        if not self.knows(tenant, user.provider.issuer):
            assert (status, data) == (400, "invalidRequest")
        elif self.owner[token] != tenant:
            assert (status, data) in ((404, "tokenNotFound"), (200, {"valid": False}))
        else:
            # Nothing was uploaded, so nothing may be stored; that is looked at with values elsewhere.
            assert (status, data) == (200, {"valid": False})

    @rule(tenant=tenants, user=users, token=st.none() | tokens)
    def revoke(self, tenant: str, user: User, token: str | None) -> None:
        body = {"sessionId": user.session, "sessionIssuer": user.provider.issuer}
        body |= {} if token is None else {"tokenId": token}
        status, data = self.ask("/grant/revoke", body, APPLICATIONS[tenant].application(self.url))
        if not self.knows(tenant, user.provider.issuer):
            assert (status, data) == (400, "invalidRequest")
            return
        session = (tenant, user.provider.issuer, user.session)
        if status == 200:
            self.readable -= {one for one in self.readable if one[0] == session and token in (None, one[1])}

    @rule(tenant=tenants, token=tokens)
    def application_reads_metadata(self, tenant: str, token: str) -> None:
        status, data = self.ask("/metadata/get", {"tokenId": token}, APPLICATIONS[tenant].application(self.url))
        if self.owner[token] == tenant:
            assert (status, data) == (200, {"metadata": STRING})
        else:
            assert (status, data) == (404, "tokenNotFound")

    @rule(tenant=tenants, token=tokens)
    def foreign_delete(self, tenant: str, token: str) -> None:
        """To delete what is another tenant's does nothing; the reads that follow find it whole."""
        if self.owner[token] != tenant:
            status, _ = self.ask("/token/delete", {"tokenId": token}, APPLICATIONS[tenant].application(self.url))
            assert status == 200

    @rule(user=users, other=users)
    def somebody_elses_place(self, user: User, other: User) -> None:
        """A JWT in the header of another provider is nobody's."""
        if not (user.provider.is_proxy and other.provider.is_proxy) or user.provider.header == other.provider.header:
            return
        (jwt,) = user.provider.user(user.session, self.url).values()
        status, data = self.ask("/tokenize", {"metadata": STRING}, {other.provider.header: jwt})
        assert (status, data) == (401, "unauthenticated")

    @staticmethod
    def knows(tenant: str, issuer: str) -> bool:
        return any((one.tenant, one.issuer) == (tenant, issuer) for one in PROVIDERS)


def test_tenants_never_meet(tmp_path: Path) -> None:
    config = {
        "tokenizer": {"data_dir": str(tmp_path / "data"), "public_url": URL, "records": "memory:", "grants": "memory:"},
        "limits": {"session_reads": 0, "application_reads": 0},
        "identity": [one.settings(tmp_path) for one in PROVIDERS],
    }
    deployment = open_deployment(Config.from_mapping(config, {}))
    try:
        client = falcon.testing.TestClient(create_app(services_of(deployment, CallMetrics(CollectorRegistry()))))

        def post(path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
            answer = client.simulate_post(path, body=json.dumps(body).encode(), headers={**JSON, **headers})
            return judged(answer.status_code, answer.json)

        machine = type("InProcess", (Tenants,), {"post": staticmethod(post)})
        run_state_machine_as_test(machine, settings=settings(stateful_step_count=25))
    finally:
        deployment.close()


def judged(status: int, envelope: Any) -> tuple[int, Any]:
    """The status, and the data or the error's name."""
    return status, envelope["data"] if envelope["success"] else envelope["error"]["name"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenizerServer]:
    folder = tmp_path_factory.mktemp("tenants")
    running = TokenizerServer(folder)
    running.config["identity"] = [one.settings(folder) for one in PROVIDERS]
    with running:
        yield running


@pytest.mark.parametrize("owner", [USERS[0], USERS[6], USERS[8]], ids=lambda user: user.provider.name)
def test_who_reads_a_value(server: TokenizerServer, owner: User) -> None:
    """With a value behind the token: its session reads it, its application grants it on, nobody else sees that it exists."""
    tenant = owner.provider.tenant
    ticket = server.data("/tokenize", {"metadata": STRING}, owner.provider.user(owner.session, server.url))
    token = ticket["tokenId"]
    httpx.put(ticket["uploadUrl"], content=b"value", headers=ticket["headers"], timeout=30).raise_for_status()
    named = {"sessionId": owner.session, "sessionIssuer": owner.provider.issuer, "tokenId": token}
    verdicts = {
        name: server.post("/grant/verify", named, one.application(server.url)).json()["data"]
        for name, one in APPLICATIONS.items()
    }
    assert verdicts.pop(tenant) == {"valid": True}
    # One log-in service stands behind both tenants; what it calls s-1 is another session in each.
    assert list(verdicts.values()) in ([{}], [{"valid": False}])

    def reads(user: User) -> bool:
        answer = server.post("/detokenize", {"tokenId": token}, user.provider.user(user.session, server.url))
        if answer.status_code != 200:
            assert judged(answer.status_code, answer.json()) == (403, "grantMissing"), user
            return False
        got = answer.json()["data"]
        assert httpx.get(got["downloadUrl"], headers=got["headers"], timeout=30).content == b"value"
        return True

    everybody = [User(provider, "s-1") for provider in PROVIDERS]
    assert [user for user in everybody if reads(user)] == [owner]
    for user in everybody:
        asked = {"sessionId": user.session, "sessionIssuer": user.provider.issuer, "tokenId": token}
        answer = server.post("/grant/set", asked, APPLICATIONS[tenant].application(server.url))
        assert answer.status_code == (200 if Tenants.knows(tenant, user.provider.issuer) else 400)
    assert [user for user in everybody if reads(user)] == [one for one in everybody if one.provider.tenant == tenant]
    assert not reads(User(owner.provider, "s-2"))


def test_ending_a_session_ends_it_in_its_tenant_only(server: TokenizerServer) -> None:
    red, blue = (User(one, "s-9") for one in PROVIDERS[4:])
    assert red.provider.issuer == blue.provider.issuer
    tokens = {
        user.provider.tenant: server.data(
            "/tokenize", {"metadata": STRING}, user.provider.user(user.session, server.url)
        )["tokenId"]
        for user in (red, blue)
    }
    asked = {"sessionId": "s-9", "sessionIssuer": LOGIN}
    server.data("/session/end", asked, RED.application(server.url))

    def reads(user: User) -> int:
        body = {"tokenId": tokens[user.provider.tenant]}
        return server.post("/metadata/get", body, user.provider.user(user.session, server.url)).status_code

    assert reads(red) in (401, 403)
    assert reads(blue) == 200
