"""The segment format in the browser: the shared vectors, and the same bytes as Python's, both ways."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lunacore import segments

if TYPE_CHECKING:
    from playwright.sync_api import Page


VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "segments.json").read_text(encoding="utf-8"))

# What every script below begins with; octets pass as base64 or hex.
_GLUE = """
const { seal, open } = await import(asked.module);
const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (two) => parseInt(two, 16));
const fromBase64 = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
const toBase64 = (octets) => { let text = ""; for (const one of octets) text += String.fromCharCode(one); return btoa(text); };
const sha256 = async (octets) =>
  [...new Uint8Array(await crypto.subtle.digest("SHA-256", octets))].map((one) => one.toString(16).padStart(2, "0")).join("");
const plainOf = (size) => Uint8Array.from({ length: size }, (_, place) => place % 251);
const sealed = (vector) => seal(fromHex(vector.key), plainOf(vector.plain_size), vector.purpose, () => fromHex(vector.salt));
"""


def run(hub: Page, script: str, **asked: Any) -> Any:
    script_url = hub.locator("script").get_attribute("src")
    assert script_url is not None
    asked["module"] = script_url.replace("hub.js", "segments.js")
    return hub.evaluate(f"async (asked) => {{ {_GLUE} {script} }}", asked)


def test_every_valid_vector_seals_to_the_same_bytes_and_opens(hub: Page) -> None:
    told = run(
        hub,
        """
        const told = [];
        for (const vector of asked.vectors) {
          const made = await sealed(vector);
          const opened = await open(fromHex(vector.key), made, vector.purpose);
          told.push([vector.name, made.length, await sha256(made), await sha256(opened)]);
        }
        return told;
        """,
        vectors=VECTORS["valid"],
    )
    assert told == [
        [one["name"], one["sealed_size"], one["sealed_sha256"], one["plain_sha256"]] for one in VECTORS["valid"]
    ]


def test_every_invalid_vector_is_refused_for_the_right_reason(hub: Page) -> None:
    told = run(
        hub,
        """
        const whole = new Map();
        for (const vector of asked.valid) whole.set(vector.name, await sealed(vector));
        const told = [];
        for (const vector of asked.vectors) {
          const pieces = vector.pieces.map((one) => "hex" in one ? fromHex(one.hex) : whole.get(one.of).subarray(one.from, one.to));
          const stream = new Uint8Array(await new Blob(pieces).arrayBuffer());
          let error = "none";
          try { await open(fromHex(vector.key), stream, vector.purpose); } catch (thrown) { error = thrown.name; }
          told.push([vector.name, await sha256(stream), error]);
        }
        return told;
        """,
        valid=VECTORS["valid"],
        vectors=VECTORS["invalid"],
    )
    assert told == [[one["name"], one["sealed_sha256"], one["error"]] for one in VECTORS["invalid"]]


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 200_001])
def test_what_one_seals_the_other_opens(hub: Page, size: int) -> None:
    key, value = os.urandom(32), os.urandom(size)
    by_python = segments.seal_bytes(key, value, segments.Purpose.VALUE, os.urandom)
    opened, by_browser = run(
        hub,
        """
        const key = fromBase64(asked.key);
        const opened = await open(key, fromBase64(asked.sealed), "value");
        return [toBase64(opened), toBase64(await seal(key, opened, "value"))];
        """,
        key=base64.b64encode(key).decode(),
        sealed=base64.b64encode(by_python).decode(),
    )
    assert base64.b64decode(opened) == value
    again = base64.b64decode(by_browser)
    assert segments.open_bytes(key, again, segments.Purpose.VALUE) == value
    assert again[8:40] != by_python[8:40]  # a new salt for every write
