"""No secret shows: not in any ``repr``, whatever class holds it, and not in any error."""

from __future__ import annotations

import importlib
import pkgutil
import traceback
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

import lunacore
import lunacore_backends
from lunacore.config import Config
from lunacore.errors import LunaCoreError
from lunacore.identity import Call, operator
from lunacore.outcomes import attempt, only
from lunacore.records import Record
from lunacore.testing.deployment import ISSUER, application, user
from lunacore.tickets import NewValue
from lunacore.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lunacore.deployment import Deployment

SECRET: Final = bytes(range(100, 132))

# What may show although it is bytes: names, sealed bodies and public identifiers, never a key.
PUBLIC: Final = {
    ("ObjectEntry", "name"),
    ("Swept", "name"),
    ("Erased", "name"),
    ("BulkErased", "name"),
    ("Replaced", "name"),
    ("RedisSettings", "prefix"),
    ("Rewrapped", "name"),
    ("Record", "name"),
    ("Record", "body"),
    ("Header", "labels"),
    ("TokenKeys", "record_name"),
    ("TokenKeys", "fingerprint"),
    ("Keyring", "id"),
    ("Entry", "key"),
    ("_Row", "body"),
    ("_Row", "labels"),
}
# What must not show although it is no bytes.
HIDDEN: Final = {
    ("Session", "id"),
    ("SignedRequest", "url"),
    ("SignedRequest", "headers"),
    ("NewValue", "metadata"),
    ("NewValue", "labels"),
    ("_Minted", "labels"),
    ("Contents", "labels"),
    ("BackendURL", "text"),
    ("BackendURL", "options"),
    ("Credentials", "secret_key"),
    ("Credentials", "session_token"),
}


def attrs_classes() -> Iterator[type[Any]]:
    seen = set()
    for package in (lunacore, lunacore_backends):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".testing" in module.name:
                continue
            for found in vars(importlib.import_module(module.name)).values():
                if isinstance(found, type) and attrs.has(found) and found not in seen:
                    seen.add(found)
                    yield found


CLASSES: Final = sorted(attrs_classes(), key=lambda found: (found.__module__, found.__name__))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_bytes_show_only_where_they_are_public(kind: type[Any]) -> None:
    shown = {
        (kind.__name__, one.name)
        for one in attrs.fields(kind)
        if one.repr and ("bytes" in str(one.type) and "Callable[[], bytes]" not in str(one.type))
    }
    callables = {(kind.__name__, one.name) for one in attrs.fields(kind) if one.repr and "Callable" in str(one.type)}
    assert shown - callables <= PUBLIC


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, one.name)
        for kind in CLASSES
        for one in attrs.fields(kind)
        if not one.repr and str(one.type) in ("bytes", "str", "bytes | None", "str | None")
    ],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_what_is_hidden_does_not_show(kind: type[Any], name: str) -> None:
    """On a real instance, since a class may define a ``repr`` of its own."""
    instance: Any = object.__new__(kind)
    for one in attrs.fields(kind):
        object.__setattr__(instance, one.name, None)
    object.__setattr__(instance, name, SECRET)
    for text in (repr(instance), str(instance), f"{instance}"):
        assert repr(SECRET) not in text
        assert SECRET.hex() not in text


def test_what_must_be_hidden_is() -> None:
    fields = {(kind.__name__, one.name): one.repr for kind in CLASSES for one in attrs.fields(kind)}
    assert {key: fields[key] for key in HIDDEN} == dict.fromkeys(HIDDEN, False)


def test_settings_that_may_hold_credentials_are_hidden() -> None:
    names = ("objects", "records", "grants", "keyring", "seal", "audit")
    given = {"tokenizer": {name: f"x://user:hunter2@host/{name}" for name in names}}
    assert "hunter2" not in repr(Config.from_mapping(given, environ={}))


def test_a_deployment_in_use_shows_no_secret(deployment: Deployment) -> None:
    call = user("a-session-id")
    ticket = only(deployment.tokenizer.tokenize(call, [NewValue(labels=("person:17",))]))
    access = only(deployment.tokenizer.access(Call(operator("default")), [ticket.token]))
    keyring = deployment.keyring
    shown = "".join(
        repr(one)
        for one in (
            ticket, access, call, keyring.keyring, keyring._loaded, keyring.session_keys(), keyring.active(0.0 + 2**33),
            deployment.tokenizer.grants.limits, deployment.config,
        )
    )  # fmt: skip
    secrets = [access.store_key, access.value_key, access.object_name, *(key.secret for key in keyring.keyring.keys)]
    secrets += [key for keys in keyring.session_keys() for key in (keys.grant, keys.grant_tag, keys.state_tag)]
    for secret in secrets:
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown
    for text in (ticket.token[8:], "a-session-id", "person:17", ticket.request.url):
        assert text not in shown


def test_no_error_shows_what_it_was_about(deployment: Deployment) -> None:
    tokenizer, back_end = deployment.tokenizer, application()
    call = user("a-session-id")
    session = call.identity.session
    assert session is not None
    ticket = only(tokenizer.tokenize(call, [NewValue()]))
    unknown = Token("lunasec-11111111-2222-4333-8444-555555555555")
    tokenizer.end_session(back_end, session)
    # Damage it, so that integrity errors are among them.
    for record in deployment.records.scan():
        if record.header.record_type == 1:
            deployment.records.replace(record, Record(record.name, record.body[:-1] + bytes([record.body[-1] ^ 1])))
    refusals = [
        *tokenizer.detokenize(application(may_read=True), [ticket.token, unknown, "lunasec-secret"]),
        *tokenizer.detokenize(user("other"), [ticket.token, unknown, "lunasec-secret"]),
        *tokenizer.delete(back_end, [ticket.token, "lunasec-secret"]),
        attempt(tokenizer.tokenize, call, [NewValue()]),
        attempt(tokenizer.detokenize, back_end, [ticket.token]),
        attempt(tokenizer.verify, application(tenant="other"), session, [ticket.token]),
        attempt(tokenizer.grant, back_end, session, [ticket.token], ttl=10**9),
    ]
    assert all(isinstance(one, LunaCoreError) for one in refusals)
    for refusal in refusals:
        assert isinstance(refusal, LunaCoreError)
        shown = "".join(traceback.format_exception(refusal)) + repr(refusal) + str(refusal) + refusal.message
        for text in (ticket.token[8:], unknown[8:], "lunasec-secret", "a-session-id", ISSUER):
            assert text not in shown
