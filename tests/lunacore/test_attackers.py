"""What an attacker gets, row by row (``docs/security/``): the rows that the core itself can show, on real files."""

from __future__ import annotations

import base64
import io
import itertools
import shutil
from typing import TYPE_CHECKING, Final

import pytest
from attrs import evolve

from lunacore import keys, records, tokens
from lunacore.config import Config
from lunacore.deployment import Deployment, open_deployment
from lunacore.errors import GrantMissing, IntegrityError, LunaCoreError, RateLimited, RoleForbidden
from lunacore.identity import Call, operator
from lunacore.outcomes import attempt, only
from lunacore.records import Record, RecordType, ValueFormat
from lunacore.segments import OpenedSegments, Purpose
from lunacore.stores import Entry
from lunacore.testing.deployment import START, Clock, application, open_in_memory, user
from lunacore.tickets import NewValue
from lunacore.vault import Vault
from lunacore_backends.memory import MemoryGrants

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lunacore.tokens import Token

# One worker runs them all, and so makes what they share once.
pytestmark = pytest.mark.xdist_group("attackers")

VALUE: Final = b"4111 1111 1111 1111 belongs to nobody else"
PARTS: Final = {
    "records": ("records.sqlite*",),
    "objects": ("objects",),
    "keyring": ("keyring", "seal.key"),
    "token": (),
}
SUBSETS: Final = [
    frozenset(chosen) for count in range(len(PARTS) + 1) for chosen in itertools.combinations(PARTS, count)
]
OPERATOR: Final = Call(operator("default"))


def open_at(directory: Path) -> Deployment:
    return open_deployment(Config.from_mapping({"tokenizer": {"data_dir": str(directory)}}, environ={}))


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Token, Token]:
    """A data directory that holds two values, the token of the one worth having, and the attacker's own."""
    directory = tmp_path_factory.mktemp("victim")
    with Vault(open_at(directory)) as vault:
        token = vault.put(VALUE, metadata={"dataType": "string", "customFields": {"owner": "Ada Lovelace"}})
        own = vault.put(b"the attacker's own value")
    return directory, token, own


def stolen(directory: Path, parts: frozenset[str], into: Path) -> Path:
    for part in parts:
        for pattern in PARTS[part]:
            for path in directory.glob(pattern):
                (shutil.copytree if path.is_dir() else shutil.copy2)(path, into / path.name)
    return into


@pytest.mark.parametrize("parts", SUBSETS, ids=lambda parts: "+".join(sorted(parts)) or "nothing")
def test_only_all_four_parts_together_open_a_value(
    victim: tuple[Path, Token, Token], parts: frozenset[str], tmp_path: Path
) -> None:
    """What is missing, the attacker replaces by something of the same kind: a new keyring, a token of its own."""
    directory, token, own = victim
    home = stolen(directory, parts, tmp_path)
    tried = token if "token" in parts else own

    def steal() -> bytes:
        with Vault(open_at(home)) as vault:
            return vault.get(tried)

    outcome = attempt(steal)
    if parts == PARTS.keys():
        assert outcome == VALUE
    elif parts == PARTS.keys() - {"token"}:
        assert outcome == b"the attacker's own value"  # all that it could show is what it knew
    else:
        assert isinstance(outcome, LunaCoreError)


@pytest.mark.parametrize(
    "parts",
    # Whoever has all but the token can try the most keys, and so stands for the others in the short tests.
    [
        pytest.param(parts, marks=() if parts >= PARTS.keys() - {"token"} else pytest.mark.long)
        for parts in SUBSETS
        if "objects" in parts
    ],
    ids=lambda parts: "+".join(sorted(parts)),
)
def test_no_32_bytes_of_what_was_stolen_open_an_object(
    victim: tuple[Path, Token, Token], parts: frozenset[str], tmp_path: Path
) -> None:
    """Whatever lies at any offset of any stolen file, and all that can be derived or opened with it, is tried as a key."""
    directory, token, _ = victim
    home = stolen(directory, parts, tmp_path)
    held = [path.read_bytes() for path in home.rglob("*") if path.is_file() and "objects" not in path.parts]
    held += list(loot(home, parts, token))
    objects = [path.read_bytes() for path in (home / "objects").rglob("*") if path.is_file()]
    assert len(objects) == 2
    opened = [found for sealed in objects for found in tried_keys(sealed, held)]
    assert bool(opened) is (parts == PARTS.keys())


