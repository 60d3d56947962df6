"""HTTPS: the certificate a user brings, or one made on the spot; and the addresses that this machine is
reached by."""

import datetime
import ipaddress
import socket
import ssl
import tempfile
from pathlib import Path

import ifaddr
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = datetime.timedelta(days=90)


def lan_addresses() -> list[str]:
    """This machine's IPv4 addresses, without loopback and link-local ones."""
    found = (ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips if isinstance(ip.ip, str))
    parsed = (ipaddress.ip_address(ip) for ip in found)
    return [str(ip) for ip in parsed if not (ip.is_loopback or ip.is_link_local)]


def make_context(choice: str | None) -> ssl.SSLContext | None:
    """The context for `self-signed`, or for `CERT,KEY`; None for no TLS. Raises ValueError where the files
    won't do."""
    if choice is None:
        return None
    if choice == "self-signed":
        with tempfile.TemporaryDirectory() as folder:  # ssl reads certificates from files only
            pem = Path(folder, "server.pem")
            pem.touch(mode=0o600)
            pem.write_bytes(
                self_signed([socket.gethostname(), "localhost"], ["127.0.0.1", "::1", *lan_addresses()])
            )
            return _context(str(pem), None)
    certificate, _, key = choice.partition(",")
    try:
        return _context(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror or getattr(error, "reason", None) or error
        raise ValueError(f"tls: cannot use {certificate} with {key}: {reason}") from None


def self_signed(names: list[str], addresses: list[str]) -> bytes:
    """A fresh certificate for those host names and IP addresses, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Reenact on this machine")])
    others: list[x509.GeneralName] = [x509.DNSName(text) for text in names]
    others += [x509.IPAddress(ipaddress.ip_address(text)) for text in addresses]
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # a phone's clock may be a little behind
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName(others), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + private


def _context(certificate: str, key: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context
