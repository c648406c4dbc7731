"""The benchmark suite: that every group runs and writes what it promises. Nothing here looks at speed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import load, planning, processes, profiling, report, s3_servers
from benchmarks.figures import Book, Ratio, Section

ROOT = Path(__file__).parents[2]
PNG = b"\x89PNG\r\n"


def run(output: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({} if path is None else {"PATH": path})}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--output", str(output), *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def results(output: Path, *arguments: str) -> dict[str, Any]:
    """What a run wrote, its shape checked."""
    ended = run(output, *arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    (folder,) = output.iterdir()
    written: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert json.loads(ended.stdout) == written
    check_shape(written)
    text = (folder / "report.txt").read_text(encoding="utf-8")
    for section in written["sections"]:
        assert section["title"] in text
        plot = folder / f"{section['name'].partition('.')[0]}.png"
        assert plot.read_bytes().startswith(PNG)
    return written


def check_shape(written: dict[str, Any]) -> None:
    assert written["schema"] == 1
    assert written["command"].startswith("python -m benchmarks ")
    assert written["seed"] == 1
    assert written["seconds"] > 0
    machine = {
        "processor",
        "cores",
        "usable_cores",
        "memory_bytes",
        "system",
        "file_system",
        "load_before",
        "was_quiet",
    }
    assert set(written["machine"]) == machine
    assert {"python", "lunacore", "cryptography", "granian", "wrk"} <= set(written["versions"])
    for section in written["sections"]:
        assert set(section) == {"name", "title", "method", "settings", "figures", "ratios"}
        assert section["method"]
        assert section["settings"]
        assert section["figures"]
        for figure in section["figures"]:
            assert set(figure) == {"subject", "quantity", "median", "low", "high", "rounds"}
            check_values(figure)
        for ratio in section["ratios"]:
            assert set(ratio) == {"name", "median", "low", "high", "rounds", "at_least", "at_most", "is_met"}
            check_values(ratio)


def check_values(summary: dict[str, Any]) -> None:
    assert len(summary["rounds"]) == 1
    assert 0 <= summary["low"] <= summary["median"] <= summary["high"]


def subjects(written: dict[str, Any], section: str) -> list[str]:
    (found,) = [one for one in written["sections"] if one["name"] == section]
    return list(dict.fromkeys(one["subject"] for one in found["figures"]))


@pytest.mark.long
def test_core(tmp_path: Path) -> None:
    measured = subjects(results(tmp_path, "core"), "core")
    for name in ("mint a token", "seal a record", "open a record", "check a grant", "write an audit line", "tokenize"):
        assert name in measured
    assert {"presign: LunaCore", "presign: botocore", "presign: minio-py"} <= set(measured)


@pytest.mark.long
def test_profile(tmp_path: Path) -> None:
    (section,) = results(tmp_path, "profile")["sections"]
    shares = {one["subject"]: one["median"] for one in section["figures"] if one["quantity"] == profiling.SHARE}
    assert sum(shares.values()) == pytest.approx(100)


def test_a_profile_knows_every_part_of_the_program() -> None:
    for package in ("lunacore", "lunacore_backends", "lunacore_http"):
        for file in (ROOT / package).rglob("*.py"):
            assert profiling.area_of(str(file)) not in (None, profiling.ELSEWHERE)
    assert profiling.area_of(str(ROOT / "lunacore" / "grants.py")) == "grants, rate limits"
    assert profiling.area_of("/lunacore_backends/sqlite_database.py") == "SQLite: read grants and records"
    assert profiling.area_of("<attrs generated methods lunacore.identity.Session>") is None
    assert profiling.area_of(json.__file__) is None


@pytest.mark.long
@pytest.mark.servers
def test_http(tmp_path: Path) -> None:
    if shutil.which("wrk") is None:
        assert "need the load generator wrk" in run(tmp_path, "http").stderr
        return
    measured = subjects(results(tmp_path, "http"), "http")
    singles = ["bare Falcon: parse and echo", "LunaCore /detokenize", "LunaCore /tokenize"]
    singles += ["OpenBao transit/decrypt", "OpenBao transit/encrypt"]
    few = "LunaCore /detokenize, 2 threads"
    columns = ["Fernet column: read", "Fernet column: write"]
    assert measured == [*singles, *(f"{one}, 100 a batch" for one in singles), few, *columns]


@pytest.mark.long
@pytest.mark.servers
def test_growth_and_what_is_planned_from_it(tmp_path: Path) -> None:
    if shutil.which("wrk") is None:
        assert "need the load generator wrk" in run(tmp_path, "growth").stderr
        return
    written = results(tmp_path, "http", "growth")
    measured = subjects(written, "growth")
    assert measured[:2] == ["SQLite, 200 records", "SQLite, 1,000 records"]
    (folder,) = tmp_path.iterdir()
    assert planning.main([str(folder / "results.json")]) == 0


@pytest.mark.long
@pytest.mark.servers
def test_workers(tmp_path: Path) -> None:
    if shutil.which("wrk") is None:
        assert "need the load generator wrk" in run(tmp_path, "workers").stderr
        return
    assert subjects(results(tmp_path, "workers"), "workers")[:2] == ["SQLite, 1 worker", "SQLite, 2 workers"]


def a_run(*figures: tuple[str, str, str, float]) -> dict[str, Any]:
    named: dict[str, list[dict[str, Any]]] = {}
    for section, subject, quantity, median in figures:
        named.setdefault(section, []).append({"subject": subject, "quantity": quantity, "median": median})
    return {"sections": [{"name": name, "figures": found} for name, found in named.items()]}


def test_a_plan_follows_from_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results.json"
    path.write_text(
        json.dumps(
            a_run(
                ("http", "LunaCore /detokenize", "requests/s", 1000.0),
                ("http", "LunaCore /tokenize", "requests/s", 500.0),
                ("growth", "SQLite, 1,000 records", "bytes/record", 9999.0),
                ("growth", "SQLite, 1,000,000 records", "bytes/record", 500.0),
            )
        ),
        encoding="utf-8",
    )
    assert planning.main([str(path), "--reads", "25.92", "--turnover", "0", "--share", "0.5"]) == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert "records on SQLite" in head
    last = [cell.strip() for cell in rows[-1].strip("|").split("|")]
    # 10^9 tokens, 25.92 reads in 30 days each: 10,000 a second, 100,000 at a peak of ten times that.
    assert last[:2] == ["1,000,000,000", "100,000"]
    assert last[3] == "200"
    assert last[4] == "500.0 GB"


def test_a_plan_needs_both_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(a_run(("core", "mint a token", "µs", 1.0))), encoding="utf-8")
    assert planning.main([str(path)]) == 1
    assert "http and growth" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.servers
def test_transfer(tmp_path: Path) -> None:
    written = results(tmp_path, "transfer")
    names = ["file copy", "LunaCore library", "gateway: LunaCore, raw", "gateway: LunaCore, sealed"]
    for server, reason in s3_servers.available().items():
        if not reason:
            names += [f"{server}: botocore alone", f"{server}: LunaCore, raw", f"{server}: LunaCore, sealed"]
    assert subjects(written, "transfer.upload") == names
    assert subjects(written, "transfer.download") == names


@pytest.mark.long
@pytest.mark.servers
def test_rewrap(tmp_path: Path) -> None:
    written = results(tmp_path, "rewrap")
    assert subjects(written, "rewrap") == ["200 records", "1,000 records"]


@pytest.mark.long
def test_memory(tmp_path: Path) -> None:
    if shutil.which("wrk") is None:
        assert "need the load generator wrk" in run(tmp_path, "memory").stderr
        return
    written = results(tmp_path, "memory")
    assert subjects(written, "memory.lasting") == ["after 1,000 requests", "after 200 requests"]
    measured = subjects(written, "memory.values")
    assert measured == ["server's worker, 1 MB", "library, 1 MB", "server's worker, 4 MB", "library, 4 MB"]


@pytest.mark.long
@pytest.mark.servers
def test_browser(tmp_path: Path) -> None:
    if shutil.which("chromium") is None:
        assert "apt install chromium" in run(tmp_path, "browser").stderr
        return
    written = results(tmp_path, "browser")
    assert subjects(written, "browser.time") == [
        "plain fetch",
        "secure-span, another token",
        "secure-span, a new element",
    ]
    (size,) = [ratio for section in written["sections"] for ratio in section["ratios"] if ratio["at_most"]]
    assert size["is_met"]


def test_without_a_browser_it_says_what_to_install(tmp_path: Path) -> None:
    ended = run(tmp_path / "results", "browser", path=str(tmp_path))
    assert ended.returncode == 1
    assert "apt install chromium" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "results").exists()


def test_without_wrk_it_says_what_to_install(tmp_path: Path) -> None:
    ended = run(tmp_path / "results", "http", path=str(tmp_path))
    assert ended.returncode == 1
    assert "apt install wrk" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "results").exists()


def test_an_unknown_group_is_named(tmp_path: Path) -> None:
    ended = run(tmp_path, "cores")
    assert ended.returncode == 1
    assert "'cores'" in ended.stderr
    assert "core, profile, http, growth, workers" in ended.stderr


def test_a_request_goes_over_the_wire_as_http() -> None:
    encoded = load.Request("/detokenize", {"cookie": "a=b"}, b"{}").encode(8080)
    head, _, body = encoded.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"POST /detokenize HTTP/1.1",
        b"host: 127.0.0.1:8080",
        b"content-type: application/json",
        b"content-length: 2",
        b"cookie: a=b",
    ]
    assert body == b"{}"


def test_ratios_are_taken_round_by_round() -> None:
    book = Book()
    # A slow second round slows both alike; the ratio of the medians would be another.
    for ours, theirs in ((10.0, 20.0), (1.0, 2.0), (30.0, 60.0)):
        book.note("ours", "requests/s", ours)
        book.note("theirs", "requests/s", theirs)
    ratio = book.ratio("ours ÷ theirs", ("ours", "requests/s"), ("theirs", "requests/s"), at_least=0.5)
    assert ratio.rounds == (0.5, 0.5, 0.5)
    assert ratio.is_met


@pytest.mark.parametrize(
    ("at_least", "at_most", "met"),
    [(None, None, None), (2.0, None, True), (2.1, None, False), (None, 2.0, True), (None, 1.9, False)],
)
def test_aims(at_least: float | None, at_most: float | None, met: bool | None) -> None:
    assert Ratio("a ÷ b", (1.0, 2.0, 9.0), at_least, at_most).is_met is met


def test_a_missed_aim_is_shown_as_such() -> None:
    book = Book()
    book.note("ours", "ms", 4.0)
    book.note("theirs", "ms", 1.0)
    section = Section(
        name="http",
        title="A table",
        method=("How it was done.",),
        settings={"rounds": 1},
        figures=book.figures(),
        ratios=(book.ratio("ours ÷ theirs", ("ours", "ms"), ("theirs", "ms"), at_most=3.0),),
    )
    machine = {
        "processor": "a processor",
        "cores": 2,
        "memory_bytes": 2**30,
        "system": "Linux",
        "file_system": "ext4",
        "load_before": 3.0,
        "was_quiet": False,
    }
    shown = report.text_of(report.Run("python -m benchmarks", "now", 1.0, 1, machine, {}, (section,)))
    assert "≤ 3: MISSED" in shown
    assert "NOT A QUIET MACHINE" in shown
    assert "How it was done." in shown


def test_a_server_that_does_not_start_shows_its_output(tmp_path: Path) -> None:
    core = processes.two_cores().server
    program = [sys.executable, "-c", "print('no room left')"]
    with (
        pytest.raises(processes.BenchmarkError, match="no room left"),
        processes.Server(program, core=core, ready=lambda: False, folder=tmp_path),
    ):
        pass


def test_a_server_is_kept_to_its_core_and_ended(tmp_path: Path) -> None:
    core = processes.two_cores().load
    told = tmp_path / "told"
    program = f"import json, os, time; open({str(told)!r}, 'w').write(json.dumps([os.getpid(), *os.sched_getaffinity(0)])); time.sleep(600)"
    server = processes.Server(
        [sys.executable, "-c", program],
        core=core,
        ready=lambda: told.exists() and told.read_text().endswith("]"),
        folder=tmp_path,
    )
    with server:
        assert server.memory() > 0
        assert server.cpu_seconds() >= 0
    pid, *cores = json.loads(told.read_text())
    assert cores == [core]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(processes.BenchmarkError):
        server.memory()
