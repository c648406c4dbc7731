"""The OpenAPI 3.1 document, made from the very types that requests are decoded into and answers encoded from."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from attrs import frozen

from lunacore.version import __version__
from lunacore_http import wire
from lunacore_http.browser import SESSION_HASH
from lunacore_http.errors import STATUS

_SCHEMAS: Final = "#/components/schemas"
_COMMON: Final = ("invalidRequest", "unauthenticated", "roleForbidden", "sessionMismatch")
_ALWAYS: Final = ("lengthRequired", "tooLarge", "internalError", "storeUnavailable")


@frozen
class _Post:
    path: str
    operation: str
    summary: str
    decoder: wire.RequestDecoder[Any]
    answer: Any
    errors: tuple[str, ...] = ()
    shows_session: bool = False


_POSTS: Final = (
    _Post(
        "/tokenize",
        "tokenize",
        "Mint tokens and get what it takes to upload their values",
        wire.TOKENIZE,
        wire.UploadTicket,
        ("conflict",),
    ),
    _Post(
        "/detokenize",
        "detokenize",
        "Get what it takes to download the values of tokens",
        wire.BY_TOKEN,
        wire.DownloadTicket,
        ("grantMissing", "tokenNotFound", "rateLimited"),
        shows_session=True,
    ),
    _Post(
        "/grant/set",
        "setGrant",
        "Let a session use tokens",
        wire.SET_GRANT,
        wire.Empty,
        ("tokenNotFound", "conflict"),
    ),
    _Post(
        "/grant/verify",
        "verifyGrant",
        "Ask whether a session may use tokens; of a store grant, also whether the values are there",
        wire.VERIFY_GRANT,
        wire.Validity,
        ("conflict",),
    ),
    _Post("/grant/revoke", "revokeGrant", "Void grants of a session", wire.REVOKE_GRANT, wire.Empty),
    _Post(
        "/metadata/get",
        "getMetadata",
        "Get the metadata of tokens",
        wire.BY_TOKEN,
        wire.KeptMetadata,
        ("grantMissing", "tokenNotFound"),
    ),
    _Post(
        "/token/label",
        "labelToken",
        "Say whose values tokens stand for, so that they can be erased by label; repeatable",
        wire.LABEL_TOKEN,
        wire.Empty,
        ("tokenNotFound", "conflict"),
    ),
    _Post(
        "/token/delete",
        "deleteToken",
        "Erase tokens and their values for good; repeatable",
        wire.BY_TOKEN,
        wire.Empty,
        ("conflict",),
    ),
    _Post(
        "/label/delete",
        "deleteLabel",
        "Erase the values that have a label, some at a time, for good; repeatable",
        wire.DELETE_LABEL,
        wire.ErasedLabel,
        ("conflict", "rateLimited"),
    ),
    _Post("/session/end", "endSession", "End a session: its grants are void from now on", wire.END_SESSION, wire.Empty),
)

_SECURITY: Final = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A JWT of a configured identity provider.",
    },
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "access_token",
        "description": "A user's session. Browsers must be same-origin and send the header lunasec-session-hash.",
    },
}
_SESSION_HASH_HEADER: Final = {
    SESSION_HASH: {"description": "HMAC over the user's session, 64 hex digits.", "schema": {"type": "string"}}
}


def openapi_document(server: str) -> dict[str, Any]:
    """The document of the public listener at the URL ``server``."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "LunaCore tokenizer",
            "version": __version__,
            "description": "Tokens in place of sensitive values. The values themselves pass between client and object store.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server}],
        "paths": {
            **{post.path: {"post": _operation(post)} for post in _POSTS},
            "/session/verify": {"get": _verify_session()},
            "/session/ensure": {"get": _ensure_session()},
            "/session/create": {"get": _create_session()},
            "/health": {"get": _health()},
        },
        "components": {"schemas": _components(), "securitySchemes": _SECURITY},
        "security": [{"bearer": []}, {"cookie": []}],
    }


def _components() -> dict[str, Any]:
    types: list[Any] = [wire.Failure, wire.Success[wire.SessionState], wire.Success[wire.Health]]
    for post in _POSTS:
        types += [post.decoder.single, _envelope(post.answer)]
        if post.decoder.batch is not None:
            types.append(post.decoder.batch)
    _, components = msgspec.json.schema_components(types, ref_template=f"{_SCHEMAS}/{{name}}")
    return components | {_batch_name(post): _batch(post) for post in _POSTS if post.decoder.batch is not None}


def _envelope(answer: Any) -> Any:  # noqa: ANN401 - a type, made at run time
    return wire.Success[answer]


