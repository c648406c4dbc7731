"""OpenBao's transit engine: the contract over TLS, every way to log in, renewal, namespaces, and what is said of refusals."""

from __future__ import annotations

import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lunacore import keyring
from lunacore.diagnosis import Circumstances, Severity
from lunacore.errors import ConfigError, KeyringError, StoreUnavailable
from lunacore.plugins import Surroundings, open_backend
from lunacore.testing.key_provider import BODY_KEY, CONTEXT, KeyProviderContract
from lunacore.testing.servers import free_port
from lunacore_backends.keyproviders.transit import TransitKey
from tests.servers.threads import ServedInThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lunacore.stores import KeyProvider
    from lunacore_backends.keyproviders.key_service import ServiceKeyProvider
    from tests.servers.openbao import OpenBao

pytestmark = [pytest.mark.xdist_group("openbao")]
of_server = pytest.mark.servers

SETTING = "tokenizer.seal"
TOKEN = "a-token-of-tests"


@pytest.fixture
def opened() -> Iterator[Callable[[str], ServiceKeyProvider]]:
    providers: list[ServiceKeyProvider] = []

    def open_it(url: str) -> ServiceKeyProvider:
        providers.append(open_backend("seal", url, Surroundings(SETTING, lambda: 0.0, os.urandom)))
        return providers[-1]

    yield open_it
    for provider in providers:
        provider.close()


def secret(folder: Path, name: str, content: str) -> str:
    path = folder / name
    path.write_text(content)
    path.chmod(0o600)
    return str(path)


def over_tls(server: OpenBao, key: str, scheme: str = "openbao", **options: str) -> str:
    return f"{scheme}://127.0.0.1:{server.port}/transit/keys/{key}?{urlencode({'ca': str(server.ca), **options})}"


def service(provider: ServiceKeyProvider) -> TransitKey:
    assert isinstance(provider.service, TransitKey)
    return provider.service


@of_server
class TestContract(KeyProviderContract):
    @pytest.fixture
    def open_provider(
        self, openbao: OpenBao, opened: Callable[[str], ServiceKeyProvider], tmp_path: Path
    ) -> Callable[[], KeyProvider]:
        openbao.make_key("one")
        token = secret(tmp_path, "one", openbao.make_token("one"))
        return lambda: opened(over_tls(openbao, "one", token_file=token))

    @pytest.fixture
    def stranger(self, openbao: OpenBao, opened: Callable[[str], ServiceKeyProvider], tmp_path: Path) -> KeyProvider:
        openbao.make_key("stranger")
        return opened(over_tls(openbao, "stranger", token_file=secret(tmp_path, "two", openbao.make_token("stranger"))))


