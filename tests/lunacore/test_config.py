"""Configuration: every setting from file and environment, and errors that name the setting and what to do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunacore.config import Config, IdentitySettings
from lunacore.errors import ConfigError

APPLICATION = {
    "name": "app",
    "kind": "application",
    "issuer": "https://app.example.com",
    "jwks": "https://app.example.com/.lunasec/jwks.json",
}

# Every setting that the design names, each with a value that is not its default.
SAMPLE = """
[tokenizer]
public_url = "https://secure.example.com"
host = "0.0.0.0"
port = 37700
operations = "127.0.0.1:37701"
workers = 2
threads = 16
data_dir = "/var/lib/lunacore"
objects = "s3://luna?endpoint=https://minio:9000&public_endpoint=https://files.example.com&region=us-east-1&ca=/etc/ca.pem"
records = "postgresql://me:hidden@db/luna"
grants = "redis://:hidden@cache"
keyring = "file:///etc/lunacore/keyring"
seal = "file:///run/secrets/lunacore-seal"
audit = "file:///var/log/lunacore/audit"

[grants]
default_ttl = "10m"
max_ttl = "12h"

[sessions]
max_ttl = "6h"

[frame]
app_origins = ["https://app.example.com", "https://other.example.com:8443"]

[[identity]]
name = "app"
kind = "application"
tenant = "acme"
issuer = "https://app.example.com"
jwks = "https://app.example.com/.lunasec/jwks.json"
callback = "https://app.example.com/.lunasec/secure-frame"
roles = ["user", "application", "developer"]
default = true
may_read = true
direct = true

