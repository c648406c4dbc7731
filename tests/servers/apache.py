"""Apache with mod_auth_openidc, from Debian's packages, as an unprivileged auth proxy with a configuration of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.servers.auth_proxy import CLIENT_ID, Site, application_site, documented, listens, tokenizer_site
from tests.servers.processes import Server, ServerProcess

if TYPE_CHECKING:
    from tests.servers.oidc_provider import OIDCProvider

PROGRAM: Final = Path("/usr/sbin/apache2")
MODULES: Final = Path("/usr/lib/apache2/modules")
PACKAGES: Final = "apache2 and libapache2-mod-auth-openidc"

_MODULES: Final = (
    *("mpm_event", "authn_core", "authz_core", "authz_user", "headers", "socache_shmcb"),
    *("proxy", "proxy_http", "auth_openidc"),
)


def missing() -> str:
    """Why it cannot run here, empty if it can."""
    there = PROGRAM.exists() and (MODULES / "mod_auth_openidc.so").exists()
    return "" if there else f"Apache is not installed (Debian packages {PACKAGES})"


class Apache(Server):
    """Apache as ``docs/how-to/auth-proxies/apache.md`` configures it, in front of the tokenizer and of an application."""

    def __init__(self, folder: Path, provider: OIDCProvider, *, application: str, tokenizer: str) -> None:
        self.application, self.tokenizer = application_site(application), tokenizer_site(tokenizer)
        config = folder / "apache.conf"
        hosts = "\n".join(_virtual_host(site, provider) for site in (self.application, self.tokenizer))
        config.write_text(_server(folder) + hosts, encoding="utf-8")
        self._process = ServerProcess(
            [str(PROGRAM), "-f", str(config), "-D", "FOREGROUND"],
            ready=lambda: listens(self.application) and listens(self.tokenizer),
            environment={},
            folder=folder,
        )


def _server(folder: Path) -> str:
    modules = "\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in _MODULES)
    return f"""\
ServerRoot {folder}
DefaultRuntimeDir {folder}
ServerName 127.0.0.1
PidFile {folder}/pid
ErrorLog /dev/stderr
{modules}
# Only heeded where the tests run as root.
User www-data
Group www-data
"""


def _virtual_host(site: Site, provider: OIDCProvider) -> str:
    configuration = documented(
        "apache.md",
        "apache",
        {
            "https://login.example.com": provider.url,
            "client-id": CLIENT_ID,
            "exec:/bin/cat /etc/apache2/oidc-client-secret": "only for tests: a client's secret",
            "exec:/bin/cat /etc/apache2/oidc-passphrase": "only for tests: a passphrase",
            "http://127.0.0.1:37766": site.backend,
        },
    )
    return f"Listen 127.0.0.1:{site.port}\n<VirtualHost 127.0.0.1:{site.port}>\n{configuration}</VirtualHost>\n"