@of_server
class TestTransit:
    @pytest.mark.parametrize(
        "options",
        [{}, {"derived": True}, {"type": "chacha20-poly1305"}, {"type": "aes128-gcm96"}],
        ids=["plain", "derived", "chacha20", "aes128"],
    )
    def test_the_engine_itself_binds_key_and_context(
        self, openbao: OpenBao, opened: Callable[[str], ServiceKeyProvider], tmp_path: Path, options: dict[str, Any]
    ) -> None:
        """Without the local seal, which would refuse too."""
        name = f"bound-{'-'.join(map(str, options.values())) or 'plain'}"
        openbao.make_key(name, **options)
        openbao.make_key("other")
        root = secret(tmp_path, "root", openbao.root)
        one, other = (service(opened(over_tls(openbao, key, token_file=root))) for key in (name, "other"))
        wrapped = one.wrap(BODY_KEY, CONTEXT)
        assert wrapped.startswith(b"vault:v1:")
        assert one.unwrap(wrapped, CONTEXT) == BODY_KEY
        for key, context in ((one, CONTEXT + b"\x00"), (other, CONTEXT)):
            with pytest.raises(KeyringError, match="sealed by another key or for another keyring, or is damaged"):
                key.unwrap(wrapped, context)

    def test_what_was_sealed_before_a_rotation_opens(
        self, openbao: OpenBao, opened: Callable[[str], ServiceKeyProvider], tmp_path: Path
    ) -> None:
        openbao.make_key("rotated")
        provider = opened(over_tls(openbao, "rotated", token_file=secret(tmp_path, "t", openbao.make_token("rotated"))))
        sealed = provider.seal(BODY_KEY, CONTEXT)
        openbao.call("POST", "transit/keys/rotated/rotate")
        assert provider.open(sealed, CONTEXT) == BODY_KEY
        assert service(provider).wrap(BODY_KEY, CONTEXT).startswith(b"vault:v2:")

    def test_vault_is_another_word_for_it(
        self, openbao: OpenBao, opened: Callable[[str], ServiceKeyProvider], tmp_path: Path
    ) -> None:
        openbao.make_key("word")
        token = secret(tmp_path, "t", openbao.make_token("word"))
        sealed = opened(over_tls(openbao, "word", "vault", token_file=token)).seal(BODY_KEY, CONTEXT)
        provider = opened(over_tls(openbao, "word", "openbao", token_file=token))
        assert provider.open(sealed, CONTEXT) == BODY_KEY
        assert provider.name == f"transit:127.0.0.1:{openbao.port}/transit/keys/word"

    def test_a_server_may_get_another_name(
        self, openbao: OpenBao, opened: Callable[[str], ServiceKeyProvider], tmp_path: Path
    ) -> None:
        openbao.make_key("renamed")
        token = secret(tmp_path, "t", openbao.make_token("renamed"))
        one = opened(over_tls(openbao, "renamed", token_file=token))
        other = opened(over_tls(openbao, "renamed", token_file=token).replace("127.0.0.1", "localhost"))
        assert one.name != other.name
        ring = keyring.create(now=1, random=os.urandom)
        assert keyring.unseal(keyring.seal(ring, [one], random=os.urandom), [other]) == ring

    def test_namespaces(self, openbao: OpenBao, opened: Callable[[str], ServiceKeyProvider], tmp_path: Path) -> None:
        openbao.call("POST", "sys/namespaces/team")
        openbao.call("POST", "sys/mounts/transit", {"type": "transit"}, namespace="team")
        openbao.make_key("spaced", namespace="team")
        root = secret(tmp_path, "root", openbao.root)
        provider = opened(over_tls(openbao, "spaced", token_file=root, namespace="team"))
        assert provider.open(provider.seal(BODY_KEY, CONTEXT), CONTEXT) == BODY_KEY
        assert provider.name.endswith("/team/transit/keys/spaced")
        outside = opened(over_tls(openbao, "spaced", token_file=root))
        with pytest.raises(KeyringError):
            outside.open(provider.seal(BODY_KEY, CONTEXT), CONTEXT)

    def test_without_tls_on_this_machine(
        self, openbao: OpenBao, opened: Callable[[str], ServiceKeyProvider], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        openbao.make_key("near")
        monkeypatch.setenv("LUNA_TEST_TOKEN", openbao.make_token("near"))
        # A proxy of the environment would be told the token.
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
        url = f"openbao://127.0.0.1:{openbao.plain_port}/transit/keys/near?tls=off&token_env=LUNA_TEST_TOKEN"
        assert opened(url).open(opened(url).seal(BODY_KEY, CONTEXT), CONTEXT) == BODY_KEY

    def test_a_certificate_of_an_unknown_ca_is_refused(
        self, openbao: OpenBao, opened: Callable[[str], ServiceKeyProvider], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LUNA_TEST_TOKEN", TOKEN)
        url = f"openbao://127.0.0.1:{openbao.port}/transit/keys/near?token_env=LUNA_TEST_TOKEN"
        with pytest.raises(
            StoreUnavailable, match=rf"^{SETTING}: https://127.0.0.1:{openbao.port}: it cannot be reached"
        ):
            opened(url).seal(BODY_KEY, CONTEXT)

    def test_what_the_token_may_not_is_told(
        self, openbao: OpenBao, opened: Callable[[str], ServiceKeyProvider], tmp_path: Path
    ) -> None:
        openbao.make_key("limited")
        reader = secret(tmp_path, "reader", openbao.make_token("limited", operations=["decrypt"]))
        writer = secret(tmp_path, "writer", openbao.make_token("limited"))
        provider = opened(over_tls(openbao, "limited", token_file=reader))
        sealed = opened(over_tls(openbao, "limited", token_file=writer)).seal(BODY_KEY, CONTEXT)
        # A server needs no more.
        assert provider.open(sealed, CONTEXT) == BODY_KEY
        with pytest.raises(KeyringError, match="permission is denied for transit/encrypt/limited") as refused:
            provider.seal(BODY_KEY, CONTEXT)
        assert Path(reader).read_text() not in str(refused.value)
        (finding,) = provider.diagnose(Circumstances("https://secure.example.com", lambda: 0.0, os.urandom))
        assert finding.severity is Severity.WARNING

    def test_doctor_seals_and_opens_a_probe(
        self, openbao: OpenBao, opened: Callable[[str], ServiceKeyProvider], tmp_path: Path
    ) -> None:
        openbao.make_key("probed")
        provider = opened(over_tls(openbao, "probed", token_file=secret(tmp_path, "t", openbao.make_token("probed"))))
        (finding,) = provider.diagnose(Circumstances("https://secure.example.com", lambda: 0.0, os.urandom))
        assert finding.severity is Severity.OK

    @pytest.mark.parametrize(
        ("path", "error", "said"),
        [
            ("nowhere/keys/one", KeyringError, "there is nothing at nowhere/"),
            ("transit/keys/rsa", KeyringError, "is its type a symmetric one"),
        ],
    )
    def test_wrong_paths_and_types(
        self,
        openbao: OpenBao,
        opened: Callable[[str], ServiceKeyProvider],
        tmp_path: Path,
        path: str,
        error: type[Exception],
        said: str,
    ) -> None:
        openbao.make_key("rsa", type="ed25519")
        url = over_tls(openbao, "x", token_file=secret(tmp_path, "root", openbao.root))
        with pytest.raises(error) as refused:
            opened(url.replace("transit/keys/x", path)).seal(BODY_KEY, CONTEXT)
        assert said in str(refused.value)


@of_server
class TestLogin:
    def test_a_token_in_a_file_may_be_replaced(
        self, openbao: OpenBao, opened: Callable[[str], ServiceKeyProvider], tmp_path: Path
    ) -> None:
        openbao.make_key("replaced")
        path = secret(tmp_path, "token", "expired\n")
        provider = opened(over_tls(openbao, "replaced", token_file=path))
        with pytest.raises(KeyringError, match="permission is denied"):
            provider.seal(BODY_KEY, CONTEXT)
        Path(path).write_text(openbao.make_token("replaced") + "\n")
        assert provider.open(provider.seal(BODY_KEY, CONTEXT), CONTEXT) == BODY_KEY

    def test_approle_logs_in_again_when_its_token_has_ended(
        self, openbao: OpenBao, opened: Callable[[str], ServiceKeyProvider], tmp_path: Path
    ) -> None:
        openbao.make_key("role")
        openbao.make_token("role")  # for its policy
        openbao.call("POST", "sys/auth/machines", {"type": "approle"})
        openbao.call("POST", "auth/machines/role/luna", {"token_policies": "role-encrypt-decrypt", "token_ttl": "1h"})
        role_id = openbao.call("GET", "auth/machines/role/luna/role-id")["data"]["role_id"]
        secret_id = openbao.call("POST", "auth/machines/role/luna/secret-id")["data"]["secret_id"]
        options = {"auth": "approle", "auth_mount": "machines", "role_id": role_id}
        path = secret(tmp_path, "secret-id", secret_id)
        provider = opened(over_tls(openbao, "role", **options, secret_id_file=path))
        sealed = provider.seal(BODY_KEY, CONTEXT)
        first = service(provider).tokens._token
        openbao.call("POST", "auth/token/revoke", {"token": first})
        assert provider.open(sealed, CONTEXT) == BODY_KEY
        assert service(provider).tokens._token != first
        Path(path).write_text("wrong")
        wrong = opened(over_tls(openbao, "role", **options, secret_id_file=path))
        with pytest.raises(KeyringError, match="auth/machines/login") as refused:
            wrong.seal(BODY_KEY, CONTEXT)
        assert secret_id not in str(refused.value)

    @pytest.mark.parametrize("method", ["jwt", "kubernetes"])
    def test_jwt_and_kubernetes_send_the_token_of_a_file(
        self, openbao: OpenBao, opened: Callable[[str], ServiceKeyProvider], tmp_path: Path, method: str
    ) -> None:
        """Both log in by one call; OpenBao's Kubernetes method would ask a cluster, its JWT method a public key."""
        key, mount = f"by-{method}", f"mount-{method}"
        openbao.make_key(key)
        openbao.make_token(key)
        signing = ec.generate_private_key(ec.SECP256R1())
        public = signing.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        openbao.call("POST", f"sys/auth/{mount}", {"type": "jwt"})
        openbao.call("POST", f"auth/{mount}/config", {"jwt_validation_pubkeys": [public.decode()]})
        role = {
            "role_type": "jwt",
            "bound_audiences": "vault",
            "user_claim": "sub",
            "token_policies": f"{key}-encrypt-decrypt",
        }
        openbao.call("POST", f"auth/{mount}/role/luna", role)
        now = int(time.time())
        given = jwt.encode({"sub": "luna", "aud": "vault", "iat": now, "exp": now + 600}, signing, algorithm="ES256")
        # Kubernetes mounts it readable for all.
        path = tmp_path / "jwt"
        path.write_text(given)
        provider = opened(over_tls(openbao, key, auth=method, auth_mount=mount, role="luna", jwt_file=str(path)))
        assert provider.open(provider.seal(BODY_KEY, CONTEXT), CONTEXT) == BODY_KEY


@of_server
class TestRenewal:
    def test_a_token_is_renewed_at_two_thirds_of_its_life(
        self, openbao: OpenBao, opened: Callable[[str], ServiceKeyProvider], tmp_path: Path
    ) -> None:
        openbao.make_key("renewed")
        token = openbao.make_token("renewed", ttl="1h", period="1h")
        tokens = service(opened(over_tls(openbao, "renewed", token_file=secret(tmp_path, "t", token)))).tokens
        before = openbao.call("POST", "auth/token/lookup", {"token": token})["data"]
        assert not before.get("last_renewal")
        assert tokens.renew() == pytest.approx(2400)
        after = openbao.call("POST", "auth/token/lookup", {"token": token})["data"]
        assert after["last_renewal_time"]

    def test_what_lasts_or_cannot_be_renewed_is_left_alone(
        self, openbao: OpenBao, opened: Callable[[str], ServiceKeyProvider], tmp_path: Path
    ) -> None:
        openbao.make_key("lasting")
        for name, token in {
            "root": openbao.root,
            "fixed": openbao.make_token("lasting", renewable=False),
            "unknown": TOKEN,
        }.items():
            provider = opened(over_tls(openbao, "lasting", token_file=secret(tmp_path, name, token)))
            assert service(provider).tokens.renew() is None

    def test_the_first_call_starts_it_and_closing_ends_it(
        self, openbao: OpenBao, opened: Callable[[str], ServiceKeyProvider], tmp_path: Path
    ) -> None:
        openbao.make_key("kept")
        token = openbao.make_token("kept", ttl="1h", period="1h")
        provider = opened(over_tls(openbao, "kept", token_file=secret(tmp_path, "t", token)))
        provider.seal(BODY_KEY, CONTEXT)
        deadline = time.monotonic() + 60
        while "last_renewal" not in openbao.call("POST", "auth/token/lookup", {"token": token})["data"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        renewal = service(provider).tokens._renewal
        assert renewal is not None
        provider.close()
        renewal.join(30)
        assert not renewal.is_alive()


def test_a_server_that_is_away_is_told_and_renewal_tries_again(
    opened: Callable[[str], ServiceKeyProvider], tmp_path: Path
) -> None:
    path = secret(tmp_path, "t", TOKEN)
    provider = opened(f"openbao://127.0.0.1:{free_port()}/transit/keys/luna?tls=off&token_file={path}")
    with pytest.raises(StoreUnavailable, match=r"it cannot be reached \(ConnectError\)"):
        provider.seal(BODY_KEY, CONTEXT)
    assert service(provider).tokens.renew() == 30
    (finding,) = provider.diagnose(Circumstances("https://secure.example.com", lambda: 0.0, os.urandom))
    assert finding.severity is Severity.PROBLEM


class Answering(ServedInThread):
    """A server that gives one answer to every call."""

    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.tokens: list[str] = []
        tokens = self.tokens

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                tokens.append(self.headers["x-vault-token"])
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST  # noqa: N815 - http.server's name

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), Handler))


