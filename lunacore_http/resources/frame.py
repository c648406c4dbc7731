"""The Secure Frame over HTTP: its documents, their modules, and the components for applications' pages.

What is served lies in ``lunacore_http/frame``. The documents carry the rules that keep values inside (Content Security Policy 3,
Trusted Types, Fetch and HTML Standard); ``docs/spec/frame-messages.md`` says what each is for.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import re
from collections import Counter
from importlib import resources
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from lunacore.errors import ConfigError
from lunacore.gateway_keys import BUCKET
from lunacore_http.browser import origin_of
from lunacore_http.errors import MethodNotAllowed, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Self

    import falcon
    from falcon import Request, Response

    from lunacore_http.resources.fonts import Font

_FOLDER: Final = resources.files("lunacore_http.frame")
_MEDIA_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
_BUILD_CHARACTERS: Final = 16
_SCRIPT: Final = "lunacore.js"
# Comments that stand on lines of their own, and those of types: a third of what browsers would have to fetch.
_COMMENTS: Final = re.compile(rb"^[ ]*(?:/\*.*?\*/|//[^\n]*)\n|/\*\* @type .*?\*/ ?", re.DOTALL | re.MULTILINE)
_INDENTATION: Final = re.compile(rb"^(?:[ ]+|\n)", re.MULTILINE)
_IMPORT: Final = re.compile(r'^import \{ [\w, ]+ \} from "\./(?P<module>[a-z-]+\.js)";\n', re.ASCII | re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.ASCII | re.MULTILINE)
_DECLARED: Final = re.compile(r"^(?:export )?(?:async )?(?:function|class|const|let) (\w+)", re.ASCII | re.MULTILINE)

_ORIGIN: Final = re.compile(r"https?://([a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.ASCII)

# Nothing that a device or the browser offers is of use to the frame. Names that Chromium does not know would fill the console.
_PERMISSIONS: Final = (
    "accelerometer",
    "autoplay",
    "browsing-topics",
    "camera",
    "clipboard-read",
    "clipboard-write",
    "compute-pressure",
    "display-capture",
    "encrypted-media",
    "fullscreen",
    "gamepad",
    "geolocation",
    "gyroscope",
    "hid",
    "identity-credentials-get",
    "idle-detection",
    "keyboard-map",
    "local-fonts",
    "magnetometer",
    "microphone",
    "midi",
    "otp-credentials",
    "payment",
    "picture-in-picture",
    "private-state-token-issuance",
    "private-state-token-redemption",
    "publickey-credentials-create",
    "publickey-credentials-get",
    "screen-wake-lock",
    "serial",
    "storage-access",
    "sync-xhr",
    "usb",
    "window-management",
    "xr-spatial-tracking",
)

_DOCUMENT_HEADERS: Final = {
    "cache-control": "no-store",
    "content-type": "text/html; charset=utf-8",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "cross-origin",  # a page under COEP may embed it; frame-ancestors says which
    "document-policy": "force-load-at-top",  # no text fragment finds out whether a text is there
    "origin-agent-cluster": "?1",
    "referrer-policy": "no-referrer",
}
# The address of a module names its content, so it never changes.
_MODULE_HEADERS: Final = {
    "cache-control": "public, max-age=31536000, immutable",
    "cross-origin-resource-policy": "same-origin",
}
_FOR_ANYBODY: Final = {"access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin"}
_SDK_HEADERS: Final = {**_FOR_ANYBODY, "cache-control": "public, max-age=300"}
_PDF: Final = "/frame/pdf"


@frozen
class FrameParts:
    """Where the frame runs, and with whom.

    Attributes:
        own_origin: the tokenizer's origin.
        app_origins: the origins whose pages may embed the frame.
        object_origin: where values are uploaded to and downloaded from; empty if that is the tokenizer itself.
        cookie: the setting ``sessions.cookie``; the hub sees before it asks for a session whether browsers keep such a cookie.
        fonts: what elements may use beside the system's.
    """

    own_origin: str
    app_origins: tuple[str, ...]
    object_origin: str
    cookie: str
    fonts: tuple[Font, ...] = ()


def frame_parts(
    public_url: str, app_origins: Iterable[str], object_origin: str, cookie: str, fonts: tuple[Font, ...] = ()
) -> FrameParts:
    """The parts, every origin written as browsers write it.

    Raises:
        ConfigError: an application's origin is none, or the tokenizer's own.
    """
    own = origin_of(public_url)
    origins = tuple(dict.fromkeys(_app_origin(origin, own) for origin in app_origins))
    store = origin_of(object_origin) if object_origin else ""
    return FrameParts(own, origins, "" if store == own else store, cookie, fonts)


@frozen
class AddOn:
    """Components that not every page has: a module for pages, and a document of their own for their frames.

    ``sdk/<name>.js`` is served as ``/sdk/<name>.js``; ``/frame/<name>`` begins with ``secure/<name>.js`` and has the style sheets
    ``element.css`` and ``secure/<name>.css``. Neither module brings along what it imports from ``sdk/lunacore.js``.

    Attributes:
        name: letters and hyphens.
        framed: whether it has a document; if not, the base's serves its components.
        loads: further directives of its document's policy; ``{store}`` stands for where objects lie, ``{pdf}`` for the document
            that draws PDFs.
        permissions: browser features that its document may use (Permissions Policy).
        sandbox: what its document is allowed beside scripts and its origin (HTML Standard, sandboxing flags).
    """

    name: str
    framed: bool = True
    loads: str = ""
    permissions: tuple[str, ...] = ()
    sandbox: tuple[str, ...] = ()


_BASE: Final = AddOn("element")
ADD_ONS: Final = (
    AddOn("choices"),
    AddOn("copy", permissions=("clipboard-write",)),
    AddOn("textarea", framed=False),
    AddOn("upload", loads="connect-src {store}"),
    AddOn("download", loads="connect-src {store}", sandbox=("allow-downloads",)),
    AddOn("viewer", loads="connect-src {store}; img-src blob:; frame-src {pdf}"),
)


def add_frame(app: falcon.App[Request, Response], parts: FrameParts) -> None:
    """Serve the frame under ``/frame``, and the components under ``/sdk``."""
    joined = _with_joined(
        _sources("secure"), ["hub.js", "element.js", *(f"{one.name}.js" for one in ADD_ONS if one.framed)]
    )
    modules = Modules.of(_with_fonts(_files(joined), parts.fonts))
    source = f"{parts.own_origin}{modules.folder}/"
    for_hub = f"script-src {source}; connect-src 'self' {parts.object_origin}".strip()
    # The frames of files go to the object store by themselves, and to the tokenizer through the hub alone.
    store = parts.object_origin or f"{parts.own_origin}/{BUCKET}/"
    for_element = f"script-src {source}; style-src {source}" + (f"; font-src {source}" if parts.fonts else "")
    app.add_route("/frame", FrameDocument("landing", modules, parts, "script-src 'none'"))
    app.add_route("/frame/hub", FrameDocument("hub", modules, parts, for_hub))
    app.add_route("/frame/element", FrameDocument("element", modules, parts, for_element))
    for one in (one for one in ADD_ONS if one.framed):
        loads = "; ".join(filter(None, [for_element, one.loads.format(store=store, pdf=f"{parts.own_origin}{_PDF}")]))
        app.add_route(f"/frame/{one.name}", FrameDocument("element", modules, parts, loads, add_on=one))
    app.add_route(f"{modules.folder}/{{name}}", StaticFiles(modules.files, _MODULE_HEADERS))
    app.add_route("/sdk/{name}", StaticFiles(_scripts(), _SDK_HEADERS))
    _add_pdf(app, parts)


def _add_pdf(app: falcon.App[Request, Response], parts: FrameParts) -> None:
    """Serve the document that draws PDFs within the frame of a viewer; it has no origin, so its modules are for anybody."""
    own = _sources("pdf")
    files = {
        name: StaticFile.of(source.encode(), _media_type(name)) for name, source in own.items() if ".min." not in name
    }
    vendored = {name: StaticFile.verbatim(own[name].encode(), _media_type(name)) for name in own if ".min." in name}
    modules = Modules.of({**files, **vendored})
    source = f"{parts.own_origin}{modules.folder}/"
    around = evolve(parts, app_origins=(parts.own_origin, *parts.app_origins))
    loads = f"script-src {source}; style-src {source}"
    app.add_route(_PDF, FrameDocument("pdf", modules, around, loads, sandbox="allow-scripts"))
    app.add_route(f"{modules.folder}/{{name}}", StaticFiles(modules.files, {**_MODULE_HEADERS, **_FOR_ANYBODY}))


def _scripts() -> dict[str, StaticFile]:
    """What pages load: the base, and each add-on without what it has in common with it."""
    sources = _sources("sdk")
    base = {_SCRIPT: _joined(sources, _SCRIPT)}
    del sources[_SCRIPT]
    return _files(base | {f"{one.name}.js": _joined(sources, f"{one.name}.js") for one in ADD_ONS})


@frozen
class Modules:
    """The frame's own modules, in a folder whose address names their content."""

    files: Mapping[str, StaticFile]
    folder: str

    @classmethod
    def of(cls, files: Mapping[str, StaticFile]) -> Self:
        digest = hashlib.sha256()
        for name, file in files.items():
            digest.update(f"{name} {file.digest}\n".encode())
        return cls(files, f"/frame/{digest.hexdigest()[:_BUILD_CHARACTERS]}")


