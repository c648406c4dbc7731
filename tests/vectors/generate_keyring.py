"""Write the vectors of the sealed keyring and of key files to standard output.

    python tests/vectors/generate_keyring.py > tests/vectors/keyring.json

A second implementation of docs/spec/keyring.md that imports nothing of LunaCore, so that vectors and code can disagree.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
import sys
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

Vector = dict[str, Any]

PURPOSES = {"lookup": 1, "root": 2, "session": 3, "gateway": 4, "audit": 5}
NOW = 1_700_000_000


def drawn(label: str, count: int) -> bytes:
    """Bytes that stand for random ones."""
    return hashlib.shake_256(label.encode()).digest(count)


def lp(*parts: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def lp_list(parts: list[bytes]) -> bytes:
    return struct.pack(">I", len(parts)) + lp(*parts)


def expand(key: bytes, info: bytes) -> bytes:
    # HKDF-SHA256 Expand, RFC 5869: the first block is all that is needed.
    return hmac.digest(key, info + b"\x01", hashlib.sha256)


def gcm(key: bytes, nonce: bytes, plain: bytes, associated: bytes) -> bytes:
    return nonce + AESGCM(key).encrypt(nonce, plain, associated)


def context_of(keyring_id: bytes) -> bytes:
    return b"lunacore/v1/keyring" + lp(keyring_id)


# Key providers: (name, sealed part) of a body key.


def key_file(key: bytes) -> Vector:
    fingerprint = expand(key, b"lunacore/v1/key-file-fingerprint")[:8]
    return {"kind": "key-file", "name": f"file:{fingerprint.hex()}", "key": key.hex()}


def passphrase(text: str, memory: int, passes: int, lanes: int) -> Vector:
    cost = {"memory": memory, "passes": passes, "lanes": lanes}
    return {"kind": "passphrase", "name": "passphrase", "passphrase": text, "cost": cost}


def service(name: str) -> Vector:
    """A key of a service: what it made of the wrap key is taken as it is."""
    return {"kind": "service", "name": name, "wrapped": drawn(f"wrapped by {name}", 40).hex()}


def together(*members: Vector) -> Vector:
    names = sorted(member["name"] for member in members)
    digest = hashlib.sha256(b"lunacore/v1/keyring-together" + lp(*(name.encode() for name in names))).digest()
    return {"kind": "together", "name": f"all:{digest[:8].hex()}", "members": list(members)}


def sealed_together(provider: Vector, body_key: bytes, context: bytes, label: str) -> tuple[bytes, bytes]:
    members = sorted(provider["members"], key=lambda member: member["name"])
    count = len(members)
    shares = [drawn(f"{label} share {place} {provider['name']}", len(body_key)) for place in range(count - 1)]
    last = bytearray(body_key)
    for share in shares:
        last = bytearray(left ^ right for left, right in zip(last, share, strict=True))
    entries, draws = [], b"".join(shares)
    for place, (member, share) in enumerate(zip(members, [*shares, bytes(last)], strict=True)):
        bound = b"lunacore/v1/keyring-share" + lp(context, provider["name"].encode(), struct.pack(">II", place, count))
        part, drew = sealed_part(member, share, bound, f"{label} {place}")
        entries.append(lp(member["name"].encode(), part))
        draws += drew
    return b"\x01" + lp_list(entries), draws


def sealed_part(provider: Vector, body_key: bytes, context: bytes, label: str) -> tuple[bytes, bytes]:
    """What the provider makes of the body key, and the random bytes that it drew."""
    if provider["kind"] == "together":
        return sealed_together(provider, body_key, context, label)
    nonce = drawn(f"{label} nonce {provider['name']}", 12)
    if provider["kind"] == "key-file":
        seal_key = expand(bytes.fromhex(provider["key"]), b"lunacore/v1/key-file-seal")
        return b"\x01" + gcm(seal_key, nonce, body_key, lp(b"\x01", context)), nonce
    if provider["kind"] == "service":
        wrap_key = drawn(f"{label} wrap key {provider['name']}", 32)
        head = b"\x01" + lp(bytes.fromhex(provider["wrapped"]))
        return head + gcm(wrap_key, nonce, body_key, lp(head, context)), wrap_key + nonce
    salt = drawn(f"{label} salt", 16)
    cost = provider["cost"]
    head = b"\x01" + struct.pack(">IIB", cost["memory"], cost["passes"], cost["lanes"]) + salt
    stretching = Argon2id(
        salt=salt, length=32, iterations=cost["passes"], lanes=cost["lanes"], memory_cost=cost["memory"]
    )
    stretched = stretching.derive(provider["passphrase"].encode())
    return head + gcm(stretched, nonce, body_key, lp(head, context)), salt + nonce


# Keyrings.


def key(purpose: str, version: int, active_from: int = NOW) -> Vector:
    secret = drawn(f"secret {purpose} {version}", 32).hex()
    return {"purpose": purpose, "version": version, "active_from": active_from, "secret": secret}


def encoded_key(entry: Vector) -> bytes:
    number = PURPOSES.get(entry["purpose"], 99)
    return struct.pack(">BIQ", number, entry["version"], entry["active_from"]) + bytes.fromhex(entry["secret"])


def encoded(keyring: Vector) -> bytes:
    return (
        bytes.fromhex(keyring["id"])
        + struct.pack(">Q", keyring["serial"])
        + lp_list([encoded_key(entry) for entry in keyring["keys"]])
    )


def head_of(keyring: Vector) -> bytes:
    return b"LCKR\x01\x01" + bytes.fromhex(keyring["id"]) + struct.pack(">Q", keyring["serial"])


def put_together(
    keyring: Vector, parts: list[tuple[str, bytes]], label: str, *, plain: bytes | None = None, size: int = 32
) -> bytes:
    head = head_of(keyring) + lp_list([lp(name.encode(), part) for name, part in parts])
    body_key = drawn(f"{label} body key", size)
    return head + gcm(body_key, drawn(f"{label} nonce", 12), encoded(keyring) if plain is None else plain, head)


def parts_of(keyring: Vector, providers: list[Vector], label: str, size: int = 32) -> list[tuple[str, bytes]]:
    context, body_key = context_of(bytes.fromhex(keyring["id"])), drawn(f"{label} body key", size)
    return [(provider["name"], sealed_part(provider, body_key, context, label)[0]) for provider in providers]


def sealed(keyring: Vector, providers: list[Vector], label: str) -> bytes:
    return put_together(keyring, parts_of(keyring, providers, label), label)


def random_of(providers: list[Vector], label: str) -> bytes:
    """All random bytes in the order drawn: body key, what each provider draws, nonce of the body."""
    draws = [sealed_part(provider, bytes(32), b"", label)[1] for provider in providers]
    return drawn(f"{label} body key", 32) + b"".join(draws) + drawn(f"{label} nonce", 12)


def keyring(name: str, serial: int, *keys: Vector) -> Vector:
    return {"id": drawn(f"id {name}", 16).hex(), "serial": serial, "keys": list(keys)}


FILE, OTHER_FILE = key_file(drawn("key file", 32)), key_file(drawn("other key file", 32))
RECOMMENDED = passphrase("correct horse battery staple", 65_536, 3, 4)
CHEAP = passphrase("Grüße", 8, 1, 1)
CHEAP_TOO = passphrase("σύνθημα", 8, 1, 1)
KMS = service("awskms:eu-central-1:alias/luna")
TRANSIT = service("transit:bao.example.com:8200/transit/keys/luna")
BOTH = together(FILE, OTHER_FILE)

NEW = keyring("new", 1, *(key(purpose, 1) for purpose in PURPOSES))
ROTATED = keyring(
    "rotated",
    7,
    key("lookup", 1),
    key("root", 2, NOW + 1000),
    key("root", 3, NOW + 2**33),
    key("session", 1),
    key("gateway", 4, 0),
    key("audit", 1),
    key("lookup", 2**32 - 1, 2**64 - 1),
)

VALID = {
    "new-keyring": (NEW, [FILE]),
    "rotated-for-two-key-files": (ROTATED, [FILE, OTHER_FILE]),
    "passphrase-at-the-recommended-cost": (NEW, [RECOMMENDED]),
    "key-file-and-cheap-passphrase": (ROTATED, [FILE, CHEAP]),
    "no-keys": (keyring("none", 0), [FILE]),
    "key-services": (NEW, [KMS, TRANSIT]),
    "two-key-files-together": (NEW, [BOTH]),
    "two-passphrases-together": (NEW, [together(CHEAP, CHEAP_TOO)]),
    "three-together-or-a-key-file": (ROTATED, [together(KMS, FILE, CHEAP), OTHER_FILE]),
}


def unwrapping(provider: Vector, label: str) -> Vector:
    """The provider as a reader needs it: with what a service unwraps to."""
    if provider["kind"] == "together":
        members = sorted(provider["members"], key=lambda member: member["name"])
        return {**provider, "members": [unwrapping(one, f"{label} {place}") for place, one in enumerate(members)]}
    if provider["kind"] == "service":
        return {**provider, "wrap_key": drawn(f"{label} wrap key {provider['name']}", 32).hex()}
    return provider


def valid(name: str) -> Vector:
    made, providers = VALID[name]
    return {
        "name": name,
        "keyring": made,
        "providers": [unwrapping(provider, name) for provider in providers],
        "random": random_of(providers, name).hex(),
        "plain": encoded(made).hex(),
        "sealed": sealed(made, providers, name).hex(),
    }


def invalid(
    name: str, layer: str, data: bytes, *, error: str = "IntegrityError", providers: list[Vector] | None = None
) -> Vector:
    return {"name": name, "layer": layer, "error": error, "providers": providers or [FILE], "sealed": data.hex()}


def with_byte(data: bytes, at: int, byte: int) -> bytes:
    return data[:at] + bytes([byte]) + data[at + 1 :]


def flip(data: bytes, at: int) -> bytes:
    at %= len(data)
    return with_byte(data, at, data[at] ^ 1)


SEALED = sealed(NEW, [FILE], "invalid")
PARTS = parts_of(NEW, [FILE], "invalid")
HEAD_BYTES = 30
BODY_BYTES = 12 + len(encoded(NEW)) + 16
RECIPIENTS = SEALED[HEAD_BYTES:-BODY_BYTES]


def of_head() -> list[Vector]:
    later = "UnsupportedVersion"
    return [
        invalid("nothing", "head", b""),
        invalid("magic-alone", "head", SEALED[:4]),
        invalid("magic-changed", "head", flip(SEALED, 0), error="KeyringError"),
        invalid("a-record-instead", "head", b"LCRC" + SEALED[4:], error="KeyringError"),
        invalid("version-0", "head", with_byte(SEALED, 4, 0), error=later),
        invalid("version-2", "head", with_byte(SEALED, 4, 2), error=later),
        invalid("suite-2", "head", with_byte(SEALED, 5, 2), error=later),
        invalid("cut-in-the-id", "head", SEALED[:21]),
        invalid("cut-in-the-serial", "head", SEALED[:29]),
    ]


def of_recipients() -> list[Vector]:
    head, body = SEALED[:HEAD_BYTES], SEALED[-BODY_BYTES:]
    ((name, part),) = PARTS

    def listed(*entries: bytes) -> bytes:
        return head + lp_list(list(entries)) + body

    return [
        invalid("head-alone", "recipients", head),
        invalid("count-too-high", "recipients", head + b"\xff\xff\xff\xff" + RECIPIENTS[4:] + body),
        invalid("entry-too-long", "recipients", head + RECIPIENTS[:4] + b"\x7f\xff\xff\xff" + RECIPIENTS[8:] + body),
        invalid("entry-empty", "recipients", listed(b"")),
        invalid("entry-with-a-byte-left-over", "recipients", listed(lp(name.encode(), part) + b"\x00")),
        invalid("entry-without-its-part", "recipients", listed(lp(name.encode()))),
        invalid("name-not-utf-8", "recipients", listed(lp(b"\xff", part))),
        invalid("one-name-twice", "recipients", put_together(NEW, PARTS * 2, "invalid")),
        invalid("nobody", "recipients", put_together(NEW, [], "invalid"), error="KeyringError"),
        *of_together(),
        invalid("another-key-file", "recipients", SEALED, error="KeyringError", providers=[OTHER_FILE]),
        invalid("passphrase-for-a-key-file", "recipients", SEALED, error="KeyringError", providers=[RECOMMENDED]),
    ]


def of_together() -> list[Vector]:
    ((name, part),) = parts_of(NEW, [BOTH], "invalid")
    entries = []
    rest = part[5:]
    while rest:
        size = 4 + struct.unpack(">I", rest[:4])[0]
        entries.append(rest[4:size])
        rest = rest[size:]
    (third,) = [drawn("third", 20)]
    more = [lp(f"file:{third[at : at + 8].hex()}".encode(), b"part") for at in (0, 8)]

    def part_of(what: str, changed: bytes, error: str = "IntegrityError") -> Vector:
        return invalid(
            what, "recipients", put_together(NEW, [(name, changed)], "invalid"), error=error, providers=[BOTH]
        )

    def listed(what: str, *given: bytes) -> Vector:
        return part_of(what, b"\x01" + lp_list(list(given)))

    weaker = sealed(NEW, [FILE], "invalid")
    return [
        part_of("together-part-empty", b""),
        part_of("together-version-0", with_byte(part, 0, 0), "UnsupportedVersion"),
        part_of("together-version-2", with_byte(part, 0, 2), "UnsupportedVersion"),
        part_of("together-part-cut", part[:-1]),
        part_of("together-part-longer", part + b"\x00"),
        listed("together-nobody"),
        listed("together-one-alone", entries[0]),
        listed("together-in-the-wrong-order", *reversed(entries)),
        listed("together-with-another", *sorted([*entries, more[0]])),
        listed("together-of-others", *sorted(more)),
        invalid("one-alone-where-two-are-required", "recipients", weaker, error="KeyringError", providers=[BOTH]),
        invalid("two-required-and-one-at-hand", "recipients", sealed(NEW, [BOTH], "invalid"), error="KeyringError"),
    ]


def of_provider() -> list[Vector]:
    ((name, part),) = PARTS
    ((_, words),) = parts_of(NEW, [CHEAP], "invalid")
    ((_, foreign),) = parts_of(ROTATED, [FILE], "invalid")

    def file_part(what: str, changed: bytes, error: str = "KeyringError") -> Vector:
        return invalid(what, "provider", put_together(NEW, [(name, changed)], "invalid"), error=error)

    def words_part(what: str, changed: bytes, error: str = "KeyringError", using: Vector = CHEAP) -> Vector:
        data = put_together(NEW, [("passphrase", changed)], "invalid")
        return invalid(what, "provider", data, error=error, providers=[using])

    def cost(memory: int, passes: int, lanes: int) -> bytes:
        return words[:1] + struct.pack(">IIB", memory, passes, lanes) + words[10:]

    wrong = passphrase("Grusse", 8, 1, 1)
    ((both, shares),) = parts_of(NEW, [BOTH], "invalid")
    ((_, swapped),) = parts_of(ROTATED, [BOTH], "invalid")
    ((kms, wrapped),) = parts_of(NEW, [KMS], "invalid")

    def shares_part(what: str, changed: bytes) -> Vector:
        data = put_together(NEW, [(both, changed)], "invalid")
        return invalid(what, "provider", data, error="KeyringError", providers=[BOTH])

    def service_part(what: str, changed: bytes, error: str = "KeyringError") -> Vector:
        data = put_together(NEW, [(kms, changed)], "invalid")
        return invalid(what, "provider", data, error=error, providers=[unwrapping(KMS, "invalid")])

    return [
        shares_part("together-tag-changed", flip(shares, -1)),
        shares_part("together-shares-of-another-keyring", swapped),
        service_part("service-part-empty", b""),
        service_part("service-version-2", with_byte(wrapped, 0, 2), "UnsupportedVersion"),
        service_part("service-wrapped-cut", wrapped[:10]),
        service_part("service-wrapped-changed", flip(wrapped, 6)),
        service_part("service-tag-changed", flip(wrapped, -1)),
        service_part("service-part-longer", wrapped + b"\x00"),
        file_part("key-file-part-empty", b""),
        file_part("key-file-version-0", with_byte(part, 0, 0), "UnsupportedVersion"),
        file_part("key-file-version-2", with_byte(part, 0, 2), "UnsupportedVersion"),
        file_part("key-file-nonce-changed", flip(part, 1)),
        file_part("key-file-ciphertext-changed", flip(part, 13)),
        file_part("key-file-tag-changed", flip(part, -1)),
        file_part("key-file-part-cut", part[:-1]),
        file_part("key-file-part-longer", part + b"\x00"),
        file_part("part-of-another-keyring", foreign),
        invalid("id-changed", "provider", flip(SEALED, 6), error="KeyringError"),
        words_part("passphrase-version-2", with_byte(words, 0, 2), "UnsupportedVersion"),
        words_part("passphrase-part-cut-in-the-cost", words[:9]),
        words_part("passphrase-part-cut-in-the-salt", words[:25]),
        words_part("passphrase-salt-changed", flip(words, 10)),
        words_part("passphrase-cost-changed", cost(9, 1, 1)),
        words_part("passphrase-memory-7-kib", cost(7, 1, 1)),
        words_part("passphrase-memory-for-fewer-lanes", cost(31, 1, 4)),
        words_part("passphrase-memory-over-256-mib", cost(262_145, 1, 1)),
        words_part("passphrase-memory-4-tib", cost(2**32 - 1, 1, 1)),
        words_part("passphrase-no-pass", cost(8, 0, 1)),
        words_part("passphrase-13-passes", cost(8, 13, 1)),
        words_part("passphrase-no-lane", cost(8, 1, 0)),
        words_part("passphrase-17-lanes", cost(136, 1, 17)),
        words_part("passphrase-tag-changed", flip(words, -1)),
        words_part("wrong-passphrase", words, using=wrong),
    ]


def of_body() -> list[Vector]:
    short_key = put_together(NEW, parts_of(NEW, [FILE], "invalid", 16), "invalid", size=16)
    two = sealed(NEW, [FILE, OTHER_FILE], "invalid")
    one_of_two = SEALED[:-BODY_BYTES] + two[-BODY_BYTES:]
    return [
        invalid("body-key-of-16-bytes", "body-key", short_key, error="KeyringError"),
        invalid("serial-changed", "body", flip(SEALED, 29)),
        invalid("recipient-removed", "body", one_of_two),
        invalid("recipient-added", "body", two[:-BODY_BYTES] + SEALED[-BODY_BYTES:]),
        invalid("body-missing", "body", SEALED[:-BODY_BYTES]),
        invalid("body-shorter-than-nonce-and-tag", "body", SEALED[: 27 - BODY_BYTES]),
        invalid("body-nonce-changed", "body", flip(SEALED, -BODY_BYTES)),
        invalid("body-ciphertext-changed", "body", flip(SEALED, 12 - BODY_BYTES)),
        invalid("body-tag-changed", "body", flip(SEALED, -1)),
        invalid("body-cut", "body", SEALED[:-1]),
        invalid("body-longer", "body", SEALED + b"\x00"),
    ]


def of_keys() -> list[Vector]:
    plain = encoded(NEW)

    def resealed(name: str, changed: bytes, error: str = "IntegrityError") -> Vector:
        return invalid(name, "keys", put_together(NEW, PARTS, "invalid", plain=changed), error=error)

    def with_keys(name: str, *keys: bytes, error: str = "IntegrityError") -> Vector:
        return resealed(name, plain[:24] + lp_list(list(keys)), error)

    first = encoded_key(NEW["keys"][0])
    unknown = encoded_key(key("something-later", 1))
    return [
        resealed("inner-id-differs", flip(plain, 0)),
        resealed("inner-serial-differs", flip(plain, 23)),
        resealed("inner-empty", b""),
        resealed("inner-cut", plain[:-1]),
        resealed("inner-byte-left-over", plain + b"\x00"),
        with_keys("secret-of-31-bytes", first[:-1]),
        with_keys("secret-of-33-bytes", first + b"\x00"),
        with_keys("one-version-twice", first, first),
        with_keys("purpose-unknown", first, unknown, error="UnsupportedVersion"),
        with_keys("purpose-0", b"\x00" + first[1:], error="UnsupportedVersion"),
    ]


def of_key_files() -> Vector:
    secret = drawn("key file", 32)
    line = b"lunacore-seal-v1:" + base64.b64encode(secret)
    bad_bits = line[:-2] + bytes([line[-2] + 1]) + b"="
    return {
        "valid": [
            {"name": name, "content": (line + end).hex(), "key": secret.hex(), "provider": FILE["name"]}
            for name, end in {"newline": b"\n", "no-newline": b"", "carriage-return": b"\r\n"}.items()
        ],
        "invalid": [
            {"name": name, "content": content.hex()}
            for name, content in {
                "empty": b"",
                "no-prefix": line[17:],
                "later-version": line.replace(b"v1", b"v2"),
                "prefix-in-capitals": line.replace(b"luna", b"LUNA"),
                "padding-missing": line[:-1],
                "padding-bits-set": bad_bits,
                "31-bytes": b"lunacore-seal-v1:" + base64.b64encode(secret[:31]),
                "33-bytes": b"lunacore-seal-v1:" + base64.b64encode(secret + b"\x00"),
                "two-newlines": line + b"\n\n",
                "space-in-front": b" " + line,
                "space-behind": line + b" \n",
                "two-keys": line + b"\n" + line + b"\n",
                "hexadecimal": b"lunacore-seal-v1:" + secret.hex().encode(),
                "url-safe-base64": b"lunacore-seal-v1:" + base64.urlsafe_b64encode(b"\xff" * 32),
            }.items()
        ],
    }


def document() -> Vector:
    return {
        "format": "LunaCore keyring, version 1 (docs/spec/keyring.md)",
        "random": "of a valid keyring: all random bytes in the order drawn: body key, what each provider draws, nonce",
        "layers": ["head", "recipients", "provider", "body-key", "body", "keys"],
        "valid": [valid(name) for name in VALID],
        "invalid": [*of_head(), *of_recipients(), *of_provider(), *of_body(), *of_keys()],
        "key_files": of_key_files(),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(document(), indent=1) + "\n")
