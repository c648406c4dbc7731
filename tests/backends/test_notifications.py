"""Notifications: which events are told, by a real webhook and a real command, and that no call waits for them."""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from lunacore import notifications, signing
from lunacore.audit import Action, AuditEvent
from lunacore.config import NotifySettings
from lunacore.errors import AuditUnavailable, ConfigError, IntegrityError, StoreUnavailable
from lunacore.identity import Role
from lunacore.keys import lp
from lunacore.notifications import QUEUE, Channel, Notification, NotifyingAudit
from lunacore.plugins import Surroundings, open_backend
from lunacore_backends.auditsinks.memory import MemoryAudit
from tests.servers.threads import ServedInThread

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SIGNER = signing.signer(3, b"a" * 32)


def event(number: int = 0, outcome: str = "allowed") -> AuditEvent:
    return AuditEvent(
        time=1_700_000_000.0,
        action=Action.DETOKENIZE,
        outcome=outcome,
        tenant="default",
        role=Role.OPERATOR,
        issuer="lunacore:operator",
        detail={"number": number},
    )


def settings(**given: Any) -> NotifySettings:
    return NotifySettings(**{"name": "test", **given})


def receiver(given: NotifySettings) -> Any:
    around = Surroundings("notify[test].x", lambda: 0.0, os.urandom, notify=given)
    return open_backend("notify", given.url or "command:", around)


def channel(given: NotifySettings, target: Any = None) -> Channel:
    return Channel(given, target or receiver(given), signer=lambda: SIGNER, now=lambda: 1_700_000_001.5)


def verify(body: bytes, headers: Mapping[str, str]) -> None:
    assert headers["LunaCore-Key"] == "3"
    message = lp(headers["LunaCore-Time"].encode(), body)
    SIGNER.verification_key.verify("notification", message, bytes.fromhex(headers["LunaCore-Signature"]))


class Webhook(ServedInThread):
    """A server that answers with planned statuses, then with 204."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, dict[str, str]]] = []
        self.plan: list[int] = []
        self.arrived = threading.Semaphore(0)
        world = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                world.received.append((body, dict(self.headers.items())))
                self.send_response(world.plan.pop(0) if world.plan else 204)
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                world.arrived.release()

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        self.url = f"http://127.0.0.1:{self.port}/hook"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as server:
        yield server


class Target:
    """A receiver that is as slow or as broken as a test wants it."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.delivered: list[Notification] = []
        self.problems: list[Exception] = []

    def deliver(self, notification: Notification) -> None:
        assert self.gate.wait(60)
        if self.problems:
            raise self.problems.pop(0)
        self.delivered.append(notification)


class TestWhoIsTold:
    @pytest.mark.parametrize(
        ("given", "outcome", "told"),
        [
            ({}, "allowed", True),
            ({"actions": ("detokenize",)}, "allowed", True),
            ({"actions": ("sweep", "token.delete")}, "allowed", False),
            ({"outcomes": ("allowed",)}, "allowed", True),
            ({"outcomes": ("refused",)}, "allowed", False),
            ({"outcomes": ("refused",)}, "grantMissing", True),
            ({"outcomes": ("rateLimited",)}, "grantMissing", False),
            ({"outcomes": ("rateLimited", "grantMissing")}, "grantMissing", True),
            ({"actions": ("sweep",), "outcomes": ("refused",)}, "grantMissing", False),
        ],
    )
    def test_by_action_and_outcome(self, given: dict[str, Any], outcome: str, told: bool) -> None:
        assert channel(settings(url="http://localhost", **given)).wants(event(outcome=outcome)) is told

    def test_nobody_of_what_is_not_in_the_audit_log(self) -> None:
        class Full(MemoryAudit):
            def write(self, events: Any) -> None:
                raise AuditUnavailable("full")

        target = Target()
        audit = NotifyingAudit(Full(), [channel(settings(), target)])
        with pytest.raises(AuditUnavailable):
            audit.write([event()])
        audit.close()
        assert target.delivered == []

    def test_what_is_in_the_audit_log_in_order(self) -> None:
        target, sink = Target(), MemoryAudit()
        audit = NotifyingAudit(sink, [channel(settings(outcomes=("allowed",)), target)])
        audit.write([event(1), event(2, "grantMissing")])
        audit.write([event(3)])
        audit.close()
        assert [json.loads(one.body)["detail"]["number"] for one in target.delivered] == [1, 3]
        assert len(sink.events) == 3
        for one in target.delivered:
            verify(one.body, one.headers)