class _ReadOnly:
    """Answers ``GET`` and ``HEAD``, and grants no pre-flight request."""

    def on_options(self, req: Request, resp: Response, **_: str) -> None:  # noqa: ARG002 - Falcon's
        raise MethodNotAllowed("GET, HEAD")


class FrameDocument(_ReadOnly):
    """One document of the frame, under the rules of its headers.

    Args:
        name: of its file.
        modules: what it is made of.
        parts: who may embed it.
        loads: the directives of its policy that say what it may load.
        add_on: whose components it is for, where they are not of the base.
        sandbox: what it is allowed (HTML Standard, sandboxing flags), beside what the add-on is.
    """

    def __init__(
        self,
        name: str,
        modules: Modules,
        parts: FrameParts,
        loads: str,
        *,
        add_on: AddOn = _BASE,
        sandbox: str = "allow-scripts allow-same-origin",
    ) -> None:
        text = (_FOLDER / f"{name}.html").read_text(encoding="utf-8")
        origins = html.escape(" ".join(parts.app_origins), quote=True)
        document = text.format(
            modules=modules.folder,
            app_origins=origins,
            cookie=parts.cookie,
            name=add_on.name,
            sheets=_sheets(modules, add_on),
        )
        self._document = document.encode()
        # Without an origin of its own it has nothing that `origin-agent-cluster` could key.
        kept = {} if "allow-same-origin" in sandbox else {"origin-agent-cluster": "?0"}
        self._headers = {
            **_DOCUMENT_HEADERS,
            **kept,
            "content-security-policy": _policy(parts.app_origins, loads, " ".join([sandbox, *add_on.sandbox])),
            "permissions-policy": ", ".join(
                f"{name}=(self)" if name in add_on.permissions else f"{name}=()" for name in _PERMISSIONS
            ),
        }

    def on_get(self, req: Request, resp: Response) -> None:  # noqa: ARG002 - Falcon's
        resp.set_headers(self._headers)
        resp.data = self._document

    on_head = on_get


