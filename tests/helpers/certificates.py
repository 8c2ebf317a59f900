"""Certificates of tests, signed by themselves."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

Algorithm = Literal["rsa", "ecdsa", "ed25519"]


def certificate(folder: Path, algorithm: Algorithm = "ecdsa", *, name: str = "cert") -> x509.Certificate:
    """`folder/<name>.pem` and `folder/<name>.key`, for 127.0.0.1 and localhost."""
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    hashed: hashes.SHA384 | hashes.SHA256 | None
    match algorithm:
        case "rsa":
            key, hashed = rsa.generate_private_key(65537, 2048), hashes.SHA256()
        case "ecdsa":
            key, hashed = ec.generate_private_key(ec.SECP384R1()), hashes.SHA384()
        case "ed25519":
            key, hashed = ed25519.Ed25519PrivateKey.generate(), None
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashed)
    )
    (folder / f"{name}.pem").write_bytes(made.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / f"{name}.key").write_bytes(private)
    return made
