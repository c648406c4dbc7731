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


def derived(session_key: bytes, purpose: bytes) -> bytes:
    # HKDF-SHA256 Expand, RFC 5869: the first block is all that is needed.
    return hmac.digest(session_key, b"lunacore/v1/" + purpose + b"\x01", hashlib.sha256)


def signing_key(session_key: bytes) -> bytes:
    return derived(session_key, b"session-signing")


def tag_key(session_key: bytes) -> bytes:
    return derived(session_key, b"state-tag")


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


def state_name(session_key: bytes = SESSION_KEY, state: bytes = STATE) -> bytes:
    return mac(session_key, b"session-state", b64(state).encode())


def kept_of(issuer: str = WHO[1], browser: str = BROWSER, return_to: str = RETURN_TO) -> bytes:
    return lp(issuer.encode(), hashlib.sha256(browser.encode()).digest(), return_to.encode())


def tagged(value: bytes, key: bytes | None = None, name: bytes | None = None) -> bytes:
    """The value with its tag, of the state and the session key that stand above unless others are given."""
    tag = hmac.digest(key or tag_key(SESSION_KEY), lp(name or state_name(), value), hashlib.sha256)
    return value + tag[:16]


def untagged(version: int = 2, expires: int = NOW + 300, kept: bytes = kept_of()) -> bytes:
    return struct.pack(">BQ", version, expires) + kept


def invalid_state(name: str, layer: str, value: bytes) -> Vector:
    return {
        "name": name,
        "layer": layer,
        "tag_key": tag_key(SESSION_KEY).hex(),
        "key": state_name().hex(),
        "now": NOW,
        "value": value.hex(),
    }


def invalid_states() -> list[Vector]:
    plain = untagged()
    good = tagged(plain)
    tag = good[-16:]
    moved = tagged(plain, name=state_name(state=bytes(32)))
    rotated = tagged(plain, tag_key(OTHER_KEY), state_name(OTHER_KEY))
    return [
        invalid_state("empty", "version", b""),
        invalid_state("a-tag-alone", "version", tagged(b"")),
        invalid_state("version-0", "version", tagged(untagged(0))),
        invalid_state("as-version-1-had-it", "version", untagged(1)),
        invalid_state("version-1-with-a-tag", "version", tagged(untagged(1))),
        invalid_state("version-3", "version", tagged(untagged(3))),
        invalid_state("no-tag", "tag", plain),
        invalid_state("a-tag-of-zeros", "tag", plain + bytes(16)),
        invalid_state("first-bit-of-the-tag", "tag", plain + bytes([tag[0] ^ 0x80]) + tag[1:]),
        invalid_state("last-bit-of-the-tag", "tag", good[:-1] + bytes([good[-1] ^ 1])),
        invalid_state("cut-short", "tag", good[:-1]),
        invalid_state("one-byte-more", "tag", good + bytes(1)),
        invalid_state("a-later-expiry", "tag", untagged(expires=NOW + 301) + tag),
        invalid_state("another-issuer", "tag", untagged(kept=kept_of(issuer="https://other.example.com")) + tag),
        invalid_state("another-browser", "tag", untagged(kept=kept_of(browser="another")) + tag),
        invalid_state("another-return-to", "tag", untagged(kept=kept_of(return_to="https://evil.example")) + tag),
        invalid_state("copied-from-another-state", "tag", moved),
        invalid_state("copied-from-another-session-key", "tag", rotated),
        invalid_state("under-another-session-key", "tag", tagged(plain, tag_key(OTHER_KEY))),
        invalid_state("under-the-signing-key", "tag", tagged(plain, signing_key(SESSION_KEY))),
        invalid_state("under-the-tag-key-of-grants", "tag", tagged(plain, derived(SESSION_KEY, b"grant-tag"))),
        invalid_state("a-field-less", "fields", tagged(untagged(kept=lp(b"issuer", bytes(32))))),
        invalid_state("cut-short-before-the-tag", "fields", tagged(plain[:-1])),
        invalid_state("one-byte-more-before-the-tag", "fields", tagged(plain + bytes(1))),
        invalid_state("not-utf-8", "fields", tagged(untagged(kept=lp(b"\xff", bytes(32), b"/frame")))),
        invalid_state("expired-this-second", "expiry", tagged(untagged(expires=NOW))),
    ]


def main() -> None:
    vectors = {
        "format": "LunaCore session cookies, version 1, and states, version 2 (docs/spec/sessions.md)",
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
                "name": state_name(key).hex(),
                "tag_key": tag_key(key).hex(),
                "issuer": WHO[1],
                "browser_cookie": BROWSER,
                "browser": hashlib.sha256(BROWSER.encode()).hexdigest(),
                "return_to": RETURN_TO,
                "now": NOW,
                "value": tagged(untagged(), tag_key(key), state_name(key)).hex(),
            }
            for key in (SESSION_KEY, OTHER_KEY)
        ],
        "invalid_states": invalid_states(),
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