@pytest.mark.parametrize(
    ("status", "body", "headers", "said"),
    [
        (503, b"", {}, r"sealed or starting; unseal it \(openbao operator unseal\)"),
        (500, b"hunter2", {}, "status 500"),
        (429, b"", {}, "status 429"),
        (307, b"", {"location": "https://elsewhere.example.com/"}, "name the address of the active server"),
        (200, b"<html>hunter2", {}, "is the address right"),
        (200, b"[]", {}, "is the address right"),
        (200, b"{}", {}, "its answer lacks ciphertext"),
        (200, json.dumps({"data": {"ciphertext": 3}}).encode(), {}, "its answer lacks ciphertext"),
    ],
)
def test_odd_answers_are_told(
    opened: Callable[[str], ServiceKeyProvider],
    tmp_path: Path,
    status: int,
    body: bytes,
    headers: dict[str, str],
    said: str,
) -> None:
    with Answering(status, body, headers) as server:
        path = secret(tmp_path, "t", TOKEN)
        provider = opened(f"openbao://127.0.0.1:{server.port}/transit/keys/luna?tls=off&token_file={path}")
        with pytest.raises(StoreUnavailable, match=said) as refused:
            provider.seal(BODY_KEY, CONTEXT)
    assert "hunter2" not in str(refused.value)
    assert TOKEN not in str(refused.value)
    assert server.tokens == [TOKEN]