def tried_keys(sealed: bytes, held: list[bytes]) -> Iterator[bytes]:
    for data in held:
        for at in range(len(data) - 31):
            key = data[at : at + 32]
            outcome = attempt(OpenedSegments, io.BytesIO(sealed), key, Purpose.OBJECT)
            if not isinstance(outcome, LunaCoreError):
                yield key


def loot(home: Path, parts: frozenset[str], token: Token) -> Iterator[bytes]:
    """What keyring and token make of the rest."""
    if "keyring" not in parts or "records" not in parts:
        return
    with Vault(open_at(home)) as vault:
        source = vault.deployment.keyring
        for key in source.keyring.keys:
            yield key.secret
            yield from (keys.expand(key.secret, purpose) for purpose in ("grant", "canary", "gateway-signing"))
        for record in vault.deployment.records.scan():
            if record.header.record_type is not RecordType.TOKEN:
                continue
            opened = records.open_record(record, source.root_key)
            yield opened.fields.encode()
            yield keys.outer_key(source.root_key(1), record.name)
            for tenant in ("default", "") if "token" in parts else ():
                derived = keys.token_keys(source.tenant_key(tenant)[1], token.encode())
                yield derived.wrap_key + derived.commitment + derived.record_name
                placement = opened.fields.placement
                contents = attempt(
                    records.open_contents,
                    placement,
                    derived,
                    kind=tokens.TokenKind.UUID4,
                    tenant=tenant,
                    lookup_version=1,
                )
                if not isinstance(contents, LunaCoreError):
                    yield contents.encode()


def test_nothing_that_is_kept_shows_token_value_or_metadata(victim: tuple[Path, Token, Token]) -> None:
    directory, token, _ = victim
    digits = token.removeprefix("lunasec-")
    secrets = [VALUE, VALUE[:16], b"Ada Lovelace", token.encode(), bytes.fromhex(digits.replace("-", ""))]
    secrets += [digits.encode(), base64.b64encode(token.encode())]
    for path in directory.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(secret in data for secret in secrets), path.name


def test_bucket_and_record_store_cannot_be_joined(victim: tuple[Path, Token, Token]) -> None:
    directory, _, _ = victim
    names = [path.name for path in (directory / "objects").rglob("*") if path.is_file()]
    dump = b"".join(path.read_bytes() for path in directory.glob("records.sqlite*"))
    assert len(names) == 2
    for name in names:
        assert name.encode() not in dump
        assert bytes.fromhex(name) not in dump


def test_equal_values_share_nothing(tmp_path: Path) -> None:
    with Vault(open_at(tmp_path)) as vault:
        for _ in range(2):
            vault.put(VALUE * 3, labels=("person:17",))
        vault.put(VALUE * 3, labels=("person:18",))
        stored = [one for one in vault.deployment.records.scan() if one.header.record_type is RecordType.TOKEN]
        kept = [path.read_bytes() for path in (tmp_path / "objects").rglob("*") if path.is_file()]
    assert len(kept) == len(stored) == 3
    blocks = [{data[at : at + 16] for at in range(40, len(data) - 15)} for data in kept]
    assert not any(one & two for one, two in itertools.combinations(blocks, 2))
    # The record store tells which records share a label, and nothing more.
    bodies = [one.body[33 + 16 * len(one.header.labels) :] for one in stored]
    blocks = [{data[at : at + 16] for at in range(len(data) - 15)} for data in bodies]
    assert not any(one & two for one, two in itertools.combinations(blocks, 2))
    assert sorted(len([two for two in stored if two.header.labels == one.header.labels]) for one in stored) == [1, 2, 2]


