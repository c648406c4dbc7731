"""The demo with its values in an S3 server, which the browser reaches by itself: ``lunacore demo --objects``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.demo_person import Person, stored
from tests.demo.running import RunningDemo
from tests.servers.s3_server import url
from tests.servers.s3_stores import listed, new_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.s3_server import S3Server

pytestmark = [pytest.mark.long, pytest.mark.servers]

SECRET = "078-05-1120"


@pytest.fixture(params=["minio", "seaweedfs"])
def s3(request: pytest.FixtureRequest, s3_credentials: None) -> S3Server:
    server: S3Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def prefix() -> str:
    return new_prefix()


@pytest.fixture
def demo(tmp_path: Path, s3: S3Server, prefix: str) -> Iterator[RunningDemo]:
    with RunningDemo(tmp_path, objects=url(s3, "plain", prefix)) as running:
        yield running


def test_what_is_saved_lies_there_and_is_shown_again(
    demo: RunningDemo, s3: S3Server, prefix: str, chromium: Browser
) -> None:
    asked: set[str] = set()
    with chromium.new_context(base_url=demo.url, ignore_https_errors=True) as context:
        ada = Person(demo, context.new_page())
        ada.page.on("request", lambda request: asked.add(f"{request.method} {request.url.partition('?')[0]}"))
        ada.sign_up("ada")
        assert listed(s3, "plain", prefix) == []
        ada.save(SECRET)
        expect(ada.field).to_have_value(SECRET)
        (key,) = listed(s3, "plain", prefix)
        place = f"{s3.endpoint}/plain/{key}"
        assert {f"PUT {place}", f"GET {place}"} <= asked
        assert stored(demo, "ada")["ssn"].startswith("lunasec-")
        assert SECRET.encode() not in s3.at_rest("plain")
