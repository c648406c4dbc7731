"""What tests of the SDK share."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

if TYPE_CHECKING:
    from collections.abc import Iterator


# For each module, and not for the session: what other tests of the same worker install needs the system's certificates.
@pytest.fixture(autouse=True, scope="module")
def _few_certificates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each application reads the system's certificates once, which takes longer than most tests here; nothing here needs them."""
    directory = tmp_path_factory.mktemp("certificates")
    one = directory / "one.pem"
    one.write_bytes(_certificate())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(one))
        patch.setenv("SSL_CERT_DIR", str(directory))
        yield


def _certificate() -> bytes:
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + dt.timedelta(days=1))
    return builder.sign(key, None).public_bytes(Encoding.PEM)
