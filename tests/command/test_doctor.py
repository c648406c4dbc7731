"""``lunacore doctor`` on healthy and on broken deployments."""

from __future__ import annotations

import base64
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lunacore import Config
from lunacore.diagnosis import Severity, warning
from lunacore.plugins import open_backend
from lunacore_backends.sqlite import SQLiteGrants
from lunacore_http.command import exposure, local_paths
from lunacore_http.command.checkup import Checkup
from lunacore_http.command.exits import Exit
from tests.servers.s3_server import client, new_bucket, url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lunacore.diagnosis import Circumstances, Finding
    from lunacore.plugins import Surroundings
    from tests.command.running import Ended, Lunacore
    from tests.servers.seaweedfs import SeaweedFS


def _problems(lunacore: Lunacore, *arguments: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The parts that have problems, each with its last message and remedy."""
    ended = lunacore("doctor", "--json", *arguments, environ=environ)
    report = json.loads(ended.out)
    assert ended.err == ""
    assert ended.code == (0 if report["healthy"] else 1)
    problems = [one for one in report["findings"] if one["severity"] == "problem"]
    assert report["healthy"] == (not problems)
    assert all(one["remedy"] for one in problems)
    return {one["part"]: f"{one['message']} | {one['remedy']}" for one in problems}


def _everything_under(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_healthy_deployment_is_left_as_it_was(lunacore: Lunacore) -> None:
    lunacore.put(b"value")
    before = {name: content for name, content in _everything_under(lunacore.data).items() if "sqlite" not in name}
    printed = lunacore.ok("doctor").decode()
    assert "PROBLEM" not in printed
    assert "tokenizer.keyring: opens, and is that of the record store" in printed
    assert "tokenizer.objects: takes, gives back and removes what is written" in printed
    assert "tokenizer.grants: takes, gives back and removes what is written" in printed
    assert "GiB free" in printed
    after = {name: content for name, content in _everything_under(lunacore.data).items() if "sqlite" not in name}
    assert after == before


def test_nothing_is_made_where_nothing_is(lunacore: Lunacore) -> None:
    assert "there is no directory" in _problems(lunacore)["tokenizer.data_dir"]
    assert not lunacore.data.exists()
    lunacore.data.mkdir(mode=0o700)
    assert _problems(lunacore) == {}
    assert list(lunacore.data.iterdir()) == []


def test_what_is_named_but_not_there_is_not_made_either(lunacore: Lunacore) -> None:
    lunacore.put(b"value")
    named = {
        "LUNACORE_TOKENIZER_RECORDS": f"sqlite://{lunacore.directory}/named/records.sqlite",
        "LUNACORE_TOKENIZER_OBJECTS": f"file://{lunacore.directory}/named/objects",
        "LUNACORE_TOKENIZER_AUDIT": f"file://{lunacore.directory}/named/audit",
    }
    printed = lunacore("doctor", environ=named).out.decode()
    for store in ("records", "objects", "audit"):
        assert f"warning  tokenizer.{store}: {lunacore.directory}/named/{store}" in printed
    assert not (lunacore.directory / "named").exists()
    (lunacore.directory / "named" / "audit").mkdir(parents=True, mode=0o700)
    lunacore("doctor", environ=named)
    assert list((lunacore.directory / "named" / "audit").iterdir()) == []
    missing = {"LUNACORE_TOKENIZER_KEYRING": f"file://{lunacore.directory}/keyring"}
    assert "restore" in _problems(lunacore, environ=missing)["tokenizer.keyring"]


def test_a_lost_keyring_is_found(lunacore: Lunacore) -> None:
    lunacore.put(b"value")
    (lunacore.data / "keyring").unlink()
    assert "restore" in _problems(lunacore)["tokenizer.keyring"]
    assert not (lunacore.data / "keyring").exists()


def test_a_foreign_keyring_is_found(lunacore: Lunacore) -> None:
    lunacore.put(b"value")
    lunacore.ok("keys", "init", "--data", "other")
    for name in ("keyring", "seal.key"):
        shutil.copy(lunacore.directory / "other" / name, lunacore.data / name)
    assert "belongs to keyring" in _problems(lunacore)["tokenizer.keyring"]


def test_open_permissions_are_found(lunacore: Lunacore) -> None:
    lunacore.put(b"value")
    lunacore.data.chmod(0o777)
    (lunacore.data / "records.sqlite").chmod(0o666)
    (lunacore.data / "seal.key").chmod(0o644)
    problems = _problems(lunacore)
    assert f"chmod 700 {lunacore.data}" in problems["tokenizer.data_dir"]
    assert "chmod 600" in problems["tokenizer.records"]
    assert "chmod 600" in problems["tokenizer.seal"]


def test_a_damaged_database_does_not_hide_the_rest(lunacore: Lunacore) -> None:
    lunacore.put(b"value")
    (lunacore.data / "records.sqlite").write_bytes(b"no database" * 100)
    shutil.rmtree(lunacore.data / "objects")
    (lunacore.data / "objects").write_text("no directory")
    problems = _problems(lunacore)
    assert "no SQLite database" in problems["tokenizer.records"]
    assert "tokenizer.objects" in problems
    assert "tokenizer.grants" not in problems


def test_an_audit_log_that_cannot_be_written_is_found(lunacore: Lunacore) -> None:
    lunacore.put(b"value")
    audit = lunacore.data / "audit" / "audit.jsonl"
    audit.unlink()
    audit.mkdir()
    (audit / "audit.jsonl").mkdir()
    assert "make the audit log writable" in _problems(lunacore)["tokenizer.audit"]


def test_the_second_place_of_checkpoints_is_looked_at(lunacore: Lunacore) -> None:
    lunacore.put(b"value")
    elsewhere = lunacore.directory / "elsewhere" / "checkpoints.jsonl"
    copied = {"LUNACORE_AUDIT_COPY": f"file://{elsewhere}"}
    assert f"warning  audit.copy: {elsewhere} is not there" in lunacore("doctor", environ=copied).out.decode()
    assert not elsewhere.parent.exists()
    elsewhere.parent.mkdir(mode=0o700)
    elsewhere.touch(mode=0o600)
    assert "ok       audit.copy: can be written" in lunacore("doctor", environ=copied).out.decode()
    assert elsewhere.read_bytes() == b""
    elsewhere.unlink()
    elsewhere.mkdir()
    (elsewhere / "audit.jsonl").mkdir()
    assert "vouched for" in _problems(lunacore, environ=copied)["audit.copy"]
    wrong = {"LUNACORE_AUDIT_COPY": "nowhere://here"}
    assert "audit.copy" in _problems(lunacore, environ=wrong)


def test_a_clock_that_was_set_back_is_found(lunacore: Lunacore) -> None:
    lunacore.put(b"value")
    later = (lunacore.data / "keyring").stat().st_mtime + 5000
    os.utime(lunacore.data / "keyring", (later, later))
    assert "in the future" in _problems(lunacore)["clock"]


def test_missing_public_keys_are_found(lunacore: Lunacore) -> None:
    lunacore.put(b"value")
    provider = {"name": "app", "kind": "application", "issuer": "i", "jwks": f"file://{lunacore.directory}/jwks.json"}
    environ = {"LUNACORE_IDENTITY": json.dumps([provider])}
    assert "No such file" in _problems(lunacore, environ=environ)["identity[app]"]
    wrong = {"LUNACORE_IDENTITY": json.dumps([provider | {"jwks": "ftp://x"}])}
    assert "identity[app].jwks" in _problems(lunacore, environ=wrong)["identity[app]"]


PROXY = {"name": "proxy", "kind": "proxy", "issuer": "p", "audience": "a"}
AWS = PROXY | {"pem": "https://public-keys.auth.elb.eu-west-1.amazonaws.com/{kid}", "header": "x-amzn-oidc-data"}


@pytest.mark.parametrize(
    ("provider", "hints"),
    [
        (PROXY | {"tenant": "other"}, ["the tenant 'other' has no application"]),
        (AWS, ["have no aud", "are padded"]),
        *(
            pytest.param(provider, hints, marks=pytest.mark.long)
            for provider, hints in [
                (PROXY | {"header": "X-Forwarded-User"}, ["X-Forwarded-User holds a name and no JWT"]),
                (AWS | {"signer": "arn:aws:x"}, ["are padded"]),
                (AWS | {"signer": "arn:aws:x", "allow_padding": True}, []),
                (PROXY, []),
            ]
        ),
    ],
)
def test_hints_on_auth_proxies(lunacore: Lunacore, provider: dict[str, Any], hints: list[str]) -> None:
    lunacore.put(b"value")
    keys = lunacore.directory / "keys.json"
    point = base64.urlsafe_b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode().rstrip("=")
    keys.write_text(json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": point, "kid": "one"}]}))
    application = {"name": "app", "kind": "application", "issuer": "i", "jwks": keys.as_uri()}
    given = provider if "pem" in provider else provider | {"jwks": keys.as_uri()}
    ended = lunacore("doctor", "--json", environ={"LUNACORE_IDENTITY": json.dumps([application, given])})
    found = [one for one in json.loads(ended.out)["findings"] if one["part"] == "identity[proxy]"]
    assert not [one for one in found if one["severity"] == "problem"]
    warnings = [one["message"] for one in found if one["severity"] == "warning"]
    assert len(warnings) == len(hints)
    assert all(hint in warning for hint, warning in zip(hints, warnings, strict=True))


def test_a_missing_package_or_scheme_is_found(lunacore: Lunacore) -> None:
    lunacore.put(b"value")
    problems = _problems(lunacore, environ={"LUNACORE_TOKENIZER_GRANTS": "nosuch://user:hunter2@host"})
    assert "nothing here serves 'nosuch'" in problems["tokenizer.grants"]
    assert "hunter2" not in str(problems)


def test_a_backend_brings_checks_of_its_own(lunacore: Lunacore, monkeypatch: pytest.MonkeyPatch) -> None:
    lunacore.put(b"value")

    class Talkative(SQLiteGrants):
        def diagnose(self, circumstances: Circumstances) -> Sequence[Finding]:
            return [warning("tokenizer.grants", f"is tired of {circumstances.origin}", "let it rest")]

    def open_talkative(kind: str, text: str, around: Surroundings) -> Any:
        return Talkative(lunacore.data / "grants.sqlite") if kind == "grants" else open_backend(kind, text, around)

    monkeypatch.setattr("lunacore.deployment.open_backend", open_talkative)
    findings = Checkup(Config.from_mapping({"tokenizer": {"data_dir": str(lunacore.data)}}, {})).run()
    assert warning("tokenizer.grants", "is tired of http://127.0.0.1:37766", "let it rest") in findings


@pytest.mark.parametrize(
    ("settings", "part", "severity"),
    [
        ({"host": "0.0.0.0", "public_url": "http://luna.example.com"}, "tokenizer.public_url", Severity.PROBLEM),
        ({"host": "0.0.0.0", "public_url": "https://luna.example.com"}, "tokenizer.host", Severity.WARNING),
        ({"host": "0.0.0.0", "public_url": "http://localhost:37766"}, "tokenizer.public_url", Severity.PROBLEM),
        ({"host": "0.0.0.0", "public_url": "https://luna.example.com"}, "identity", Severity.PROBLEM),
        ({"operations": "0.0.0.0:37767"}, "tokenizer.operations", Severity.WARNING),
        ({"public_url": "https://luna.example.com/frame"}, "tokenizer.public_url", Severity.PROBLEM),
        ({}, "identity", Severity.WARNING),
        ({}, "tokenizer.public_url", Severity.OK),
    ],
)
def test_addresses_are_judged(settings: dict[str, object], part: str, severity: Severity) -> None:
    findings = list(exposure.examine(Config.from_mapping({"tokenizer": settings}, {})))
    assert (part, severity) in [(one.part, one.severity) for one in findings]


def test_an_application_on_plain_http_is_warned_of() -> None:
    config = Config.from_mapping({"frame": {"app_origins": ["http://app.example.com", "http://localhost:3000"]}}, {})
    (finding,) = (one for one in exposure.examine(config) if one.part == "frame.app_origins")
    assert "http://app.example.com" in finding.message


@pytest.mark.parametrize(
    ("free", "severity"), [(10 << 20, Severity.PROBLEM), (500 << 20, Severity.WARNING), (5 << 30, Severity.OK)]
)
def test_room_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, severity: Severity) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(1 << 40, 1, free))
    assert [one.severity for one in local_paths._free_space(tmp_path, "x", set())] == [severity]


@pytest.mark.servers
@pytest.mark.xdist_group("seaweedfs")
@pytest.mark.usefixtures("s3_credentials")
@pytest.mark.long
def test_a_bucket_is_mended_after_asking(lunacore: Lunacore, seaweedfs: SeaweedFS) -> None:
    bucket = new_bucket(seaweedfs)
    elsewhere = {"AllowedOrigins": ["https://other.example.com"], "AllowedMethods": ["GET"]}
    client(seaweedfs).put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [elsewhere]})
    environ = {"LUNACORE_TOKENIZER_OBJECTS": url(seaweedfs, bucket, "values")}
    lunacore.ok("put", given=b"value", environ=environ)

    def doctor(*arguments: str, given: bytes = b"") -> Ended:
        return lunacore("doctor", *arguments, given=given, environ=environ)

    def rules() -> int:
        return len(client(seaweedfs).get_bucket_cors(Bucket=bucket)["CORSRules"])

    assert doctor("--yes").code == Exit.USAGE
    refused = doctor("--fix", given=b"n\n")
    assert (refused.code, rules()) == (Exit.FAILED, 1)
    assert "add a CORS rule for exactly http://127.0.0.1:37766" in refused.text
    assert refused.text.count("left as it is") == refused.text.count("do this?") == 2
    agreed = doctor("--fix", given=b"y\nn\n")
    assert (agreed.code, rules()) == (Exit.DONE, 2)
    assert "browsers may use tickets from http://127.0.0.1:37766" in agreed.text
    unasked = doctor("--fix", "--yes", "--json")
    assert unasked.code == Exit.DONE
    assert "add the lifecycle rule" in unasked.err
    assert [one["fix"] for one in json.loads(unasked.out)["findings"] if one["fix"]] == []
