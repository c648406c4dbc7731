"""Key providers that need no other service: a key file (``file:``) and a passphrase (``passphrase:``).

Both seal with AES-256-GCM. A passphrase is stretched with Argon2id (RFC 9106). ``docs/spec/keyring.md`` specifies every byte.
"""

from __future__ import annotations

import base64
import binascii
import os
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from attrs import evolve, field, frozen
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from lunacore import keys
from lunacore.errors import ConfigError, IntegrityError, KeyringError, UnsupportedVersion
from lunacore.fields import FieldReader
from lunacore_backends import local_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lunacore.plugins import BackendURL, Surroundings

FILE_PREFIX: Final = b"lunacore-seal-v1:"
SEAL_VERSION: Final = 1
SALT_BYTES: Final = 16
MAX_FILE_BYTES: Final = 4096

_VERSION: Final = bytes([SEAL_VERSION])
_FINGERPRINT_BYTES: Final = 8


def open_key_file(url: BackendURL, surroundings: Surroundings) -> KeyFile:
    """The key provider of a key file; with ``?create=missing`` one is made where there is none.

    Raises:
        KeyringError: the file is missing, open to others than its owner, or holds no key.
        ConfigError: the URL is wrong.
    """
    setting = surroundings.setting
    url.refuse_unknown_options(setting, "create")
    path = local_files.path_of(url, setting)
    if url.choice(setting, "create", "never", "missing") == "missing" and not path.exists():
        with suppress(FileExistsError):  # another process was first; its key is as good
            _write_key_file(path, surroundings.random)
    return KeyFile(_decode_key(_read_secret(path, setting), path, setting), setting, surroundings.random)


def create_key_file(path: Path, random: Callable[[int], bytes]) -> None:
    """Write a new random key to ``path``, durably and with mode 0600; the directory must exist.

    Raises:
        KeyringError: there is a file already, which stays as it is, or the file cannot be written.
    """
    try:
        _write_key_file(path, random)
    except FileExistsError:
        raise KeyringError(f"{path} exists already; a key file is never overwritten") from None


def open_passphrase(url: BackendURL, surroundings: Surroundings) -> Passphrase:
    """The key provider of ``passphrase:///path/of/a/file`` or ``passphrase:?env=NAME``.

    Raises:
        KeyringError: the file or variable is missing or empty, or the file is open to others than its owner.
        ConfigError: the URL is wrong.
    """
    setting = surroundings.setting
    url.refuse_unknown_options(setting, "env")
    if bool(url.path or url.host) == ("env" in url.options):
        raise ConfigError(f"{setting} must be passphrase:///path/of/a/file or passphrase:?env=NAME")
    if "env" in url.options:
        text = _read_variable(url.options["env"], setting)
    else:
        text = _read_secret(local_files.path_of(url, setting), setting)
    passphrase = _without_newline(text)
    if not passphrase:
        raise KeyringError(f"{setting}: the passphrase is empty")
    return Passphrase(passphrase, setting, surroundings.random)


def open_ephemeral(url: BackendURL, surroundings: Surroundings) -> KeyFile:
    """A key that lives and dies with the process (``memory:``), for a keyring that does so too."""
    url.refuse_unknown_options(surroundings.setting)
    return KeyFile(surroundings.random(keys.KEY_BYTES), surroundings.setting, surroundings.random)


@frozen
class KeyFile:
    """A ``KeyProvider`` that holds a random key of 32 bytes."""

    _key: bytes = field(repr=False)
    _setting: str
    _random: Callable[[int], bytes] = field(repr=False)

    @property
    def name(self) -> str:
        """Fingerprinted, so that a keyring can be sealed for two key files and each finds its own part.

        The fingerprint is an expansion of a key too long to be guessed, and so tells nothing of it.
        """
        return f"file:{keys.expand(self._key, 'key-file-fingerprint', length=_FINGERPRINT_BYTES).hex()}"

    def seal(self, plain: bytes, context: bytes) -> bytes:
        return _VERSION + keys.seal(self._seal_key, plain, keys.lp(_VERSION, context), self._random)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        _check_version(sealed, self._setting)
        return _unseal(self._seal_key, sealed[1:], keys.lp(_VERSION, context), "key file", self._setting)

    @property
    def _seal_key(self) -> bytes:
        return keys.expand(self._key, "key-file-seal")


@frozen
class Argon2Cost:
    """What Argon2id is to cost: ``memory`` in KiB, passes over it, and lanes that may run at once (RFC 9106, section 3.1)."""

    memory: int
    passes: int
    lanes: int

    def encode(self) -> bytes:
        return _COST.pack(self.memory, self.passes, self.lanes)

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
        """Read the cost back.

        Raises:
            IntegrityError: it is impossible, or so high that only a hostile file would ask for it.
        """
        cost = cls(*_COST.unpack(encoded))
        if not (1 <= cost.lanes <= MAX_COST.lanes and 1 <= cost.passes <= MAX_COST.passes):
            raise IntegrityError("the passes or lanes of Argon2id are out of bounds")
        if not 8 * cost.lanes <= cost.memory <= MAX_COST.memory:
            raise IntegrityError("the memory of Argon2id is out of bounds")
        return cost