class TestRecordsAndKeyring:
    """Whoever writes to the record store and has the keyring can seal outer layers, and still open nothing."""

    @pytest.fixture
    def deployment(self) -> Deployment:
        return open_in_memory(Clock())

    @pytest.mark.parametrize("whole", [True, False])
    def test_records_cannot_be_given_to_another_token(self, deployment: Deployment, whole: bool) -> None:
        wanted, own = (only(deployment.tokenizer.issue(OPERATOR, [NewValue()])) for _ in range(2))
        lookup = deployment.tokenizer.lookup
        names = [lookup.present("default", tokens.parse(one.token)).keys.record_name for one in (wanted, own)]
        found = [one for one in deployment.records.get(names) if one is not None]
        theirs, mine = (records.open_record(one, deployment.keyring.root_key) for one in found)
        forged = records.seal_record(
            mine.header,
            theirs.fields if whole else evolve(mine.fields, placement=theirs.fields.placement),
            name=mine.record.name,
            commitment=mine.commitment,
            root_key=deployment.keyring.root_key(1),
            random=deployment.random,
        )
        assert deployment.records.replace(mine.record, forged)
        assert isinstance(deployment.tokenizer.access(OPERATOR, [own.token])[0], IntegrityError)

    def test_an_old_copy_that_is_put_back_is_not_prevented(self, deployment: Deployment) -> None:
        """It is for ``audit verify --records`` to find; an erasure is final once backups have expired."""
        access = only(deployment.tokenizer.issue(OPERATOR, [NewValue()]))
        name = deployment.tokenizer.lookup.present("default", tokens.parse(access.token)).keys.record_name
        copy = deployment.records.get([name])[0]
        assert copy is not None
        deployment.tokenizer.delete(OPERATOR, [access.token])
        deployment.records.create([Record(name, copy.body)])
        assert only(deployment.tokenizer.access(OPERATOR, [access.token])).store_key == access.store_key


class HostileGrants(MemoryGrants):
    """A store of grants that is the attacker's: it notes what it is asked for and what it answers."""

    def get(self, keys: Sequence[bytes], now: int) -> list[bytes | None]:
        self.asked, self.answered = keys, super().get(keys, now)
        return self.answered


class TestTokens:
    """Whoever has the application's database has all its tokens."""

    @pytest.fixture
    def deployment(self) -> Deployment:
        return open_in_memory(Clock(), {"limits": {"session_reads": 50, "application_reads": 30}})

    @pytest.fixture
    def database(self, deployment: Deployment) -> list[Token]:
        issued = deployment.tokenizer.tokenize(user("owner"), [NewValue()] * 40)
        return [only([one]).token for one in issued]

    def test_a_session_without_grants_reads_nothing(self, deployment: Deployment, database: list[Token]) -> None:
        thief = user("thief")
        for outcomes in (
            deployment.tokenizer.detokenize(thief, database),
            deployment.tokenizer.metadata(thief, database),
        ):
            assert {type(outcome) for outcome in outcomes} == {GrantMissing}

    def test_another_users_token_cannot_be_stored(self, deployment: Deployment, database: list[Token]) -> None:
        thief = user("thief").identity.session
        owner = user("owner").identity.session
        assert thief is not None
        assert owner is not None
        assert deployment.tokenizer.verify(application(), thief, database[:1]) == [False]
        granted = deployment.tokenizer.verify(application(), owner, database[:1])
        assert granted == [False]  # its own, but nothing was uploaded yet
        assert not isinstance(deployment.tokenizer.detokenize(user("owner"), database[:1])[0], LunaCoreError)

    def test_whoever_holds_the_store_of_grants_cannot_put_a_grant_there(
        self, deployment: Deployment, database: list[Token]
    ) -> None:
        """It sees the name that is looked for, and has values that the tokenizer wrote for a token of the thief's own."""
        thief, grants = user("thief"), HostileGrants()
        deployment.tokenizer.grants.store = grants
        own = only(deployment.tokenizer.tokenize(thief, [NewValue()])).token
        assert not isinstance(only(deployment.tokenizer.detokenize(thief, [own])), LunaCoreError)
        (_, _, genuine) = grants.answered
        assert genuine is not None
        for planted in (genuine, genuine[:25], genuine[:25] + bytes(16), b"\x01" + genuine[1:25]):
            attempt(deployment.tokenizer.detokenize, thief, database[:1])
            grants.put([Entry(grants.asked[-1], planted, START + 600)], START)
            outcomes = deployment.tokenizer.detokenize(thief, database[:1])
            assert grants.answered[-1] == planted
            assert isinstance(outcomes[0], GrantMissing)

    def test_an_application_reads_nothing_unless_it_may(self, deployment: Deployment, database: list[Token]) -> None:
        with pytest.raises(RoleForbidden):
            deployment.tokenizer.detokenize(application(), database)

    def test_an_application_that_may_is_slowed_down_and_recorded(
        self, deployment: Deployment, database: list[Token]
    ) -> None:
        back_end = application(may_read=True)
        read = 0
        for token in database:
            outcome = attempt(deployment.tokenizer.detokenize, back_end, [token])
            read += isinstance(outcome, list)
            assert isinstance(outcome, list | RateLimited)
        assert read == 30
        events = [one for one in deployment.audit.events if one.action == "detokenize"]  # type: ignore[attr-defined]
        assert [one.outcome for one in events] == ["allowed"] * 30 + ["rateLimited"] * 10

    def test_tickets_of_one_token_open_no_other(self, deployment: Deployment, database: list[Token]) -> None:
        tickets = [only([one]) for one in deployment.tokenizer.detokenize(user("owner"), database[:2])]
        key = "x-amz-server-side-encryption-customer-key"
        assert tickets[0].request.url.partition("?")[0] != tickets[1].request.url.partition("?")[0]
        assert tickets[0].request.headers[key] != tickets[1].request.headers[key]
        assert tickets[0].value_key != tickets[1].value_key


