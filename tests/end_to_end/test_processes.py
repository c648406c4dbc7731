"""Several processes on one data directory, and processes that are killed: nothing acknowledged is lost, nothing half-written."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import lunacore
from tests.end_to_end.vault_worker import value_of
from tests.end_to_end.wholeness import check_nothing_half_written

if TYPE_CHECKING:
    from lunacore.vault import Vault

PROCESSES = 4
WORKER = Path(__file__).with_name("vault_worker.py")
SECONDS = 120


def start(directory: Path, count: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-W", "error", "-m", "tests.end_to_end.vault_worker", str(directory), str(count)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=WORKER.parents[2])


def finish(worker: subprocess.Popen[str]) -> list[str]:
    out, err = worker.communicate(timeout=SECONDS)
    assert err == ""
    return out.splitlines()


def check_acknowledged(vault: Vault, tokens: list[str]) -> None:
    for token in tokens:
        value = vault.get(token)
        assert value == value_of(value[:16])


def test_four_processes_start_and_work_at_once(tmp_path: Path) -> None:
    workers = [start(tmp_path / "vault", 25) for _ in range(PROCESSES)]
    lines = [finish(worker) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * PROCESSES
    tokens = [token for one in lines for token in one[1:]]
    assert len(set(tokens)) == PROCESSES * 25
    with lunacore.open_vault(tmp_path / "vault") as vault:
        check_acknowledged(vault, tokens)
        check_nothing_half_written(vault.deployment, len(tokens))
        events = (tmp_path / "vault" / "audit" / "audit.jsonl").read_bytes().splitlines()
        assert len(events) >= 2 * len(tokens)


def kill_some(directory: Path, seed: int, rounds: int) -> list[str]:
    chance = random.Random(seed)
    acknowledged: list[str] = []
    for _ in range(rounds):
        workers = [start(directory, 1000) for _ in range(PROCESSES)]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdout is not None
            wanted = chance.randrange(1, 12)
            acknowledged += [worker.stdout.readline().strip() for _ in range(wanted)]
            worker.kill()
        for worker in workers:
            out, err = worker.communicate(timeout=SECONDS)
            assert err == ""
            assert "wrong value" not in out
            acknowledged += [line for line in out.splitlines() if line.startswith("lunasec-") and len(line) == 44]
    return acknowledged


def check_after_kills(directory: Path, tokens: list[str]) -> None:
    with lunacore.open_vault(directory) as vault:
        check_acknowledged(vault, tokens)
        check_nothing_half_written(vault.deployment, len(tokens))
        token = vault.put(b"and it goes on")
        assert vault.get(token) == b"and it goes on"


def test_killed_processes_lose_nothing_acknowledged(tmp_path: Path) -> None:
    check_after_kills(tmp_path, kill_some(tmp_path, seed=1, rounds=2))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 6))
def test_a_series_of_killed_processes_loses_nothing_acknowledged(tmp_path: Path, seed: int) -> None:
    check_after_kills(tmp_path, kill_some(tmp_path, seed, rounds=10))
