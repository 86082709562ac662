"""A temporary CA and a certificate for 127.0.0.1 signed by it: files in a folder, valid for one day."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CA, _HOST = "Benchmark CA", "127.0.0.1"
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True)
class Certificate:
    """The files of a server's certificate, its key and its CA's certificate."""

    chain: Path
    key: Path
    ca: Path


def certificate(folder: Path) -> Certificate:
    """Create all three."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    made = Certificate(folder / "chain.pem", folder / "key.pem", folder / "ca.pem")
    pem = serialization.Encoding.PEM
    made.ca.write_bytes(_of_the_ca(ca_key).public_bytes(pem))
    made.chain.write_bytes(_of_the_server(key, ca_key).public_bytes(pem))
    made.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return made


def _of_the_ca(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    builder = _builder(_CA, key, key, _usage("key_cert_sign", "crl_sign"), is_ca=True)
    return builder.sign(key, hashes.SHA256())


def _of_the_server(key: ec.EllipticCurvePrivateKey, ca_key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(_HOST))])
    builder = _builder(_HOST, key, ca_key, _usage("digital_signature"), is_ca=False)
    builder = builder.add_extension(address, critical=False)
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return builder.add_extension(purpose, critical=False).sign(ca_key, hashes.SHA256())


def _builder(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    ca_key: ec.EllipticCurvePrivateKey,
    usage: x509.KeyUsage,
    *,
    is_ca: bool,
) -> x509.CertificateBuilder:
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named(_CA))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*wanted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in wanted for name in _USAGES})
