"""The vault: values come back as they were put, and a put that fails leaves nothing behind."""

from __future__ import annotations

import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

import lunacore
from lunacore.config import Config
from lunacore.errors import (
    AuditUnavailable,
    ConfigError,
    Conflict,
    IntegrityError,
    InvalidRequest,
    InvalidToken,
    LunaCoreError,
    StoreUnavailable,
    TokenNotFound,
    TooLarge,
)
from lunacore.records import RecordState, RecordType
from lunacore.segments import SEGMENT_BYTES
from lunacore.testing.deployment import Clock, another_process, open_in_memory
from lunacore.testing.faults import FailingGrants, FailingObjects, FailingRecords, FailingTransfer, Fault, FaultPlan
from lunacore.vault import Vault, open_vault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lunacore.deployment import Deployment

WEEK = 7 * 86_400


@pytest.fixture
def vault(deployment: Deployment) -> Iterator[Vault]:
    with Vault(deployment) as vault:
        yield vault


@pytest.fixture(scope="module")
def shared() -> Vault:
    return Vault(open_in_memory(Clock()))


def left(deployment: Deployment) -> tuple[int, int]:
    """How many records of tokens and how many objects there are."""
    tokens = [one for one in deployment.records.scan() if one.header.record_type is RecordType.TOKEN]
    return len(tokens), len(deployment.objects.scan())


class TestRoundTrip:
    @pytest.mark.parametrize(
        "size", [0, 1, 19, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 3 * SEGMENT_BYTES + 7, 1_000_003]
    )
    @pytest.mark.parametrize("as_file", [True, False])
    def test_of_every_size(self, vault: Vault, size: int, as_file: bool) -> None:
        value = (bytes(range(251)) * (size // 251 + 1))[:size]
        token = vault.put(io.BytesIO(value) if as_file else value)
        assert vault.get(token) == vault.get(str(token)) == value

    @given(value=st.binary(max_size=3000), pieces=st.lists(st.integers(1, 700), min_size=1, max_size=5))
    def test_of_a_file_that_gives_a_little_at_a_time(self, shared: Vault, value: bytes, pieces: list[int]) -> None:
        class Dripping(io.RawIOBase):
            def __init__(self) -> None:
                self._rest = value
                self._turn = 0

            def read(self, size: int = -1) -> bytes:
                self._turn += 1
                count = pieces[self._turn % len(pieces)]
                count = count if size < 0 else min(count, size)
                piece, self._rest = self._rest[:count], self._rest[count:]
                return piece

        assert shared.get(shared.put(Dripping())) == value  # type: ignore[arg-type]

    def test_open_reads_anywhere(self, vault: Vault) -> None:
        value = bytes(range(256)) * 1000
        with vault.open(vault.put(value)) as file:
            assert file.seekable()
            file.seek(100_000)
            assert file.read(10) == value[100_000:100_010]
            file.seek(-5, io.SEEK_END)
            assert file.read() == value[-5:]
            file.seek(0)
            assert file.read() == value

    def test_metadata_comes_back(self, vault: Vault) -> None:
        given: dict[str, Any] = {"dataType": "file", "fileinfo": {"filename": "ä.pdf"}}
        assert vault.metadata(vault.put(b"", metadata=given)) == given
        assert vault.metadata(vault.put(b"")) == {"dataType": "string"}

    def test_equal_values_get_different_tokens(self, vault: Vault) -> None:
        assert vault.put(b"same") != vault.put(b"same")

    def test_many_threads(self, vault: Vault) -> None:
        def work(number: int) -> bool:
            value = b"%d" % number * 100
            token = vault.put(value)
            same = vault.get(token) == value
            vault.delete(token)
            return same

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(100)))
        assert left(vault.deployment) == (0, 0)

    def test_another_process_reads_it(self, tmp_path: Path) -> None:
        with open_vault(tmp_path / "vault") as vault:
            token = vault.put(b"a value")
            script = Path(__file__).with_name("vault_process.py")
            read = subprocess.run(
                [sys.executable, script, tmp_path / "vault", "get", token],
                check=True,
                capture_output=True,
                input=b"\n",
                timeout=60,
            )
        assert bytes.fromhex(read.stdout.decode().splitlines()[1]) == b"a value"

    def test_it_is_there_after_closing(self, tmp_path: Path) -> None:
        with open_vault(tmp_path) as vault:
            token = vault.put(b"a value", labels=("x",), ttl=1000)
        with lunacore.open_vault(str(tmp_path)) as vault:
            assert vault.get(token) == b"a value"

    def test_a_label_that_is_given_later_is_there_too(self, tmp_path: Path) -> None:
        with open_vault(tmp_path) as vault:
            token, other = vault.put(b"hers"), vault.put(b"his")
            vault.label(token, ["alice"])
            with pytest.raises(InvalidRequest, match="label"):
                vault.label(token, [""])
        with open_vault(tmp_path) as vault:
            assert vault.get(token) == b"hers"
            assert vault.delete_label("alice").erased == 1
            with pytest.raises(TokenNotFound):
                vault.label(token, ["alice"])
            assert vault.get(other) == b"his"