class TestLeaks:
    @pytest.fixture
    def deployment(self) -> Deployment:
        return open_in_memory(Clock())

    @pytest.mark.parametrize("value_format", ValueFormat)
    def test_a_url_holds_no_key(self, deployment: Deployment, value_format: ValueFormat) -> None:
        caller = user("one")
        upload = only(deployment.tokenizer.tokenize(caller, [NewValue(value_format=value_format, size=19)]))
        download = only(deployment.tokenizer.detokenize(caller, [upload.token]))
        access = only(deployment.tokenizer.access(OPERATOR, [upload.token]))
        for ticket in (upload, download):
            url = ticket.request.url
            for secret in (access.store_key, access.value_key, upload.token.encode()):
                shown = (secret.hex(), base64.b64encode(secret).decode(), base64.urlsafe_b64encode(secret).decode())
                assert not any(text.rstrip("=") in url for text in shown)
            assert upload.token not in url
            assert (
                base64.b64decode(ticket.request.headers["x-amz-server-side-encryption-customer-key"])
                == access.store_key
            )
            assert ticket.request.expires <= START + 300
        assert upload.request.headers["if-none-match"] == "*"
        assert (upload.request.method, download.request.method) == ("PUT", "GET")

    def test_the_audit_log_holds_fingerprints_only(self, deployment: Deployment) -> None:
        caller = user("a-session-that-nobody-may-know")
        session = caller.identity.session
        assert session is not None
        value = NewValue(metadata={"dataType": "string", "customFields": {"owner": "Ada"}}, labels=("person:17",))
        token = only(deployment.tokenizer.tokenize(caller, [value])).token
        tokenizer, back_end = deployment.tokenizer, application(may_read=True)
        access = only(tokenizer.access(OPERATOR, [token]))
        tokenizer.detokenize(caller, [token, "no-token-" + token[9:]])
        tokenizer.metadata(caller, [token])
        tokenizer.grant(back_end, session, [token])
        tokenizer.verify(back_end, session, [token])
        tokenizer.revoke(back_end, session, [token])
        tokenizer.revoke(back_end, session)
        attempt(tokenizer.grant, caller, session, [token])
        tokenizer.end_session(back_end, session)
        tokenizer.delete(back_end, [token])
        lines = b"".join(event.to_line() for event in deployment.audit.events)  # type: ignore[attr-defined]
        assert lines.count(b"\n") >= 11
        keyring = deployment.keyring.keyring
        secrets = [access.store_key, access.value_key, access.object_name, *(key.secret for key in keyring.keys)]
        for secret in secrets:
            assert secret.hex().encode() not in lines
            assert base64.b64encode(secret) not in lines
        for text in (token[8:], token[9:], session.id, "Ada", "person:17"):
            assert text.encode() not in lines
        presented = tokenizer.lookup.present("default", tokens.parse(token))
        assert presented.fingerprint.encode() in lines