_COST: Final = struct.Struct(">IIB")

RECOMMENDED_COST: Final = Argon2Cost(memory=64 * 1024, passes=3, lanes=4)
"""The second recommended option of RFC 9106, section 4: 64 MiB, three passes, four lanes."""

MAX_COST: Final = Argon2Cost(memory=256 * 1024, passes=12, lanes=16)
"""The most that is accepted on reading: 256 MiB, which every machine that runs a tokenizer has."""


@frozen
class Passphrase:
    """A ``KeyProvider`` that stretches a passphrase, under a new salt for every seal."""

    _passphrase: bytes = field(repr=False)
    _setting: str
    _random: Callable[[int], bytes] = field(repr=False)
    _cost: Argon2Cost = RECOMMENDED_COST

    @property
    def name(self) -> str:
        """Bare: a fingerprint of a passphrase would let it be guessed without the cost of Argon2id."""
        return "passphrase"

    def with_cost(self, cost: Argon2Cost) -> Passphrase:
        """The same passphrase, sealing at another cost; what was sealed before still opens."""
        return evolve(self, cost=Argon2Cost.decode(cost.encode()))

    def seal(self, plain: bytes, context: bytes) -> bytes:
        salt = self._random(SALT_BYTES)
        head = _VERSION + self._cost.encode() + salt
        return head + keys.seal(self._stretch(salt, self._cost), plain, keys.lp(head, context), self._random)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        _check_version(sealed, self._setting)
        cost, salt, rest = self._read(sealed)
        head = sealed[: len(sealed) - len(rest)]
        return _unseal(self._stretch(salt, cost), rest, keys.lp(head, context), "passphrase", self._setting)

    def _read(self, sealed: bytes) -> tuple[Argon2Cost, bytes, bytes]:
        reader = FieldReader(sealed)
        try:
            reader.take(len(_VERSION))
            cost, salt = Argon2Cost.decode(reader.take(_COST.size)), reader.take(SALT_BYTES)
        except IntegrityError as problem:
            raise KeyringError(f"{self._setting}: what the passphrase sealed is damaged: {problem.message}") from None
        return cost, salt, reader.rest()

    def _stretch(self, salt: bytes, cost: Argon2Cost) -> bytes:
        stretching = Argon2id(
            salt=salt, length=keys.KEY_BYTES, iterations=cost.passes, lanes=cost.lanes, memory_cost=cost.memory
        )
        return stretching.derive(self._passphrase)


def _write_key_file(path: Path, random: Callable[[int], bytes]) -> None:
    line = FILE_PREFIX + base64.b64encode(random(keys.KEY_BYTES)) + b"\n"
    try:
        with local_files.written_beside(path, line) as temporary:
            path.hardlink_to(temporary)
        local_files.sync_directory(path.parent)
    except FileExistsError:
        raise
    except OSError as problem:
        raise KeyringError(f"cannot write the key file {path}: {problem.strerror}") from problem


def _read_secret(path: Path, setting: str) -> bytes:
    try:
        return local_files.read_guarded(path, setting, refuse=local_files.OPEN_TO_OTHERS, limit=MAX_FILE_BYTES)
    except FileNotFoundError:
        raise KeyringError(
            f"{setting}: there is no file {path}; restore it from its backup, or correct the setting"
        ) from None
    except OSError as problem:
        raise KeyringError(f"{setting}: cannot read {path}: {problem.strerror}") from problem


def _read_variable(name: str, setting: str) -> bytes:
    if name not in os.environ:
        raise KeyringError(f"{setting}: the environment variable {name} that should hold the passphrase is not set")
    return os.fsencode(os.environ[name])


def _without_newline(text: bytes) -> bytes:
    """Without the one newline that editors and ``echo`` leave at the end."""
    return text.removesuffix(b"\n").removesuffix(b"\r") if text.endswith(b"\n") else text


def _decode_key(text: bytes, path: Path, setting: str) -> bytes:
    line = _without_newline(text)
    encoded = line.removeprefix(FILE_PREFIX)
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        key = b""
    # Comparing with the one right encoding refuses every other spelling, and a missing prefix.
    if len(key) != keys.KEY_BYTES or not keys.equal(FILE_PREFIX + base64.b64encode(key), line):
        raise KeyringError(
            f"{setting}: {path} is no key file; make one with `lunacore keys init`, or restore its backup"
        )
    return key


def _check_version(sealed: bytes, setting: str) -> None:
    if not sealed:
        raise KeyringError(f"{setting}: the keyring's part for this key provider is empty")
    if sealed[0] != SEAL_VERSION:
        raise UnsupportedVersion(f"{setting}: the keyring is sealed in a form of version {sealed[0]}: upgrade LunaCore")


def _unseal(key: bytes, sealed: bytes, associated: bytes, what: str, setting: str) -> bytes:
    try:
        return keys.unseal(key, sealed, associated)
    except IntegrityError:
        raise KeyringError(
            f"{setting}: the {what} does not open the keyring; it is not the one that sealed it, or the keyring is damaged"
        ) from None
