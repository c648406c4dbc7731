"""A Django project in this process, set up when the first of its tests is collected."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.sdk.django_shop.settings")

import django

django.setup()

from django.core.management import call_command
from django.db import transaction
from django.test.utils import override_settings, setup_test_environment, teardown_test_environment

from lunacore_http.sdk.testing import EmbeddedTokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def _project() -> Iterator[None]:
    setup_test_environment(debug=False)
    call_command("migrate", run_syncdb=True, verbosity=0)
    yield
    teardown_test_environment()


@pytest.fixture
def database(_project: None) -> Iterator[None]:
    """The project's database, as it was before when the test is over."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.fixture
def tokenizer(lunacore_tokenizer: EmbeddedTokenizer) -> Iterator[EmbeddedTokenizer]:
    """A real tokenizer, and the project configured for it."""
    with override_settings(LUNACORE=lunacore_tokenizer.django_settings):
        yield lunacore_tokenizer


@pytest.fixture(scope="session")
def reading_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedTokenizer]:
    """A tokenizer whose application may read values."""
    settings = {"identity": {"may_read": True}}
    with EmbeddedTokenizer(tmp_path_factory.mktemp("reading"), settings) as running:
        yield running
