"""What the Secure Frame and the components are served with."""

from __future__ import annotations

import gzip
import re
from importlib import resources
from typing import TYPE_CHECKING

import pytest

from lunacore.errors import ConfigError
from lunacore_http.resources.fonts import fonts_in
from lunacore_http.resources.frame import ADD_ONS, frame_parts
from tests.http.conftest import URL, Tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APP = "https://app.example.com"
OTHER = "https://other.example.com:8443"
FRAMED = {one.name: one for one in ADD_ONS if one.framed}
DOCUMENTS = ["/frame", "/frame/hub", "/frame/element", *(f"/frame/{name}" for name in FRAMED)]
# Bytes, gzipped, of what an add-on has browsers load beside the base.
BOUNDS = {
    "choices": 8_000,
    "copy": 5_000,
    "download": 14_000,
    "textarea": 1_500,
    "upload": 15_000,
    "viewer": 14_000,
}


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
    add_on = FRAMED.get(path.rpartition("/")[2])
    allowed = re.findall(r"([a-z-]+)=\(self\)", told["permissions-policy"])
    assert allowed == ([*add_on.permissions] if add_on else [])
    assert "set-cookie" not in told
    policy = policy_of(framed, path)
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["trusted-types"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert policy["frame-ancestors"] == f"{APP} {OTHER}"
    sandbox = ["allow-scripts", "allow-same-origin", *(add_on.sandbox if add_on else ())]
    assert policy["sandbox"].split() == sandbox
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
    for name in ("choices", "copy"):
        assert policy_of(framed, f"/frame/{name}") == element


def test_the_clipboard_is_for_the_frame_that_copies_alone(framed: Tokenizer) -> None:
    allowing = [
        path
        for path in DOCUMENTS
        if "clipboard-write=(self)" in framed.client.simulate_get(path).headers["permissions-policy"]
    ]
    assert allowing == ["/frame/copy"]


def test_frames_of_files_reach_where_objects_lie_and_nothing_else(framed: Tokenizer) -> None:
    element = policy_of(framed, "/frame/element")
    for name in ("upload", "download", "viewer"):
        policy = policy_of(framed, f"/frame/{name}")
        assert policy["connect-src"] == f"{URL}/objects/"
        more = {"img-src", "frame-src"} if name == "viewer" else set()
        assert policy.keys() - element.keys() == {"connect-src", *more}
    viewer = policy_of(framed, "/frame/viewer")
    assert viewer["img-src"] == "blob:"
    assert viewer["frame-src"] == f"{URL}/frame/pdf"


def test_the_document_that_draws_pdfs_has_no_origin_and_no_connection(framed: Tokenizer) -> None:
    answer = framed.client.simulate_get("/frame/pdf")
    policy = policy_of(framed, "/frame/pdf")
    assert policy["sandbox"] == "allow-scripts"
    assert policy["frame-ancestors"] == f"{URL} {APP} {OTHER}"
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["trusted-types"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert not {"connect-src", "img-src", "font-src", "worker-src", "frame-src"} & policy.keys()
    assert "unsafe" not in str(policy)
    assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
    assert "=(self)" not in answer.headers["permissions-policy"]
    sources = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert policy["script-src"] == policy["style-src"] == f"{URL}{sources[0].rpartition('/')[0]}/"
    for name in (
        *sources,
        f"{sources[0].rpartition('/')[0]}/pdf.min.mjs",
        f"{sources[0].rpartition('/')[0]}/pdf.worker.min.mjs",
    ):
        served = framed.client.simulate_get(name)
        assert served.status_code == 200
        assert served.headers["access-control-allow-origin"] == "*"  # it has no origin to be allowed by name
    # What lies beside them is not served.
    assert framed.client.simulate_get(f"{sources[0].rpartition('/')[0]}/README.md").status_code == 404


def test_only_frames_that_need_the_object_store_may_reach_it(tmp_path: Path) -> None:
    made = Tokenizer(tmp_path, gateway={"public_url": "https://files.example.com"}, frame={"app_origins": [APP]})
    try:
        assert policy_of(made, "/frame/hub")["connect-src"] == "'self' https://files.example.com"
        for name in ("upload", "download", "viewer"):
            assert policy_of(made, f"/frame/{name}")["connect-src"] == "https://files.example.com"
        for path in ("/frame/element", "/frame/pdf", "/frame/copy"):
            assert "connect-src" not in policy_of(made, path)
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


def loaded_by(framed: Tokenizer, document: str) -> set[str]:
    return set(re.findall(r'(?:src|href)="([^"]+)"', framed.client.simulate_get(document).text))


@pytest.mark.parametrize("name", [one.name for one in ADD_ONS])
def test_an_add_on_is_small_and_shares_the_base(framed: Tokenizer, name: str) -> None:
    script = framed.client.simulate_get(f"/sdk/{name}.js").text
    assert set(re.findall(r'^import .* from "([^"]+)"', script, re.MULTILINE)) == {"./lunacore.js"}
    assert "class SecureElement " not in script
    assert "class Connection " not in script
    base = framed.client.simulate_get("/sdk/lunacore.js").text
    assert f'"{name}.js": [' in base
    own = loaded_by(framed, f"/frame/{name}") - loaded_by(framed, "/frame/element") if name in FRAMED else set()
    answers = [
        framed.client.simulate_get(one, headers={"accept-encoding": "gzip"}) for one in (f"/sdk/{name}.js", *own)
    ]
    assert all(one.status_code == 200 for one in answers)
    if name in BOUNDS:
        assert sum(len(one.content) for one in answers) < BOUNDS[name]


@pytest.mark.parametrize("language", ["de", "es", "fr"])
def test_every_language_has_every_text(framed: Tokenizer, language: str) -> None:
    """Those of the base and of the add-ons, each with its place for what is told; and the server serves them."""
    folder = resources.files("lunacore_http.frame") / "secure"
    sources = [entry.read_text(encoding="utf-8") for entry in folder.iterdir() if entry.name.endswith(".js")]
    english = dict(re.findall(r"^  (\w+): (.+),$", (folder / "texts.js").read_text(encoding="utf-8"), re.MULTILINE))
    for source in sources:
        for taught in re.findall(
            r"^(?:teach\(|export const [A-Z]+_TEXTS = )\{(.*?)\}", source, re.MULTILINE | re.DOTALL
        ):
            english |= dict(re.findall(r"(\w+): (\"[^\"]*\")", taught))
    folder_address = next(iter(loaded_by(framed, "/frame/element"))).rpartition("/")[0]
    answer = framed.client.simulate_get(f"{folder_address}/texts-{language}.js")
    assert answer.status_code == 200
    told = dict(re.findall(r"^(\w+): (.+),$", answer.text, re.MULTILINE))
    assert len(english) > 30
    assert [name for name in english if name not in told] == []
    assert [name for name in english if ("%" in english[name]) != ("%" in told[name])] == []


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
