"""nginx, from Debian's packages, as an unprivileged auth proxy that asks another server about every request (auth_request)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.servers.auth_proxy import Site, application_site, documented, listens, tokenizer_site
from tests.servers.processes import Server, ServerProcess

if TYPE_CHECKING:
    from tests.servers.auth_application import AuthApplication

PROGRAM: Final = Path("/usr/sbin/nginx")


def missing() -> str:
    """Why it cannot run here, empty if it can."""
    return "" if PROGRAM.exists() else "nginx is not installed (Debian package nginx-light)"


class Nginx(Server):
    """nginx as ``docs/how-to/auth-proxies/nginx.md`` configures it, in front of the tokenizer and of an application."""

    def __init__(self, folder: Path, log_in: AuthApplication, *, application: str, tokenizer: str) -> None:
        self.application, self.tokenizer = application_site(application), tokenizer_site(tokenizer)
        config = folder / "nginx.conf"
        servers = "\n".join(_server(site, log_in) for site in (self.application, self.tokenizer))
        config.write_text(_main(folder, servers), encoding="utf-8")
        self._process = ServerProcess(
            [str(PROGRAM), "-e", "stderr", "-c", str(config)],
            ready=lambda: listens(self.application) and listens(self.tokenizer),
            environment={},
            folder=folder,
        )


def _main(folder: Path, servers: str) -> str:
    paths = "\n".join(
        f"    {kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Its workers must be able to write to the folder of the test.
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""\
{user}
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
{paths}
{servers}
}}
"""


def _server(site: Site, log_in: AuthApplication) -> str:
    configuration = documented(
        "nginx.md", "nginx", {"http://127.0.0.1:37766": site.backend, "http://127.0.0.1:4180": log_in.url}
    )
    return f"server {{\nlisten 127.0.0.1:{site.port};\n{configuration}}}"