@frozen
class StaticFile:
    """One file of the package without its comments, plain and gzipped; ``digest`` tells one content from another."""

    content: bytes
    zipped: bytes
    media_type: str
    digest: str

    @classmethod
    def of(cls, source: bytes, media_type: str) -> Self:
        content = _INDENTATION.sub(b"", _COMMENTS.sub(b"", source))
        return cls.verbatim(content, media_type)

    @classmethod
    def verbatim(cls, content: bytes, media_type: str) -> Self:
        """One that is served as it is."""
        return cls(content, gzip.compress(content, mtime=0), media_type, hashlib.sha256(content).hexdigest()[:32])


class StaticFiles(_ReadOnly):
    """The files of one folder."""

    def __init__(self, files: Mapping[str, StaticFile], headers: Mapping[str, str]) -> None:
        self._files = files
        self._headers = dict(headers)

    def on_get(self, req: Request, resp: Response, name: str) -> None:
        file = self._files.get(name)
        if file is None:
            raise NotFound("there is no such file")
        resp.set_headers({**self._headers, "vary": "accept-encoding"})
        zipped = _takes_gzip(req.get_header("Accept-Encoding") or "")
        etag = f'"{file.digest}-gzip"' if zipped else f'"{file.digest}"'
        resp.set_header("etag", etag)
        if etag in (req.get_header("If-None-Match") or ""):
            resp.status = 304
            return
        resp.content_type = file.media_type
        if zipped:
            resp.set_header("content-encoding", "gzip")
        resp.data = file.zipped if zipped else file.content

    on_head = on_get