GOOD = "openbao://host:8200/transit/keys/luna?"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (GOOD, "say how to log in"),
        (GOOD + "token_file=/a&token_env=B", "say how to log in"),
        (GOOD + "token_file=a", "must name an absolute path"),
        (GOOD + "token_file=", "name either token_file or token_env"),
        (GOOD + "token_file=/a&role=b", "the option role does not go with"),
        (GOOD + "auth=magic", "auth must be approle, jwt or kubernetes"),
        (GOOD + "auth=approle&secret_id_file=/a", "needs role_id"),
        (GOOD + "auth=approle&role_id=a", "name either secret_id_file or secret_id_env"),
        (GOOD + "auth=jwt&role=a", "needs jwt_file"),
        (GOOD + "auth=kubernetes", "needs role"),
        (GOOD + "token_file=/a&tls=off", "tls=off is for a server on this machine alone"),
        (GOOD + "token_file=/a&tls=maybe", "tls must be on or off"),
        (GOOD + "token_file=/a&ca=/nowhere", "ca names no PEM file"),
        (GOOD + "token_file=/a&namespace=a%20b", "namespace must be a path"),
        (GOOD + "token=hunter2", "has no option 'token'"),
        ("openbao://host:x/transit/keys/luna?token_file=/a", "the port must be a number"),
        ("openbao:///transit/keys/luna?token_file=/a", "write openbao://host"),
        ("openbao://host/luna?token_file=/a", "write openbao://host"),
        ("openbao://host/transit/keys/a/b?token_file=/a", "write openbao://host"),
        ("openbao://host/../keys/a%2Fb?token_file=/a", "write openbao://host"),
        ("vault://user:hunter2@host/transit/keys/luna?token_file=/a", "write vault://host"),
    ],
)
def test_refuses_wrong_urls(opened: Callable[[str], ServiceKeyProvider], url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{SETTING}") as refused:
        opened(url)
    assert said in refused.value.message
    assert "hunter2" not in refused.value.message


@pytest.mark.parametrize("content", ["", "\n", "two words", "tökén", "a\nb"])
def test_what_is_no_token_is_never_sent(
    opened: Callable[[str], ServiceKeyProvider], tmp_path: Path, content: str
) -> None:
    path = secret(tmp_path, "t", content)
    with pytest.raises(KeyringError, match="holds no token") as refused:
        opened(f"{GOOD}token_file={path}").seal(BODY_KEY, CONTEXT)
    assert not content.strip() or content.strip() not in str(refused.value)


def test_where_the_token_should_be_is_named(
    opened: Callable[[str], ServiceKeyProvider], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LUNA_TEST_TOKEN", raising=False)
    with pytest.raises(KeyringError, match="the environment variable LUNA_TEST_TOKEN is not set"):
        opened(f"{GOOD}token_env=LUNA_TEST_TOKEN").seal(BODY_KEY, CONTEXT)
    with pytest.raises(KeyringError, match="cannot read token_file"):
        opened(f"{GOOD}token_file={tmp_path}/none").seal(BODY_KEY, CONTEXT)
    open_to_all = Path(secret(tmp_path, "open", TOKEN))
    open_to_all.chmod(0o644)
    with pytest.raises(KeyringError, match="chmod 600"):
        opened(f"{GOOD}token_file={open_to_all}").seal(BODY_KEY, CONTEXT)


def test_the_port_is_that_of_openbao_unless_named(opened: Callable[[str], ServiceKeyProvider]) -> None:
    assert opened("openbao://host/a/b/keys/luna?token_env=X").name == "transit:host:8200/a/b/keys/luna"
    assert opened("vault://[::1]/transit/keys/luna?token_env=X&tls=off").name == "transit:[::1]:8200/transit/keys/luna"
