"""MinIO, built by ``make tools``: an S3 server over TLS, its certificate signed by a CA made for the run."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lunacore.testing.servers import free_port
from tests.servers.processes import Server, ServerProcess
from tests.servers.s3_server import ACCESS_KEY, DOMAIN, SECRET_KEY, answers, everything

_ROOT: Final = Path(__file__).parents[2]


def version(tool: str) -> str:
    """The version of ``MINIO`` or ``MC`` that the Makefile names."""
    (found,) = re.findall(rf"^{tool}_VERSION := (\S+)$", (_ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return str(found)


def program() -> Path:
    """Where ``make tools`` puts it."""
    return _ROOT / ".tools" / f"minio-{version('MINIO')}" / "minio"


def client_program() -> Path:
    """Where ``make tools`` puts MinIO's client."""
    return _ROOT / ".tools" / f"mc-{version('MC')}" / "mc"


def missing() -> str:
    """Why it cannot run here, empty if it can."""
    return "" if program().exists() else "MinIO is not built (needs Go): run make tools"


def client_missing() -> str:
    """Why MinIO's client cannot run here, empty if it can."""
    return "" if client_program().exists() else "MinIO's client is not built (needs Go): run make tools"


class MinIO(Server):
    """A MinIO with one drive, an access key that may do all."""

    region = "eu-test-1"

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        certificates = folder / "certificates"
        self.ca: Path | None = write_certificates(certificates)
        port = free_port()
        self.endpoint = f"https://127.0.0.1:{port}"
        self._process = ServerProcess(
            [
                *(str(program()), "server", "--quiet", "--certs-dir", str(certificates)),
                *("--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{free_port()}", str(self._data)),
            ],
            ready=lambda: answers(self.endpoint, "/minio/health/cluster", self.ca),
            environment={
                "MINIO_ROOT_USER": ACCESS_KEY,
                "MINIO_ROOT_PASSWORD": SECRET_KEY,
                "MINIO_SITE_REGION": self.region,
                "MINIO_DOMAIN": DOMAIN,
                "MINIO_BROWSER": "off",
                "MINIO_UPDATE": "off",
            },
            folder=folder,
        )

    def at_rest(self, bucket: str) -> bytes:
        return everything(self._data, f"{bucket}/")


def write_certificates(folder: Path) -> Path:
    """Make a CA and a certificate for 127.0.0.1 signed by it, named as MinIO wants them; return the CA's file."""
    folder.mkdir()
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("LunaCore tests: CA")
    key_usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    ca = (
        _unsigned(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    server = (
        _unsigned(_name("LunaCore tests: server"), ca_name, server_key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(ca.public_bytes(pem))
    (folder / "public.crt").write_bytes(server.public_bytes(pem))
    (folder / "private.key").write_bytes(
        server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return ca_file


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _unsigned(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=2))
    )