def _app_origin(given: str, own: str) -> str:
    origin = origin_of(given)
    if not _ORIGIN.fullmatch(origin):
        raise ConfigError(
            f"frame.app_origins: {given!r} is no origin such as https://app.example.com "
            "(no wildcards; names with other letters in their xn-- form)"
        )
    if origin == own:
        raise ConfigError(
            f"frame.app_origins: {given!r} is the tokenizer's own origin; an application on it could read every value. "
            "Give the tokenizer a host of its own (tokenizer.public_url)"
        )
    return origin


def _sheets(modules: Modules, add_on: AddOn) -> str:
    names = [name for name in ("element.css", f"{add_on.name}.css") if name in modules.files]
    return "".join(f'<link rel="stylesheet" href="{modules.folder}/{name}">\n' for name in dict.fromkeys(names))


def _policy(app_origins: tuple[str, ...], loads: str, sandbox: str) -> str:
    ancestors = " ".join(app_origins) or "'none'"
    return "; ".join(
        [
            "default-src 'none'",
            loads,
            f"frame-ancestors {ancestors}",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
            f"sandbox {sandbox}",
        ]
    )


def _sources(folder: str) -> dict[str, str]:
    entries = sorted((_FOLDER / folder).iterdir(), key=lambda entry: entry.name)
    return {entry.name: entry.read_text(encoding="utf-8") for entry in entries if _media_type(entry.name)}


def _media_type(name: str) -> str:
    return _MEDIA_TYPES.get(name[name.rfind(".") :], "")


def _files(sources: Mapping[str, str]) -> dict[str, StaticFile]:
    return {name: StaticFile.of(source.encode(), _media_type(name)) for name, source in sources.items()}


def _with_joined(sources: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """The sources, where those named bring along what they import: one request in place of many, and two thirds of the size."""
    return {**sources, **{name: _joined(sources, name) for name in names}}


def _joined(sources: Mapping[str, str], name: str) -> str:
    """A module behind all that it imports, itself or through others.

    What it imports from modules that are not among the sources it goes on to import, at the head.
    """
    before: dict[str, str] = {}
    outside: dict[str, None] = {}

    def visit(one: str) -> None:
        source = sources[one]
        for found in _IMPORT.finditer(source):
            imported = found["module"]
            if imported not in sources:
                outside[found[0]] = None
            elif imported not in before:
                visit(imported)
        before[one] = _IMPORT.sub("", source)

    visit(name)
    own = before.pop(name)
    taken = Counter(declared for source in (*before.values(), own) for declared in set(_DECLARED.findall(source)))
    return "".join(outside) + "".join(_merged(source, taken) for source in before.values()) + own


def _merged(source: str, taken: Counter[str]) -> str:
    """A module without its exports; in a function around it, if one of its own names is another module's, too."""
    names = _EXPORT.findall(source)
    merged = _EXPORT.sub("", source)
    if all(taken[declared] == 1 for declared in _DECLARED.findall(source)):
        return merged
    return f"const {{ {', '.join(names)} }} = (() => {{\n{merged}return {{ {', '.join(names)} }};\n}})();\n"


def _with_fonts(files: Mapping[str, StaticFile], fonts: Iterable[Font]) -> dict[str, StaticFile]:
    named = {f"font-{place}.woff2": font for place, font in enumerate(fonts)}
    faces = "".join(font.face(name) for name, font in named.items())
    sheet = files["element.css"]
    return {
        **files,
        "element.css": StaticFile.of(sheet.content + faces.encode(), sheet.media_type),
        **{name: StaticFile.verbatim(font.content, "font/woff2") for name, font in named.items()},
    }


def _takes_gzip(accepted: str) -> bool:
    return any(one.strip().lower() in ("gzip", "*") for one in accepted.split(","))
