"""Backends by URL: which scheme serves, what is missing, and that no error shows a credential."""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import pytest

from lunacore import plugins
from lunacore.errors import ConfigError
from lunacore.plugins import BackendURL, Surroundings, open_backend

if TYPE_CHECKING:
    from pathlib import Path

SURROUNDINGS = Surroundings(setting="tokenizer.records", now=lambda: 0.0, random=os.urandom)


@pytest.mark.parametrize(
    ("text", "scheme", "host", "path", "options", "shown"),
    [
        ("memory://", "memory", "", "", {}, "memory://"),
        ("memory:", "memory", "", "", {}, "memory://"),
        ("file:///etc/lunacore/keyring", "file", "", "/etc/lunacore/keyring", {}, "file:///etc/lunacore/keyring"),
        ("sqlite:///a%20b/ä.sqlite", "sqlite", "", "/a b/ä.sqlite", {}, "sqlite:///a b/ä.sqlite"),
        ("s3://luna?endpoint=https://minio:9000&ca=/x", "s3", "luna", "",
         {"endpoint": "https://minio:9000", "ca": "/x"}, "s3://luna"),
        ("postgresql://me:secret@db:5432/luna?sslmode=", "postgresql", "db:5432", "/luna", {"sslmode": ""},
         "postgresql://db:5432/luna"),
        ("redis://:p%40ss@cache/0", "redis", "cache", "/0", {}, "redis://cache/0"),
    ],
)  # fmt: skip
def test_urls_are_taken_apart(
    text: str, scheme: str, host: str, path: str, options: dict[str, str], shown: str
) -> None:
    url = BackendURL.parse(text, "tokenizer.records")
    assert (url.text, url.scheme, url.host, url.path, url.options, url.shown) == (
        text,
        scheme,
        host,
        path,
        options,
        shown,
    )
    assert "secret" not in repr(url)
    assert "p%40ss" not in repr(url)


@pytest.mark.parametrize(
    "text",
    ["", "records.sqlite", "/var/lib/records", "http://[x", "memory://?a", "memory://?a=1&a=2", "//host/path", "://x"],
)
def test_what_is_no_url_names_the_setting(text: str) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer\.records"):
        BackendURL.parse(text, "tokenizer.records")


def test_an_unknown_scheme_names_those_that_are_known() -> None:
    with pytest.raises(
        ConfigError, match=r"tokenizer\.records: nothing here serves 'mongodb'.*memory.*sqlite"
    ) as refusal:
        open_backend("records", "mongodb://me:secret@host/db", SURROUNDINGS)
    assert "secret" not in str(refusal.value)


def test_an_unknown_option_names_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match="memory has no option 'size'; it takes: none"):
        open_backend("records", "memory://?size=1", SURROUNDINGS)
    url = BackendURL.parse("x://?a=1&c=3", "tokenizer.records")
    with pytest.raises(ConfigError, match=r"tokenizer\.records: x has no option 'c'; it takes: a, b"):
        url.refuse_unknown_options("tokenizer.records", "a", "b")


@pytest.mark.parametrize(
    ("scheme", "advice"), [("postgresql", r"lunacore\[postgresql\]"), ("s3", r"lunacore\[s3\]"), ("acme", "acme")]
)
def test_a_missing_extra_says_what_to_install(scheme: str, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = EntryPoint(scheme, "a_package_that_is_not_installed.records:open_records", "lunacore.records")

    def entry_points(**_: Any) -> list[EntryPoint]:
        return [lacking]

    monkeypatch.setattr(plugins, "entry_points", entry_points)
    with pytest.raises(
        ConfigError, match=rf"tokenizer\.records: {scheme} needs .*a_package_that_is.*{advice}"
    ) as refusal:
        open_backend("records", f"{scheme}://me:secret@host/db", SURROUNDINGS)
    assert "secret" not in str(refusal.value)


def test_objects_of_any_fsspec_scheme_find_their_way(tmp_path: Path) -> None:
    store = open_backend("objects", f"local://{tmp_path}/objects", SURROUNDINGS)
    assert store.scan() == []


@pytest.mark.parametrize("kind", ["records", "grants", "objects", "keyring", "seal", "audit"])
def test_every_kind_has_a_backend_in_memory(kind: str) -> None:
    assert "memory" in plugins.schemes(kind)
    assert open_backend(kind, "memory:", SURROUNDINGS) is not None