def _batch(post: _Post) -> dict[str, Any]:
    """``Success[Items[answer]]``, which msgspec cannot describe: it knows no untagged unions of objects."""
    item = {"anyOf": [_reference(_success_name(post.answer)), _reference("Failure")]}
    return {
        "title": _batch_name(post),
        "description": wire.Items.__doc__,
        "type": "object",
        "properties": {
            "success": {"type": "boolean", "const": True},
            "error": _reference("Empty"),
            "data": {
                "type": "object",
                "properties": {"items": {"type": "array", "items": item}},
                "required": ["items"],
            },
        },
        "required": ["success", "error", "data"],
    }


def _operation(post: _Post) -> dict[str, Any]:
    asked = [post.decoder.single] if post.decoder.batch is None else [post.decoder.single, post.decoder.batch]
    answered = [_reference(_success_name(post.answer))]
    if post.decoder.batch is not None:
        answered.append(_reference(_batch_name(post)))
    done: dict[str, Any] = {"description": "Done; a batch may hold items that were refused.", **_json(answered)}
    if post.shows_session:
        done["headers"] = _SESSION_HASH_HEADER
    return {
        "operationId": post.operation,
        "summary": post.summary,
        "parameters": [
            {
                "name": SESSION_HASH,
                "in": "header",
                "required": False,
                "description": "Must match the session if sent; browsers that lean on a cookie must send it.",
                "schema": {"type": "string"},
            }
        ],
        "requestBody": {"required": True, **_json([_reference(one.__name__) for one in asked])},
        "responses": {"200": done, **_refusals(*_COMMON, *post.errors, *_ALWAYS)},
    }


def _verify_session() -> dict[str, Any]:
    answered = [_reference(_success_name(wire.SessionState)), _reference("Failure")]
    return {
        "operationId": "verifySession",
        "summary": "Ask whether there is a live session; the answer says so in success, with status 200",
        "parameters": [_in_query("provider", "Name of the identity provider that it must be a session of.")],
        "responses": {
            "200": {
                "description": "The session, or why there is none.",
                "headers": _SESSION_HASH_HEADER,
                **_json(answered),
            },
            **_refusals("invalidRequest", "sessionMismatch", "internalError", "storeUnavailable"),
        },
    }


def _ensure_session() -> dict[str, Any]:
    return {
        "operationId": "ensureSession",
        "summary": "For browsers: go to the application for a session, or straight back if there is a live one",
        "security": [],
        "parameters": [
            _in_query("provider", "Name of the identity provider to ask; the default one unless given."),
            _in_query(
                "return_to", "Where to go with the session: /frame, perhaps with a query of 512 characters at most."
            ),
            _in_query(
                "renew", "Whether to ask the application even if there is a live session.", enum=["true", "false"]
            ),
        ],
        "responses": {
            "302": _redirect("To the callback of the provider, with a state.", "lunasec_browser"),
            "303": _redirect("There is a live session: to return_to."),
            **_refusals("invalidRequest", "internalError", "storeUnavailable"),
        },
    }


def _create_session() -> dict[str, Any]:
    return {
        "operationId": "createSession",
        "summary": "For browsers that come back from the application: get the session's cookie",
        "security": [],
        "parameters": [
            _in_query("state", "The state that the application was given, used up by this call.", required=True),
            _in_query("openid_token", "The one-use assertion of the application.", required=True),
        ],
        "responses": {
            "303": _redirect("To the return_to of /session/ensure.", "access_token"),
            **_refusals("invalidRequest", "unauthenticated", "sessionMismatch", "internalError", "storeUnavailable"),
        },
    }


def _in_query(name: str, description: str, *, required: bool = False, enum: list[str] | None = None) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"} if enum is None else {"type": "string", "enum": enum}
    return {"name": name, "in": "query", "required": required, "description": description, "schema": schema}


def _redirect(description: str, cookie: str | None = None) -> dict[str, Any]:
    headers: dict[str, Any] = {"location": {"schema": {"type": "string"}, "required": True}}
    if cookie is not None:
        told = f"The cookie {cookie}, over HTTPS with the prefix __Host-."
        headers["set-cookie"] = {"description": told, "schema": {"type": "string"}}
    return {"description": description, "headers": headers}


def _health() -> dict[str, Any]:
    answered = {"description": "The server runs.", **_json([_reference(_success_name(wire.Health))])}
    return {"operationId": "health", "summary": "Liveness", "security": [], "responses": {"200": answered}}


def _refusals(*names: str) -> dict[str, Any]:
    by_status: dict[str, list[str]] = {}
    for name in names:
        by_status.setdefault(str(STATUS[name]), []).append(name)
    return {
        status: {"description": f"Refused: {', '.join(told)}.", **_json([_reference("Failure")])}
        for status, told in sorted(by_status.items())
    }


def _json(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {"content": {"application/json": {"schema": schema}}}


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"{_SCHEMAS}/{name}"}


def _success_name(answer: type[Any]) -> str:
    return f"Success_{answer.__name__}_"


def _batch_name(post: _Post) -> str:
    return f"Batch_{post.answer.__name__}_"
