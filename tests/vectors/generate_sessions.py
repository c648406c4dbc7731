"""Write the vectors of session cookies, states and used assertions to standard output.

    python tests/vectors/generate_sessions.py > tests/vectors/sessions.json

A second implementation of docs/spec/sessions.md that imports nothing of LunaCore, so that vectors and code can disagree.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
import sys
from typing import Any

Vector = dict[str, Any]

SESSION_KEY = bytes(range(32))
OTHER_KEY = bytes(range(32, 64))
RANDOM = bytes(range(64, 80))
STATE = bytes(range(80, 112))
NOW = 1_800_000_000
ENDS = NOW + 3600
WHO = ("default", "https://app.example.com", "session-1")
BROWSER = "lunasec-browser-cookie-of-forty-three-chars"
RETURN_TO = "/frame?component=secure-text"


def lp(*parts: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def signing_key(session_key: bytes) -> bytes:
    # HKDF-SHA256 Expand, RFC 5869: the first block is all that is needed.
    return hmac.digest(session_key, b"lunacore/v1/session-signing\x01", hashlib.sha256)


def mac(session_key: bytes, *parts: bytes) -> bytes:
    return hmac.digest(signing_key(session_key), lp(*parts), hashlib.sha256)


def body_of(who: tuple[str, ...] = WHO, issued: int = NOW, expires: int = ENDS, random: bytes = RANDOM) -> bytes:
    return lp(*(part.encode() for part in who)) + struct.pack(">QQ", issued, expires) + random


def text_of(body: bytes, session_key: bytes = SESSION_KEY, purpose: bytes = b"session-cookie") -> str:
    return f"ls1.{b64(body)}.{b64(mac(session_key, purpose, body))}"


def cookie(session_key: bytes, who: tuple[str, str, str], issued: int, expires: int, random: bytes) -> Vector:
    body = body_of(who, issued, expires, random)
    return {
        "session_key": session_key.hex(),
        "signing_key": signing_key(session_key).hex(),
        "tenant": who[0],
        "issuer": who[1],
        "session": who[2],
        "issued": issued,
        "expires": expires,
        "random": random.hex(),
        "body": body.hex(),
        "text": text_of(body, session_key),
    }


def invalid(name: str, layer: str, text: str, now: int = NOW) -> Vector:
    return {"name": name, "layer": layer, "session_keys": [SESSION_KEY.hex()], "now": now, "text": text}


def with_last_bits(text: str) -> str:
    """The same bytes in a spelling whose unused bits are not zero."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) + 1]


def invalid_cookies() -> list[Vector]:
    good = text_of(body_of())
    _, body, signature = good.split(".")
    long_body = body_of(("default", "https://app.example.com", "x" * 3000))
    return [
        invalid("too-long", "length", text_of(long_body)),
        invalid("empty", "prefix", ""),
        invalid("no-prefix", "prefix", f"{body}.{signature}"),
        invalid("upper-case-prefix", "prefix", f"LS1.{body}.{signature}"),
        invalid("next-version", "prefix", f"ls2.{body}.{signature}"),
        invalid("jwt", "prefix", f"eyJhbGciOiJub25lIn0.{body}."),
        invalid("prefix-only", "encoding", "ls1."),
        invalid("no-signature", "encoding", f"ls1.{body}"),
        invalid("empty-signature", "encoding", f"ls1.{body}."),
        invalid("empty-body", "encoding", f"ls1..{signature}"),
        invalid("four-parts", "encoding", f"{good}.{signature}"),
        invalid("padded", "encoding", f"{good}="),
        invalid("unused-bits", "encoding", f"ls1.{body}.{with_last_bits(signature)}"),
        invalid("standard-alphabet", "encoding", f"ls1.{body}.{signature[:-2]}+A"),
        invalid("line-feed", "encoding", f"{good}\n"),
        invalid("space", "encoding", f" {good}".replace(" ls1.", "ls1. ")),
        invalid("short-signature", "size", f"ls1.{body}.{b64(mac(SESSION_KEY, b'session-cookie', body_of())[:16])}"),
        invalid(
            "long-signature", "size", f"ls1.{body}.{b64(mac(SESSION_KEY, b'session-cookie', body_of()) + bytes(1))}"
        ),
        invalid("another-body", "signature", f"ls1.{b64(body_of(expires=ENDS + 1))}.{signature}"),
        invalid("another-key", "signature", text_of(body_of(), OTHER_KEY)),
        invalid("another-purpose", "signature", text_of(body_of(), purpose=b"session-state")),
        invalid("signature-of-zeros", "signature", f"ls1.{body}.{b64(bytes(32))}"),
        invalid(
            "unprefixed-parts",
            "signature",
            f"ls1.{body}.{b64(hmac.digest(signing_key(SESSION_KEY), body_of(), 'sha256'))}",
        ),
        invalid("cut-short", "fields", text_of(body_of()[:-1])),
        invalid("one-byte-more", "fields", text_of(body_of() + bytes(1))),
        invalid("not-utf-8", "fields", text_of(lp(b"default", b"\xff", b"s") + struct.pack(">QQ", NOW, ENDS) + RANDOM)),
        invalid("field-beyond-the-end", "fields", text_of(struct.pack(">I", 1000) + bytes(80))),
        invalid("expired-this-second", "expiry", good, ENDS),
        invalid("expired-long-ago", "expiry", good, ENDS + 10**6),
    ]


