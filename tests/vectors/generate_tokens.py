"""Write the vectors of tokens to standard output.

    python tests/vectors/generate_tokens.py > tests/vectors/tokens.json

A second implementation of docs/spec/tokens.md that imports nothing of LunaCore, so that vectors and code can disagree.
"""

from __future__ import annotations

import hashlib
import json
import sys

Vector = dict[str, object]

GOOD = "lunasec-01234567-89ab-4cde-8f01-23456789abcd"


def mint(random: bytes) -> str:
    digits = bytearray(random.hex(), "ascii")
    digits[12] = ord("4")
    digits[16] = ord("89ab"[int(chr(digits[16]), 16) & 3])
    text = digits.decode("ascii")
    return f"lunasec-{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def minted(random: bytes) -> Vector:
    token = mint(random)
    return {"random": random.hex(), "token": token, "kind": 1, "canonical": token.encode("ascii").hex()}


def invalid(name: str, layer: str, text: str) -> Vector:
    return {"name": name, "layer": layer, "text": text}


def main() -> None:
    seeds = [bytes(16), b"\xff" * 16, bytes(range(16)), *(hashlib.sha256(bytes([i])).digest()[:16] for i in range(8))]
    vectors = {
        "format": "LunaCore tokens (docs/spec/tokens.md)",
        "generate": [minted(seed) for seed in seeds],
        "invalid": [
            invalid("too-long", "length", GOOD + "0" * 300),
            invalid("one-over-the-limit", "length", "x" * 257),
            invalid("letter-outside-ascii", "ascii", GOOD[:-1] + "\u0430"),
            invalid("full-width-digit", "ascii", GOOD[:-1] + "\uff11"),
            invalid("arabic-digit", "ascii", GOOD[:-1] + "\u0661"),
            invalid("byte-order-mark", "ascii", "\ufeff" + GOOD),
            invalid("empty", "kind", ""),
            invalid("prefix-only", "kind", "lunasec-"),
            invalid("no-prefix", "kind", GOOD.removeprefix("lunasec-")),
            invalid("other-prefix", "kind", GOOD.replace("lunasec-", "lunacor-")),
            invalid("upper-case-prefix", "kind", GOOD.replace("lunasec", "LUNASEC")),
            invalid("upper-case-digits", "kind", GOOD[:8] + GOOD[8:].upper()),
            invalid("one-digit-missing", "kind", GOOD[:-1]),
            invalid("one-digit-more", "kind", GOOD + "0"),
            invalid("no-digit", "kind", GOOD[:-1] + "g"),
            invalid("no-hyphens", "kind", "lunasec-" + GOOD[8:].replace("-", "")),
            invalid("hyphen-moved", "kind", "lunasec-0123456-789ab-4cde-8f01-23456789abcd"),
            invalid("braces", "kind", "lunasec-{" + GOOD[8:] + "}"),
            invalid("version-1", "kind", GOOD.replace("-4cde-", "-1cde-")),
            invalid("version-7", "kind", GOOD.replace("-4cde-", "-7cde-")),
            invalid("variant-0", "kind", GOOD.replace("-8f01-", "-0f01-")),
            invalid("variant-c", "kind", GOOD.replace("-8f01-", "-cf01-")),
            invalid("nil-uuid", "kind", "lunasec-00000000-0000-0000-0000-000000000000"),
            invalid("space-before", "kind", " " + GOOD),
            invalid("space-behind", "kind", GOOD + " "),
            invalid("newline-behind", "kind", GOOD + "\n"),
            invalid("nul-behind", "kind", GOOD + "\0"),
            invalid("two-tokens", "kind", GOOD + GOOD),
            invalid("in-quotes", "kind", f'"{GOOD}"'),
        ],
    }
    json.dump(vectors, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
