"""Validators and masks by themselves: the frame's own modules, in one page of the tokenizer's origin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page


NOW = "2026-11-22T12:00:00"

RIGHT = {
    # The test numbers that the brands and payment providers publish.
    "card": [
        *("4242424242424242", "4242 4242 4242 4242", "4222222222222", "4000-0000-0000-0002", "4000000000000000006"),
        *("5555555555554444", "2223003122003222", "2720990000000007", "378282246310005", "3714 496353 98431"),
        *("30569309025904", "3056930009020004", "36227206271667", "3566002020360505", "6011111111111117"),
        *("6200000000000005", "6200000000000006", "6759649826438453"),
    ],
    "expiry": ["11/26", "12/26", "01/27", "1/27", "11/2026", "12 / 30", "11-26", "11/46"],
    "cvc": ["123", "0000"],
    "ssn": ["078-05-1120", "078051120", "219 09 9999", "899-99-9999", "665-01-0001"],
    "ein": ["12-3456789", "123456789", "06-0000001", "99-1234567"],
    "email": [
        *("a@b.example", "first.last+tag@sub.example.org", "o'neil@example.com", "!#$%&*@a-b.co"),
        f"{'x' * 64}@example.com",
    ],
    "phone": ["+49 30 123456", "(555) 123-4567", "555.123.4567", "+123456789012345", "1234567"],
    # The examples of SWIFT's registry.
    "iban": [
        *(
            "DE89 3704 0044 0532 0130 00",
            "GB82WEST12345698765432",
            "NO9386011117947",
            "MT84MALT011000012345MTLCAST001S",
        ),
        *("fr1420041010050500013m02606", "LC55HEMM000100010012001200023015", "BE68 5390 0754 7034"),
    ],
    "date": ["2024-02-29", "1900-01-01", "2026-12-31", "0099-01-01"],
}
WRONG = {
    "card": [
        *("4242424242424241", "5555555555554445", "378282246310006", "0000000000000000", "42424242424242424242"),
        *("4242 4242 4242 424x", "55555555555544440", "3782822463100050", "424242424242\uff14242"),
    ],
    "expiry": ["13/26", "00/27", "11/47", "1127/", "11/260", "x"],
    "cvc": ["12345", "12a", "\u0663\u0663\u0663"],
    "ssn": [
        "000-12-3456",
        "666-12-3456",
        "900-12-3456",
        "123-00-4567",
        "123-45-0000",
        "1234567890",
        "123-45 6789",
        "a",
    ],
    "ein": ["00-1234567", "07-1234567", "89-1234567", "12-34567890", "1-23456789", "a"],
    "email": [
        *("a@b@c.example", "a b@c.example", "a@-b.example", "a@b..example", "a@b_c.example", "@b.example"),
        *("ä@b.example", f"{'x' * 65}@example.com", f"a@{'x' * 64}.example", f"a@{'x.' * 130}com"),
    ],
    "phone": ["+0123456789", "1234567890123456", "555-HELP-NOW", "++49 30 123456", "1+234567"],
    "iban": ["DE89370400440532013001", "XX12", "D1", "GB82WEST123456987654321", "DE89-3704", "28DE"],
    "date": ["2023-02-29", "2023-13-01", "2023-00-10", "2023-04-31", "2023-1-100", "31.12.2023", "x"],
}
INCOMPLETE = {
    "card": ["4", "4242 4242 4242", "42424242424242", "37828224631000", "5555 5555 5555 444"],
    "expiry": ["1", "11", "11/", "11/2", "1/2"],
    "cvc": ["1", "12"],
    "ssn": ["0", "078-05-112", "000"],
    "ein": ["1", "12-", "12-345678"],
    "email": ["a", "a@", "a@b", "a@b."],
    "phone": ["+", "+49", "555-12"],
    "iban": ["D", "DE", "DE8", "DE89 3704 0044 0532 0130 0"],
    "date": ["2", "2024-", "2024-02-2"],
}
PAST = {"expiry": ["10/26", "01/26", "12/25", "12/2025", "01/00"]}
TABLES = [(RIGHT, None), (WRONG, "wrong"), (INCOMPLETE, "incomplete"), (PAST, "past")]
CASES = [
    (name, text, flaw) for table, flaw in TABLES for name, texts in table.items() for text in texts
]  # fmt: skip

BRANDS = {
    "4": "Visa", "51": "Mastercard", "2221": "Mastercard", "2720": "Mastercard", "2721": "", "34": "Amex", "37": "Amex",
    "300": "Diners", "36": "Diners", "3528": "JCB", "3527": "", "6011": "Discover", "65": "Discover", "62": "UnionPay",
    "6759": "Maestro", "50": "Maestro", "9": "", "": "",
}  # fmt: skip

# Validator, mask, the text with | for the caret, and what becomes of it.
MASKS = [
    ("card", "", "4242424242424242|", "4242 4242 4242 4242|"),
    ("card", "", "378282246310005|", "3782 822463 10005|"),
    ("card", "", "4242 4|", "4242 4|"),
    ("card", "", "4242 |", "4242|"),
    ("card", "", "42429| 4242", "4242 9|424 2"),
    ("card", "", "card: 5555-5555-5555-4444.|", "5555 5555 5555 4444|"),
    ("card", "", "5555 5555 5559|5 4444", "5555 5555 555|5 4444"),
    ("expiry", "", "1|", "1|"),
    ("expiry", "", "5|", "05|"),
    ("expiry", "", "1/|", "01|"),
    ("expiry", "", "1227|", "12/27|"),
    ("expiry", "", "12/2027|", "12/2027|"),
    ("expiry", "", "2027-05|", "05/2027|"),
    ("expiry", "", "5/27|", "05/27|"),
    ("cvc", "", "12345|", "1234|"),
    ("ssn", "", "078051120|", "078-05-1120|"),
    ("ssn", "", " 078 05 1120\n|", "078-05-1120|"),
    ("ssn", "", "SSN: 078-05-1120|", "078-05-1120|"),
    ("ssn", "", "\uff10\uff17\uff18051120|", "078-05-1120|"),
    ("ssn", "", "0789|-05-112", "078-9|0-5112"),
    ("ssn", "", "0789|-05-1120", "078|-05-1120"),
    ("ssn", "", "07|-05-1120", "07|0-51-120"),
    ("ssn", "", "|", "|"),
    ("ein", "", "123456789|", "12-3456789|"),
    ("date", "", "20240229|", "2024-02-29|"),
    ("iban", "", "de89370400440532013000|", "DE89 3704 0044 0532 0130 00|"),
    ("iban", "", "de8|", "DE8|"),
    ("phone", "", "+49 x30|", "+49 30|"),
    ("email", "", " a@b |.example ", "a@b|.example"),
    ("ssn", "none", "0 7 8x|", "0 7 8x|"),
    ("", "", "any thing|", "any thing|"),
    ("", "AA-99", "ab1|2", "AB-1|2"),
    ("", "aa-99", "12ab|", "ab|"),
    ("", "(999) 999", "1234|", "(123) 4|"),
    ("", "(999) 999", "(|", "|"),
    ("", "xX", "ab|", "aB|"),
]


def run(hub: Page, module: str, script: str, asked: Any) -> Any:
    source = hub.locator("script").get_attribute("src")
    assert source is not None
    address = source.replace("hub.js", module)
    return hub.evaluate(
        f"async ([address, asked]) => {{ const own = await import(address); {script} }}", [address, asked]
    )


def test_every_validator_tells_right_from_wrong_and_unfinished(hub: Page) -> None:
    script = "return asked.cases.map(([name, text]) => own.VALIDATORS[name][0](text, new Date(asked.now)))"
    asked = {"cases": [list(case[:2]) for case in CASES], "now": NOW}
    told = run(hub, "validators.js", script, asked)
    judged = [(name, text, flaw) for (name, text, _), flaw in zip(CASES, told, strict=True)]
    assert judged == CASES
    names = run(hub, "validators.js", "return Object.keys(own.VALIDATORS)", None)
    for table in (RIGHT, WRONG, INCOMPLETE):
        assert sorted(table) == sorted(names)


def test_one_wrong_digit_is_always_seen(hub: Page) -> None:
    told = run(
        hub,
        "validators.js",
        """
        const missed = [];
        for (const [name, text] of asked) for (let place = 4; place < text.length; place++)
          for (const digit of "0123456789") {
            const other = text.slice(0, place) + digit + text.slice(place + 1);
            if (other !== text && own.VALIDATORS[name][0](other, new Date()) === null) missed.push(other);
          }
        return missed;
        """,
        [["card", "4242424242424242"], ["card", "378282246310005"], ["iban", "DE89370400440532013000"]],
    )
    assert told == []


def test_brands_are_known_by_their_first_digits(hub: Page) -> None:
    told = run(hub, "validators.js", "return asked.map((digits) => own.brandOf(digits).name)", list(BRANDS))
    assert dict(zip(BRANDS, told, strict=True)) == BRANDS


def test_masks_write_separators_and_keep_the_caret(hub: Page) -> None:
    script = """return asked.map(([validator, mask, given]) => {
      const [text, caret] = own.masked({ validator, mask }, given.replace("|", ""), given.indexOf("|"));
      return `${text.slice(0, caret)}|${text.slice(caret)}`;
    })"""
    told = run(hub, "masks.js", script, [list(case[:3]) for case in MASKS])
    judged = [(*case[:3], made) for case, made in zip(MASKS, told, strict=True)]
    assert judged == MASKS


def test_the_key_delete_passes_a_separator(hub: Page) -> None:
    script = "return own.masked({ validator: 'ssn', mask: '' }, '07805-1120', 3, asked)"
    assert run(hub, "masks.js", script, False) == ["078-05-1120", 3]
    assert run(hub, "masks.js", script, True) == ["078-05-1120", 4]


def test_what_a_mask_wrote_it_leaves_alone(hub: Page) -> None:
    script = """return asked.filter(([validator, mask, given]) => {
      const [once] = own.masked({ validator, mask }, given.replace("|", ""), 0);
      return own.masked({ validator, mask }, once, once.length)[0] !== once;
    })"""
    assert run(hub, "masks.js", script, [list(case[:3]) for case in MASKS]) == []


def test_only_the_tokens_of_html_are_autofilled(hub: Page) -> None:
    known = ["cc-number", "billing cc-exp", "section-a shipping street-address", "name", "cc-name", "given-name", "tel"]
    unknown = ["", "anything", "cc-number evil", "billing", "cc-", "given-", "evil name", "CC-NUMBER"]
    script = "return asked.map((detail) => own.autofillOf(detail))"
    assert run(hub, "autofill.js", script, known + unknown) == known + [""] * len(unknown)
