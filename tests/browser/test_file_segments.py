"""The segment format as files pass through it: the shared vectors, piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.test_segments import VECTORS

if TYPE_CHECKING:
    from playwright.sync_api import Page


_GLUE = """
const files = await import(asked.modules + "file-segments.js");
const { seal } = await import(asked.modules + "segments.js");
const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (two) => parseInt(two, 16));
const sha256 = async (octets) =>
  [...new Uint8Array(await crypto.subtle.digest("SHA-256", octets))].map((one) => one.toString(16).padStart(2, "0")).join("");
const plainOf = (size) => Uint8Array.from({ length: size }, (_, place) => place % 251);
const opened = async (key, sealed, step) => {
  const opening = new files.OpeningFile(key, sealed.length);
  for (let start = 0; start < sealed.length; start += step) await opening.take(sealed.slice(start, start + step));
  return new Uint8Array(await opening.value().arrayBuffer());
};
"""
OF_VALUES = [one for one in VECTORS["valid"] if one["purpose"] == "value"]


def run(hub: Page, script: str, **asked: Any) -> Any:
    source = hub.locator("script").get_attribute("src")
    assert source is not None
    return hub.evaluate(f"async (asked) => {{ {_GLUE} {script} }}", {**asked, "modules": source.removesuffix("hub.js")})


def test_a_file_seals_to_the_bytes_of_the_vectors(hub: Page) -> None:
    told = run(
        hub,
        """
        const told = [];
        for (const vector of asked.vectors) {
          const random = () => fromHex(vector.salt);
          const sealed = await files.sealFile(fromHex(vector.key), new File([plainOf(vector.plain_size)], "x"), { random });
          told.push([vector.name, sealed.size, await sha256(await sealed.arrayBuffer())]);
        }
        return told;
        """,
        vectors=OF_VALUES,
    )
    assert told == [[one["name"], one["sealed_size"], one["sealed_sha256"]] for one in OF_VALUES]


@pytest.mark.parametrize("step", [1_000, 65_552, 10_000_000])
def test_a_file_opens_however_its_bytes_arrive(hub: Page, step: int) -> None:
    told = run(
        hub,
        """
        const told = [];
        for (const vector of asked.vectors) {
          const sealed = await seal(fromHex(vector.key), plainOf(vector.plain_size), vector.purpose, () => fromHex(vector.salt));
          told.push([vector.name, await sha256(await opened(fromHex(vector.key), sealed, asked.step))]);
        }
        return told;
        """,
        vectors=OF_VALUES,
        step=step,
    )
    assert told == [[one["name"], one["plain_sha256"]] for one in OF_VALUES]


def test_nothing_comes_of_a_file_that_is_not_whole_and_unchanged(hub: Page) -> None:
    vectors = [one for one in VECTORS["invalid"] if one["purpose"] == "value"]
    assert len(vectors) > 20
    told = run(
        hub,
        """
        const whole = new Map();
        for (const vector of asked.valid) {
          whole.set(vector.name, await seal(fromHex(vector.key), plainOf(vector.plain_size), vector.purpose, () => fromHex(vector.salt)));
        }
        const told = [];
        for (const vector of asked.vectors) {
          const pieces = vector.pieces.map((one) => "hex" in one ? fromHex(one.hex) : whole.get(one.of).subarray(one.from, one.to));
          const sealed = new Uint8Array(await new Blob(pieces).arrayBuffer());
          let name = "none";
          try { await opened(fromHex(vector.key), sealed, 30_000); } catch (error) { name = error.name; }
          told.push([vector.name, name]);
        }
        return told;
        """,
        valid=VECTORS["valid"],
        vectors=vectors,
    )
    names = {"UnsupportedVersion": "unsupportedVersion", "IntegrityError": "damaged"}
    assert told == [[one["name"], names[one["error"]]] for one in vectors]


def test_nothing_is_released_before_the_last_segment_has_opened(hub: Page) -> None:
    told = run(
        hub,
        """
        const key = new Uint8Array(32);
        const sealed = await seal(key, plainOf(3_000_000), "value");
        const opening = new files.OpeningFile(key, sealed.length);
        await opening.take(sealed.slice(0, sealed.length - 1));
        const told = [opening.whole];
        try { opening.value(); told.push("released"); } catch (error) { told.push(error.name); }
        await opening.take(sealed.slice(-1));
        told.push(opening.whole, opening.value().size);
        try { await opening.take(new Uint8Array(1)); told.push("took more"); } catch (error) { told.push(error.name); }
        return told;
        """,
    )
    assert told == [False, "damaged", True, 3_000_000, "damaged"]
