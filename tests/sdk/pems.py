"""Private keys of every kind, as PEM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

ALGORITHMS: Final = ("EdDSA", "ES256", "RS256", "PS256")

# RSA keys take long to make; these tests need no secret ones.
_RSA: Final = rsa.generate_private_key(65537, 2048)


def pem(algorithm: str = "EdDSA") -> bytes:
    """A private key that is for this algorithm."""
    if algorithm == "PS256":
        return _pss_pem()
    if algorithm == "RS256":
        return encoded(_RSA)
    return encoded(
        ed25519.Ed25519PrivateKey.generate() if algorithm == "EdDSA" else ec.generate_private_key(ec.SECP256R1())
    )


def encoded(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem() -> bytes:
    return _RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _pss_pem() -> bytes:
    """The RSA key with id-RSASSA-PSS in place of rsaEncryption (RFC 8017, appendix A), as ``openssl genpkey -algorithm RSA-PSS`` does."""
    import base64  # noqa: PLC0415
    import textwrap  # noqa: PLC0415

    der = _RSA.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    plain = bytes.fromhex("300d06092a864886f70d0101010500")
    # Without parameters the NULL goes: 30 0b, and the whole is two bytes shorter.
    body = der[4:].replace(plain, bytes.fromhex("300b06092a864886f70d01010a"), 1)
    whole = b"\x30\x82" + len(body).to_bytes(2, "big") + body
    text = "\n".join(textwrap.wrap(base64.b64encode(whole).decode(), 64))
    return f"-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n".encode()
