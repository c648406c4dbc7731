"""The tokenizer in this process: its steps one by one, whole calls, and calls through the WSGI application."""

from __future__ import annotations

import json
import logging
import os
import time
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve, frozen
from falcon.testing import create_environ
from prometheus_client import CollectorRegistry

from benchmarks import bare_server, presigning
from benchmarks.operations import Operation, calls
from benchmarks.processes import BenchmarkError
from benchmarks.tokenizer_server import LIMITS, METADATA, Issuer, detokenize_request, tokenize_request
from lunacore import keys, tokens
from lunacore.audit import ALLOWED, Action, AuditEvent
from lunacore.audit_chain import CHAIN_BYTES, Chain
from lunacore.config import Config
from lunacore.deployment import open_deployment
from lunacore.grants import GrantType
from lunacore.identity import Call, Identity, Role, Session, operator
from lunacore.lookup import Found
from lunacore.outcomes import only
from lunacore.records import Contents, OperatorFields, Placement, Record, ValueFormat
from lunacore.sessions import session_hash
from lunacore.tickets import NewValue
from lunacore_http import logs
from lunacore_http.application import create_app
from lunacore_http.browser import SESSION_HASH
from lunacore_http.metrics import CallMetrics
from lunacore_http.wiring import services_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from benchmarks.load import Request
    from lunacore.deployment import Deployment
    from lunacore.lookup import PresentedToken
    from lunacore.tokens import Token

BATCH: Final = 100
TOKENIZE: Final = "tokenize"
TOKENIZE_BATCH: Final = f"tokenize: token of a batch of {BATCH}"
DETOKENIZE: Final = "detokenize"
DETOKENIZE_BATCH: Final = f"detokenize: token of a batch of {BATCH}"
WSGI_DETOKENIZE: Final = "WSGI call: /detokenize"
WSGI_TOKENIZE: Final = "WSGI call: /tokenize"
WSGI_BARE: Final = "WSGI call: bare Falcon"
_DERIVE: Final = "derive a token's keys"
_CHECK_GRANT: Final = "check a grant"
_READ: Final = "read a record"
_OPEN: Final = "open a record"
_SEAL: Final = "seal a record"
_MINT: Final = "mint a token"
_WRITE: Final = "write a record"
_ALLOW: Final = "write two grants"
_AUDIT: Final = "write an audit line"
_CHAIN: Final = "chain an audit line"
PARTS: Final = {
    WSGI_DETOKENIZE: (WSGI_BARE, _CHECK_GRANT, _DERIVE, _READ, _OPEN, _AUDIT, presigning.LUNACORE),
    WSGI_TOKENIZE: (WSGI_BARE, _MINT, _DERIVE, _SEAL, _WRITE, _ALLOW, _AUDIT, presigning.LUNACORE),
}
"""The parts of a call that are measured by themselves, too."""

_SEALED: Final = NewValue(metadata=METADATA, value_format=ValueFormat.SEALED_V1)
_SESSION_ID: Final = "session-1"
_LINE: Final = {
    name: logs.CONFIGURATION["formatters"]["line"][there] for name, there in (("fmt", "format"), ("datefmt", "datefmt"))
}


@frozen
class _Held:
    """A deployment with tokens that one session may read."""

    deployment: Deployment
    issuer: Issuer
    call: Call
    session: Session
    tokens: list[Token]

    @property
    def presented(self) -> PresentedToken:
        return self.deployment.tokenizer.lookup.present(self.session.tenant, tokens.parse(self.tokens[0]))


def operations(stack: ExitStack, folder: Path) -> list[Operation]:
    """Steps, calls, and WSGI calls."""
    held = _open(stack, folder)
    return [*_steps(held), *_calls(held), *_wsgi_calls(stack, held)]


def _open(stack: ExitStack, folder: Path) -> _Held:
    issuer = Issuer(folder / "issuer")
    settings: dict[str, Any] = {
        "tokenizer": {"data_dir": str(folder / "data")},
        "identity": [issuer.settings],
        **LIMITS,
    }
    deployment = open_deployment(Config.from_mapping(settings, {}))
    stack.callback(deployment.close)
    session = Session("default", issuer.settings["issuer"], _SESSION_ID)
    call = Call(Identity(session.tenant, session.issuer, Role.USER, session=session))
    made = [_put_away(deployment, call) for _ in range(BATCH)]
    return _Held(deployment, issuer, call, session, made)


def _put_away(deployment: Deployment, call: Call) -> Token:
    """A token whose value is there and confirmed."""
    access = only(deployment.tokenizer.issue(call, [_SEALED]))
    store: Any = deployment.objects
    store.write(access.object_name, access.store_key, BytesIO(b"4111 1111 1111 1111"))
    if not only(deployment.tokenizer.confirm(Call(operator(call.identity.tenant)), [access.token])):
        raise BenchmarkError("the value is not there")
    return access.token


