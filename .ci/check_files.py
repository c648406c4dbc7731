"""Checks that no file of the project names a package registry, or a path that exists on one machine alone.

Such a name would send other people's installations to a host that they did not choose, or fail for them. Beside the hosts that
are known, those that this machine's own settings name are searched for.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# Package downloads, not the pages about packages that a README may link to.
KNOWN_HOSTS = re.compile(
    r"files\.pythonhosted\.org|pypi\.org/simple|registry\.npmjs\.org|registry\.yarnpkg\.com|proxy\.golang\.org"
)
LOCAL_PATHS = re.compile(r"(?<![\w./$~}-])/(?:home/\w|Users/\w|root/|tmp/|private/tmp/|mnt/[a-z]/)")
# In a requirements file any of these pins the place that packages come from.
PLACES = re.compile(r"--(?:extra-)?index-url|--find-links|--trusted-host|--default-index|://|\s@\s|^-[if]\s")
INDEX_VARIABLES = re.compile(
    r"^(?:PIP_(?:EXTRA_)?INDEX_URL|PIP_FIND_LINKS|UV_(?:EXTRA_)?INDEX_URL|UV_(?:DEFAULT_)?INDEX|UV_FIND_LINKS"
    r"|GOPROXY|NPM_CONFIG_REGISTRY|YARN_REGISTRY)$",
    re.IGNORECASE,
)
CONFIG_FILES = (
    "/etc/pip.conf",
    "~/.config/pip/pip.conf",
    "~/.pip/pip.conf",
    "~/.config/uv/uv.toml",
    "/etc/uv/uv.toml",
    "~/.npmrc",
)
URL = re.compile(r"https?://[^\s,|\"']+")
# Other people's files, which are kept as they are; what they name is a path within WebAssembly.
VENDORED = re.compile(r"lunacore_http/frame/pdf/.*\.min\.mjs")
# These are named in examples, and everyone has them.
EVERYONES_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", "pypi.org", "github.com"})


def local_hosts(environment: Mapping[str, str], config_files: Iterable[Path]) -> frozenset[str]:
    """Hosts of the package indexes that this machine's settings name."""
    texts = [value for name, value in environment.items() if INDEX_VARIABLES.match(name)]
    texts += [path.read_text(encoding="utf-8", errors="replace") for path in config_files if path.is_file()]
    hosts = {urlsplit(url).hostname for text in texts for url in URL.findall(text)}
    return frozenset(host for host in hosts if host) - EVERYONES_HOSTS


def machine_patterns(root: Path, hosts: frozenset[str]) -> list[tuple[str, re.Pattern[str]]]:
    """What to search for in every file, each with the name that a complaint gives it."""
    patterns = [("a package registry", KNOWN_HOSTS), ("a local path", LOCAL_PATHS)]
    patterns.append(("the path of this checkout", re.compile(re.escape(str(root)) + r"(?!\w)")))
    patterns += [("this machine's package registry", re.compile(re.escape(host))) for host in sorted(hosts)]
    return patterns


def complaints(name: str, text: str, patterns: Iterable[tuple[str, re.Pattern[str]]]) -> Iterator[str]:
    """One line for each finding in the file ``name``; the finding itself is not repeated."""
    looked_for = list(patterns)
    if name.startswith("requirements/"):
        looked_for.append(("a place that packages come from", PLACES))
    for number, line in enumerate(text.splitlines(), start=1):
        for what, pattern in looked_for:
            if pattern.search(line):
                yield f"{name}:{number}: names {what}"


def project_files(root: Path) -> list[str]:
    """Names of all files that are committed or could be: tracked, and new ones that are not ignored."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sorted({name for name in listing.split("\0") if name and (root / name).is_file()})


def main() -> int:
    root = Path(__file__).resolve().parent.parent
    config_files = [Path(name).expanduser() for name in CONFIG_FILES]
    patterns = machine_patterns(root, local_hosts(os.environ, config_files))
    found = [
        complaint
        for name in project_files(root)
        if not VENDORED.fullmatch(name)
        for complaint in complaints(name, (root / name).read_text(encoding="utf-8", errors="replace"), patterns)
    ]
    for complaint in found:
        print(complaint, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
