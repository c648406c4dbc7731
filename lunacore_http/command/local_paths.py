"""Local files and directories of a deployment: who may read and write them, whose they are, how much room is left."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lunacore.diagnosis import ok, problem, warning
from lunacore.errors import ConfigError
from lunacore.plugins import BackendURL
from lunacore_backends.auditsinks.jsonlines import FILE_NAME
from lunacore_http.command import local_identity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lunacore.config import Config
    from lunacore.diagnosis import Finding

WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
READABLE_BY_OTHERS: Final = stat.S_IRGRP | stat.S_IROTH
LITTLE_SPACE: Final = 1 << 30
NO_SPACE: Final = 64 << 20

_LOCAL_SCHEMES: Final = ("file", "sqlite", "passphrase")
_SECRET: Final = ("seal",)
EMBEDDED: Final = {
    "records": "records.sqlite",
    "grants": "grants.sqlite",
    "objects": "objects",
    "keyring": "keyring",
    "seal": "seal.key",
    "audit": "audit/audit.jsonl",
}
"""Where the parts lie in the data directory."""


def path_of(config: Config, store: str) -> Path | None:
    """The local path of a store, None if it lies elsewhere or its URL is wrong; the first one of several key providers."""
    return next(iter(paths_of(config, store)), None)


def paths_of(config: Config, store: str) -> list[Path]:
    """The local paths of a store: at most one, but for the key providers."""
    given = getattr(config.tokenizer, store)
    if not given:
        return [config.data_dir / EMBEDDED[store]]
    urls = [url for entry in given for url in entry] if store == "seal" else [given]
    return [path for path in (_local_path(url, store) for url in urls) if path is not None]


def audit_copy_path(config: Config) -> Path | None:
    """The local path of the second place for checkpoints, None if it lies elsewhere or nowhere."""
    return _local_path(config.audit.copy, "audit") if config.audit.copy else None


def _local_path(url: str, store: str) -> Path | None:
    try:
        parsed = BackendURL.parse(url, f"tokenizer.{store}")
    except ConfigError:
        return None
    if parsed.scheme not in _LOCAL_SCHEMES or not parsed.path:
        return None
    path = Path(parsed.path)
    is_log_directory = store == "audit" and (parsed.path.endswith("/") or path.is_dir())
    return path / FILE_NAME if is_log_directory else path


def is_missing(config: Config, store: str) -> bool:
    """Whether a store should lie on this machine, but is not there; a start would make it."""
    path = path_of(config, store)
    return path is not None and not path.exists()


def is_anothers(path: Path | None) -> bool:
    """Whether a path belongs to another user, so that what is written there now could be out of that user's reach."""
    return path is not None and path.exists() and path.stat().st_uid != os.geteuid()


def examine(config: Config) -> Iterator[Finding]:
    """Look at every local path that the configuration names."""
    seen: set[int] = set()
    for store, path in [(name, path) for name in EMBEDDED for path in paths_of(config, name)]:
        if not path.exists():
            continue
        part = f"tokenizer.{store}"
        yield from _permissions(path, part, secret=store in _SECRET)
        yield from _owner(path, part)
        yield from _free_space(path, part, seen)
    yield from _key_files(config)


def examine_data_dir(config: Config) -> Iterator[Finding]:
    """Look at the data directory itself."""
    directory, part = config.data_dir, "tokenizer.data_dir"
    if not directory.is_dir():
        yield problem(
            part,
            f"there is no directory {directory}",
            "name it with --data, or make it with lunacore serve or keys init",
        )
        return
    yield from _permissions(directory, part, secret=False)
    yield from _owner(directory, part)


def _key_files(config: Config) -> Iterator[Finding]:
    named = {
        "tokenizer.tls_key": config.tokenizer.tls_key,
        "gateway.key": config.gateway.key,
        "local identity": "" if config.identity else str(config.data_dir / local_identity.KEY_FILE),
    }
    for part, name in named.items():
        if name and Path(name).exists():
            yield from _permissions(Path(name), part, secret=True)
        elif name and part != "local identity":
            yield problem(part, f"there is no file {name}", "correct the setting, or restore the file")


def _permissions(path: Path, part: str, *, secret: bool) -> Iterator[Finding]:
    mode = path.stat().st_mode
    right = "700" if stat.S_ISDIR(mode) else "600"
    if mode & WRITABLE_BY_OTHERS:
        yield problem(part, f"others than its owner may write {path}", f"chmod {right} {path}")
    elif mode & READABLE_BY_OTHERS and secret:
        yield problem(part, f"others than its owner may read {path}", f"chmod {right} {path}")
    elif mode & READABLE_BY_OTHERS:
        yield warning(part, f"others than its owner may read {path}", f"chmod {right} {path}")
    else:
        yield ok(part, f"{path} is open to its owner alone")


def _owner(path: Path, part: str) -> Iterator[Finding]:
    if is_anothers(path):
        yield warning(
            part,
            f"{path} belongs to user number {path.stat().st_uid}, and this is user number {os.geteuid()}",
            "run lunacore as the user that the server runs as; what others write there it may be unable to read",
        )


def _free_space(path: Path, part: str, seen: set[int]) -> Iterator[Finding]:
    device = path.stat().st_dev
    if device in seen:
        return
    seen.add(device)
    free = shutil.disk_usage(path).free
    text = f"{free / (1 << 30):.1f} GiB free where {path} lies"
    if free < NO_SPACE:
        yield problem(part, text, "make room: nothing can be put away on a full disk")
    elif free < LITTLE_SPACE:
        yield warning(part, text, "make room soon")
    else:
        yield ok(part, text)
