"""The two cookies that the tokenizer sets: a user's session, and the browser that is about to get one.

Both are ``HttpOnly`` and hold for the tokenizer's host alone. The ``__Host-`` prefix (RFC 6265bis, section 4.1.3) keeps sibling
domains and plain HTTP from planting them. Over plain HTTP on loopback, where not every browser takes it, they go without.

The Secure Frame is an iframe. On a subdomain of the application it is on the same site, and ``SameSite=Lax`` cookies are sent to
it. On a site of its own its cookies are third-party ones, which browsers keep only with ``SameSite=None; Secure; Partitioned``
(CHIPS): for each site that embeds the frame another jar.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from attrs import frozen

from lunacore.loopback import is_loopback

if TYPE_CHECKING:
    from falcon import Response

CROSS_SITE: Final = "cross-site"

_HOST_PREFIX: Final = "__Host-"
_SESSION: Final = "access_token"
_BROWSER: Final = "lunasec_browser"
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


def names_loopback(url: str) -> bool:
    """Whether a URL names this machine: a loopback address, ``localhost`` or a name below it (RFC 6761, section 6.3)."""
    return is_loopback((urlsplit(url).hostname or "").removesuffix("."))


def is_loopback_http(public_url: str) -> bool:
    """Whether browsers reach the tokenizer over plain HTTP on their own machine."""
    return urlsplit(public_url).scheme == "http" and names_loopback(public_url)


def session_cookie_name(public_url: str) -> str:
    """What the cookie of a user's session is called."""
    return _SESSION if is_loopback_http(public_url) else _HOST_PREFIX + _SESSION


@frozen
class Cookies:
    """Names and attributes of the cookies.

    Attributes:
        session: name of the cookie that holds a user's session.
        browser: name of the cookie that a browser has while it fetches its session.
        secure: whether they are kept from plain HTTP.
        cross_site: whether the frame is on another site than the pages that embed it.
    """

    session: str
    browser: str
    secure: bool
    cross_site: bool

    @classmethod
    def of(cls, public_url: str, site: str) -> Cookies:
        """The cookies of a tokenizer at ``public_url``; ``site`` is the setting ``sessions.cookie``."""
        loopback, cross_site = is_loopback_http(public_url), site == CROSS_SITE
        return cls(
            session=session_cookie_name(public_url),
            browser=_BROWSER if loopback else _HOST_PREFIX + _BROWSER,
            secure=cross_site or not loopback,
            cross_site=cross_site,
        )

    def put(self, resp: Response, name: str, value: str, *, seconds: int) -> None:
        """Set a cookie for so many seconds."""
        resp.set_cookie(
            name,
            value,
            max_age=seconds,
            path="/",
            secure=self.secure,
            same_site="None" if self.cross_site else "Lax",
            partitioned=self.cross_site,
        )

    def clear(self, resp: Response, name: str) -> None:
        """Have the browser drop a cookie; it obeys only if all attributes are those that the cookie was set with."""
        resp.set_cookie(
            name,
            "",
            expires=_LONG_AGO,
            path="/",
            secure=self.secure,
            same_site="None" if self.cross_site else "Lax",
            partitioned=self.cross_site,
        )
