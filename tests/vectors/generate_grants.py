"""Write the vectors of grants and session marks to standard output.

    python tests/vectors/generate_grants.py > tests/vectors/grants.json

A second implementation of docs/spec/grants.md that imports nothing of LunaCore, so that vectors and code can disagree.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
from typing import Any

Vector = dict[str, Any]

SESSION_KEY = bytes(range(32))
OTHER_KEY = bytes(range(32, 64))
TOKEN = "lunasec-01234567-89ab-4cde-8f01-23456789abcd"
EPOCH = bytes(range(16))
SECOND_EPOCH = bytes(range(16, 32))
BOTH_EPOCHS = bytes(one ^ two for one, two in zip(EPOCH, SECOND_EPOCH, strict=True))
NONE = bytes(16)
NOW = 1_800_000_000


def lp(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def derived(key: bytes, purpose: str) -> bytes:
    return hmac.digest(key, b"lunacore/v1/" + purpose.encode() + b"\x01", hashlib.sha256)


def mac(key: bytes, *parts: bytes) -> bytes:
    return hmac.digest(key, lp(*parts), hashlib.sha256)


def identifiers(session_key: bytes, tenant: str, issuer: str, session: str, token: str) -> Vector:
    who = (tenant.encode(), issuer.encode(), session.encode())
    grant = derived(session_key, "grant")
    return {
        "session_key": session_key.hex(),
        "tenant": tenant,
        "issuer": issuer,
        "session": session,
        "token": token,
        "grant_key": grant.hex(),
        "grant_tag_key": derived(session_key, "grant-tag").hex(),
        "store_token": mac(grant, *who, b"store_token", token.encode()).hex(),
        "read_token": mac(grant, *who, b"read_token", token.encode()).hex(),
        "ended": mac(grant, *who, b"ended").hex(),
        "epoch": mac(grant, *who, b"epoch").hex(),
        "session_hash": mac(derived(session_key, "session-hash"), *who).hex(),
        "session_fingerprint": mac(derived(session_key, "session-fingerprint"), *who)[:16].hex(),
    }


def key_of(kind: bytes, token: str = TOKEN, session_key: bytes = SESSION_KEY) -> bytes:
    """The key of an entry of one session."""
    return mac(
        derived(session_key, "grant"), b"default", b"https://app.example.com", b"session-1", kind, token.encode()
    )


READ = key_of(b"read_token")
TAG_KEY = derived(SESSION_KEY, "grant-tag")


def value(epoch: bytes, expires: int, version: int = 2, *, key: bytes = READ, tag_key: bytes = TAG_KEY) -> bytes:
    tagged = bytes([version]) + epoch + expires.to_bytes(8, "big")
    return tagged + mac(tag_key, key, tagged)[:16]


def changed(at: int, good: bytes) -> bytes:
    return good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]


def reading(name: str, stored: bytes, epochs: list[bytes], expires: int | None, layer: str | None = None) -> Vector:
    vector: Vector = {
        "name": name,
        "tag_key": TAG_KEY.hex(),
        "key": READ.hex(),
        "value": stored.hex(),
        "epochs": [epoch.hex() for epoch in epochs],
        "now": NOW,
    }
    return vector | ({"expires": expires} if layer is None else {"layer": layer})


def marks(name: str, found: list[tuple[bytes | None, bytes | None]], *, epoch: bytes | None = None) -> Vector:
    """Marks of a session that has not ended."""
    shown = [[None if mark is None else mark.hex() for mark in pair] for pair in found]
    return {"name": name, "found": shown, "ended": False, "epoch": None if epoch is None else epoch.hex()}


def ended(name: str, *found: tuple[bytes | None, bytes | None]) -> Vector:
    return marks(name, list(found)) | {"ended": True}


def main() -> None:
    alive = NOW + 900
    good = value(NONE, alive)
    vectors = {
        "format": "LunaCore grants, version 2 (docs/spec/grants.md)",
        "identifiers": [
            identifiers(SESSION_KEY, "default", "https://app.example.com", "session-1", TOKEN),
            identifiers(SESSION_KEY, "default", "https://app.example.com", "session-2", TOKEN),
            identifiers(SESSION_KEY, "default", "https://other.example.com", "session-1", TOKEN),
            identifiers(SESSION_KEY, "other", "https://app.example.com", "session-1", TOKEN),
            identifiers(SESSION_KEY, "default", "https://app.example.com", "session-1", TOKEN[:-1] + "e"),
            identifiers(OTHER_KEY, "default", "https://app.example.com", "session-1", TOKEN),
            identifiers(SESSION_KEY, "Zürich", "issuer", "läuft", TOKEN),
        ],
        "marks": [
            marks("none", [(None, None)]),
            marks("none-under-two-keys", [(None, None), (None, None)]),
            marks("an-epoch", [(None, EPOCH)], epoch=EPOCH),
            marks("an-epoch-under-the-second-key", [(None, None), (None, EPOCH)], epoch=EPOCH),
            marks("epochs-under-two-keys", [(None, EPOCH), (None, SECOND_EPOCH)], epoch=BOTH_EPOCHS),
            ended("ended", (b"\x01", None)),
            ended("ended-under-the-second-key", (None, EPOCH), (b"\x01", None)),
            ended("ended-by-anything", (b"", None)),
            ended("an-empty-epoch", (None, b"")),
            ended("an-epoch-cut-by-one", (None, EPOCH[:-1])),
            ended("an-epoch-with-one-byte-more", (None, EPOCH + b"\0")),
            ended("an-epoch-with-one-byte-before", (None, b"\0" + EPOCH)),
            ended("a-long-epoch-under-the-second-key", (None, EPOCH), (None, 1000 * b"\xff")),
            ended("two-long-epochs-that-cancel-out", (None, 17 * b"\xff"), (None, 17 * b"\xff")),
        ],
        "valid": [
            reading("never-revoked", value(NONE, alive), [], alive),
            reading("last-second", value(NONE, NOW + 1), [], NOW + 1),
            reading("granted-after-a-revocation", value(EPOCH, alive), [EPOCH], alive),
            reading("epochs-of-two-key-versions", value(BOTH_EPOCHS, alive), [EPOCH, SECOND_EPOCH], alive),
            reading("the-mark-of-its-epoch-is-gone", value(EPOCH, alive), [], alive),
        ],
        "invalid": [
            reading("empty", b"", [], None, "size"),
            reading("cut-by-one", good[:-1], [], None, "size"),
            reading("one-byte-more", good + b"\0", [], None, "size"),
            reading("as-version-1-had-it", b"\x01" + good[1:25], [], None, "size"),
            reading("version-0", value(NONE, alive, version=0), [], None, "version"),
            reading("version-1-with-a-tag", value(NONE, alive, version=1), [], None, "version"),
            reading("version-3", value(NONE, alive, version=3), [], None, "version"),
            reading("a-tag-of-zeros", good[:25] + bytes(16), [], None, "tag"),
            reading("first-bit-of-the-tag", changed(25, good), [], None, "tag"),
            reading("last-bit-of-the-tag", changed(40, good), [], None, "tag"),
            reading("a-later-expiry", value(NONE, NOW)[:17] + good[17:25] + value(NONE, NOW)[25:], [], None, "tag"),
            reading("another-epoch", good[:1] + EPOCH + good[17:], [EPOCH], None, "tag"),
            reading("copied-from-the-store-grant", value(NONE, alive, key=key_of(b"store_token")), [], None, "tag"),
            reading(
                "copied-from-another-token",
                value(NONE, alive, key=key_of(b"read_token", TOKEN[:-1] + "e")),
                [],
                None,
                "tag",
            ),
            reading(
                "copied-from-another-session-key",
                value(
                    NONE,
                    alive,
                    key=key_of(b"read_token", session_key=OTHER_KEY),
                    tag_key=derived(OTHER_KEY, "grant-tag"),
                ),
                [],
                None,
                "tag",
            ),
            reading(
                "under-another-session-key",
                value(NONE, alive, tag_key=derived(OTHER_KEY, "grant-tag")),
                [],
                None,
                "tag",
            ),
            reading("under-the-grant-key", value(NONE, alive, tag_key=derived(SESSION_KEY, "grant")), [], None, "tag"),
            reading("expired-this-second", value(NONE, NOW), [], None, "expiry"),
            reading("expired-long-ago", value(NONE, 1), [], None, "expiry"),
            reading("granted-before-a-revocation", value(NONE, alive), [EPOCH], None, "epoch"),
            reading("granted-before-the-last-revocation", value(EPOCH, alive), [SECOND_EPOCH], None, "epoch"),
            reading("revoked-under-a-second-key", value(EPOCH, alive), [EPOCH, SECOND_EPOCH], None, "epoch"),
        ],
    }
    json.dump(vectors, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
