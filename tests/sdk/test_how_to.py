"""What the how-to guides show of SQLAlchemy and of tests is run as it is written there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from lunacore.errors import TokenNotFound

if TYPE_CHECKING:
    from lunacore_http.sdk.testing import EmbeddedTokenizer

pytestmark = pytest.mark.xdist_group("lunacore_tokenizer")

ROOT = Path(__file__).parents[2]


def python_of(page: str) -> list[str]:
    text = (ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_a_column_is_backfilled_with_sqlalchemy(
    lunacore_tokenizer: EmbeddedTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Base(DeclarativeBase):
        pass

    column, rows = python_of("sqlalchemy.md")
    column += "    plain_card: Mapped[str] = mapped_column(default='')\n"
    # SQLAlchemy looks annotations up in the module of a class.
    page = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", page)
    names: dict[str, Any] = vars(page)
    names |= {"Base": Base, "Mapped": Mapped, "mapped_column": mapped_column}
    exec(column, names)
    exec(rows, names)
    customer = names["Customer"]
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.sqlite'}")
    Base.metadata.create_all(engine)
    with Session(engine) as session, lunacore_tokenizer.application() as luna:
        session.add_all([customer(plain_card=f"4111 {place}") for place in range(3)])
        session.add(customer())
        session.commit()
        work = names["backfill"](engine, luna)
        report = work.tokenize(lambda count: None)
        assert (report.done, report.complete, work.rows.count_waiting()) == (3, True, 0)
        found = session.scalars(select(customer).order_by(customer.id)).all()
        assert [lunacore_tokenizer.read(one.card) for one in found[:3]] == [b"4111 0", b"4111 1", b"4111 2"]
        assert found[3].card is None
        read = work.rows.tokenized(None, 10)
        assert work.rows.clear(read) == [True, True, True]
        assert work.rows.clear(read) == [False, False, False]
    engine.dispose()


@pytest.mark.long
def test_the_tests_of_an_application_run_as_shown(tmp_path: Path) -> None:
    tests, shop, _ = python_of("testing-your-application.md")
    (tmp_path / "test_shop.py").write_text(f"{tests}\n\n{shop}", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=180)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout


def test_what_belongs_to_a_person_is_erased(
    lunacore_tokenizer: EmbeddedTokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    put, label, erase = python_of("erasure.md")
    typed = lunacore_tokenizer.browser("of the customer").tokenize(b"typed into a field")
    with lunacore_tokenizer.application() as luna:
        names: dict[str, Any] = {"luna": luna, "session_id": "of the customer", "tokens": [typed]}
        exec(put, names)
        exec(label, names)
        names["tokens"] = [luna.values.put(b"without a label")]
        exec(erase, names)
        assert names["erasure"].erased == 2
        for token in (typed, *names["tokens"]):
            with pytest.raises(TokenNotFound):
                luna.metadata(token)
    assert "lunacore-erasure-receipt" in capsys.readouterr().out