class TestNoCallWaits:
    def test_too_many_are_dropped_and_counted(self) -> None:
        target = Target()
        target.gate.clear()
        telling = channel(settings(), target)
        for number in range(QUEUE + 50):
            telling.offer(event(number))
        assert telling.dropped in (49, 50)  # one may be on its way already
        target.gate.set()
        telling.close()
        assert telling.sent == len(target.delivered) == QUEUE + 50 - telling.dropped

    def test_a_receiver_that_fails_is_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(notifications, "_BETWEEN", (0.0, 0.0))
        target = Target()
        target.problems = [StoreUnavailable("no route"), RuntimeError()]
        telling = channel(settings(), target)
        telling.offer(event(1))
        telling.close()
        assert (telling.sent, telling.failed) == (1, 0)
        target.problems = [StoreUnavailable("no route")] * 3
        telling.offer(event(2))
        telling.close()
        telling.offer(event(3))
        telling.close()
        assert (telling.sent, telling.failed) == (2, 1)
        assert json.loads(target.delivered[-1].body)["detail"]["number"] == 3

    def test_closing_twice_and_going_on(self) -> None:
        target = Target()
        telling = channel(settings(), target)
        telling.close()
        telling.offer(event(1))
        telling.close()
        telling.close()
        telling.offer(event(2))
        telling.close()
        assert len(target.delivered) == 2


class TestWebhook:
    def test_posts_the_event_signed(self, webhook: Webhook) -> None:
        telling = channel(settings(url=webhook.url))
        telling.offer(event(7))
        telling.close()
        ((body, headers),) = webhook.received
        assert body == event(7).to_line()[:-1]
        assert headers["Content-Type"] == "application/json"
        verify(body, headers)
        with pytest.raises(IntegrityError):
            verify(body.replace(b"7", b"8"), headers)

    @pytest.mark.parametrize("status", [302, 400, 500])
    def test_what_is_not_2xx_is_a_failure_and_no_redirect_is_followed(self, webhook: Webhook, status: int) -> None:
        webhook.plan = [status]
        with pytest.raises(StoreUnavailable, match=str(status)):
            receiver(settings(url=webhook.url)).deliver(Notification(b"{}", {}))
        assert len(webhook.received) == 1

    def test_nobody_there(self, webhook: Webhook) -> None:
        url = webhook.url.replace(str(webhook.port), "1")
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            receiver(settings(url=url)).deliver(Notification(b"{}", {}))

    @pytest.mark.parametrize("url", ["http://alerts.example.com/", "http://10.0.0.1/", "https:///x"])
    def test_urls_that_are_refused(self, url: str) -> None:
        with pytest.raises(ConfigError, match="notify"):
            receiver(settings(url=url))


class TestCommand:
    def script(self, folder: Path, text: str) -> tuple[str, ...]:
        path = folder / "command"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o700)
        return (str(path), "a b", "$(touch nowhere); *")

    def test_gets_the_event_without_a_shell_and_without_our_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LUNACORE_TOKENIZER_SEAL", "passphrase")
        out = tmp_path / "out"
        command = self.script(tmp_path, f'cat > {out}; printf "%s\\n" "$@" >> {out}; env >> {out}')
        telling = channel(settings(command=command))
        telling.offer(event(5))
        telling.close()
        assert (telling.sent, telling.failed) == (1, 0)
        body, *rest = out.read_bytes().splitlines()
        assert body == event(5).to_line()[:-1]
        assert rest[:2] == [b"a b", b"$(touch nowhere); *"]
        variables = dict(line.split(b"=", 1) for line in rest[2:])
        names = {b"LunaCore-Time": b"LUNACORE_TIME", b"LunaCore-Key": b"LUNACORE_KEY"}
        headers = {key.decode(): variables[name].decode() for key, name in names.items()}
        verify(body, headers | {"LunaCore-Signature": variables[b"LUNACORE_SIGNATURE"].decode()})
        assert b"LUNACORE_TOKENIZER_SEAL" not in variables

    def test_failures(self, tmp_path: Path) -> None:
        ended = receiver(settings(command=self.script(tmp_path, "exit 3")))
        with pytest.raises(StoreUnavailable, match="ended with 3"):
            ended.deliver(Notification(b"{}", {}))
        slow = receiver(settings(command=self.script(tmp_path, "exec sleep 60")))
        with pytest.raises(StoreUnavailable, match="longer"):
            evolve(slow, timeout=0.1).deliver(Notification(b"{}", {}))
        (tmp_path / "command").unlink()
        with pytest.raises(StoreUnavailable, match="cannot be run"):
            ended.deliver(Notification(b"{}", {}))

    @pytest.mark.parametrize("program", ["sh", "/nowhere/x", "./x"])
    def test_only_absolute_paths_of_programs(self, program: str) -> None:
        with pytest.raises(ConfigError, match="absolute path"):
            receiver(settings(command=(program,)))
