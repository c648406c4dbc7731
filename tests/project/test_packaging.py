"""What is published: a source distribution that can be built, and a wheel that holds what it should and no more."""

from __future__ import annotations

import configparser
import importlib.metadata
import subprocess
import sys
import tarfile
import tomllib
from email import message_from_bytes
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import pytest

if TYPE_CHECKING:
    from email.message import Message

# One worker runs them all, and so makes what they share once.
pytestmark = pytest.mark.xdist_group("packaging")

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = ("lunacore", "lunacore_backends", "lunacore_http")
BACKENDS = [
    pytest.param(group, name, target, id=f"{group}:{name}")
    for group, entries in PROJECT["entry-points"].items()
    if group.startswith("lunacore.")
    for name, target in entries.items()
]
# Backends whose library comes with an extra, as "group:name"; every other one must work with the base dependencies.
NEEDS_EXTRA = frozenset(
    {
        *(f"lunacore.{group}:s3" for group in ("audit", "keyring", "objects", "records")),
        *(f"lunacore.{group}:{scheme}" for group in ("grants", "records") for scheme in ("postgres", "postgresql")),
        *(f"lunacore.grants:{scheme}" for scheme in ("redis", "rediss")),
        *(f"lunacore.seal:{scheme}" for scheme in ("awskms", "openbao", "vault")),
    }
)
# Modules of the core that its users' tests import, which come with the extra `testing`.
TESTING = "lunacore.testing"

# Refuses every module that neither the standard library nor a base dependency brings.
WITHOUT_EXTRAS = """
import importlib, sys

ALLOWED = sys.stdlib_module_names | {
    "lunacore", "lunacore_backends", "lunacore_http", "attr", "attrs", "cryptography", "cffi", "_cffi_backend", "pycparser",
    "fsspec",
}

class OnlyBase:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ALLOWED:
            raise ModuleNotFoundError(f"{name} is in no base dependency", name=name)
        return None

sys.meta_path.insert(0, OnlyBase())
for module in sys.argv[1:]:
    importlib.import_module(module)
"""


def build(kind: str, source: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    result = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    return root


@pytest.fixture(scope="module")
def wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution, as installers do that take the latter."""
    return build("wheel", unpacked, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def contents(wheel: Path) -> dict[str, bytes]:
    with ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def dist_info(contents: dict[str, bytes], name: str) -> bytes:
    (path,) = (path for path in contents if path.endswith(f".dist-info/{name}"))
    return contents[path]


@pytest.fixture(scope="module")
def metadata(contents: dict[str, bytes]) -> Message:
    return message_from_bytes(dist_info(contents, "METADATA"))


def test_wheel_holds_the_three_packages_and_nothing_else(contents: dict[str, bytes]) -> None:
    tops = {name.partition("/")[0] for name in contents}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_wheel_holds_every_module_and_page(contents: dict[str, bytes], package: str) -> None:
    written = {
        path.relative_to(ROOT).as_posix()
        for suffix in ("py", "js", "css", "html")
        for path in (ROOT / package).rglob(f"*.{suffix}")
    }
    assert f"{package}/__init__.py" in written
    assert written <= set(contents)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(contents: dict[str, bytes], package: str) -> None:
    assert f"{package}/py.typed" in contents


def test_wheel_holds_the_license(contents: dict[str, bytes], metadata: Message) -> None:
    assert dist_info(contents, "licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert metadata["License-Expression"] == "Apache-2.0"


def test_metadata(metadata: Message) -> None:
    version: dict[str, str] = {}
    exec((ROOT / "lunacore" / "version.py").read_text(encoding="utf-8"), version)
    assert metadata["Name"] == "lunacore"
    assert metadata["Version"] == version["__version__"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])
    base = {line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}
    assert {line.partition(">")[0] for line in base} == {"attrs", "cryptography", "fsspec"}
    assert metadata.get_payload(decode=True) == (ROOT / "README.md").read_bytes()


def test_entry_points(contents: dict[str, bytes]) -> None:
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.read_string(dist_info(contents, "entry_points.txt").decode())
    written = {group: dict(parser[group]) for group in parser.sections()}
    assert written == {"console_scripts": PROJECT["scripts"], **PROJECT["entry-points"]}


@pytest.mark.parametrize(("group", "name", "target"), BACKENDS)
def test_backend_can_be_loaded(group: str, name: str, target: str) -> None:
    assert callable(importlib.metadata.EntryPoint(name, target, group).load())


@pytest.mark.parametrize(("name", "target"), PROJECT["scripts"].items())
def test_command_can_be_loaded(name: str, target: str) -> None:
    assert callable(importlib.metadata.EntryPoint(name, target, "console_scripts").load())


def without_extras(*modules: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, *modules], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_check_for_extras_can_fail() -> None:
    result = without_extras("falcon")
    assert result.returncode != 0
    assert "falcon is in no base dependency" in result.stderr


def core_modules() -> list[str]:
    paths = sorted((ROOT / "lunacore").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return [name for name in names if name != TESTING and not name.startswith(f"{TESTING}.")]


def test_core_imports_without_extras() -> None:
    modules = core_modules()
    assert "lunacore" in modules
    result = without_extras(*modules)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("group", "name", "target"), BACKENDS)
def test_embedded_backend_imports_without_extras(group: str, name: str, target: str) -> None:
    if f"{group}:{name}" in NEEDS_EXTRA:
        return
    result = without_extras(target.partition(":")[0])
    assert result.returncode == 0, result.stderr
