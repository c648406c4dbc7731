"""What the Secure Frame and the components are served with."""

from __future__ import annotations

import gzip
import re
from importlib import resources
from typing import TYPE_CHECKING

import pytest

from lunacore.errors import ConfigError
from lunacore_http.resources.fonts import fonts_in
from lunacore_http.resources.frame import frame_parts
from tests.http.conftest import URL, Tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APP = "https://app.example.com"
OTHER = "https://other.example.com:8443"
DOCUMENTS = ["/frame", "/frame/hub", "/frame/element"]


@pytest.fixture(scope="module")
def framed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tokenizer]:
    made = Tokenizer(tmp_path_factory.mktemp("framed"), frame={"app_origins": [APP, OTHER]})
    yield made
    made.deployment.close()


def names_in(folder: str) -> list[str]:
    return [entry.name for entry in (resources.files("lunacore_http.frame") / folder).iterdir()]


def policy_of(tokenizer: Tokenizer, path: str) -> dict[str, str]:
    policy = tokenizer.client.simulate_get(path).headers["content-security-policy"]
    return {directive.partition(" ")[0]: directive.partition(" ")[2] for directive in policy.split("; ")}


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_document_is_held_in(framed: Tokenizer, path: str) -> None:
    answer = framed.client.simulate_get(path)
    assert answer.status_code == 200
    told = answer.headers
    assert told["cache-control"] == "no-store"
    assert told["content-type"] == "text/html; charset=utf-8"
    assert told["x-content-type-options"] == "nosniff"
    assert told["referrer-policy"] == "no-referrer"
    assert told["cross-origin-embedder-policy"] == "require-corp"
    assert told["cross-origin-opener-policy"] == "same-origin"
    assert told["origin-agent-cluster"] == "?1"
    assert told["document-policy"] == "force-load-at-top"
    assert "camera=()" in told["permissions-policy"]
    assert "=(self" not in told["permissions-policy"]
    assert "set-cookie" not in told
    policy = policy_of(framed, path)
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["trusted-types"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert policy["frame-ancestors"] == f"{APP} {OTHER}"
    assert policy["sandbox"] == "allow-scripts allow-same-origin"
    assert "unsafe" not in str(policy)
    assert " on" not in answer.text  # no handler stands in the document
    assert framed.client.simulate_head(path).headers["content-security-policy"]


def test_each_document_may_load_only_what_it_needs(framed: Tokenizer) -> None:
    assert policy_of(framed, "/frame")["script-src"] == "'none'"
    hub, element = policy_of(framed, "/frame/hub"), policy_of(framed, "/frame/element")
    assert re.fullmatch(re.escape(f"{URL}/frame/") + "[0-9a-f]{16}/", hub["script-src"])
    assert hub["connect-src"] == "'self'"
    assert element["script-src"] == element["style-src"] == hub["script-src"]
    assert "connect-src" not in element  # default-src forbids it
    assert "style-src" not in hub


def test_the_object_stores_origin_may_be_reached_from_the_hub_alone(tmp_path: Path) -> None:
    made = Tokenizer(tmp_path, gateway={"public_url": "https://files.example.com"}, frame={"app_origins": [APP]})
    try:
        assert policy_of(made, "/frame/hub")["connect-src"] == "'self' https://files.example.com"
        assert "connect-src" not in policy_of(made, "/frame/element")
    finally:
        made.deployment.close()


def test_without_applications_nobody_may_embed_the_frame(shared_tokenizer: Tokenizer) -> None:
    for path in DOCUMENTS:
        assert policy_of(shared_tokenizer, path)["frame-ancestors"] == "'none'"


def test_modules_lie_at_an_address_of_their_content(framed: Tokenizer) -> None:
    document = framed.client.simulate_get("/frame/element").text
    addresses = re.findall(r'(?:src|href)="([^"]+)"', document)
    assert {address.rpartition("/")[2] for address in addresses} == {"element.js", "element.css"}
    for address in addresses:
        answer = framed.client.simulate_get(address)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers


def test_the_components_are_for_everybody_and_cached(framed: Tokenizer) -> None:
    plain = framed.client.simulate_get("/sdk/lunacore.js", headers={"origin": APP})
    zipped = framed.client.simulate_get("/sdk/lunacore.js", headers={"accept-encoding": "br, gzip"})
    assert plain.headers["access-control-allow-origin"] == "*"
    assert plain.headers["cross-origin-resource-policy"] == "cross-origin"
    assert plain.headers["content-type"] == "text/javascript; charset=utf-8"
    assert zipped.headers["content-encoding"] == "gzip"
    assert gzip.decompress(zipped.content) == plain.content
    assert plain.headers["etag"] != zipped.headers["etag"]
    again = framed.client.simulate_get("/sdk/lunacore.js", headers={"if-none-match": plain.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/sdk/nothing.js", "/sdk/..%2fhub.html", "/sdk/", "/frame/0000000000000000/hub.js", "/frame/x"]
)
def test_nothing_else_is_served(framed: Tokenizer, path: str) -> None:
    assert framed.client.simulate_get(path).status_code == 404


@pytest.mark.parametrize("path", [*DOCUMENTS, "/sdk/lunacore.js"])
def test_only_reading_is_allowed(framed: Tokenizer, path: str) -> None:
    assert framed.client.simulate_post(path).status_code == 405
    refused = framed.client.simulate_options(path, headers={"origin": APP, "access-control-request-method": "GET"})
    assert refused.status_code == 405
    assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize(
    "origin",
    [
        "https://*.example.com",
        "https://*",
        "https://app.example.com;script-src *",
        "https://app.example.com 'unsafe-inline'",
        "https://user@app.example.com",
        "https://bücher.example",
        "https://secure.example.com",
        "https://SECURE.example.com:443",
    ],
)
def test_what_is_no_origin_of_an_application_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(ConfigError, match=r"frame\.app_origins"):
        frame_parts(URL, [origin], "", "same-site")


def test_origins_are_written_as_browsers_write_them() -> None:
    parts = frame_parts(
        URL, ["https://APP.example.com:443", "http://[::1]:80", "https://app.example.com"], f"{URL}:443", "same-site"
    )
    assert parts.app_origins == ("https://app.example.com", "http://[::1]")
    assert parts.object_origin == ""


def test_script_of_page_and_frames_is_small(framed: Tokenizer) -> None:
    loaded = {
        address
        for document in ("/frame/hub", "/frame/element")
        for address in re.findall(r'(?:src|href)="([^"]+)"', framed.client.simulate_get(document).text)
    }
    addresses = ["/sdk/lunacore.js", *sorted(loaded)]
    answers = [framed.client.simulate_get(one, headers={"accept-encoding": "gzip"}) for one in addresses]
    assert all(one.status_code == 200 for one in answers)
    assert sum(len(one.content) for one in answers) < 25_000
    told = b"".join(gzip.decompress(one.content) for one in answers)
    assert b"\n/**" not in told
    assert b"customElements.define" in told


@pytest.mark.parametrize(("folder", "name"), [("sdk", "lunacore.js"), ("secure", "hub.js"), ("secure", "element.js")])
def test_a_script_brings_along_all_that_it_imports(framed: Tokenizer, folder: str, name: str) -> None:
    address = f"/sdk/{name}"
    if folder == "secure":
        document = framed.client.simulate_get(f"/frame/{name.removesuffix('.js')}").text
        address = re.findall(r'src="([^"]+)"', document)[0]
    told = framed.client.simulate_get(address).text
    assert not re.search(r"^import ", told, re.MULTILINE)
    ahead, seen = [name], set()
    while ahead:
        one = ahead.pop()
        source = (resources.files("lunacore_http.frame") / folder / one).read_text(encoding="utf-8")
        ahead += [other for other in re.findall(r'from "\./([^"]+)"', source) if other not in seen]
        seen.add(one)
        for declared in re.findall(r"^(?:export )?(?:async )?(?:class|function|const) \w+", source, re.MULTILINE):
            assert told.count(f"{declared.removeprefix('export ')}") >= 1
    assert len(seen) > 1


FONT = b"wOF2 not really a font"


def test_fonts_are_served_by_the_tokenizer_itself(tmp_path: Path) -> None:
    folder = tmp_path / "fonts"
    folder.mkdir()
    for name in ("Brand Sans.woff2", "Brand Sans-100..900-italic.woff2", ".hidden"):
        (folder / name).write_bytes(FONT)
    made = Tokenizer(tmp_path, frame={"app_origins": [APP], "fonts": str(folder)})
    try:
        policy = policy_of(made, "/frame/element")
        assert policy["font-src"] == policy["style-src"]
        assert "font-src" not in policy_of(made, "/frame/hub")
        found = re.search(r'href="([^"]+)/element.css"', made.client.simulate_get("/frame/element").text)
        assert found is not None
        sheet = made.client.simulate_get(f"{found[1]}/element.css").text
        assert 'font-family: "Brand Sans"; src: url("font-1.woff2")' in sheet
        assert "font-weight: 100 900; font-style: italic" in sheet
        answer = made.client.simulate_get(f"{found[1]}/font-1.woff2")
        assert (answer.content, answer.headers["content-type"]) == (FONT, "font/woff2")
        assert made.client.simulate_get(f"{found[1]}/font-2.woff2").status_code == 404
    finally:
        made.deployment.close()


def test_without_fonts_none_may_be_loaded(framed: Tokenizer) -> None:
    assert "font-src" not in policy_of(framed, "/frame/element")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("Brand.ttf", FONT),
        ("Brand.woff2", b"<svg>"),
        ('Brand"; } * { color: red } .woff2', FONT),
        ("Brand-450.woff2", FONT),
        ("../Brand.woff2", None),
    ],
)
def test_what_is_no_font_is_refused_at_the_start(tmp_path: Path, name: str, content: bytes | None) -> None:
    folder = tmp_path / "fonts"
    if content is not None:
        folder.mkdir()
        (folder / name).write_bytes(content)
    with pytest.raises(ConfigError, match=r"frame\.fonts"):
        fonts_in(str(folder))
