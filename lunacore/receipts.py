"""Receipts of erasure: what was erased, when and why, signed with the tokenizer's audit key (``docs/spec/receipts.md``).

A receipt names tokens, records and labels by fingerprints only, so that it may be kept and shown. It says what is gone and what
the sweep still removes, and what it does not cover.
"""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from lunacore.errors import IntegrityError, UnsupportedVersion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lunacore.erasure import Erased
    from lunacore.keyring_source import KeyringSource
    from lunacore.signing import VerificationKeys

FORMAT_VERSION: Final = 1
PURPOSE: Final = "erasure-receipt"
KIND: Final = "lunacore-erasure-receipt"
MAX_TOKENS: Final = 10_000
"""Tokens of one receipt; what erases more writes several."""

NOT_COVERED: Final = (
    "copies of records and keyring in backups: with both and a token, a value could be opened until those of the records expire",
    "copies that the object store keeps, such as replicas or backups of a bucket: they stay sealed, and their keys are gone",
    "values that were read before they were erased, and download URLs that were given out until they have expired",
)


@frozen
class Erasure:
    """What a receipt tells of.

    Attributes:
        tenant: whose tokens.
        reason: what a person gave as the reason.
        selection: how they were chosen: ``{"by": "tokens"}``, ``{"by": "label", "label": fingerprint}`` or
            ``{"by": "age", "createdBefore": time}``.
        erased: those that were erased, ``MAX_TOKENS`` at most.
        absent: how many tokens were presented and not there.
        failed: how many could not be erased.
        complete: whether nothing is left of what was chosen.
        part: 1 for the first receipt of one erasure, 2 for the next, and so on.
    """

    tenant: str
    reason: str
    selection: Mapping[str, str]
    erased: Sequence[Erased]
    absent: int = 0
    failed: int = 0
    complete: bool = True
    part: int = 1


@frozen
class LabelErasure:
    """All that was erased of a label.

    Attributes:
        erased: how many values.
        receipts: signed, each a line of JSON, to be kept as they are.
    """

    erased: int
    receipts: tuple[str, ...]


@frozen
class Receipt:
    """A receipt whose signature holds."""

    key_version: int
    told: Mapping[str, Any] = field(repr=False)


def sign(erasure: Erasure, keyring: KeyringSource, *, now: float) -> str:
    """A receipt as one line of JSON, without the newline."""
    signer = keyring.audit_signer()
    told = {
        "v": FORMAT_VERSION,
        "keyring": keyring.keyring.id.hex(),
        "keyVersion": signer.version,
        "time": timestamp(now),
        "tenant": erasure.tenant,
        "reason": erasure.reason,
        "selection": dict(erasure.selection),
        "part": erasure.part,
        "complete": erasure.complete,
        "counts": _counts(erasure),
        "erased": [_entry(one, keyring) for one in erasure.erased],
        "notCovered": list(NOT_COVERED),
    }
    text = json.dumps(told, separators=(",", ":"), ensure_ascii=True)
    signature = base64.b64encode(signer.sign(PURPOSE, text.encode("ascii"))).decode("ascii")
    return json.dumps({"kind": KIND, "receipt": text, "signature": signature}, separators=(",", ":"))


def verify(line: str | bytes, keys: VerificationKeys) -> Receipt:
    """What a receipt tells, if it was signed by the key of this deployment that it names.

    Raises:
        UnknownKeyVersion: the key is not among ``keys``.
        UnsupportedVersion: it was written by a later release.
        IntegrityError: it is no receipt, or not as it was signed.
    """
    envelope = _object(line)
    text, signature = envelope.get("receipt"), envelope.get("signature")
    if envelope.get("kind") != KIND or not isinstance(text, str) or not isinstance(signature, str):
        raise IntegrityError("this is no receipt of an erasure")
    told = _object(text)
    version = told.get("keyVersion")
    if not isinstance(version, int) or isinstance(version, bool):
        raise IntegrityError("the receipt names no key")
    keys.verification_key(version).verify(PURPOSE, text.encode(), _decoded(signature))
    if told.get("v") != FORMAT_VERSION:
        raise UnsupportedVersion(f"the receipt has version {told.get('v')}; this release reads {FORMAT_VERSION}")
    return Receipt(version, told)


def timestamp(second: float) -> str:
    """A Unix second in ISO 8601, UTC."""
    return datetime.fromtimestamp(int(second), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _counts(erasure: Erasure) -> dict[str, int]:
    left = sum(1 for one in erasure.erased if one.sweep_from)
    return {
        "erased": len(erasure.erased),
        "removed": len(erasure.erased) - left,
        "leftToSweep": left,
        "absent": erasure.absent,
        "failed": erasure.failed,
    }


def _entry(one: Erased, keyring: KeyringSource) -> dict[str, str]:
    entry = {"record": keyring.record_fingerprints(one.name)[0], "at": timestamp(one.at)}
    if one.token:
        entry["token"] = one.token
    if one.sweep_from:
        entry["sweepFrom"] = timestamp(one.sweep_from)
    return entry


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        raise IntegrityError("this is no receipt of an erasure: it is not JSON") from None
    if not isinstance(given, dict):
        raise IntegrityError("this is no receipt of an erasure")
    return given


def _decoded(signature: str) -> bytes:
    try:
        return base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        raise IntegrityError("the signature of the receipt is not base64") from None
