"""Applications in four frameworks, the tokenizer and a browser's cookie jar, over real HTTP: the whole flow of the documentation."""

from __future__ import annotations

import base64
import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from lunacore.segments import Purpose, open_bytes, seal_bytes
from lunacore.testing.servers import WSGIProcess, free_port
from tests.http.tokenizer_server import STRING, TokenizerServer
from tests.sdk.pems import pem

if TYPE_CHECKING:
    from collections.abc import Iterator

# One worker runs them all, and so makes what they share once.
pytestmark = pytest.mark.xdist_group("sdk_applications")

APPLICATIONS: Final = Path(__file__).parent / "applications"
FRAMEWORKS: Final = {"flask": "wsgi", "django": "wsgi", "falcon": "wsgi", "fastapi": "asgi"}
VALUE: Final = b"078-05-1120"


class Place:
    """One application, its provider's settings, and the tokenizer that serves it."""

    def __init__(self, directory: Path, framework: str, **settings: Any) -> None:
        self.key_file = directory / f"{framework}.pem"
        self.key_file.write_bytes(pem())
        self.framework, self._port = framework, free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.provider = {
            "name": framework,
            "kind": "application",
            "issuer": self.url,
            "jwks": f"{self.url}/.lunasec/jwks.json",
            "callback": f"{self.url}/.lunasec/secure-frame",
            "private_addresses": True,
            **settings,
        }

    def application(self, tokenizer: TokenizerServer) -> WSGIProcess:
        self.tokenizer = tokenizer
        environment = {
            "LUNACORE_APP_TOKENIZER_URL": tokenizer.url,
            "LUNACORE_APP_ISSUER": self.url,
            "LUNACORE_APP_SIGNING_KEY_FILE": str(self.key_file),
            "LUNACORE_APP_ANONYMOUS_SECRET": os.urandom(32).hex(),
            "SECRET": os.urandom(32).hex(),
        }
        return WSGIProcess(
            APPLICATIONS / f"{self.framework}_app.py",
            environment=environment,
            interface=FRAMEWORKS[self.framework],
            port=self._port,
        )


class Browser:
    """A cookie jar and what the Secure Frame in it does."""

    def __init__(self, place: Place) -> None:
        self._app, self._tokenizer = place.url, place.tokenizer.url
        self._ensure = f"{self._tokenizer}/session/ensure?provider={place.framework}"
        self._client = httpx.Client(follow_redirects=True, timeout=30, trust_env=False)
        self._hash = ""

    def app(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return self._client.request(method, f"{self._app}{path}", json=body)

    def has_session(self) -> bool:
        answer = self._client.get(f"{self._tokenizer}/session/verify", headers={"sec-fetch-site": "same-origin"})
        self._hash = answer.headers.get("lunasec-session-hash", "")
        return bool(answer.json()["success"])

    def ensure_session(self) -> list[httpx.Response]:
        """What the frame navigates through when it has no session."""
        answer = self._client.get(self._ensure, headers={"sec-fetch-mode": "navigate"})
        return [*answer.history, answer]

    def call(self, path: str, body: Any) -> httpx.Response:
        headers = {"sec-fetch-site": "same-origin", "lunasec-session-hash": self._hash}
        return self._client.post(f"{self._tokenizer}{path}", json=body, headers=headers)

    def tokenize(self, value: bytes) -> str:
        data = self.call("/tokenize", {"metadata": STRING, "valueFormat": "sealed-v1"}).json()["data"]
        sealed = seal_bytes(base64.b64decode(data["valueKey"]), value, Purpose.VALUE, os.urandom)
        httpx.put(data["uploadUrl"], content=sealed, headers=data["headers"], trust_env=False).raise_for_status()
        return str(data["tokenId"])

    def detokenize(self, token: str) -> bytes | str:
        """The value, or the name of the error."""
        answer = self.call("/detokenize", {"tokenId": token}).json()
        if not answer["success"]:
            return str(answer["error"]["name"])
        data = answer["data"]
        got = httpx.get(data["downloadUrl"], headers=data["headers"], trust_env=False).raise_for_status()
        return open_bytes(base64.b64decode(data["valueKey"]), got.content, Purpose.VALUE)

    def log_in(self, user: str) -> None:
        self.app("POST", "/login", {"user": user}).raise_for_status()

    def enter(self, user: str) -> None:
        self.log_in(user)
        self.ensure_session()
        assert self.has_session()

    def close(self) -> None:
        self._client.close()


def tokenizer_of(directory: Path, *places: Place) -> TokenizerServer:
    tokenizer = TokenizerServer(directory)
    tokenizer.config["identity"] = [place.provider for place in places]
    return tokenizer


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Place]]:
    """All four applications, in one tenant of one tokenizer."""
    directory = tmp_path_factory.mktemp("places")
    found = {framework: Place(directory, framework) for framework in FRAMEWORKS}
    tokenizer = tokenizer_of(directory, *found.values())
    with ExitStack() as running:
        for one in found.values():
            running.enter_context(one.application(tokenizer))
        running.enter_context(tokenizer)
        yield found


