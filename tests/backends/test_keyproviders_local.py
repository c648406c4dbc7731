"""Key files and passphrases: the contract, exact bytes, permissions, and what hostile files cannot do."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lunacore.errors import ConfigError, IntegrityError, KeyringError, UnsupportedVersion
from lunacore.plugins import BackendURL, Surroundings, open_backend
from lunacore.testing.key_provider import BODY_KEY, CONTEXT, KeyProviderContract
from lunacore_backends.keyproviders.local import (
    MAX_COST,
    RECOMMENDED_COST,
    Argon2Cost,
    KeyFile,
    Passphrase,
    create_key_file,
    open_key_file,
    open_passphrase,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lunacore.stores import KeyProvider

SETTING = "tokenizer.seal"
SURROUNDINGS = Surroundings(setting=SETTING, now=lambda: 0.0, random=os.urandom)
CHEAP = Argon2Cost(memory=8, passes=1, lanes=1)
KEY_LINE = b"lunacore-seal-v1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def key_file(path: Path) -> KeyFile:
    return open_key_file(BackendURL.parse(path.as_uri(), SETTING), SURROUNDINGS)


def passphrase(url: str) -> Passphrase:
    return open_passphrase(BackendURL.parse(url, SETTING), SURROUNDINGS)


def write_secret(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secret"


class TestKeyFile(KeyProviderContract):
    @pytest.fixture
    def open_provider(self, path: Path) -> Callable[[], KeyProvider]:
        create_key_file(path, os.urandom)
        return lambda: key_file(path)

    @pytest.fixture
    def stranger(self, tmp_path: Path) -> KeyProvider:
        create_key_file(tmp_path / "stranger", os.urandom)
        return key_file(tmp_path / "stranger")


class TestPassphrase(KeyProviderContract):
    """At the least cost: opening takes the cost from the sealed bytes, as it does at any other."""

    @pytest.fixture
    def open_provider(self, path: Path) -> Callable[[], KeyProvider]:
        write_secret(path, b"correct horse battery staple\n")
        return lambda: passphrase(f"passphrase://{path}").with_cost(CHEAP)

    @pytest.fixture
    def stranger(self) -> KeyProvider:
        return Passphrase(b"correct horse battery stapler", SETTING, os.urandom, CHEAP)


def test_the_entry_points_lead_here(path: Path) -> None:
    write_secret(path, KEY_LINE)
    assert isinstance(open_backend("seal", path.as_uri(), SURROUNDINGS), KeyFile)
    assert isinstance(open_backend("seal", f"passphrase://{path}", SURROUNDINGS), Passphrase)


def test_a_new_key_file_is_one_line_of_its_owner(path: Path) -> None:
    previous = os.umask(0)
    try:
        create_key_file(path, lambda count: bytes(range(count)))
    finally:
        os.umask(previous)
    assert path.read_bytes() == KEY_LINE + b"\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_key_file_is_never_overwritten(path: Path) -> None:
    path.write_bytes(b"precious")
    with pytest.raises(KeyringError, match="exists already; a key file is never overwritten"):
        create_key_file(path, os.urandom)
    assert path.read_bytes() == b"precious"
    assert list(path.parent.iterdir()) == [path]


def test_makes_a_missing_key_file_only_when_told_to(path: Path) -> None:
    url = BackendURL.parse(f"{path.as_uri()}?create=missing", SETTING)
    made = open_key_file(url, SURROUNDINGS)
    content = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert open_key_file(url, SURROUNDINGS) == made == key_file(path)
    assert path.read_bytes() == content
    path.unlink()
    with pytest.raises(KeyringError, match="there is no file"):
        key_file(path)
    with pytest.raises(ConfigError, match=rf"^{SETTING}: create must be never or missing$"):
        open_key_file(BackendURL.parse(f"{path.as_uri()}?create=always", SETTING), SURROUNDINGS)


def test_a_damaged_key_file_is_not_made_anew(path: Path) -> None:
    write_secret(path, b"damaged")
    with pytest.raises(KeyringError, match="is no key file"):
        open_key_file(BackendURL.parse(f"{path.as_uri()}?create=missing", SETTING), SURROUNDINGS)
    assert path.read_bytes() == b"damaged"


def test_of_many_that_make_a_key_file_all_get_the_same(path: Path) -> None:
    url = BackendURL.parse(f"{path.as_uri()}?create=missing", SETTING)
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(open_key_file, [url] * 16, [SURROUNDINGS] * 16))
    assert len({provider.name for provider in made}) == 1
    assert list(path.parent.iterdir()) == [path]


def test_a_key_file_needs_its_directory(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match=r"cannot write the key file .*: No such file or directory"):
        create_key_file(tmp_path / "missing" / "seal.key", os.urandom)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_reads_a_key_file_with_and_without_a_newline(path: Path, end: bytes) -> None:
    assert key_file(write_secret(path, KEY_LINE + end))._key == bytes(range(32))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"lunacore-seal-v1:",
        KEY_LINE[:-1],
        KEY_LINE[:-4],
        KEY_LINE + b"\n\n",
        KEY_LINE + b" \n",
        b" " + KEY_LINE,
        KEY_LINE.removeprefix(b"lunacore-seal-v1:"),
        KEY_LINE.replace(b"v1", b"v2"),
        # Sets bits behind the last byte, which a lenient reader would ignore.
        KEY_LINE.replace(b"8=", b"9="),
        KEY_LINE.replace(b"A", b"\xc3"),
        b"lunacore-seal-v1:" + b"AAECAwQF",
        b"correct horse battery staple",
        bytes(5000),
    ],
)
def test_refuses_what_is_no_key_file(path: Path, content: bytes) -> None:
    with pytest.raises(KeyringError, match=rf"^{SETTING}: {path} ") as refused:
        key_file(write_secret(path, content))
    shown = str(refused.value).encode()
    assert not content.strip() or content.strip() not in shown
    assert b"AAECAw" not in shown


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o610])
def test_refuses_a_secret_that_others_can_read(path: Path, mode: int) -> None:
    write_secret(path, KEY_LINE).chmod(mode)
    for open_it in (lambda: key_file(path), lambda: passphrase(f"passphrase://{path}")):
        with pytest.raises(KeyringError, match=rf"^{SETTING}: .*; run: chmod 600 {path}$"):
            open_it()


def test_a_secret_may_be_read_only(path: Path) -> None:
    write_secret(path, KEY_LINE).chmod(0o400)
    assert key_file(path)._key == bytes(range(32))


def test_a_missing_file_names_the_setting(path: Path) -> None:
    for open_it in (lambda: key_file(path), lambda: passphrase(f"passphrase://{path}")):
        with pytest.raises(KeyringError, match=rf"^{SETTING}: there is no file {path}; restore it from its backup"):
            open_it()


def test_a_directory_is_no_secret(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match=r"is not a regular file|Is a directory"):
        key_file(tmp_path)


def test_key_files_are_told_apart_by_name(path: Path) -> None:
    provider = key_file(write_secret(path, KEY_LINE))
    assert provider.name == "file:844aba098f3ec62f"
    assert len(provider.name) == len("file:") + 16


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_one_newline_is_no_part_of_a_passphrase(path: Path, end: bytes) -> None:
    assert passphrase(f"passphrase://{write_secret(path, b'a b' + end)}")._passphrase == b"a b"


@pytest.mark.parametrize("text", [b" a ", b"a\n\nb", b"\ta", "grüße".encode(), b"\xff", b"a\r"])
def test_all_else_is_part_of_a_passphrase(path: Path, text: bytes) -> None:
    assert passphrase(f"passphrase://{write_secret(path, text)}")._passphrase == text
    write_secret(path, text + b"\n")
    assert passphrase(f"passphrase://{path}")._passphrase == text.removesuffix(b"\r")


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n"])
def test_refuses_an_empty_passphrase(path: Path, content: bytes) -> None:
    with pytest.raises(KeyringError, match=rf"^{SETTING}: the passphrase is empty$"):
        passphrase(f"passphrase://{write_secret(path, content)}")


def test_takes_a_passphrase_from_the_environment(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setenv("LUNA_TEST_PASSPHRASE", "correct horse")
    from_variable = passphrase("passphrase:?env=LUNA_TEST_PASSPHRASE").with_cost(CHEAP)
    from_file = passphrase(f"passphrase://{write_secret(path, b'correct horse')}")
    assert from_file.open(from_variable.seal(BODY_KEY, CONTEXT), CONTEXT) == BODY_KEY


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LUNA_TEST_PASSPHRASE", raising=False)
    with pytest.raises(KeyringError, match=rf"^{SETTING}: the environment variable LUNA_TEST_PASSPHRASE "):
        passphrase("passphrase:?env=LUNA_TEST_PASSPHRASE")
    monkeypatch.setenv("LUNA_TEST_PASSPHRASE", "")
    with pytest.raises(KeyringError, match="the passphrase is empty"):
        passphrase("passphrase:?env=LUNA_TEST_PASSPHRASE")


@pytest.mark.parametrize(
    "url",
    ["passphrase:", "passphrase:///file?env=NAME", "passphrase:?text=secret", "passphrase:name", "passphrase://h/f"],
)
def test_refuses_wrong_passphrase_urls(url: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{SETTING}") as refused:
        passphrase(url)
    assert "secret" not in refused.value.message


def test_seals_at_the_recommended_cost() -> None:
    assert (RECOMMENDED_COST.memory, RECOMMENDED_COST.passes, RECOMMENDED_COST.lanes) == (65_536, 3, 4)
    provider = Passphrase(b"correct horse", SETTING, os.urandom)
    sealed = provider.seal(BODY_KEY, CONTEXT)
    assert sealed[:10] == bytes.fromhex("01 00010000 00000003 04")
    assert len(sealed) == 1 + 9 + 16 + 12 + len(BODY_KEY) + 16
    assert provider.open(sealed, CONTEXT) == BODY_KEY


@given(
    st.integers(0, 2**32 - 1) | st.integers(MAX_COST.memory - 1, MAX_COST.memory + 1) | st.integers(0, 130),
    st.integers(0, 2**32 - 1) | st.integers(0, MAX_COST.passes + 1),
    st.integers(0, 255) | st.integers(0, MAX_COST.lanes + 1),
)
@example(MAX_COST.memory + 1, 1, 1)
@example(31, 1, 4)
@example(8, MAX_COST.passes + 1, 1)
@example(256, 1, MAX_COST.lanes + 1)
@example(8, 0, 1)
@example(8, 1, 0)
def test_a_cost_out_of_bounds_is_refused_before_it_is_paid(memory: int, passes: int, lanes: int) -> None:
    cost = Argon2Cost(memory, passes, lanes)
    within = 1 <= lanes <= MAX_COST.lanes and 1 <= passes <= MAX_COST.passes and 8 * lanes <= memory <= MAX_COST.memory
    if within:
        assert Argon2Cost.decode(cost.encode()) == cost
        return
    with pytest.raises(IntegrityError):
        Argon2Cost.decode(cost.encode())
    # The same from outside: no gibibytes are asked for.
    sealed = Passphrase(b"x", SETTING, os.urandom, CHEAP).seal(BODY_KEY, CONTEXT)
    with pytest.raises(KeyringError, match="out of bounds"):
        Passphrase(b"x", SETTING, os.urandom).open(sealed[:1] + cost.encode() + sealed[10:], CONTEXT)


@pytest.mark.parametrize(
    "cost",
    [
        MAX_COST,
        Argon2Cost(memory=8, passes=1, lanes=1),
        Argon2Cost(memory=128, passes=12, lanes=16),
    ],
)
def test_costs_at_the_bounds_are_allowed(cost: Argon2Cost) -> None:
    assert Argon2Cost.decode(cost.encode()) == cost


def test_a_later_form_is_left_alone(path: Path) -> None:
    for provider in (key_file(write_secret(path, KEY_LINE)), Passphrase(b"x", SETTING, os.urandom, CHEAP)):
        sealed = provider.seal(BODY_KEY, CONTEXT)
        with pytest.raises(UnsupportedVersion, match=rf"^{SETTING}: .*version 2: upgrade LunaCore$"):
            provider.open(b"\x02" + sealed[1:], CONTEXT)


def test_a_wrong_key_names_the_setting(path: Path) -> None:
    create_key_file(path, os.urandom)
    one, other = key_file(path), KeyFile(os.urandom(32), SETTING, os.urandom)
    with pytest.raises(KeyringError, match=rf"^{SETTING}: the key file does not open the keyring"):
        one.open(other.seal(BODY_KEY, CONTEXT), CONTEXT)
    sealed = Passphrase(b"one", SETTING, os.urandom, CHEAP).seal(BODY_KEY, CONTEXT)
    with pytest.raises(KeyringError, match=rf"^{SETTING}: the passphrase does not open the keyring"):
        Passphrase(b"other", SETTING, os.urandom).open(sealed, CONTEXT)


def test_no_repr_shows_a_secret() -> None:
    key = bytes(range(65, 97))
    for provider in (KeyFile(key, SETTING, os.urandom), Passphrase(key, SETTING, os.urandom)):
        assert "ABCDEFGH" not in repr(provider)
        assert key.hex() not in repr(provider)
