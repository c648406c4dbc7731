"""Audit events: exact lines, the published schema, and texts that try to forge a line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped] # it has no hints

from lunacore import errors, signing
from lunacore.audit import ALLOWED, SCHEMA_VERSION, Action, AuditEvent
from lunacore.audit_chain import Chain
from lunacore.errors import LunaCoreError
from lunacore.identity import Role

SPEC = Path(__file__).parent.parent.parent / "docs" / "spec"
SCHEMA = json.loads((SPEC / "audit-event.schema.json").read_bytes())
VALIDATOR = Draft202012Validator(SCHEMA)
FINGERPRINT = "0123456789abcdef" * 2


def make_event(**members: Any) -> AuditEvent:
    given: dict[str, Any] = {
        "time": 1_700_000_000,
        "action": Action.SWEEP,
        "outcome": ALLOWED,
        "tenant": "default",
        "role": Role.OPERATOR,
        "issuer": "lunacore:operator",
    }
    return AuditEvent(**(given | members))


# Lines of released versions: they are added to and never changed.
LINES = [
    pytest.param(
        make_event(),
        b'{"v":1,"time":"2023-11-14T22:13:20.000000Z","action":"sweep","outcome":"allowed","tenant":"default",'
        b'"role":"operator","issuer":"lunacore:operator"}\n',
        id="least",
    ),
    pytest.param(
        AuditEvent(
            time=1_700_000_000.123456,
            action=Action.DETOKENIZE,
            outcome="grantMissing",
            tenant="clinic",
            role=Role.USER,
            issuer="https://app.example.com",
            token=FINGERPRINT,
            session=FINGERPRINT[::-1],
            request="4f9c",
            reason="ticket 17",
            detail={"items": 3, "sealed": True, "type": "read_token"},
        ),
        b'{"v":1,"time":"2023-11-14T22:13:20.123456Z","action":"detokenize","outcome":"grantMissing","tenant":"clinic",'
        b'"role":"user","issuer":"https://app.example.com","token":"0123456789abcdef0123456789abcdef",'
        b'"session":"fedcba9876543210fedcba9876543210","request":"4f9c","reason":"ticket 17",'
        b'"detail":{"items":3,"sealed":true,"type":"read_token"}}\n',
        id="every-member",
    ),
    pytest.param(
        make_event(detail={"count": 0, "complete": False, "note": ""}),
        b'{"v":1,"time":"2023-11-14T22:13:20.000000Z","action":"sweep","outcome":"allowed","tenant":"default",'
        b'"role":"operator","issuer":"lunacore:operator","detail":{"count":0,"complete":false,"note":""}}\n',
        id="zero-and-false-are-facts",
    ),
    pytest.param(
        make_event(time=0.9999996, reason='a\n{"v":1}\r\x00\x1b[2J\x7f\x85\u2028"\\'),
        b'{"v":1,"time":"1970-01-01T00:00:01.000000Z","action":"sweep","outcome":"allowed","tenant":"default",'
        b'"role":"operator","issuer":"lunacore:operator",'
        b'"reason":"a\\n{\\"v\\":1}\\r\\u0000\\u001b[2J\\u007f\\u0085\\u2028\\"\\\\"}\n',
        id="control-characters",
    ),
    pytest.param(
        make_event(
            issuer="é", reason="\U0001f512", detail={"half": "\ud83d", "both": "\ud83d\udd12", "other": "\udd12"}
        ),
        b'{"v":1,"time":"2023-11-14T22:13:20.000000Z","action":"sweep","outcome":"allowed","tenant":"default",'
        b'"role":"operator","issuer":"\\u00e9","reason":"\\ud83d\\udd12",'
        b'"detail":{"half":"\\ufffd","both":"\\ud83d\\udd12","other":"\\ufffd"}}\n',
        id="half-characters",
    ),
]


@pytest.mark.parametrize(("event", "line"), LINES)
def test_exact_lines(event: AuditEvent, line: bytes) -> None:
    assert event.to_line() == line
    VALIDATOR.validate(json.loads(line))


def test_the_schema_is_valid_and_current() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    members = SCHEMA["properties"]
    assert members["v"]["const"] == SCHEMA_VERSION
    assert members["action"]["examples"] == [action.value for action in Action]
    assert members["role"]["examples"] == [role.value for role in Role]
    event = make_event(token="a", session="b", request="c", reason="d", record="f", revision=2, detail={"e": 1})
    checkpoint = Chain("0" * 32).checkpoint(0.0, signing.signer(1, bytes(32)), {})
    of_chains = [name for name in json.loads(checkpoint.line) if name not in event.as_mapping()]
    assert list(members) == [*event.as_mapping(), *of_chains]
    VALIDATOR.validate(json.loads(checkpoint.line))


def test_the_page_names_every_member_and_action() -> None:
    page = (SPEC / "audit.md").read_text(encoding="utf-8")
    for name in [*SCHEMA["properties"], *SCHEMA["properties"]["action"]["examples"]]:
        assert f"| `{name}` |" in page


@pytest.mark.parametrize("action", Action)
def test_every_action_fits_the_schema(action: Action) -> None:
    VALIDATOR.validate(json.loads(make_event(action=action).to_line()))


def all_errors(base: type[LunaCoreError] = LunaCoreError) -> list[type[LunaCoreError]]:
    return [base, *(error for child in base.__subclasses__() for error in all_errors(child))]


@pytest.mark.parametrize("name", sorted({error.name for error in all_errors() if error.__module__ == errors.__name__}))
def test_every_error_name_fits_the_schema(name: str) -> None:
    VALIDATOR.validate(json.loads(make_event(outcome=name).to_line()))


@pytest.mark.parametrize(
    "member",
    [
        {"v": 2},
        {"time": "2023-11-14T22:13:20Z"},
        {"action": "Sweep"},
        {"outcome": ""},
        {"tenant": ""},
        {"token": "lunasec-00000000-0000-4000-8000-000000000000"},
        {"session": FINGERPRINT.upper()},
        {"issuer": ""},
        {"detail": {}},
        {"detail": {"nested": {}}},
        {"detail": {"real": 0.5}},
    ],
)
def test_the_schema_refuses(member: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(make_event().as_mapping() | member)


def test_the_schema_lets_later_members_pass() -> None:
    assert VALIDATOR.is_valid(make_event().as_mapping() | {"later": [1]})


texts = st.text(st.characters() | st.sampled_from('\n\r\0\x1b\x7f\x85\u2028\ud83d\udd12"\\{}'), max_size=30)
details = st.dictionaries(texts, texts | st.integers() | st.booleans(), max_size=3)


@given(st.floats(0, 4e9), texts, texts, texts, details)
def test_no_text_can_forge_a_line(
    time: float, tenant: str, issuer: str, reason: str, detail: dict[str, str | int | bool]
) -> None:
    event = make_event(time=time, tenant=tenant or "x", issuer=issuer, reason=reason, detail=detail)
    line = event.to_line()
    assert line.endswith(b"}\n")
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    read = json.loads(line)
    # What was read can be encoded again: no half character is left.
    json.dumps(read, ensure_ascii=False).encode()
    VALIDATOR.validate(read)
    clean = issuer.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert read.get("issuer", "") == clean


@given(st.floats(0, 4e9) | st.integers(0, 4 * 10**9).map(lambda second: second + 0.9999995))
def test_the_time_is_what_datetime_writes(time: float) -> None:
    moment = datetime.fromtimestamp(time, UTC).isoformat(timespec="microseconds")
    assert make_event(time=time).as_mapping()["time"] == moment.replace("+00:00", "Z")


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text() | st.integers() | st.booleans(), max_size=3))
def test_the_line_is_what_json_writes(issuer: str, reason: str, detail: dict[str, str | int | bool]) -> None:
    event = make_event(issuer=issuer, reason=reason, detail=detail)
    assert event.to_line() == json.dumps(event.as_mapping(), separators=(",", ":")).encode() + b"\n"


def test_numbers_that_json_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        make_event(detail={"ratio": float("nan")}).to_line()