@pytest.fixture(params=FRAMEWORKS)
def place(request: pytest.FixtureRequest, places: dict[str, Place]) -> Place:
    return places[request.param]


@contextmanager
def browsers(place: Place, count: int = 1) -> Iterator[Any]:
    with ExitStack() as stack:
        opened = [Browser(place) for _ in range(count)]
        for one in opened:
            stack.callback(one.close)
        yield opened[0] if count == 1 else opened


def test_the_whole_flow(place: Place) -> None:
    with browsers(place, 2) as (alice, mallory):
        alice.log_in("alice")
        assert not alice.has_session()
        steps = alice.ensure_session()
        paths = [(one.status_code, one.url.path) for one in steps]
        assert paths[:3] == [(302, "/session/ensure"), (302, "/.lunasec/secure-frame"), (303, "/session/create")]
        assert paths[3][1] == "/frame"
        assert alice.has_session()

        token = alice.tokenize(VALUE)
        assert alice.app("POST", "/profile", {"ssn": token}).status_code == 200
        assert alice.app("GET", "/profile/alice").json() == {"ssn": token}
        assert alice.detokenize(token) == VALUE

        # Somebody else's token can be neither stored nor read.
        mallory.enter("mallory")
        assert mallory.app("POST", "/profile", {"ssn": token}).status_code == 403
        assert mallory.detokenize(token) == "grantMissing"
        # Until the application shows it to this session.
        assert mallory.app("GET", "/profile/alice").json() == {"ssn": token}
        assert mallory.detokenize(token) == VALUE

        assert alice.app("POST", "/logout").status_code == 200
        assert alice.detokenize(token) == "grantMissing"
        assert not alice.has_session()
        alice.enter("alice")
        assert alice.detokenize(token) == "grantMissing"  # a new log-in is a new session
        alice.app("GET", "/profile/alice").raise_for_status()
        assert alice.detokenize(token) == VALUE


def test_nobody_gets_401_at_the_end_of_the_redirects(place: Place) -> None:
    with browsers(place) as nobody:
        last = nobody.ensure_session()[-1]
        assert (last.status_code, last.url.path) == (401, "/.lunasec/secure-frame")
        assert last.json()["error"]["name"] == "unauthenticated"
        assert not nobody.has_session()


def test_a_token_whose_value_was_never_uploaded_is_not_stored(place: Place) -> None:
    with browsers(place) as alice:
        alice.enter("alice")
        token = alice.call("/tokenize", {"metadata": STRING}).json()["data"]["tokenId"]
        assert alice.app("POST", "/profile", {"ssn": token}).status_code == 403


