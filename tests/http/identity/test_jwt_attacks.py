"""JWTs that must not be believed, one attack each, and those that must."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lunacore.errors import Unauthenticated
from lunacore.identity import Role, Session
from lunacore_http.identity import jwt
from lunacore_http.identity.jwk import parse_key_set

if TYPE_CHECKING:
    from types import ModuleType

    from tests.http.identity.conftest import Desk


def refused(desk: Desk, token: str, match: str) -> None:
    for try_it in (desk.bearer, desk.cookie):
        with pytest.raises(Unauthenticated, match=match) as caught:
            try_it(token)
        said = "".join(traceback.format_exception(caught.value))
        assert all(part not in said for part in token.split(".") if len(part) > 8), "the JWT shows in its refusal"


# Believed


@pytest.mark.parametrize(
    ("key", "algorithm"), [("RSA_KEY", "RS256"), ("RSA_KEY", "PS256"), ("EC_KEY", "ES256"), ("ED_KEY", "EdDSA")]
)
def test_every_algorithm_is_verified(desk: Desk, kit: ModuleType, key: str, algorithm: str) -> None:
    private = getattr(kit, key)
    desk.configure(desk.provider(keys=[kit.public_jwk(private)]))
    identity = desk.bearer(kit.sign(desk.claims(), private, algorithm)).identity
    assert identity.role is Role.USER
    assert identity.session == Session("default", kit.ISSUER, "s-1")
    assert identity.expires == kit.NOW + 600
    assert not identity.may_read


def test_a_list_with_the_audience_alone_and_times_with_fractions_are_fine(desk: Desk, kit: ModuleType) -> None:
    claims = desk.claims(aud=[kit.URL], exp=kit.NOW + 60.9, iat=kit.NOW - 0.5, nbf=kit.NOW)
    assert desk.bearer(kit.sign(claims)).identity.expires == kit.NOW + 60


def test_an_issuers_clock_may_run_half_a_minute_ahead(desk: Desk, kit: ModuleType) -> None:
    assert desk.bearer(kit.sign(desk.claims(iat=kit.NOW + 30, nbf=kit.NOW + 30))).identity.role is Role.USER


# Signature and algorithm


@pytest.mark.parametrize("name", ["none", "None", "NONE", ""])
def test_alg_none(desk: Desk, kit: ModuleType, name: str) -> None:
    header = kit.encode(json.dumps({"alg": name, "kid": "one"}).encode())
    payload = kit.encode(json.dumps(desk.claims()).encode())
    refused(desk, f"{header}.{payload}.", "well-formed")
    refused(desk, f"{header}.{payload}.AAAA", "algorithm|alg of the JWT")


@pytest.mark.parametrize("encoding", ["pem", "der", "jwk"])
def test_hs256_with_the_public_key_as_its_secret(desk: Desk, kit: ModuleType, encoding: str) -> None:
    desk.configure(desk.provider(keys=[kit.public_jwk(kit.RSA_KEY)]))
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    secrets = {
        "pem": kit.RSA_KEY.public_key().public_bytes(serialization.Encoding.PEM, form),
        "der": kit.RSA_KEY.public_key().public_bytes(serialization.Encoding.DER, form),
        "jwk": json.dumps(kit.public_jwk(kit.RSA_KEY)).encode(),
    }
    token = kit.sign(desk.claims(), kit.RSA_KEY, "RS256")
    payload = token.split(".")[1]
    signing = f"{kit.encode(json.dumps({'alg': 'HS256', 'kid': 'one'}).encode())}.{payload}"
    forged = hmac.digest(secrets[encoding], signing.encode(), hashlib.sha256)
    refused(desk, f"{signing}.{kit.encode(forged)}", "algorithm")


def test_an_algorithm_that_the_provider_may_not_use(desk: Desk, kit: ModuleType) -> None:
    desk.configure(
        desk.provider(keys=[kit.public_jwk(kit.RSA_KEY), kit.public_jwk(kit.EC_KEY, "two")], algorithms=("ES256",))
    )
    refused(desk, kit.sign(desk.claims(), kit.RSA_KEY, "RS256"), "algorithm")
    assert desk.bearer(kit.sign(desk.claims(), kid="two")).identity.role is Role.USER


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS512", "ES384", "ES256K", "HS512"])
def test_algorithms_that_nobody_may_use(desk: Desk, kit: ModuleType, algorithm: str) -> None:
    signing_input = kit.sign(desk.claims())
    header, payload, signed = signing_input.split(".")
    header = kit.encode(json.dumps({"alg": algorithm, "kid": "one"}).encode())
    refused(desk, f"{header}.{payload}.{signed}", "algorithm")


def test_a_key_marked_for_one_algorithm_verifies_no_other(desk: Desk, kit: ModuleType) -> None:
    desk.configure(desk.provider(keys=[kit.public_jwk(kit.RSA_KEY, alg="PS256")]))
    refused(desk, kit.sign(desk.claims(), kit.RSA_KEY, "RS256"), "does not publish")
    assert desk.bearer(kit.sign(desk.claims(), kit.RSA_KEY, "PS256")).identity.role is Role.USER


def test_verification_itself_asks_what_the_key_is_for(kit: ModuleType, desk: Desk) -> None:
    key_set = parse_key_set(
        json.dumps({"keys": [kit.public_jwk(kit.RSA_KEY, alg="PS256")]}).encode(), ("PS256",), "app"
    )
    with pytest.raises(Unauthenticated, match="not for its algorithm"):
        jwt.verify_signature(jwt.parse(kit.sign(desk.claims(), kit.RSA_KEY, "RS256")), key_set.keys[0])


def test_another_key_under_the_same_kid(desk: Desk, kit: ModuleType) -> None:
    desk.configure(desk.provider(keys=[kit.public_jwk(kit.RSA_KEY)]))
    refused(desk, kit.sign(desk.claims(), kit.OTHER_RSA_KEY, "RS256"), "signature")


def test_another_providers_key(desk: Desk, kit: ModuleType) -> None:
    desk.configure(
        desk.provider(keys=[kit.public_jwk(kit.EC_KEY)]),
        desk.provider("other", keys=[kit.public_jwk(kit.ED_KEY, "two")], issuer="https://other.example.com"),
    )
    refused(desk, kit.sign(desk.claims(), kit.ED_KEY, "EdDSA", kid="two"), "does not publish")
    refused(desk, kit.sign(desk.claims(iss="https://other.example.com")), "does not publish")


@given(where=st.integers(0, 2), flipped=st.integers(0, 10_000), bit=st.integers(0, 5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_changed_bit_anywhere(desk: Desk, kit: ModuleType, where: int, flipped: int, bit: int) -> None:
    parts = kit.sign(desk.claims()).split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    at = flipped % len(parts[where])
    changed = alphabet[alphabet.index(parts[where][at]) ^ (1 << bit)]
    parts[where] = parts[where][:at] + changed + parts[where][at + 1 :]
    with pytest.raises(Unauthenticated):
        desk.bearer(".".join(parts))


@given(
    token=st.text(max_size=200)
    | st.lists(st.binary(max_size=40), max_size=4).map(
        lambda parts: ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_at_all_is_refused_in_good_order(desk: Desk, token: str) -> None:
    for try_it in (desk.bearer, desk.cookie):
        with pytest.raises(Unauthenticated):
            try_it(token)


# Keys that the JWT brings along


@pytest.mark.parametrize("parameter", ["jku", "x5u", "x5c", "jwk", "crit", "b64", "cty", "zip"])
def test_header_parameters_that_are_never_accepted(desk: Desk, kit: ModuleType, parameter: str) -> None:
    values: dict[str, Any] = {
        "jku": "https://evil.example.com/jwks.json",
        "x5u": "https://evil.example.com/cert.pem",
        "x5c": ["MIIB"],
        "jwk": kit.public_jwk(kit.ED_KEY),
        "crit": ["exp"],
        "b64": True,
        "cty": "JWT",
        "zip": "DEF",
    }
    refused(desk, kit.sign(desk.claims(), **{parameter: values[parameter]}), parameter)


def test_an_embedded_key_is_not_used(desk: Desk, kit: ModuleType) -> None:
    refused(desk, kit.sign(desk.claims(), kit.ED_KEY, "EdDSA", jwk=kit.public_jwk(kit.ED_KEY)), "jwk")


@pytest.mark.parametrize("critical", [[], ["b64"], ["https://example.com/unknown"], "exp", None])
def test_crit_of_any_kind(desk: Desk, kit: ModuleType, critical: object) -> None:
    refused(desk, kit.sign(desk.claims(), crit=critical, b64=False), "crit")


@pytest.mark.parametrize("kind", ["dpop+jwt", "logout+jwt", "JWE", 1, None])
def test_another_sort_of_token(desk: Desk, kit: ModuleType, kind: object) -> None:
    refused(desk, kit.sign(desk.claims(), typ=kind), "typ")


@pytest.mark.parametrize("kid", ["two", "../../etc/passwd", "one' OR '1'='1", "\x00"])
def test_an_unknown_kid(desk: Desk, kit: ModuleType, kid: str) -> None:
    refused(desk, kit.sign(desk.claims(), kid=kid), "does not publish")


@pytest.mark.parametrize("kid", [1, None, ["one"], ""])
def test_a_kid_that_is_no_text(desk: Desk, kit: ModuleType, kid: object) -> None:
    header = kit.encode(json.dumps({"alg": "ES256", "kid": kid}).encode())
    signing = f"{header}.{kit.encode(json.dumps(desk.claims()).encode())}"
    refused(desk, f"{signing}.{kit.encode(kit.signature(signing, kit.EC_KEY))}", "kid")


def test_without_a_kid_only_if_one_key_fits(desk: Desk, kit: ModuleType) -> None:
    desk.configure(desk.provider(keys=[kit.public_jwk(kit.EC_KEY), kit.public_jwk(kit.RSA_KEY, "two")]))
    assert desk.bearer(kit.sign(desk.claims(), kid=None)).identity.role is Role.USER
    desk.configure(desk.provider(keys=[kit.public_jwk(kit.RSA_KEY), kit.public_jwk(kit.OTHER_RSA_KEY, "two")]))
    refused(desk, kit.sign(desk.claims(), kit.RSA_KEY, "RS256", kid=None), "does not publish")


# Form


def test_padding(desk: Desk, kit: ModuleType) -> None:
    header, payload, signed = kit.sign(desk.claims()).split(".")
    for padded in (f"{header}=.{payload}.{signed}", f"{header}.{payload}=.{signed}", f"{header}.{payload}.{signed}=="):
        refused(desk, padded, "well-formed")


def test_padding_that_was_signed_with_the_rest(desk: Desk, kit: ModuleType) -> None:
    header = base64.urlsafe_b64encode(json.dumps({"alg": "ES256", "kid": "one"}).encode() + b" ").decode()
    payload = base64.urlsafe_b64encode(json.dumps(desk.claims()).encode().ljust(200)).decode()
    assert header.endswith("=") or payload.endswith("=")
    signing = f"{header}.{payload}"
    refused(desk, f"{signing}.{kit.encode(kit.signature(signing, kit.EC_KEY))}", "well-formed")


def test_unused_bits_that_are_not_zero(desk: Desk, kit: ModuleType) -> None:
    header, payload, signed = kit.sign(desk.claims()).split(".")
    assert len(signed) % 4 == 2
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = signed[:-1] + alphabet[alphabet.index(signed[-1]) + 1]
    assert base64.urlsafe_b64decode(twin + "==") == base64.urlsafe_b64decode(signed + "==")
    refused(desk, f"{header}.{payload}.{twin}", "well-formed")


@pytest.mark.parametrize("spoilt", ["{} ", "\n{}", "{}.e30", "{}.", ".{}", "{}\u00e9"])
def test_anything_before_or_after(desk: Desk, kit: ModuleType, spoilt: str) -> None:
    refused(desk, "x" + spoilt.format(kit.sign(desk.claims())), "well-formed")
    with pytest.raises(Unauthenticated, match="well-formed"):
        desk.cookie(spoilt.format(kit.sign(desk.claims())))


def test_oversized(desk: Desk, kit: ModuleType) -> None:
    room = 8192 - len(kit.sign(desk.claims(filler="")))
    fits = kit.sign(desk.claims(filler="x" * (room * 3 // 4 - 2)))
    assert 8180 < len(fits) <= 8192
    assert desk.bearer(fits).identity.role is Role.USER
    refused(desk, kit.sign(desk.claims(filler="x" * (room * 3 // 4 + 4))), "8192 bytes")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b'"text"',
        b"[]",
        b"1",
        b"{",
        b"{} {}",
        b'{"exp": NaN}',
        b'{"exp": -Infinity}',
        b"[" * 3000,
        b'{"a":' * 900,
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b'{"exp": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_payload_that_is_no_json_object(desk: Desk, kit: ModuleType, payload: bytes) -> None:
    refused(desk, kit.sign(payload), "well-formed")


def test_duplicate_members(desk: Desk, kit: ModuleType) -> None:
    claims = json.dumps(desk.claims())
    refused(desk, kit.sign((claims[:-1] + ', "sub": "application"}').encode()), "well-formed")
    header = kit.encode(b'{"alg": "ES256", "kid": "one", "alg": "ES256"}')
    signing = f"{header}.{kit.encode(claims.encode())}"
    refused(desk, f"{signing}.{kit.encode(kit.signature(signing, kit.EC_KEY))}", "well-formed")


# Claims


@pytest.mark.parametrize("claim", ["iss", "aud", "exp", "iat", "sub", "session_id"])
def test_a_required_claim_is_missing(desk: Desk, kit: ModuleType, claim: str) -> None:
    refused(desk, kit.sign(desk.claims(**{claim: None})), f"no {claim}")


@pytest.mark.parametrize("issuer", ["https://evil.example.com", "https://app.example.com/", "HTTPS://APP.EXAMPLE.COM"])
def test_another_issuer(desk: Desk, kit: ModuleType, issuer: str) -> None:
    refused(desk, kit.sign(desk.claims(iss=issuer)), "issuer")


@pytest.mark.parametrize(
    "audience",
    [
        "https://secure.example.com/",
        "https://secure.example.com/session/create",
        ["https://secure.example.com", "https://secure.example.com/session/create"],
        ["https://secure.example.com", "https://secure.example.com"],
        [],
        "",
        {"https://secure.example.com": 1},
        [["https://secure.example.com"]],
        True,
    ],
)
def test_another_audience_such_as_that_of_an_assertion(desk: Desk, kit: ModuleType, audience: object) -> None:
    refused(desk, kit.sign(desk.claims(aud=audience)), "aud")


def test_expired_to_the_second(desk: Desk, kit: ModuleType) -> None:
    token = kit.sign(desk.claims())
    desk.clock.now = kit.NOW + 599.9
    assert desk.bearer(token).identity.expires == kit.NOW + 600
    desk.clock.now = kit.NOW + 600
    refused(desk, token, "expired")


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_not_valid_yet(desk: Desk, kit: ModuleType, claim: str) -> None:
    token = kit.sign(desk.claims(**{claim: kit.NOW + 31}))
    refused(desk, token, "not valid yet")
    desk.clock.now += 1
    assert desk.bearer(token).identity.role is Role.USER


def test_issued_in_the_future_whatever_nbf_says(desk: Desk, kit: ModuleType) -> None:
    refused(desk, kit.sign(desk.claims(iat=kit.NOW + 31, nbf=kit.NOW)), "not valid yet")


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", ["1800000600", True, [1_800_000_600], {}, -1, 2**53, 1e300, 10**400])
def test_a_time_of_another_type(desk: Desk, kit: ModuleType, claim: str, value: object) -> None:
    refused(desk, kit.sign(desk.claims(**{claim: value})), f"{claim} of the JWT")


def test_infinity_by_overflow(desk: Desk, kit: ModuleType) -> None:
    claims = json.dumps(desk.claims()).replace(str(kit.NOW + 600), "1e999")
    refused(desk, kit.sign(claims.encode()), "exp of the JWT")


@pytest.mark.parametrize("session", ["", "x" * 257, "a\nb", "a\x00", "\u202e", "\ud800", 7, ["s"], {}])
def test_a_session_id_out_of_bounds(desk: Desk, kit: ModuleType, session: object) -> None:
    refused(desk, kit.sign(desk.claims(session_id=session)), "session_id")


def test_session_ids_up_to_the_bounds(desk: Desk, kit: ModuleType) -> None:
    for session in ("x", "x" * 256, "Größe 7/=+", "名"):
        assert desk.bearer(kit.sign(desk.claims(session_id=session))).identity.session.id == session


def test_a_session_does_not_outlive_the_configured_maximum(desk: Desk, kit: ModuleType) -> None:
    token = kit.sign(desk.claims(exp=kit.NOW + 10 * kit.MAX_SESSION))
    assert desk.bearer(token).identity.expires == kit.NOW + kit.MAX_SESSION
    desk.clock.now += kit.MAX_SESSION
    refused(desk, token, "sessions.max_ttl")


# Roles


@pytest.mark.parametrize(
    "subject", ["operator", "admin", "User", "user ", "APPLICATION", "", 1, ["application"], {"role": "user"}, True]
)
def test_a_subject_that_is_no_role(desk: Desk, kit: ModuleType, subject: object) -> None:
    desk.configure(desk.provider(roles=("user", "application", "developer", "operator"), may_read=True))
    refused(desk, kit.sign(desk.claims(sub=subject)), "sub of the JWT")


def test_a_role_that_the_provider_may_not_vouch_for(desk: Desk, kit: ModuleType) -> None:
    desk.configure(desk.provider(roles=("user",), may_read=True))
    refused(desk, kit.sign(desk.application()), "sub of the JWT")
    refused(desk, kit.sign(desk.claims(sub="developer")), "sub of the JWT")


def test_a_user_gets_nothing_of_an_applications_rights(desk: Desk, kit: ModuleType) -> None:
    desk.configure(desk.provider(may_read=True, roles=("user", "application", "developer")))
    claims = desk.claims(role="application", roles=["application"], may_read=True, tenant="other")
    identity = desk.bearer(kit.sign(claims)).identity
    assert (identity.role, identity.may_read, identity.tenant) == (Role.USER, False, "default")
    application = desk.bearer(kit.sign(desk.application())).identity
    assert (application.role, application.may_read, application.session, application.expires) == (
        Role.APPLICATION,
        True,
        None,
        None,
    )
    developer = desk.bearer(kit.sign(desk.claims(sub="developer"))).identity
    assert (developer.role, developer.may_read, developer.session) == (Role.DEVELOPER, False, None)
