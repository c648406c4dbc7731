"""The request that an application's own callbacks are shown, in one form for WSGI (PEP 3333), ASGI and the frameworks on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from attrs import field, frozen

from lunacore.errors import ConfigError


@frozen
class Request:
    """One request.

    Attributes:
        kind: where it came from.
        raw: the WSGI environ or the ASGI scope itself.
    """

    kind: Literal["wsgi", "asgi"]
    raw: dict[str, Any] = field(repr=False)

    @classmethod
    def of(cls, request: object) -> Request:
        """From a WSGI environ, an ASGI scope, or the request of Flask, Django, FastAPI, Starlette or Falcon.

        Raises:
            ConfigError: it is none of these.
        """
        if isinstance(request, Request):
            return request
        raw = cast("dict[str, Any]", request) if isinstance(request, Mapping) else _raw_of(request)
        if "REQUEST_METHOD" in raw:
            return cls("wsgi", raw)
        if raw.get("type") in ("http", "websocket"):
            return cls("asgi", raw)
        raise ConfigError("this is no request: pass a WSGI environ, an ASGI scope, or your framework's request")

    @property
    def method(self) -> str:
        return str(self.raw["REQUEST_METHOD"] if self.kind == "wsgi" else self.raw.get("method", "GET"))

    @property
    def path(self) -> str:
        """The path below where the application is mounted."""
        if self.kind == "wsgi":
            return str(self.raw.get("PATH_INFO", ""))
        path, root = str(self.raw["path"]), str(self.raw.get("root_path") or "").rstrip("/")
        # Servers differ in whether the path begins with where the application is mounted.
        return path.removeprefix(root) if root and path.startswith(f"{root}/") else path

    @property
    def query(self) -> str:
        """The query, still encoded."""
        if self.kind == "wsgi":
            return str(self.raw.get("QUERY_STRING", ""))
        return bytes(self.raw.get("query_string", b"")).decode("latin-1")

    def header(self, name: str) -> str | None:
        """A header by its name in lower case; several of that name are joined by commas, cookies by semicolons."""
        if self.kind == "wsgi":
            given = self.raw.get(f"HTTP_{name.upper().replace('-', '_')}")
            return None if given is None else str(given)
        wanted = name.encode("latin-1")
        found = [value.decode("latin-1") for key, value in self.raw.get("headers", ()) if key.lower() == wanted]
        return ("; " if name == "cookie" else ", ").join(found) if found else None

    @property
    def cookies(self) -> dict[str, str]:
        """Cookies by name, as they were sent; of several with one name the first."""
        found: dict[str, str] = {}
        for pair in (self.header("cookie") or "").split(";"):
            name, separator, value = pair.strip().partition("=")
            if separator:
                found.setdefault(name, value)
        return found


def _raw_of(request: object) -> dict[str, Any]:
    for name in ("environ", "scope", "env", "META"):
        raw = getattr(request, name, None)
        if isinstance(raw, Mapping):
            return cast("dict[str, Any]", raw)
    return {}