[[identity]]
name = "proxy"
kind = "proxy"
issuer = "https://proxy.example.com/"
audience = "lunacore"
jwks = "https://proxy.example.com/.well-known/jwks.json"
header = "X-Token"
session_claim = "session"
"""


PROXY = {
    "name": "proxy",
    "kind": "proxy",
    "issuer": "https://login.example.com",
    "audience": "one",
    "jwks": "https://login.example.com/jwks.json",
}


def load(given: dict[str, Any] | None = None, /, **environ: str) -> Config:
    return Config.from_mapping(given or {}, environ=environ)


def sections() -> list[tuple[str, attrs.Attribute[Any]]]:
    config = load()
    names = [one.name for one in attrs.fields(Config) if one.name not in ("identity", "notify")]
    return [(name, one) for name in names for one in attrs.fields(type(getattr(config, name)))]


class TestSample:
    @pytest.fixture
    def config(self, tmp_path: Path) -> Config:
        path = tmp_path / "luna.toml"
        path.write_text(SAMPLE, encoding="utf-8")
        return Config.from_file(path, environ={})

    def test_every_value_arrives(self, config: Config) -> None:
        assert config.tokenizer.public_url == config.public_url == config.gateway_url == "https://secure.example.com"
        assert (config.tokenizer.host, config.tokenizer.port) == ("0.0.0.0", 37700)
        assert (config.tokenizer.operations, config.tokenizer.workers, config.tokenizer.threads) == (
            "127.0.0.1:37701",
            2,
            16,
        )
        assert config.data_dir == Path("/var/lib/lunacore")
        assert config.tokenizer.records == "postgresql://me:hidden@db/luna"
        assert (config.grants.default_ttl, config.grants.max_ttl, config.sessions.max_ttl) == (600, 43_200, 21_600)
        assert config.frame.app_origins == ("https://app.example.com", "https://other.example.com:8443")
        application, proxy = config.identity
        assert (application.tenant, application.roles) == ("acme", ("user", "application", "developer"))
        assert application.default
        assert application.may_read
        assert application.direct
        assert (proxy.kind, proxy.audience, proxy.header, proxy.session_claim) == (
            "proxy",
            "lunacore",
            "X-Token",
            ("session",),
        )
        assert proxy.tenant == "default"
        assert not proxy.may_read

    def test_no_credential_shows(self, config: Config) -> None:
        assert "hidden" not in repr(config)
        assert "hidden" not in str(config)

    def test_the_file_may_be_put_together_from_the_environment(self, config: Config) -> None:
        environ = {
            "LUNACORE_TOKENIZER_PUBLIC_URL": "https://secure.example.com",
            "LUNACORE_TOKENIZER_HOST": "0.0.0.0",
            "LUNACORE_TOKENIZER_PORT": "37700",
            "LUNACORE_TOKENIZER_OPERATIONS": "127.0.0.1:37701",
            "LUNACORE_TOKENIZER_WORKERS": "2",
            "LUNACORE_TOKENIZER_THREADS": "16",
            "LUNACORE_TOKENIZER_DATA_DIR": "/var/lib/lunacore",
            "LUNACORE_TOKENIZER_OBJECTS": config.tokenizer.objects,
            "LUNACORE_TOKENIZER_RECORDS": "postgresql://me:hidden@db/luna",
            "LUNACORE_TOKENIZER_GRANTS": "redis://:hidden@cache",
            "LUNACORE_TOKENIZER_KEYRING": "file:///etc/lunacore/keyring",
            "LUNACORE_TOKENIZER_SEAL": "file:///run/secrets/lunacore-seal",
            "LUNACORE_TOKENIZER_AUDIT": "file:///var/log/lunacore/audit",
            "LUNACORE_GRANTS_DEFAULT_TTL": "600",
            "LUNACORE_GRANTS_MAX_TTL": "12h",
            "LUNACORE_SESSIONS_MAX_TTL": "6h",
            "LUNACORE_FRAME_APP_ORIGINS": "https://app.example.com, https://other.example.com:8443",
            "LUNACORE_IDENTITY": json.dumps(
                [{name: value for name, value in attrs.asdict(one).items() if value} for one in config.identity]
            ),
        }
        assert load(**environ) == config


@pytest.mark.parametrize(
    ("given", "entries"),
    [
        ("", ()),
        ([], ()),
        ("file:///a", (("file:///a",),)),
        ("file:///a,b", (("file:///a,b",),)),
        ("file:///a(1), file:///b", (("file:///a(1)",), ("file:///b",))),
        ("file:///a,\n awskms:///alias/b?region=x", (("file:///a",), ("awskms:///alias/b?region=x",))),
        (["file:///a", "file:///b,c"], (("file:///a",), ("file:///b,c",))),
        ("all(file:///a, openbao://host/transit/keys/b)", (("file:///a", "openbao://host/transit/keys/b"),)),
        (
            "all(passphrase:?env=A,passphrase:?env=B), file:///c",
            (("passphrase:?env=A", "passphrase:?env=B"), ("file:///c",)),
        ),
        (
            ["all(file:///a, file:///b)", "all(file:///a, file:///c)"],
            (("file:///a", "file:///b"), ("file:///a", "file:///c")),
        ),
    ],
)
def test_key_providers_are_any_or_several_together(given: object, entries: tuple[tuple[str, ...], ...]) -> None:
    assert load({"tokenizer": {"seal": given}}).tokenizer.seal == entries
    if isinstance(given, str):
        assert load(LUNACORE_TOKENIZER_SEAL=given).tokenizer.seal == entries


@pytest.mark.parametrize(
    "given",
    [
        3, ["file:///a", ["file:///b", "file:///c"]], ["file:///a", ""], "all(file:///a", "all(file:///a)", "all()",
        "all(file:///a, file:///a)", "file:///a, file:///a", "all(file:///a, all(file:///b, file:///c))", " ",
        ["all(file:///a, file:///b)", "all(file:///b, file:///a)"],
        f"all({', '.join(f'file:///{number}' for number in range(17))})",
    ],
)  # fmt: skip
def test_refuses_wrong_key_providers_by_the_name_of_the_setting(given: object) -> None:
    with pytest.raises(ConfigError, match=r"^tokenizer\.seal"):
        load({"tokenizer": {"seal": given}})


class TestEnvironment:
    def test_goes_before_the_file(self) -> None:
        assert load({"tokenizer": {"port": 1}}, LUNACORE_TOKENIZER_PORT="2").tokenizer.port == 2

    def test_a_file_may_hold_the_value(self, tmp_path: Path) -> None:
        secret = tmp_path / "records"
        secret.write_text("postgresql://me:hidden@db/luna\n")
        assert load(LUNACORE_TOKENIZER_RECORDS_FILE=str(secret)).tokenizer.records == "postgresql://me:hidden@db/luna"

    def test_a_file_may_hold_the_identities(self, tmp_path: Path) -> None:
        path = tmp_path / "identity.json"
        path.write_text(json.dumps([APPLICATION]))
        assert load(LUNACORE_IDENTITY_FILE=str(path)).identity[0].name == "app"

    def test_identities_replace_those_of_the_file(self) -> None:
        other = {**APPLICATION, "name": "other"}
        assert [
            one.name for one in load({"identity": [APPLICATION]}, LUNACORE_IDENTITY=json.dumps([other])).identity
        ] == ["other"]

    @pytest.mark.parametrize(("section", "one"), sections(), ids=lambda part: getattr(part, "name", part))
    def test_every_setting_has_a_variable(self, section: str, one: attrs.Attribute[Any]) -> None:
        kinds: dict[Any, str] = {int: "17", str: "https://one.example.com", tuple: "https://one.example.com"}
        text = {"cookie": "cross-site", "after": "86400"}.get(one.name, kinds[type(one.default)])
        variable = f"LUNACORE_{section}_{one.name}".upper()
        environ = {variable: text}
        if one.name.startswith("tls_"):
            environ = {"LUNACORE_TOKENIZER_TLS_CERTIFICATE": text, "LUNACORE_TOKENIZER_TLS_KEY": text}
        if variable == "LUNACORE_GRANTS_MAX_TTL":
            environ["LUNACORE_GRANTS_DEFAULT_TTL"] = "1"
        value = getattr(getattr(load(**environ), section), one.name)
        kind = type(one.default)
        expected: Any = int(text) if kind is int else text if kind is str else (text,)
        assert value == (((text,),) if one.name == "seal" else expected)

    @pytest.mark.parametrize(
        ("environ", "message"),
        [
            (
                {"LUNACORE_TOKENIZER_PROT": "1"},
                "LUNACORE_TOKENIZER_PROT is unknown; did you mean LUNACORE_TOKENIZER_PORT?",
            ),
            ({"LUNACORE_GRANTS_TTL": "1"}, "LUNACORE_GRANTS_TTL is unknown; did you mean LUNACORE_GRANTS_MAX_TTL?"),
            ({"LUNACORE_TOKENIZER_PORT": "x"}, "tokenizer.port must be a whole number"),
            ({"LUNACORE_TOKENIZER_PORT": ""}, "tokenizer.port must be a whole number"),
            ({"LUNACORE_TOKENIZER_PORT": "٣"}, "tokenizer.port must be a whole number"),
            ({"LUNACORE_IDENTITY": "{"}, "LUNACORE_IDENTITY is not JSON"),
            ({"LUNACORE_IDENTITY": "{}"}, "identity must be a list of tables"),
            ({"LUNACORE_IDENTITY": "[1]"}, "identity must be a list of tables"),
            (
                {"LUNACORE_TOKENIZER_SEAL_FILE": "/dev/null/x"},
                "LUNACORE_TOKENIZER_SEAL_FILE names a file that cannot be read",
            ),
            (
                {"LUNACORE_TOKENIZER_SEAL": "x", "LUNACORE_TOKENIZER_SEAL_FILE": "y"},
                "both LUNACORE_TOKENIZER_SEAL and LUNACORE_TOKENIZER_SEAL_FILE are set; keep one",
            ),
        ],
    )
    def test_what_is_wrong_is_named(self, environ: dict[str, str], message: str) -> None:
        with pytest.raises(ConfigError, match=re.escape(message)):
            load(**environ)

    def test_a_file_that_is_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(b"\xff\xfe")
        with pytest.raises(ConfigError, match="LUNACORE_TOKENIZER_SEAL_FILE names a file that is not UTF-8"):
            load(LUNACORE_TOKENIZER_SEAL_FILE=str(tmp_path / "secret"))

    def test_other_variables_are_none_of_its_business(self) -> None:
        assert load(PATH="/bin", TOKENIZER_PORT="x") == load()


class TestErrors:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"tokeniser": {}}, "the setting tokeniser is unknown; did you mean tokenizer?"),
            ({"tokenizer": {"prot": 1}}, "the setting tokenizer.prot is unknown; did you mean port?"),
            ({"tokenizer": {"PORT": 1}}, "the setting tokenizer.PORT is unknown"),
            ({"tokenizer": 1}, "[tokenizer] must be a table"),
            ({"tokenizer": {"port": 0}}, "tokenizer.port must be 1 or more"),
            ({"tokenizer": {"port": -1}}, "tokenizer.port must be a whole number"),
            ({"tokenizer": {"port": 65_536}}, "tokenizer.port must be a port, 1 to 65535"),
            ({"tokenizer": {"port": 1.5}}, "tokenizer.port must be a whole number"),
            ({"tokenizer": {"port": True}}, "tokenizer.port must be a whole number"),
            ({"tokenizer": {"host": 1}}, "tokenizer.host must be text"),
            ({"tokenizer": {"public_url": "secure.example.com"}}, "tokenizer.public_url must be a URL such as https://"),
            ({"tokenizer": {"public_url": "ftp://x"}}, "tokenizer.public_url must be a URL such as https://"),
            ({"tokenizer": {"public_url": "https://"}}, "tokenizer.public_url must be a URL such as https://"),
            ({"tokenizer": {"public_url": "https://x/?a=1"}}, "tokenizer.public_url must be a URL such as https://"),
            ({"tokenizer": {"public_url": "https://[x"}}, "tokenizer.public_url must be a URL such as https://"),
            ({"tokenizer": {"tls_key": "x"}}, "tokenizer.tls_certificate and tokenizer.tls_key go together"),
            ({"grants": {"max_ttl": "x"}}, 'grants.max_ttl must be a duration such as "90s"'),
            ({"grants": {"max_ttl": 0}}, "grants.max_ttl must be at least 1s"),
            ({"grants": {"max_ttl": []}}, "grants.max_ttl must be a duration"),
            ({"grants": {"max_ttl": 10}}, "grants.default_ttl must not be longer than grants.max_ttl"),
            ({"tickets": {"upload_ttl": "8d"}}, "tickets.upload_ttl must be at most 7d"),
            ({"tickets": {"download_ttl": 604_801}}, "tickets.download_ttl must be at most 7d"),
            ({"frame": {"app_origins": "https://x/path"}}, "frame.app_origins must hold origins"),
            ({"frame": {"app_origins": [1]}}, "frame.app_origins must be a list of texts"),
            ({"frame": {"app_origins": ["*"]}}, "frame.app_origins must be a URL"),
            ({"notify": {}}, "notify must be a list of tables: write [[notify]]"),
            ({"notify": [{"url": "https://a.example.com"}]}, "notify[?].name is missing"),
            ({"notify": [{"name": "a"}]}, "notify[a] needs either url or command"),
            ({"notify": [{"name": "a", "url": "https://a.example.com", "command": ["/b"]}]}, "notify[a] needs either"),
            ({"identity": {}}, "identity must be a list of tables: write [[identity]]"),
            ({"identity": ["x"]}, "identity must be a list of tables: write [[identity]]"),
            ({"identity": [{}]}, "identity[?].name is missing"),
            ({"identity": [{**APPLICATION, "kind": "x"}]}, "identity[app].kind must be one of application, proxy"),
            ({"identity": [{**APPLICATION, "kind": []}]}, "identity[app].kind must be one of application, proxy"),
            ({"identity": [{**APPLICATION, "isuer": "x"}]}, "identity[app].isuer is unknown; did you mean issuer?"),
            ({"identity": [{**APPLICATION, "roles": ["admin"]}]}, "identity[app].roles may hold user, application"),
            ({"identity": [{**APPLICATION, "roles": ["operator"]}]}, "'operator' is none of them"),
            ({"identity": [{**APPLICATION, "algorithms": ["none"]}]}, "identity[app].algorithms may hold RS256"),
            ({"identity": [{**APPLICATION, "algorithms": ["HS256"]}]}, "'HS256' is none of them"),
            ({"identity": [{**APPLICATION, "default": "maybe"}]}, "identity[app].default must be true or false"),
            ({"identity": [{**APPLICATION, "may_read": 1}]}, "identity[app].may_read must be true or false"),
            ({"identity": [APPLICATION, APPLICATION]}, "two identity providers are named 'app'"),
            ({"identity": [APPLICATION, {**APPLICATION, "name": "b"}]}, "an issuer belongs to one"),
            ({"identity": [PROXY, {**APPLICATION, "issuer": PROXY["issuer"]}]}, "an issuer belongs to one"),
            ({"identity": [PROXY, {**PROXY, "name": "b"}]}, "nothing tells their JWTs apart"),
            ({"identity": [{**PROXY, "pem": "https://example.com/{kid}"}]}, "jwks and pem are both set"),
            ({"identity": [{**PROXY, "session_claim": 1}]}, "identity[proxy].session_claim must be a list of texts"),
            ({"identity": [{**PROXY, "allow_padding": "often"}]}, "allow_padding must be true or false"),
            (
                {"identity": [{**APPLICATION, "default": True},
                              {**APPLICATION, "name": "b", "issuer": "b", "default": True}]},
                "only one identity provider can be the default",
            ),
        ],
    )  # fmt: skip
    def test_name_the_setting_and_what_to_do(self, given: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=re.escape(message)):
            load(given)

    @pytest.mark.parametrize("name", ["name", "kind", "issuer", "jwks"])
    def test_an_identity_needs(self, name: str) -> None:
        lacking = {key: value for key, value in APPLICATION.items() if key != name}
        with pytest.raises(ConfigError, match=rf"{name} is missing"):
            load({"identity": [lacking]})

    def test_one_log_in_service_behind_several_proxies(self) -> None:
        load_balancer = {**PROXY, "name": "c", "audience": "", "signer": "arn:aws:one"}
        other = {**load_balancer, "name": "d", "signer": "arn:aws:two"}
        config = load({"identity": [PROXY, {**PROXY, "name": "b", "audience": "two"}, load_balancer, other]})
        assert {one.issuer for one in config.identity} == {PROXY["issuer"]}

    @pytest.mark.parametrize("given", ["a, b", ["a", "b"]])
    def test_session_claims_in_order(self, given: object) -> None:
        (one,) = load({"identity": [{**PROXY, "session_claim": given}]}).identity
        assert one.session_claim == ("a", "b")

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"luna\.toml cannot be read: No such file"):
            Config.from_file(tmp_path / "luna.toml", environ={})

    @pytest.mark.parametrize("content", [b"[tokenizer", b"x = ", b"\xff", b"[tokenizer]\nport = 1\nport = 2"])
    def test_a_file_that_is_not_toml(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "luna.toml").write_bytes(content)
        with pytest.raises(ConfigError, match=r"luna\.toml is not TOML"):
            Config.from_file(tmp_path / "luna.toml", environ={})

    @given(st.dictionaries(st.sampled_from(["tokenizer", "grants", "tickets", "identity", "x"]), st.from_type(type(None)) | st.integers() | st.text() | st.lists(st.text()) | st.dictionaries(st.sampled_from(["port", "max_ttl", "host", "objects", "upload_ttl"]), st.none() | st.integers() | st.text() | st.floats() | st.lists(st.integers()))))  # fmt: skip
    def test_nothing_but_config_errors(self, given: dict[str, Any]) -> None:
        try:
            load(given)
        except ConfigError as refusal:
            assert refusal.message  # noqa: PT017 - what is raised is what is tested


class TestDefaults:
    def test_nothing_needs_to_be_set(self) -> None:
        config = load()
        assert config.public_url == config.gateway_url == "http://127.0.0.1:37766"
        assert config.data_dir == Path.cwd() / "luna-data"
        assert config.identity == ()
        assert (config.grants.default_ttl, config.grants.max_ttl) == (900, 86_400)

    @pytest.mark.parametrize(
        ("given", "url"),
        [
            ({"tls_certificate": "c", "tls_key": "k"}, "https://127.0.0.1:37766"),
            ({"host": "::1", "port": 1}, "http://[::1]:1"),
            ({"public_url": "https://secure.example.com/"}, "https://secure.example.com"),
        ],
    )
    def test_the_public_url_follows(self, given: dict[str, Any], url: str) -> None:
        assert load({"tokenizer": given}).public_url == url

    def test_the_gateway_may_have_its_own(self) -> None:
        config = load({"gateway": {"public_url": "https://files.example.com"}})
        assert config.gateway_url == "https://files.example.com"

    def test_an_application_may_not_read_unless_that_is_set(self) -> None:
        defaults = attrs.fields_dict(IdentitySettings)
        assert [defaults[name].default for name in ("may_read", "direct", "default", "private_addresses")] == [
            False
        ] * 4
