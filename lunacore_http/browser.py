"""What is asked of browsers: a request that leans on a cookie comes from our own origin and names its session.

A browser sends cookies whoever made the page that asks. So where a browser did ask (``Sec-Fetch-Site`` or ``Origin``, which pages
cannot forge) and a cookie is the credential, the request must be same-origin and carry the session's hash, which only a page of
our origin can learn: neither a foreign page nor a planted cookie is of use. Programs are judged by their credential alone.
Follows the Fetch Metadata specification (W3C) and DESIGN, "Who may call".
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lunacore.errors import SessionMismatch
from lunacore.sessions import check_session_hash

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from lunacore.keyring_source import KeyringSource
    from lunacore_http.identity.providers import Caller

SESSION_HASH: str = "lunasec-session-hash"

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL as browsers write them in ``Origin``."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(_DEFAULT_PORTS.get(parts.scheme, ''))}"


def check_same_origin(environ: Mapping[str, Any], caller: Caller, own_origin: str) -> bool:
    """See that a browser which leans on a cookie asks from our own origin; say whether it is such a browser.

    Raises:
        SessionMismatch: it asks from elsewhere.
    """
    if not caller.by_cookie:
        return False
    site, origin = environ.get("HTTP_SEC_FETCH_SITE"), environ.get("HTTP_ORIGIN")
    if site is None and origin is None:
        return False
    same = site == "same-origin" if site is not None else origin == own_origin
    if not same:
        raise SessionMismatch("a page of another origin may not use this session; only the Secure Frame may")
    return True


def check_session(
    environ: Mapping[str, Any], caller: Caller, keyring: KeyringSource, *, own_origin: str, hash_needed: bool
) -> None:
    """See that the session is used by whom it was made for.

    Args:
        environ: the WSGI environment.
        caller: who calls, and whether a cookie says so.
        keyring: makes session hashes.
        own_origin: the tokenizer's origin.
        hash_needed: whether a browser must send the session's hash; not where it comes to learn it.

    Raises:
        SessionMismatch: a browser asks from another origin, or the hash is missing or another session's.
    """
    by_browser = check_same_origin(environ, caller, own_origin)
    sent = environ.get("HTTP_LUNASEC_SESSION_HASH")
    if sent is None:
        if by_browser and hash_needed:
            raise SessionMismatch(f"the header {SESSION_HASH} is missing; ask /session/verify for it")
        return
    if caller.identity.session is not None:
        check_session_hash(caller.identity.session, sent, keyring)
