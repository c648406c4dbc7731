"""The how-to guides for auth proxies: what they configure is what LunaCore takes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from lunacore.config import Config
from lunacore_http.identity.providers import Identities
from lunacore_http.identity.proxies import place_of

GUIDES = Path(__file__).parents[2] / "docs" / "how-to" / "auth-proxies"
PLACES = {
    "apache": ["authorization"],
    "aws-alb": ["x-amzn-oidc-data"],
    "caddy": ["authorization"],
    "cloudflare-access": ["cf-access-jwt-assertion"],
    "envoy": ["authorization", "cookie IdToken"],
    "google-iap": ["x-goog-iap-jwt-assertion"],
    "nginx": ["authorization"],
    "oathkeeper": ["authorization"],
    "oauth2-proxy": ["authorization"],
}


def blocks(guide: str) -> list[dict[str, Any]]:
    text = (GUIDES / f"{guide}.md").read_text(encoding="utf-8")
    return [tomllib.loads(block) for block in re.findall(r"^```toml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)]


def test_every_guide_is_known() -> None:
    assert {page.stem for page in GUIDES.glob("*.md")} == {"index", *PLACES}


@pytest.mark.parametrize("guide", PLACES)
def test_the_identity_of_a_guide_is_taken(guide: str) -> None:
    places = []
    for given in blocks(guide):
        config = Config.from_mapping({"tokenizer": {"public_url": "https://secure.example.com"}, **given}, {})
        (provider,) = config.identity
        Identities(config.identity, public_url=config.public_url, max_session_ttl=60, now=lambda: 0.0)
        assert provider.kind == "proxy"
        assert provider.audience or provider.signer, "a JWT must be made out to somebody"
        places.append(place_of(provider))
    assert places == PLACES[guide]


def test_all_of_them_at_once() -> None:
    """Proxies of one log-in service need audiences of their own; then any number goes together."""
    found = [blocks(guide)[0]["identity"][0] for guide in PLACES]
    for number, one in enumerate(found):
        if one["issuer"] == "https://login.example.com":
            one["audience"] = f"client-{number}"
    config = Config.from_mapping({"identity": found}, {})
    Identities(config.identity, public_url=config.public_url, max_session_ttl=60, now=lambda: 0.0)
    assert len(config.identity) == len(PLACES)