class TestDelete:
    def test_leaves_nothing(self, vault: Vault) -> None:
        token = vault.put(b"a value")
        vault.delete(token)
        vault.delete(token)
        assert left(vault.deployment) == (0, 0)
        for read in (vault.get, vault.open, vault.metadata):
            with pytest.raises(TokenNotFound):
                read(token)

    def test_of_another_tenant_is_no_deletion(self, vault: Vault) -> None:
        token = vault.put(b"a value")
        Vault(vault.deployment, tenant="other").delete(token)
        assert vault.get(token) == b"a value"
        with pytest.raises(TokenNotFound):
            Vault(vault.deployment, tenant="other").get(token)


class TestBadInput:
    @pytest.mark.parametrize("text", ["", "4111111111111111", "lunasec-"])
    def test_what_is_no_token_is_refused(self, vault: Vault, text: str) -> None:
        for call in (vault.get, vault.open, vault.metadata, vault.delete):
            with pytest.raises(InvalidToken):
                call(text)

    @pytest.mark.parametrize("value", ["text", None, 17, ["x"]])
    def test_what_is_no_value_is_refused_before_anything_is_written(self, vault: Vault, value: Any) -> None:
        with pytest.raises(TypeError, match="bytes or a binary file object"):
            vault.put(value)
        assert left(vault.deployment) == (0, 0)
        assert vault.deployment.audit.events == []  # type: ignore[attr-defined]

    def test_a_text_file_is_refused_and_leaves_nothing(self, vault: Vault) -> None:
        with pytest.raises(TypeError, match="open text files with 'rb'"):
            vault.put(io.StringIO("text"))  # type: ignore[arg-type]
        assert left(vault.deployment) == (0, 0)

    @pytest.mark.parametrize(
        "given",
        [
            {"metadata": {}},
            {"metadata": {"dataType": "string", "x": 1}},
            {"ttl": 0},
            {"ttl": -1},
            {"ttl": 10**30},
            {"labels": ("x",) * 256},
            {"labels": ("",)},
            {"labels": ("\ud800",)},
            {"labels": ("ä" * 129,)},
        ],
    )
    def test_bad_arguments_are_refused_and_leave_nothing(self, vault: Vault, given: dict[str, Any]) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            vault.put(b"a value", **given)
        assert refusal.value.field is not None
        assert refusal.value.field.partition(".")[0] in given
        assert left(vault.deployment) == (0, 0)

    @pytest.mark.parametrize("as_file", [True, False])
    def test_what_is_too_large_leaves_nothing(self, clock: Clock, as_file: bool) -> None:
        vault = Vault(open_in_memory(clock, {"tickets": {"max_value_size": 100}}))
        assert len(vault.get(vault.put(bytes(100)))) == 100
        before = left(vault.deployment)
        with pytest.raises(TooLarge, match="100"):
            vault.put(io.BytesIO(bytes(101)) if as_file else bytes(101))
        assert left(vault.deployment) == before

    def test_what_the_source_raises_comes_through_and_leaves_nothing(self, vault: Vault) -> None:
        class Broken(io.RawIOBase):
            def __init__(self, error: BaseException) -> None:
                self._error = error

            def read(self, size: int = -1) -> bytes:
                raise self._error

        for error in (OSError("the disk is gone"), KeyboardInterrupt(), ValueError("x")):
            with pytest.raises(type(error)) as raised:
                vault.put(Broken(error))  # type: ignore[arg-type]
            assert raised.value is error
        assert left(vault.deployment) == (0, 0)


