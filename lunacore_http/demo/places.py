"""Where the demo's parts are: addresses, and files in the data directory.

The application and the tokenizer need a host each, since ports do not separate cookies. Browsers know every name below
``localhost`` (RFC 6761, section 6.3); Python's resolver does not, so servers reach each other at 127.0.0.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from pathlib import Path

HOST: Final = "demo.localhost"
TOKENIZER_HOST: Final = f"secure.{HOST}"
LOOPBACK: Final = "127.0.0.1"


@frozen
class Places:
    """Addresses and files.

    Attributes:
        directory: for all that the demo keeps besides the tokenizer's own files.
        audit: the tokenizer's audit log; None where it is no local file.
    """

    directory: Path
    port: int
    tokenizer_port: int
    audit: Path | None

    @property
    def url(self) -> str:
        """The application's origin."""
        return f"http://{HOST}:{self.port}"

    @property
    def tokenizer_url(self) -> str:
        """The tokenizer's origin, that of the Secure Frame."""
        return f"http://{TOKENIZER_HOST}:{self.tokenizer_port}"

    @property
    def internal_url(self) -> str:
        """Where the application's back end reaches the tokenizer."""
        return f"http://{LOOPBACK}:{self.tokenizer_port}"

    @property
    def jwks_url(self) -> str:
        """Where the tokenizer reaches the application's public keys."""
        return f"http://{LOOPBACK}:{self.port}/.lunasec/jwks.json"

    @property
    def signing_key(self) -> Path:
        return self.directory / "signing-key.pem"

    @property
    def database(self) -> Path:
        return self.directory / "application.sqlite"

    @property
    def tokenizer_log(self) -> Path:
        return self.directory / "tokenizer.log"

    @property
    def application_log(self) -> Path:
        return self.directory / "application.log"
