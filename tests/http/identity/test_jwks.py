"""Keys fetched from real servers that behave well and badly, and keys that must not count."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.x509.oid import NameOID

from lunacore.errors import ConfigError, StoreUnavailable, Unauthenticated
from lunacore.identity import Role
from lunacore_http.identity import fetch, jwks
from lunacore_http.identity.jwk import KeySetError, parse_key_set
from lunacore_http.identity.providers import Identities

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path
    from types import ModuleType

    from tests.http.identity.conftest import Desk, KeyServer

DAY = 24 * 3600
ALL = ("RS256", "PS256", "ES256", "EdDSA")


@pytest.fixture
def remote(desk: Desk, key_server: KeyServer) -> Desk:
    """A desk whose provider has its keys on the server."""
    return desk.configure(desk.provider(jwks=key_server.url))


def long_lived(desk: Desk, **changed: Any) -> dict[str, Any]:
    return desk.application(**{"exp": int(desk.clock()) + 30 * DAY, **changed})


def accepted(desk: Desk, token: str) -> bool:
    return bool(desk.bearer(token).identity.role is Role.APPLICATION)


def refused(desk: Desk, token: str) -> bool:
    with pytest.raises(Unauthenticated, match="does not publish"):
        desk.bearer(token)
    return True


def unavailable(desk: Desk, token: str) -> bool:
    with pytest.raises(StoreUnavailable, match="app"):
        desk.bearer(token)
    return True


# Caching and rotation


def test_one_fetch_serves_ten_minutes(remote: Desk, key_server: KeyServer, kit: ModuleType) -> None:
    token = kit.sign(long_lived(remote))
    for moment in (0, 1, 300, 599):
        remote.clock.now = kit.NOW + moment
        assert accepted(remote, token)
        assert accepted(remote, kit.sign(long_lived(remote)))
    assert key_server.requests == 1
    remote.clock.now = kit.NOW + 600
    assert accepted(remote, token)
    assert key_server.requests == 2


def test_a_rotated_key_is_found_at_once_and_the_old_one_is_forgotten(
    remote: Desk, key_server: KeyServer, kit: ModuleType
) -> None:
    old = kit.sign(long_lived(remote))
    assert accepted(remote, old)
    key_server.keys = [kit.public_jwk(kit.ED_KEY, "two")]
    remote.clock.now += 2
    assert accepted(remote, old), "remembered until the set is fetched again"
    assert accepted(remote, kit.sign(long_lived(remote), kit.ED_KEY, "EdDSA", kid="two"))
    assert key_server.requests == 2
    assert refused(remote, old)


def test_rotation_with_both_keys_published_loses_no_request(
    remote: Desk, key_server: KeyServer, kit: ModuleType
) -> None:
    old = kit.sign(long_lived(remote))
    assert accepted(remote, old)
    key_server.keys.append(kit.public_jwk(kit.ED_KEY, "two"))
    remote.clock.now += 600
    new = kit.sign(long_lived(remote), kit.ED_KEY, "EdDSA", kid="two")
    assert accepted(remote, new)
    assert accepted(remote, old)


def test_the_same_kid_with_another_key_ends_what_was_remembered(
    remote: Desk, key_server: KeyServer, kit: ModuleType
) -> None:
    key_server.keys = [kit.public_jwk(kit.RSA_KEY)]
    token = kit.sign(long_lived(remote), kit.RSA_KEY, "RS256")
    assert accepted(remote, token)
    key_server.keys = [kit.public_jwk(kit.OTHER_RSA_KEY)]
    remote.clock.now += 600
    assert accepted(remote, kit.sign(long_lived(remote), kit.OTHER_RSA_KEY, "RS256"))
    with pytest.raises(Unauthenticated, match="signature"):
        remote.bearer(token)


def test_a_key_that_may_verify_less_than_before_ends_what_was_remembered(
    remote: Desk, key_server: KeyServer, kit: ModuleType
) -> None:
    key_server.keys = [kit.public_jwk(kit.RSA_KEY)]
    token = kit.sign(long_lived(remote), kit.RSA_KEY, "RS256")
    assert accepted(remote, token)
    key_server.keys = [kit.public_jwk(kit.RSA_KEY, alg="PS256")]
    remote.clock.now += 600
    assert refused(remote, token)


def test_an_emptied_set_ends_everything(remote: Desk, key_server: KeyServer, kit: ModuleType) -> None:
    token = kit.sign(long_lived(remote))
    assert accepted(remote, token)
    key_server.keys = []
    remote.clock.now += 600
    assert refused(remote, token)
    with pytest.raises(StoreUnavailable, match="no key that may be used"):
        remote.identities.probe()


def test_a_flood_of_unknown_kids_costs_one_fetch_a_minute(remote: Desk, key_server: KeyServer, kit: ModuleType) -> None:
    assert refused(remote, kit.sign(remote.claims(), kid="first"))
    assert key_server.requests == 1, "the set was fetched for this very request"
    for minute in range(3):
        for number in range(30):
            remote.clock.now = kit.NOW + 60 * minute + 1 + number
            assert refused(remote, kit.sign(remote.claims(), kid=f"flood-{minute}-{number}"))
        assert key_server.requests == 2 + minute


def test_a_flood_in_several_threads_shares_one_fetch(desk: Desk, key_server: KeyServer, kit: ModuleType) -> None:
    identities = Identities(
        [desk.provider(jwks=key_server.url)], public_url=kit.URL, max_session_ttl=kit.MAX_SESSION, now=desk.clock
    )
    identities.probe()
    desk.clock.now += 2
    arrived = threading.Event()

    def hold(request: BaseHTTPRequestHandler) -> None:
        arrived.set()
        assert key_server.released.wait(60)
        key_server.send_keys(request)

    key_server.answer = hold
    tokens = [kit.sign(desk.claims(), kid=f"flood-{number}") for number in range(12)]
    known = kit.presented(authorization="Bearer " + kit.sign(desk.claims()))

    def attempt(token: str) -> type[Exception]:
        try:
            identities.identify(kit.presented(authorization=f"Bearer {token}"))
        except (Unauthenticated, StoreUnavailable) as refusal:
            return type(refusal)
        raise AssertionError

    with ThreadPoolExecutor(12) as pool:
        attempts = [pool.submit(attempt, token) for token in tokens]
        assert arrived.wait(60)
        # While the fetch hangs, whoever has a known key goes on, and only a few threads wait.
        assert identities.identify(known).identity.role is Role.USER
        # Those that wait cannot be among the first to end.
        first = list(islice(as_completed(attempts, timeout=60), len(tokens) - jwks.MAX_WAITING))
        key_server.released.set()
    assert key_server.requests == 2
    assert {one.result() for one in first} == {StoreUnavailable}
    assert {one.result() for one in attempts if one not in first} == {Unauthenticated}


def test_a_burst_after_a_rotation_waits_for_the_new_key(desk: Desk, key_server: KeyServer, kit: ModuleType) -> None:
    identities = Identities(
        [desk.provider(jwks=key_server.url)], public_url=kit.URL, max_session_ttl=kit.MAX_SESSION, now=desk.clock
    )
    identities.probe()
    desk.clock.now += 2
    key_server.keys.append(kit.public_jwk(kit.ED_KEY, "two"))
    token = kit.sign(desk.claims(), kit.ED_KEY, "EdDSA", kid="two")
    with ThreadPoolExecutor(jwks.MAX_WAITING) as pool:
        calls = [
            pool.submit(identities.identify, kit.presented(authorization=f"Bearer {token}"))
            for _ in range(jwks.MAX_WAITING)
        ]
        assert {call.result().identity.role for call in calls} == {Role.USER}
    assert key_server.requests == 2


# The issuer is down


def test_the_issuer_is_down_at_start_and_comes_up(remote: Desk, key_server: KeyServer, kit: ModuleType) -> None:
    key_server.answer = lambda request: key_server.send(request, b"", 503)
    token = kit.sign(long_lived(remote))
    assert unavailable(remote, token)
    with pytest.raises(StoreUnavailable, match=r"app \(.*answered 503"):
        remote.identities.probe()
    assert key_server.requests == 1, "no second try within ten seconds"
    key_server.answer = key_server.send_keys
    remote.clock.now += 10
    remote.identities.probe()
    assert accepted(remote, token)
    assert key_server.requests == 2


def test_keys_are_fetched_before_the_first_request_if_asked(
    remote: Desk, key_server: KeyServer, kit: ModuleType
) -> None:
    for _ in range(2):
        remote.identities.prepare()
    assert key_server.requests == 1
    assert accepted(remote, kit.sign(remote.application()))
    assert key_server.requests == 1


def test_nothing_listens(desk: Desk, key_server: KeyServer, kit: ModuleType) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        desk.configure(desk.provider(jwks=f"http://127.0.0.1:{port}/jwks.json"))
        assert unavailable(desk, kit.sign(desk.claims()))
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            desk.identities.probe()


def test_a_stale_set_goes_on_for_a_day(remote: Desk, key_server: KeyServer, kit: ModuleType) -> None:
    token = kit.sign(long_lived(remote))
    assert accepted(remote, token)
    key_server.answer = lambda request: key_server.send(request, b"", 500)
    for moment, requests in ((600, 2), (630, 2), (660, 3), (DAY - 1, 4)):
        remote.clock.now = kit.NOW + moment
        assert accepted(remote, token)
        remote.identities.probe()
        assert key_server.requests == requests
    remote.clock.now = kit.NOW + DAY
    assert unavailable(remote, token), "what was remembered ends with the set as well"
    key_server.answer = key_server.send_keys
    remote.clock.now += 60
    assert accepted(remote, token)


def test_a_clock_set_back_fetches_anew(remote: Desk, key_server: KeyServer, kit: ModuleType) -> None:
    assert accepted(remote, kit.sign(long_lived(remote)))
    remote.clock.now = kit.NOW - 3600
    assert accepted(remote, kit.sign(long_lived(remote)))
    assert key_server.requests == 2


# Servers that misbehave


def probe_fails(desk: Desk, match: str) -> None:
    with pytest.raises(StoreUnavailable, match=match):
        desk.identities.probe()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(remote: Desk, key_server: KeyServer, status: int) -> None:
    key_server.answer = lambda request: key_server.send(request, b"", status, Location=key_server.url)
    probe_fails(remote, f"answered {status}; redirects are not followed")
    assert key_server.requests == 1


def test_an_oversized_set(remote: Desk, key_server: KeyServer, kit: ModuleType) -> None:
    body = json.dumps({"keys": key_server.keys}).encode()
    key_server.answer = lambda request: key_server.send(request, body.ljust(64 * 1024 + 1))
    probe_fails(remote, "more than 65536 bytes")
    key_server.answer = lambda request: key_server.send(request, body.ljust(64 * 1024))
    remote.clock.now += 10
    assert accepted(remote, kit.sign(long_lived(remote)))


def test_a_set_without_end(remote: Desk, key_server: KeyServer) -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not key_server.released.is_set():
            request.wfile.write(b" " * 4096)

    key_server.answer = endless
    probe_fails(remote, "more than 65536 bytes")


def test_a_compressed_answer(remote: Desk, key_server: KeyServer) -> None:
    key_server.answer = lambda request: key_server.send(request, b"\x1f\x8b", Content_Encoding="gzip")
    probe_fails(remote, "content-encoding")


@pytest.mark.parametrize("part", ["nothing", "headers", "body"])
def test_a_slow_server(remote: Desk, key_server: KeyServer, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """It drips forever, always soon enough for a timeout between two reads."""
    monkeypatch.setattr(fetch, "FETCH_SECONDS", 0.3)

    def drip(request: BaseHTTPRequestHandler) -> None:
        if part == "body":
            request.send_response(200)
            request.end_headers()
        if part == "headers":
            request.wfile.write(b"HTTP/1.1 200 OK\r\nx-long: ")
        while not key_server.released.wait(0.02):
            if part != "nothing":
                request.wfile.write(b" ")

    key_server.answer = drip
    probe_fails(remote, "did not answer within 0.3 seconds")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"keys": {}}', b'{"keys": [], "keys": []}', b"\xff", b"[" * 9999, b'{"keys": 1}'],
)
def test_a_body_that_is_no_jwk_set(remote: Desk, key_server: KeyServer, body: bytes) -> None:
    key_server.answer = lambda request: key_server.send(request, body)
    probe_fails(remote, "it is not")


# Where a URL may lead


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("http://app.example.com/jwks.json", "https"),
        ("http://10.0.0.1/jwks.json", "https"),
        ("http://127.0.0.1.example.com/jwks.json", "https"),
        ("http://localhost.example.com/jwks.json", "https"),
        ("http://127.0.0.1@example.com/jwks.json", "user name"),
        ("https://user:password@example.com/jwks.json", "user name"),
        ("https://example.com/jwks.json#x", "fragment"),
        ("https://keys.example.com/{kid}", "placeholder"),
        ("https:///jwks.json", "URL"),
        ("https://[::1/jwks.json", "no URL"),
        ("https://example.com:port/jwks.json", "no URL"),
        ("https://exa\x00mple.com/jwks.json", "no URL"),
        ("https://xn--\xfc.example.com/", "no URL"),
        ("ftp://example.com/jwks.json", "URL"),
        ("/etc/jwks.json", "URL"),
        ("jwks.json", "URL"),
        ("", "URL"),
        ("file:jwks.json", "file:///"),
        ("file://server/jwks.json", "file:///"),
    ],
)
def test_urls_that_are_refused(desk: Desk, url: str, match: str) -> None:
    desk.configure(desk.provider(jwks=url))
    with pytest.raises(ConfigError, match=rf"identity\[app\]\.jwks .*{match}"):
        desk.identities.probe()


LOOPBACK = "http://127.0.0.1/jwks.json"
PUBLIC = "https://app.example.com/jwks.json"


@pytest.mark.parametrize(
    ("url", "peer", "public_only", "with_private"),
    [
        (PUBLIC, "93.184.215.14", True, True),
        (PUBLIC, "2606:4700::1111", True, True),
        (PUBLIC, "10.1.2.3", False, True),
        (PUBLIC, "172.16.0.1", False, True),
        (PUBLIC, "192.168.1.1", False, True),
        (PUBLIC, "100.64.0.1", False, True),
        (PUBLIC, "127.0.0.1", False, True),
        (PUBLIC, "::1", False, True),
        (PUBLIC, "fd00::1", False, True),
        (PUBLIC, "::ffff:10.0.0.1", False, True),
        (PUBLIC, "64:ff9b::10.0.0.1", False, True),
        (PUBLIC, "64:ff9b::93.184.215.14", True, True),
        (PUBLIC, "2002:a00:1::", False, True),
        (PUBLIC, "0.0.0.0", False, False),
        (PUBLIC, "::", False, False),
        (PUBLIC, "169.254.169.254", False, False),
        (PUBLIC, "::ffff:169.254.169.254", False, False),
        (PUBLIC, "fe80::1", False, False),
        (PUBLIC, "224.0.0.1", False, False),
        (LOOPBACK, "127.0.0.1", True, True),
        ("https://[::1]/", "::1", True, True),
        ("http://localhost:80/", "127.0.0.1", True, True),
        ("http://localhost:80/", "93.184.215.14", False, False),
        ("http://localhost:80/", "10.0.0.1", False, False),
        ("https://10.0.0.1/", "10.0.0.1", False, True),
    ],
)
def test_which_peers_are_trusted_with_a_url(url: str, peer: str, public_only: bool, with_private: bool) -> None:
    address = ipaddress.ip_address(peer)
    assert (fetch.peer_problem(url, address, private_addresses=False) is None) is public_only
    assert (fetch.peer_problem(url, address, private_addresses=True) is None) is with_private


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    today = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def test_tls_is_verified(desk: Desk, key_server: KeyServer, kit: ModuleType, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "localhost")
    key_server.use_tls(certificate, key)
    url = f"https://localhost:{key_server.port}/jwks.json"
    desk.configure(desk.provider(jwks=url))
    probe_fails(desk, "(?i)certificate verify failed")
    desk.configure(desk.provider(jwks=url, jwks_ca=str(certificate)))
    assert accepted(desk, kit.sign(desk.application()))
    desk.configure(desk.provider(jwks=url.replace("localhost", "127.0.0.1"), jwks_ca=str(certificate)))
    probe_fails(desk, "(?i)mismatch|not valid for")
    assert key_server.requests == 1


def test_a_name_that_leads_inside_is_refused_before_anything_is_sent(
    desk: Desk, key_server: KeyServer, kit: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name resolves to loopback, as after DNS rebinding; certificate and keys would be in order."""
    certificate, key = make_certificate(tmp_path, "app.example.com")
    key_server.use_tls(certificate, key)
    resolve = socket.getaddrinfo

    def rebound(host: str | bytes | None, *args: Any, **kwargs: Any) -> Any:
        inside = host in ("app.example.com", b"app.example.com")
        return resolve("127.0.0.1" if inside else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    url = f"https://app.example.com:{key_server.port}/jwks.json"
    desk.configure(desk.provider(jwks=url, jwks_ca=str(certificate)))
    probe_fails(desk, "private address 127.0.0.1; if that is right, set private_addresses")
    assert key_server.requests == 0
    desk.configure(desk.provider(jwks=url, jwks_ca=str(certificate), private_addresses=True))
    assert accepted(desk, kit.sign(desk.application()))


def test_proxies_of_the_environment_are_not_used(
    remote: Desk, kit: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert accepted(remote, kit.sign(remote.application()))


def test_a_ca_file_that_is_none(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for ca in (tmp_path / "ca.pem", tmp_path / "absent.pem"):
        desk.configure(desk.provider(jwks="https://app.example.com/jwks.json", jwks_ca=str(ca)))
        with pytest.raises(ConfigError, match=r"identity\[app\]\.jwks_ca"):
            desk.identities.probe()


# Files


def test_a_file_is_read_again_when_it_changed(desk: Desk, kit: ModuleType) -> None:
    old = kit.sign(long_lived(desk))
    assert accepted(desk, old)
    desk.publish("app", [kit.public_jwk(kit.ED_KEY, "two")])
    assert accepted(desk, kit.sign(long_lived(desk), kit.ED_KEY, "EdDSA", kid="two")), "an unknown kid looks at once"
    assert refused(desk, old)
    desk.publish("app", [kit.public_jwk(kit.EC_KEY, "three")])
    desk.clock.now += 1
    assert refused(desk, kit.sign(long_lived(desk), kit.ED_KEY, "EdDSA", kid="two"))


def test_a_file_that_comes_later_and_one_that_breaks(desk: Desk, kit: ModuleType) -> None:
    path = desk.folder / "app.json"
    path.unlink()
    token = kit.sign(long_lived(desk))
    assert unavailable(desk, token)
    probe_fails(desk, "No such file")
    desk.publish("app", [kit.public_jwk(kit.EC_KEY)])
    desk.identities.probe()
    assert accepted(desk, token)
    path.write_text('{"keys": [')
    desk.clock.now += 1
    assert accepted(desk, token)
    probe_fails(desk, "not JSON")
    desk.clock.now += DAY
    assert unavailable(desk, token)


def test_files_that_are_not_read(desk: Desk) -> None:
    path = desk.folder / "app.json"
    path.write_bytes(b'{"keys": []}'.ljust(64 * 1024 + 1))
    probe_fails(desk, "larger than 65536 bytes")
    path.unlink()
    path.mkdir()
    probe_fails(desk, "not a regular file")


# Keys that do not count


def usable(*keys: Any, allowed: tuple[str, ...] = ALL) -> list[str | None]:
    return [key.id for key in parse_key_set(json.dumps({"keys": keys}).encode(), allowed, "app").keys]


def test_keys_that_count(kit: ModuleType) -> None:
    keys = [kit.public_jwk(kit.RSA_KEY, "a"), kit.public_jwk(kit.EC_KEY, "b"), kit.public_jwk(kit.ED_KEY, "c")]
    assert usable(*keys) == ["a", "b", "c"]
    assert usable(*keys, allowed=("ES256",)) == ["b"]
    assert usable(kit.public_jwk(kit.EC_KEY, None, use="sig", key_ops=["verify"], alg="ES256", x5t="ignored")) == [None]


def test_keys_that_do_not_count(kit: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    good = kit.public_jwk(kit.EC_KEY, "good")
    small = kit.public_jwk(rsa.generate_private_key(65537, 1024), "small")
    private = {**good, "kid": "private", "d": kit.encode(b"1" * 32)}
    rsa_jwk = kit.public_jwk(kit.RSA_KEY, "rsa")
    bad: list[Any] = [
        private,
        {"kty": "oct", "k": kit.encode(b"k" * 32), "kid": "symmetric", "alg": "HS256"},
        {"kty": "oct", "kid": "symmetric-without-k"},
        small,
        {**rsa_jwk, "e": "AQ"},
        {**rsa_jwk, "e": "Aw"},
        {**rsa_jwk, "e": kit.encode((2**16 + 2).to_bytes(3, "big"))},
        {**rsa_jwk, "n": kit.encode(((1 << 9000) + 1).to_bytes(1126, "big"))},
        {**rsa_jwk, "n": rsa_jwk["n"] + "="},
        {**rsa_jwk, "n": 17},
        {**rsa_jwk, "alg": "RS512"},
        {**rsa_jwk, "alg": "RSA-OAEP"},
        {**rsa_jwk, "use": "enc"},
        {**rsa_jwk, "use": None},
        {**rsa_jwk, "key_ops": ["encrypt"]},
        {**rsa_jwk, "key_ops": "verify"},
        {**rsa_jwk, "crv": "P-256"},
        {**rsa_jwk, "kid": 7},
        {**rsa_jwk, "kid": ""},
        {**good, "alg": "ES384"},
        {**good, "alg": ["ES256"]},
        {**good, "crv": "P-384"},
        {**good, "crv": "secp256k1"},
        {**good, "kty": "RSA"},
        {**good, "kty": ["EC"]},
        {**good, "x": good["y"], "y": good["x"]},
        {**good, "x": good["x"][:-4]},
        {key: value for key, value in good.items() if key != "y"},
        kit.public_jwk(ec.generate_private_key(ec.SECP384R1())),
        kit.public_jwk(ed448.Ed448PrivateKey.generate()),
        {"kty": "AKP", "alg": "ML-DSA-44"},
        {},
        None,
        "text",
        [],
    ]
    for one in bad:
        assert usable(one, good) == ["good"], one
    logged = caplog.text
    assert "secret part" in logged
    assert private["d"] not in logged


def test_keys_that_share_a_kid_are_all_ignored(kit: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    keys = [kit.public_jwk(kit.EC_KEY), kit.public_jwk(kit.RSA_KEY), kit.public_jwk(kit.ED_KEY, "two")]
    with caplog.at_level(logging.WARNING, "lunacore.identity"):
        assert usable(*keys) == ["two"]
    assert "several keys have the kid 'one'" in caplog.text
    encrypting = kit.public_jwk(kit.RSA_KEY, use="enc")
    assert usable(kit.public_jwk(kit.EC_KEY), encrypting) == ["one"], "only keys that could verify are in doubt"


def test_text_that_is_no_set() -> None:
    with pytest.raises(KeySetError, match="JWK Set"):
        parse_key_set(b'{"kty": "EC"}', ALL, "app")