class FailingAudit:
    """An audit log around another, with faults."""

    def __init__(self, sink: Any, plan: FaultPlan) -> None:
        self._sink = sink
        self._plan = plan

    def write(self, events: Sequence[Any]) -> None:
        with self._plan.around("audit"):
            self._sink.write(events)


def unavailable() -> None:
    raise AuditUnavailable("the audit log is full")


def failing(deployment: Deployment, plan: FaultPlan) -> Deployment:
    return another_process(
        deployment,
        records=FailingRecords(deployment.records, plan),
        objects=FailingTransfer(deployment.objects, plan),
        grants=FailingGrants(deployment.grants, plan),
        audit=FailingAudit(deployment.audit, plan),
    )


class TestFailures:
    def test_the_steps_of_a_put(self, deployment: Deployment) -> None:
        plan = FaultPlan()
        Vault(failing(deployment, plan)).put(b"a value")
        assert plan.calls == ["create", "audit", "write", "get", "stat", "replace"]

    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize("nth", range(1, 7))
    def test_a_put_that_fails_at_any_step_leaves_nothing(
        self, deployment: Deployment, clock: Clock, nth: int, when: Any
    ) -> None:
        plan = FaultPlan(Fault("any", nth, when))
        vault = Vault(failing(deployment, plan))
        with pytest.raises(StoreUnavailable):
            vault.put(b"a value")
        records, objects = left(deployment)
        assert objects == 0
        # While the record was written nobody knew its token yet: it holds no value and is swept.
        assert records == (1 if (nth, when) in ((1, "after"), (2, "before"), (2, "after")) else 0)
        clock.advance(WEEK)
        eraser = deployment.tokenizer.eraser
        assert all(eraser.sweep(record).done for record in list(eraser.due(int(clock()))))
        assert left(deployment) == (0, 0)

    @pytest.mark.parametrize("call", ["stat", "replace", "write"])
    def test_what_cannot_be_tidied_up_now_is_swept(self, deployment: Deployment, clock: Clock, call: str) -> None:
        plan = FaultPlan(
            Fault(call, when="after"), Fault("audit", 2, action=unavailable), Fault("delete"), Fault("delete", 2)
        )
        with pytest.raises(StoreUnavailable, match="injected fault"):
            Vault(failing(deployment, plan)).put(b"a value")
        clock.advance(WEEK)
        if (
            call == "replace"
        ):  # confirmed, for all that the store knows: only its token, which nobody has, could remove it
            assert left(deployment) == (1, 1)
            return
        eraser = deployment.tokenizer.eraser
        assert all(eraser.sweep(record).done for record in list(eraser.due(int(clock()))))
        assert left(deployment) == (0, 0)

    def test_an_object_that_is_gone_before_it_is_confirmed(self, deployment: Deployment) -> None:
        def remove() -> None:
            deployment.objects.delete([entry.name for entry in deployment.objects.scan()])

        with pytest.raises(Conflict, match="put it again"):
            Vault(failing(deployment, FaultPlan(Fault("stat", action=remove)))).put(b"a value")
        assert left(deployment) == (0, 0)

    def test_nothing_is_released_unless_the_audit_log_says_so(self, deployment: Deployment) -> None:
        token = Vault(deployment).put(b"a value")
        for call in ("get", "open", "metadata", "delete"):
            plan = FaultPlan(Fault("audit", action=unavailable))
            vault = Vault(failing(deployment, plan))
            with pytest.raises(AuditUnavailable):
                getattr(vault, call)(token)
            assert "open" not in plan.calls
        assert Vault(deployment).get(token) == b"a value"

    @pytest.mark.parametrize("call", ["get", "open", "audit"])
    def test_a_store_that_fails_at_reading(self, deployment: Deployment, call: str) -> None:
        token = Vault(deployment).put(b"a value")
        vault = Vault(failing(deployment, FaultPlan(Fault(call))))
        with pytest.raises(StoreUnavailable):
            vault.get(token)
        assert vault.get(token) == b"a value"

    @pytest.mark.parametrize("at", [0, 39, 60, -1])
    def test_a_damaged_object_is_refused(self, deployment: Deployment, at: int) -> None:
        vault = Vault(deployment)
        token = vault.put(b"a value")
        [name] = [entry.name.hex() for entry in deployment.objects.scan()]
        store = deployment.objects._medium._fs.store  # type: ignore[attr-defined]
        [path] = [path for path in store if path.endswith(name)]
        data = bytearray(store[path].getvalue())
        data[at] ^= 1
        store[path] = io.BytesIO(bytes(data))
        with pytest.raises(IntegrityError):
            vault.get(token)

    def test_an_object_store_without_direct_transfer_is_refused(self, deployment: Deployment) -> None:
        plain = FailingObjects(deployment.objects, FaultPlan())
        with pytest.raises(ConfigError, match=r"tokenizer\.objects"):
            Vault(evolve(deployment, objects=plain))