def _steps(held: _Held) -> list[Operation]:
    deployment, session = held.deployment, held.session
    lookup = deployment.tokenizer.lookup
    presented = held.presented
    canonical = presented.canonical
    _, tenant_key = deployment.keyring.tenant_key(session.tenant)
    now = int(time.time())
    contents = Contents(os.urandom(32), os.urandom(32), json.dumps(METADATA).encode(), ())
    placement = Placement(os.urandom(32), generation=1, inner=b"")
    fields = OperatorFields(session.tenant, session.issuer, placement, ValueFormat.SEALED_V1, now, now + 300)
    record = only(lookup.find([presented])).opened.record
    chain = Chain(os.urandom(CHAIN_BYTES).hex())
    event = AuditEvent(
        time=time.time(),
        action=Action.DETOKENIZE,
        outcome=ALLOWED,
        tenant=session.tenant,
        role=Role.USER,
        issuer=session.issuer,
        token=presented.fingerprint,
        session="0" * 32,
        request="0" * 24,
    )
    return [
        calls(_MINT, lambda: tokens.mint(os.urandom)),
        calls(_DERIVE, lambda: keys.token_keys(tenant_key, canonical)),
        calls(_SEAL, lambda: lookup.seal(presented, contents, fields, due=now)),
        calls(_OPEN, lambda: Found(presented, lookup.open(record)).contents()),
        calls(_READ, lambda: deployment.records.get([record.name])),
        _writes(deployment, record),
        calls(
            _ALLOW,
            lambda: deployment.tokenizer.grants.allow(
                session, [canonical], tuple(GrantType), now=now, expires=now + 3600
            ),
        ),
        calls(
            _CHECK_GRANT, lambda: deployment.tokenizer.grants.expiries(session, [canonical], GrantType.READ, now=now)
        ),
        calls(_AUDIT, lambda: deployment.audit.write([event])),
        calls(_CHAIN, lambda: chain.append(event)),
    ]


def _writes(deployment: Deployment, like: Record) -> Operation:
    """To write records, each under a name of its own, to the disk."""

    def prepare(count: int) -> Callable[[], None]:
        records = [Record(os.urandom(len(like.name)), like.body) for _ in range(count)]

        def run() -> None:
            for one in records:
                deployment.records.create([one])

        return run

    return Operation(_WRITE, prepare)


def _calls(held: _Held) -> list[Operation]:
    tokenizer, call = held.deployment.tokenizer, held.call
    one, many = held.tokens[:1], held.tokens
    return [
        calls(TOKENIZE, lambda: tokenizer.tokenize(call, [_SEALED])),
        calls(TOKENIZE_BATCH, lambda: tokenizer.tokenize(call, [_SEALED] * BATCH), tokens=BATCH),
        calls(DETOKENIZE, lambda: only(tokenizer.detokenize(call, one))),
        calls(DETOKENIZE_BATCH, lambda: tokenizer.detokenize(call, many), tokens=BATCH),
    ]


def _wsgi_calls(stack: ExitStack, held: _Held) -> list[Operation]:
    _log_to_nowhere(stack)
    deployment = held.deployment
    app = create_app(services_of(deployment, CallMetrics(CollectorRegistry())))
    headers = {
        "cookie": f"access_token={held.issuer.user(deployment.config.public_url, _SESSION_ID)}",
        "sec-fetch-site": "same-origin",
        SESSION_HASH: session_hash(held.session, deployment.keyring),
    }
    single = detokenize_request(headers, held.tokens[:1])
    return [
        _wsgi(WSGI_DETOKENIZE, app, single),
        _wsgi(WSGI_TOKENIZE, app, tokenize_request(headers, 1)),
        _wsgi(WSGI_BARE, bare_server.create(), evolve(single, path=bare_server.PATH)),
    ]


def _wsgi(name: str, app: Callable[..., Any], request: Request) -> Operation:
    headers = {"content-type": "application/json", **request.headers}
    given = create_environ(request.path, method="POST", headers=headers, body=request.body)
    body, answered = request.body, []

    def start_response(status: str, _headers: object, _problem: object = None) -> None:
        answered.append(status)

    def call() -> None:
        answered.clear()
        for _ in app({**given, "wsgi.input": BytesIO(body)}, start_response):
            pass

    call()
    if answered != ["200 OK"]:
        raise BenchmarkError(f"{request.path} answered {answered}")
    return calls(name, call)


def _log_to_nowhere(stack: ExitStack) -> None:
    """Make the access log as the server does, line by line, and throw it away."""
    logs.leave_out_origins()
    handler = logging.FileHandler(os.devnull)
    handler.setFormatter(logs.Lines(**_LINE))
    log = logging.getLogger("lunacore")
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False

    def undo() -> None:
        log.removeHandler(handler)
        log.level, log.propagate = before
        handler.close()

    stack.callback(undo)
