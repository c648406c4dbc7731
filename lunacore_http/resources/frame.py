"""The Secure Frame over HTTP: its documents, their modules, and the components for applications' pages.

What is served lies in ``lunacore_http/frame``. The documents carry the rules that keep values inside (Content Security Policy 3,
Trusted Types, Fetch and HTML Standard); ``docs/spec/frame-messages.md`` says what each is for.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import re
from importlib import resources
from typing import TYPE_CHECKING, Final

from attrs import frozen

from lunacore.errors import ConfigError
from lunacore_http.browser import origin_of
from lunacore_http.errors import MethodNotAllowed, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Self

    import falcon
    from falcon import Request, Response

    from lunacore_http.resources.fonts import Font

_FOLDER: Final = resources.files("lunacore_http.frame")
_MEDIA_TYPES: Final = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
_BUILD_CHARACTERS: Final = 16
_SCRIPT: Final = "lunacore.js"
# Comments that stand on lines of their own: a third of what browsers would have to fetch.
_COMMENTS: Final = re.compile(rb"^[ ]*(?:/\*.*?\*/|//[^\n]*)\n", re.DOTALL | re.MULTILINE)
_INDENTATION: Final = re.compile(rb"^[ ]+", re.MULTILINE)
_IMPORT: Final = re.compile(r'^import \{ [\w, ]+ \} from "\./([a-z-]+\.js)";\n', re.ASCII | re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.ASCII | re.MULTILINE)

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
    "permissions-policy": ", ".join(f"{name}=()" for name in _PERMISSIONS),
    "referrer-policy": "no-referrer",
}
# The address of a module names its content, so it never changes.
_MODULE_HEADERS: Final = {
    "cache-control": "public, max-age=31536000, immutable",
    "cross-origin-resource-policy": "same-origin",
}
_SDK_HEADERS: Final = {
    "access-control-allow-origin": "*",
    "cache-control": "public, max-age=300",
    "cross-origin-resource-policy": "cross-origin",
}


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


def add_frame(app: falcon.App[Request, Response], parts: FrameParts) -> None:
    """Serve the frame under ``/frame``, and the components under ``/sdk``."""
    modules = Modules.of(_with_fonts(_with_joined(_files("secure"), "hub.js", "element.js"), parts.fonts))
    source = f"{parts.own_origin}{modules.folder}/"
    for_hub = f"script-src {source}; connect-src 'self' {parts.object_origin}".strip()
    for_element = f"script-src {source}; style-src {source}" + (f"; font-src {source}" if parts.fonts else "")
    app.add_route("/frame", FrameDocument("landing", modules, parts, "script-src 'none'"))
    app.add_route("/frame/hub", FrameDocument("hub", modules, parts, for_hub))
    app.add_route("/frame/element", FrameDocument("element", modules, parts, for_element))
    app.add_route(f"{modules.folder}/{{name}}", StaticFiles(modules.files, _MODULE_HEADERS))
    script = _with_joined(_files("sdk"), _SCRIPT)[_SCRIPT]
    app.add_route("/sdk/{name}", StaticFiles({_SCRIPT: script}, _SDK_HEADERS))


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
        name: of its file, and of the module that it begins with.
        modules: what it is made of.
        parts: who may embed it.
        loads: the directives of its policy that say what it may load.
    """

    def __init__(self, name: str, modules: Modules, parts: FrameParts, loads: str) -> None:
        text = (_FOLDER / f"{name}.html").read_text(encoding="utf-8")
        origins = html.escape(" ".join(parts.app_origins), quote=True)
        document = text.format(modules=modules.folder, app_origins=origins, cookie=parts.cookie)
        self._document = document.encode()
        self._headers = {**_DOCUMENT_HEADERS, "content-security-policy": _policy(parts.app_origins, loads)}

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


def _policy(app_origins: tuple[str, ...], loads: str) -> str:
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
            "sandbox allow-scripts allow-same-origin",
        ]
    )


def _files(folder: str) -> dict[str, StaticFile]:
    entries = sorted((_FOLDER / folder).iterdir(), key=lambda entry: entry.name)
    types = {entry.name: _MEDIA_TYPES.get(entry.name[entry.name.rfind(".") :]) for entry in entries}
    return {
        entry.name: StaticFile.of(entry.read_bytes(), media_type)
        for entry in entries
        if (media_type := types[entry.name]) is not None
    }


def _with_joined(files: Mapping[str, StaticFile], *names: str) -> dict[str, StaticFile]:
    """The files, where those named bring along what they import: one request in place of many, and two thirds of the size."""
    made = {name: StaticFile.of(_joined(files, name).encode(), files[name].media_type) for name in names}
    return {**files, **made}


def _joined(files: Mapping[str, StaticFile], name: str) -> str:
    """A module behind all that it imports, itself or through others.

    What a module does not export stays its own, in a function around it; what it exports is known by its name to all that follow.
    """
    before: dict[str, str] = {}

    def visit(one: str) -> None:
        source = files[one].content.decode()
        for imported in _IMPORT.findall(source):
            if imported not in before:
                visit(imported)
        before[one] = _IMPORT.sub("", source)

    visit(name)
    own = before.pop(name)
    return "".join(_closed(source) for source in before.values()) + own


def _with_fonts(files: Mapping[str, StaticFile], fonts: Iterable[Font]) -> dict[str, StaticFile]:
    named = {f"font-{place}.woff2": font for place, font in enumerate(fonts)}
    faces = "".join(font.face(name) for name, font in named.items())
    sheet = files["element.css"]
    return {
        **files,
        "element.css": StaticFile.of(sheet.content + faces.encode(), sheet.media_type),
        **{name: StaticFile.verbatim(font.content, "font/woff2") for name, font in named.items()},
    }


def _closed(source: str) -> str:
    names = ", ".join(_EXPORT.findall(source))
    return f"const {{ {names} }} = (() => {{\n{_EXPORT.sub('', source)}return {{ {names} }};\n}})();\n"


def _takes_gzip(accepted: str) -> bool:
    return any(one.strip().lower() in ("gzip", "*") for one in accepted.split(","))