def state_value(version: int = 1, expires: int = NOW + 300, *, parts: bytes | None = None) -> bytes:
    browser = hashlib.sha256(BROWSER.encode()).digest()
    kept = lp(WHO[1].encode(), browser, RETURN_TO.encode()) if parts is None else parts
    return struct.pack(">BQ", version, expires) + kept


def invalid_state(name: str, layer: str, value: bytes) -> Vector:
    return {"name": name, "layer": layer, "now": NOW, "value": value.hex()}


def main() -> None:
    vectors = {
        "format": "LunaCore session cookies and states, version 1 (docs/spec/sessions.md)",
        "cookies": [
            cookie(SESSION_KEY, WHO, NOW, ENDS, RANDOM),
            cookie(SESSION_KEY, WHO, NOW, ENDS, bytes(16)),
            cookie(OTHER_KEY, WHO, NOW, ENDS, RANDOM),
            cookie(SESSION_KEY, ("other", WHO[1], WHO[2]), NOW, NOW + 1, RANDOM),
            cookie(SESSION_KEY, ("Zürich", "issuer", "läuft\u2603"), 0, 2**63, RANDOM),
            cookie(SESSION_KEY, ("", "", ""), NOW, ENDS, RANDOM),
        ],
        "invalid_cookies": invalid_cookies(),
        "states": [
            {
                "session_key": key.hex(),
                "random": STATE.hex(),
                "state": b64(STATE),
                "name": mac(key, b"session-state", b64(STATE).encode()).hex(),
                "issuer": WHO[1],
                "browser_cookie": BROWSER,
                "browser": hashlib.sha256(BROWSER.encode()).hexdigest(),
                "return_to": RETURN_TO,
                "now": NOW,
                "value": state_value().hex(),
            }
            for key in (SESSION_KEY, OTHER_KEY)
        ],
        "invalid_states": [
            invalid_state("empty", "fields", b""),
            invalid_state("cut-short", "fields", state_value()[:-1]),
            invalid_state("one-byte-more", "fields", state_value() + bytes(1)),
            invalid_state("not-utf-8", "fields", state_value(parts=lp(b"\xff", bytes(32), b"/frame"))),
            invalid_state("version-0", "version", state_value(version=0)),
            invalid_state("version-2", "version", state_value(version=2)),
            invalid_state("expired-this-second", "expiry", state_value(expires=NOW)),
        ],
        "assertions": [
            {
                "session_key": key.hex(),
                "issuer": issuer,
                "jti": jti,
                "name": mac(key, b"session-assertion", issuer.encode(), jti.encode()).hex(),
            }
            for key, issuer, jti in (
                (SESSION_KEY, WHO[1], "0123456789abcdef"),
                (SESSION_KEY, "https://other.example.com", "0123456789abcdef"),
                (OTHER_KEY, WHO[1], "Zürich-0123456789"),
            )
        ],
    }
    json.dump(vectors, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
