"""Presigning a GET, beside botocore and minio-py. All is local: nothing is sent anywhere."""

from __future__ import annotations

import os
import time
from typing import Any, Final

from botocore.config import Config
from botocore.session import get_session
from minio import Minio

from benchmarks.operations import Operation, calls
from lunacore import ssec
from lunacore.sigv4 import Credentials, Signer

LUNACORE: Final = "presign: LunaCore"
BOTOCORE: Final = "presign: botocore"
MINIO: Final = "presign: minio-py"

_HOST: Final = "files.example.com"
_BUCKET: Final = "luna"
_REGION: Final = "us-east-1"
_ACCESS_KEY: Final = "AKIAEXAMPLE"
_SECRET_KEY: Final = "a secret for a benchmark alone"
_SECONDS: Final = 120


def operations() -> list[Operation]:
    """The three ways, for the same object."""
    name, key = os.urandom(32).hex(), os.urandom(32)
    signer = Signer(Credentials(_ACCESS_KEY, _SECRET_KEY), _REGION)
    path = f"/{_BUCKET}/{name}"

    def lunacore() -> str:
        headers = {"host": _HOST, **ssec.headers(key)}
        return signer.presign("GET", _HOST, path, headers=headers, now=int(time.time()), expires=_SECONDS)

    client = _botocore()

    def botocore() -> str:
        asked = {"Bucket": _BUCKET, "Key": name, "SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}
        return str(client.generate_presigned_url("get_object", Params=asked, ExpiresIn=_SECONDS))

    minio = Minio(_HOST, access_key=_ACCESS_KEY, secret_key=_SECRET_KEY, region=_REGION)
    return [
        calls(LUNACORE, lunacore),
        calls(BOTOCORE, botocore),
        calls(MINIO, lambda: minio.presigned_get_object(_BUCKET, name)),
    ]


def _botocore() -> Any:  # noqa: ANN401 - botocore makes its clients' classes as it runs
    return get_session().create_client(
        "s3",
        endpoint_url=f"https://{_HOST}",
        region_name=_REGION,
        aws_access_key_id=_ACCESS_KEY,
        aws_secret_access_key=_SECRET_KEY,
        # Its default, signature version 2, would put the customer key into the URL.
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