def test_an_assertion_is_used_once_and_in_its_browser_alone(place: Place) -> None:
    with browsers(place, 2) as (alice, mallory):
        alice.log_in("alice")
        create = alice.ensure_session()[2].request.url
        assert alice._client.get(create).json()["error"]["name"] == "unauthenticated"
        mallory.log_in("mallory")
        began = mallory._client.get(mallory._ensure, follow_redirects=False)
        sent = mallory._client.get(began.headers["location"], follow_redirects=False)
        assert alice._client.get(sent.headers["location"]).json()["error"]["name"] == "sessionMismatch"


def test_sign_up_before_there_is_a_user(place: Place) -> None:
    with browsers(place, 2) as (visitor, mallory):
        assert visitor.ensure_session()[-1].status_code == 401
        assert visitor.app("GET", "/sign-up").status_code == 200
        visitor.ensure_session()
        assert visitor.has_session()
        token = visitor.tokenize(VALUE)
        mallory.app("GET", "/sign-up").raise_for_status()
        assert mallory.app("POST", "/sign-up", {"user": "mallory", "ssn": token}).status_code == 403

        assert visitor.app("POST", "/sign-up", {"user": "carol", "ssn": token}).status_code == 200
        assert visitor.detokenize(token) == "grantMissing"
        assert not visitor.has_session()  # the anonymous session has ended
        visitor.ensure_session()
        assert visitor.has_session()
        assert visitor.detokenize(token) == VALUE


def test_the_paths_over_http(place: Place) -> None:
    jwks = httpx.get(f"{place.url}/.lunasec/jwks.json", trust_env=False)
    assert [key["alg"] for key in jwks.json()["keys"]] == ["EdDSA"]
    head = httpx.head(f"{place.url}/.lunasec/jwks.json", trust_env=False)
    assert (head.status_code, head.content) == (200, b"")
    refused = httpx.post(f"{place.url}/.lunasec/secure-frame", trust_env=False)
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    assert httpx.get(f"{place.url}/elsewhere", trust_env=False).status_code == 404


@pytest.mark.long
def test_keys_are_rotated_without_a_failed_request(tmp_path: Path) -> None:
    """The new key is published before it signs, and the old one for as long as the tokenizer may keep what it signed."""
    place = Place(tmp_path, "flask")
    tokenizer = tokenizer_of(tmp_path, place)
    old, new = place.key_file.read_bytes(), pem("ES256")
    with place.application(tokenizer), tokenizer, browsers(place) as alice:
        alice.enter("alice")
        token = alice.tokenize(VALUE)

        def published() -> list[str]:
            jwks = httpx.get(f"{place.url}/.lunasec/jwks.json", trust_env=False).json()
            return [key["alg"] for key in jwks["keys"]]

        def works() -> None:
            assert alice.app("POST", "/profile", {"ssn": token}).status_code == 200
            assert alice.detokenize(token) == VALUE

        works()
        for keys, algorithms in ((old + new, ["EdDSA", "ES256"]), (new + old, ["ES256", "EdDSA"]), (new, ["ES256"])):
            replaced = place.key_file.with_suffix(".new")
            replaced.write_bytes(keys)
            replaced.replace(place.key_file)
            while published() != algorithms:
                works()
            works()
        with browsers(place) as bob:
            bob.enter("bob")  # an assertion of the new key


@pytest.mark.long  # the tokenizer waits ten seconds before it tries again
def test_an_application_that_is_down_when_the_tokenizer_starts(tmp_path: Path) -> None:
    place = Place(tmp_path, "flask")
    tokenizer = tokenizer_of(tmp_path, place)
    ready = f"{tokenizer.operations_url}/ready"
    with tokenizer:
        answer = httpx.get(ready, trust_env=False)
        assert answer.status_code == 503
        assert "flask" in answer.text
        with place.application(tokenizer), browsers(place) as alice:
            # The tokenizer tries again ten seconds after it failed.
            while httpx.get(ready, trust_env=False).status_code != 200:
                pass
            alice.enter("alice")
            token = alice.tokenize(VALUE)
            assert alice.app("POST", "/profile", {"ssn": token}).status_code == 200
