"""Re-keying by several processes that are killed at any moment, beside one that reads: no value is lost, and no object is left."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

import pytest

import lunacore
from lunacore import Config, Vault
from lunacore.deployment import open_deployment
from lunacore.identity import Call, operator
from lunacore.outcomes import unrefused
from tests.end_to_end.vault_worker import value_of

ROOT = Path(__file__).parents[2]
DAY = 86_400


def start(directory: Path, seed: int, tokens: list[str]) -> subprocess.Popen[str]:
    worker = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tests.end_to_end.rekey_worker", str(directory), str(seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert worker.stdin is not None
    worker.stdin.write("\n".join(tokens))
    worker.stdin.close()
    worker.stdin = None
    return worker


class Reader:
    """Reads the tokens in this process, in a thread of its own, until it is stopped."""

    def __init__(self, vault: Vault, tokens: list[str]) -> None:
        self._vault = vault
        self._tokens = tokens
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.reads = 0
        self.problems: list[object] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stop.is_set():
            for token in self._tokens:
                try:
                    value = self._vault.get(token)
                    if value != value_of(value[:16]):
                        self.problems.append("another value")
                except Exception as problem:
                    self.problems.append(problem)
                self.reads += 1


def tidy(directory: Path, days: int) -> None:
    """Sweep as if so many days had passed."""
    config = Config.from_mapping({"tokenizer": {"data_dir": str(directory)}}, {})
    deployment = open_deployment(config, now=lambda: time.time() + days * DAY)
    try:
        eraser = deployment.tokenizer.eraser
        for record in list(eraser.due(int(deployment.now()))):
            assert not eraser.sweep(record).problem
    finally:
        deployment.close()


def kill_some(directory: Path, *, rounds: int, processes: int, seed: int) -> None:
    chance = random.Random(seed)
    with lunacore.open_vault(directory) as vault:
        tokens = [str(vault.put(value_of(os.urandom(16)))) for _ in range(6)]
        for step in range(rounds):
            workers = [start(directory, seed + 100 * step + number, tokens) for number in range(processes)]
            with Reader(vault, tokens) as reader:
                for worker in workers:
                    assert worker.stdout is not None
                    assert worker.stdout.readline() == "ready\n"
                for worker in workers:
                    assert worker.stdout is not None
                    for _ in range(chance.randrange(1, 8)):
                        assert worker.stdout.readline() in ("done\n", "conflict\n")
                    worker.kill()
                for worker in workers:
                    worker.communicate(timeout=60)
            assert reader.problems == []
            assert reader.reads > 0
            # What is left over is bounded, so that rounds need sweeps in between.
            tidy(directory, step + 1)
        tidy(directory, rounds + 1)
        for token in tokens:
            value = vault.get(token)
            assert value == value_of(value[:16])
        call = Call(operator("default"))
        names = {one.object_name for one in unrefused(vault.tokenizer.access(call, tokens))}
        assert {entry.name for entry in vault.deployment.objects.scan(limit=10_000)} == names
        lookup = vault.tokenizer.lookup
        found = unrefused(lookup.find(unrefused(lookup.present_each("default", tokens))))
        generations = [one.fields.placement.generation for one in found]
        assert sum(generations) > len(tokens), "something was re-keyed"


def test_processes_that_re_key_are_killed(tmp_path: Path) -> None:
    kill_some(tmp_path / "vault", rounds=1, processes=2, seed=1)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(3))
def test_many_processes_that_re_key_are_killed_often(tmp_path: Path, seed: int) -> None:
    kill_some(tmp_path / "vault", rounds=8, processes=4, seed=seed)