class TestOpening:
    def test_a_toml_file(self, tmp_path: Path) -> None:
        file = tmp_path / "luna.toml"
        file.write_text(f'[tokenizer]\ndata_dir = "{tmp_path / "data"}"\n')
        with open_vault(file) as vault:
            vault.put(b"x")
        assert (tmp_path / "data" / "records.sqlite").exists()
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "data" / "seal.key").stat().st_mode & 0o777 == 0o600

    def test_a_config(self, tmp_path: Path) -> None:
        config = Config.from_mapping({"tokenizer": {"data_dir": str(tmp_path)}}, environ={})
        with open_vault(config) as vault:
            assert vault.get(vault.put(b"x")) == b"x"

    def test_a_directory_that_is_named_goes_before_the_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LUNACORE_TOKENIZER_DATA_DIR", str(tmp_path / "elsewhere"))
        with open_vault(tmp_path / "here"):
            pass
        assert [path.name for path in tmp_path.iterdir()] == ["here"]

    @pytest.mark.parametrize("name", ["with space", "frage?", "raute#", "100%", "ä"])
    def test_any_directory_name(self, tmp_path: Path, name: str) -> None:
        with open_vault(tmp_path / name) as vault:
            assert vault.get(vault.put(b"x")) == b"x"
        assert [path.name for path in tmp_path.iterdir()] == [name]

    def test_a_place_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").mkdir()
        (tmp_path / "file" / "x").write_text("")
        with pytest.raises(LunaCoreError, match="data_dir"):
            open_vault(tmp_path / "file" / "x" / "vault")


def test_a_reason_is_written_down(vault: Vault) -> None:
    token = vault.because("ticket 17").put(b"x")
    vault.get(token)
    events = vault.deployment.audit.events  # type: ignore[attr-defined]
    assert [(event.action, event.reason) for event in events] == [("tokenize", "ticket 17"), ("detokenize", "")]


def test_a_put_is_confirmed_at_once(vault: Vault) -> None:
    vault.put(b"x")
    [record] = [one for one in vault.deployment.records.scan() if one.header.record_type is RecordType.TOKEN]
    assert record.header.state is RecordState.STORED
    assert record.header.due == 0


def test_a_file_object_is_read_in_bounded_pieces(vault: Vault) -> None:
    asked: list[int] = []

    class Watching(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            asked.append(-1 if size is None else size)
            return super().read(size)

    source: BinaryIO = Watching(bytes(10 * SEGMENT_BYTES))
    vault.put(source)
    assert 0 < max(asked) <= 16 * SEGMENT_BYTES
    assert min(asked) > 0
