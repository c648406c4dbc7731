"""The templates of the guide to server-rendered pages, rendered by Django and by Flask as they are written there, and looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.examples import examples

if TYPE_CHECKING:
    from tests.browser.conftest import Visitor

SECRET = "078-05-1120"
PAGE = "how-to/server-rendered.md"

# Each renders one page to its standard output, in a process of its own: a project of Django's changes the whole process.
_DJANGO = """
import json, sys
import django
from django.conf import settings
from django.http import HttpResponse
from django.template import engines
from django.test import RequestFactory

given = json.load(sys.stdin)
settings.configure(
    LUNACORE={**given["luna"], "SESSION_ID_PROVIDER": lambda request: given["session"]},
    INSTALLED_APPS=["lunacore_http.sdk.django"], ALLOWED_HOSTS=["*"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
)
django.setup()
from lunacore_http.sdk.django.middleware import LunaCoreMiddleware

def view(request):
    return HttpResponse(engines["django"].from_string(given["template"]).render({"record": given["record"]}, request))

response = LunaCoreMiddleware(view)(RequestFactory().get("/"))
assert response["cache-control"] == "private"
sys.stdout.write(response.content.decode())
"""
_FLASK = """
import json, os, sys
from pathlib import Path

given = json.load(sys.stdin)
luna = given["luna"]
os.environ["LUNACORE_APP_TOKENIZER_URL"] = luna["TOKENIZER_URL"]
os.environ["LUNACORE_APP_INTERNAL_URL"] = luna["INTERNAL_URL"]
os.environ["LUNACORE_APP_ISSUER"] = luna["ISSUER"]
os.environ["LUNACORE_APP_SIGNING_KEY"] = luna["SIGNING_KEY"]
RECORDS = {"ada": given["record"]}
exec(given["application"])
app.secret_key = "of a test"
app.jinja_env.loader = __import__("jinja2").DictLoader({"record.jinja": given["template"]})
client = app.test_client()
with client.session_transaction() as opened:
    opened["user"], opened["sid"] = "ada", given["session"]
sys.stdout.write(client.get("/record").text)
"""


def rendered(visitor: Visitor, script: str, **given: Any) -> str:
    """What an application renders for this visitor."""
    application = visitor.world.application
    luna = {
        "TOKENIZER_URL": application.tokenizer_url,
        "INTERNAL_URL": application.internal_url,
        "ISSUER": application.issuer.settings["issuer"],
        "SIGNING_KEY": application.signing_key,
    }
    sent = json.dumps({"luna": luna, "session": visitor.user, **given})
    ran = subprocess.run(
        [sys.executable, "-c", script], input=sent, capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("framework", ["django", pytest.param("flask", marks=pytest.mark.long)])
def test_a_page_with_values(visitor: Visitor, framework: str) -> None:
    found = examples(PAGE, tokenizer=visitor.world.tokenizer_url)
    tokens = {"ssn": visitor.keep(SECRET), "card": visitor.keep("4111 1111 1111 1111"), "note": visitor.keep("a note")}
    if framework == "django":
        # One is gone: the others show all the same.
        visitor.world.application.call("/token/delete", tokenId=tokens["note"])
        page = rendered(visitor, _DJANGO, template=found["record.html"], record=tokens)
    else:
        template, code = found["record.jinja"], found["application.py"]
        body = rendered(visitor, _FLASK, template=template, application=code, record=tokens)
        page = visitor.world.application.page(f"<main><h1>Record</h1>{body}</main>")
    visitor.world.application.pages["/rendered"] = page
    visitor.go("/rendered")
    if framework == "django":
        # Paragraphs are defined before spans, so theirs are the first frames.
        expect(visitor.inside(0).locator(".notice")).to_contain_text("You have no access to this.")
    first = 1 if framework == "django" else 0
    expect(visitor.inside(first).locator(".text")).to_have_text(SECRET)
    card = visitor.inside(first + 1)
    card.get_by_role("button", name="Show").click()
    expect(card.locator(".text")).to_have_text("4111 1111 1111 1111")
    assert SECRET not in page
    found_by_axe = Axe().run(visitor.page)
    assert found_by_axe.violations_count == 0, found_by_axe.generate_report()
