"""The two paths and the middleware in WSGI's and ASGI's own terms; ``test_applications.py`` shows them in frameworks over HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import jwt as pyjwt
import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from lunacore.errors import ConfigError
from lunacore_http.sdk import Application, AsyncApplication, Request
from tests.sdk.pems import pem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

URL = "https://secure.example.com"
STATE = "S-_" * 14 + "x"
JWKS = "/.lunasec/jwks.json"
FRAME = "/.lunasec/secure-frame"
KEYS = pem("EdDSA") + pem("ES256")


@frozen
class Answered:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name]
        assert len(found) < 2, found
        return found[0] if found else None


@frozen
class Asked:
    path: str
    query: str = ""
    method: str = "GET"
    headers: Mapping[str, str] = field(factory=dict)
    root: str = ""


def luna(provider: Any = None, *, kind: Any = Application, **options: Any) -> Any:
    return kind(URL, issuer="https://app.example.com", signing_key=KEYS, session_id_provider=provider, **options)


def by_cookie(request: Request) -> str | None:
    return request.cookies.get("session")


async def by_cookie_async(request: Request) -> str | None:
    await asyncio.sleep(0)
    return request.cookies.get("session")


def ask_wsgi(application: Any, asked: Asked, **environ: Any) -> Answered:
    said: list[Any] = []
    given: dict[str, Any] = {
        "REQUEST_METHOD": asked.method,
        "SCRIPT_NAME": asked.root,
        "PATH_INFO": asked.path,
        "QUERY_STRING": asked.query,
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in asked.headers.items()},
        **environ,
    }
    setup_testing_defaults(given)

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        said[:] = [status, headers]
        return lambda _: None

    pieces = validator(application)(given, start_response)
    try:
        body = b"".join(pieces)
    finally:
        pieces.close()  # type: ignore[attr-defined]  # the validator's has it
    return Answered(int(said[0].split()[0]), said[1], body)


def ask_asgi(application: Any, asked: Asked, *, path_has_root: bool = False) -> Answered:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": asked.method,
        "path": (asked.root if path_has_root else "") + asked.path,
        "root_path": asked.root,
        "query_string": asked.query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in asked.headers.items()],
    }
    asyncio.run(application(scope, receive, send))
    headers = [(name.decode(), value.decode()) for name, value in sent[0].get("headers", [])]
    return Answered(sent[0]["status"], headers, b"".join(one.get("body", b"") for one in sent[1:]))


def wsgi_shop(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Cache-Control", "max-age=60")])
    return [environ.get("PATH_INFO", "").encode()]


async def asgi_shop(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-type", b"text/plain"), (b"Cache-Control", b"max-age=60")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


SERVERS = {
    "wsgi": lambda provider=by_cookie, **options: _serve_wsgi(luna(provider, **options)),
    "asgi": lambda provider=by_cookie, **options: _serve_asgi(luna(provider, **options)),
    "asgi async": lambda provider=by_cookie_async, **options: _serve_asgi(
        luna(provider, kind=AsyncApplication, **options)
    ),
}


def _serve_wsgi(application: Application) -> Callable[[Asked], Answered]:
    wrapped = application.wsgi(wsgi_shop)
    return lambda asked: ask_wsgi(wrapped, asked)


def _serve_asgi(application: Application) -> Callable[[Asked], Answered]:
    wrapped = application.asgi(asgi_shop)
    return lambda asked: ask_asgi(wrapped, asked)


@pytest.fixture(params=SERVERS)
def serve(request: pytest.FixtureRequest) -> Any:
    return SERVERS[request.param]


SESSION = {"cookie": "session=session-1"}


def test_all_current_keys_are_published(serve: Any) -> None:
    answer = serve()(Asked(JWKS))
    assert answer.status == 200
    assert answer.header("content-type") == "application/json"
    published = json.loads(answer.body)
    assert [key["alg"] for key in published["keys"]] == ["EdDSA", "ES256"]
    assert "d" not in {member for key in published["keys"] for member in key}
    assert answer.header("content-length") == str(len(answer.body))


def test_who_has_a_session_is_sent_back_with_an_assertion(serve: Any) -> None:
    answer = serve()(Asked(FRAME, f"state={STATE}&provider=app", headers=SESSION))
    assert answer.status == 302
    target = urlsplit(answer.header("location"))
    assert f"{target.scheme}://{target.netloc}{target.path}" == f"{URL}/session/create"
    query = parse_qs(target.query, strict_parsing=True)
    assert set(query) == {"state", "openid_token"}
    assert query["state"] == [STATE]
    claims = pyjwt.decode(query["openid_token"][0], options={"verify_signature": False})
    assert (claims["session_id"], claims["nonce"]) == ("session-1", STATE)
    assert answer.header("cache-control") == "no-store"
    assert answer.header("referrer-policy") == "no-referrer"


@pytest.mark.parametrize("query", [f"state={STATE}", "", "state=x"])
def test_nobody_gets_401_as_json_and_never_a_log_in_page(serve: Any, query: str) -> None:
    answer = serve()(Asked(FRAME, query))
    assert answer.status == 401
    assert answer.header("content-type") == "application/json"
    assert answer.header("location") is None
    assert answer.header("cache-control") == "no-store"
    envelope = json.loads(answer.body)
    assert envelope["success"] is False
    assert envelope["data"] == {}
    assert (envelope["error"]["name"], envelope["error"]["code"]) == ("unauthenticated", "401")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "state=",
        "state=short",
        f"state={STATE}&state={STATE}",
        f"state={STATE}%0d%0aset-cookie:x",
        f"state={STATE}%26openid_token=x",
        "state=" + "s" * 129,
        f"STATE={STATE}",
        f"state={STATE}&" + "x" * 3000,
        "state=https://evil.example.com/aaaaaaaaaaaaaaaaaaaaaa",
    ],
)
def test_only_a_state_of_the_right_form_is_passed_on(serve: Any, query: str) -> None:
    answer = serve()(Asked(FRAME, query, headers=SESSION))
    assert answer.status == 400
    assert answer.header("location") is None
    assert b"evil" not in answer.body


@given(
    query=st.text(max_size=200)
    | st.dictionaries(st.sampled_from(["state", "return_to", "url"]), st.text()).map(urlencode)
)
def test_no_query_leads_elsewhere(query: str) -> None:
    answer = luna().secure_frame("session-1", query)
    if answer.status == 302:
        target = urlsplit(answer.headers["location"])
        assert (target.scheme, target.netloc, target.path) == ("https", "secure.example.com", "/session/create")
    else:
        assert answer.status == 400


@pytest.mark.parametrize("path", [JWKS, FRAME])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_refused(serve: Any, path: str, method: str) -> None:
    answer = serve()(Asked(path, f"state={STATE}", method, SESSION))
    assert answer.status == 405
    assert answer.header("allow") == "GET, HEAD"
    assert answer.header("location") is None


@pytest.mark.parametrize("asked", [Asked(JWKS), Asked(FRAME), Asked(FRAME, f"state={STATE}", headers=SESSION)])
def test_head_is_get_without_the_body(serve: Any, asked: Asked) -> None:
    head = serve()(Asked(asked.path, asked.query, "HEAD", asked.headers))
    got = serve()(asked)
    assert head.status == got.status
    assert head.body == b""
    assert [name for name, _ in head.headers] == [name for name, _ in got.headers]


@pytest.mark.parametrize("mode", ["cors", "no-cors", "same-origin", "websocket"])
def test_scripts_get_no_assertion(serve: Any, mode: str) -> None:
    answer = serve()(Asked(FRAME, f"state={STATE}", headers={**SESSION, "sec-fetch-mode": mode}))
    assert answer.status == 400
    assert answer.header("location") is None
    assert serve()(Asked(FRAME, f"state={STATE}", headers={**SESSION, "sec-fetch-mode": "navigate"})).status == 302


@pytest.mark.parametrize(
    "path",
    ["/", "/.lunasec", "/.lunasec/", "/.lunasec/jwks.json/", "/a/.lunasec/jwks.json", "/.lunasec/secure-frame/x"],
)
def test_everything_else_is_the_applications(serve: Any, path: str) -> None:
    answer = serve()(Asked(path))
    assert (answer.status, answer.body) == (200, path.encode())
    assert answer.header("cache-control") == "max-age=60"


def test_a_mounted_application() -> None:
    wrapped = luna(by_cookie).asgi(asgi_shop)
    for path_has_root in (False, True):
        assert ask_asgi(wrapped, Asked(JWKS, root="/shop"), path_has_root=path_has_root).status == 200
        outside = ask_asgi(wrapped, Asked("/shopping/.lunasec/jwks.json", root="/shop"), path_has_root=path_has_root)
        assert b'"keys"' not in outside.body
    assert ask_wsgi(luna().wsgi(wsgi_shop), Asked(JWKS, root="/shop")).status == 200


def test_lifespan_and_websockets_pass_through() -> None:
    passed: list[tuple[Any, Any, Any]] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        passed.append((scope, receive, send))

    for kind in ("lifespan", "websocket"):
        scope: dict[str, Any] = {"type": kind, "path": JWKS, "headers": []}
        receive, send = object(), object()
        asyncio.run(luna(anonymous_secret="s" * 32).asgi(inner)(scope, receive, send))
        assert passed[-1] == (scope, receive, send)


@pytest.mark.parametrize("given_id", ["", "a\nb", "a" * 257, 7, b"session", True])
def test_a_session_id_provider_that_gives_something_else_is_a_fault(given_id: Any) -> None:
    """An id of nobody, such as an empty one, would be the same for everybody."""
    for ask in (
        lambda: ask_wsgi(luna(lambda _: given_id).wsgi(wsgi_shop), Asked(FRAME, f"state={STATE}")),
        lambda: ask_asgi(luna(lambda _: given_id).asgi(asgi_shop), Asked(FRAME, f"state={STATE}")),
    ):
        with pytest.raises(ConfigError, match="session_id_provider"):
            ask()  # type: ignore[no-untyped-call]


def hidden_coroutine(request: Request) -> Any:
    """Not to be told from a plain function before it is called."""
    return by_cookie_async(request)


def test_coroutines_need_asgi() -> None:
    with pytest.raises(ConfigError, match="asgi"):
        luna(by_cookie_async).wsgi(wsgi_shop)

    with pytest.raises(ConfigError, match="asgi"):
        ask_wsgi(luna(hidden_coroutine).wsgi(wsgi_shop), Asked(FRAME, f"state={STATE}"))
    answer = ask_asgi(luna(hidden_coroutine).asgi(asgi_shop), Asked(FRAME, f"state={STATE}", headers=SESSION))
    assert answer.status == 302


def test_without_keys_the_paths_say_come_back(caplog: pytest.LogCaptureFixture) -> None:
    def down() -> bytes:
        raise OSError

    application = Application(URL, issuer="https://app.example.com", signing_key=down, session_id_provider=by_cookie)
    for asked in (Asked(JWKS), Asked(FRAME, f"state={STATE}", headers=SESSION)):
        answer = ask_wsgi(application.wsgi(wsgi_shop), asked)
        assert answer.status == 503
        assert answer.header("retry-after") is not None


def test_no_log_of_session_state_or_assertion(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answer = serve()(Asked(FRAME, f"state={STATE}", headers=SESSION))
    assert answer.status == 302
    for secret in (STATE, "session-1", "ey"):
        assert secret not in caplog.text.replace("keys", "")


def test_requests_of_every_sort() -> None:
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_COOKIE": "a=1; b=2; a=3; junk", "HTTP_X_Y": "z"}
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [(b"Cookie", b"a=1; b=2"), (b"cookie", b"a=3"), (b"x-y", b"z")],
    }
    for raw in (environ, scope):
        holders = [
            SimpleNamespace(environ=raw),
            SimpleNamespace(env=raw),
            SimpleNamespace(META=raw),
            SimpleNamespace(scope=raw),
        ]
        for holder in [raw, Request.of(raw), *holders]:
            request = Request.of(holder)
            assert request.raw is raw
            assert request.cookies == {"a": "1", "b": "2"}
            assert request.header("x-y") == "z"
            assert request.header("x-missing") is None
            assert (request.method, request.path, request.query) == ("GET", "/", "")
    for other in (None, {}, object(), {"type": "lifespan"}):
        with pytest.raises(ConfigError, match="no request"):
            Request.of(other)
