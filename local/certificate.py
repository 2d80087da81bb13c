"""Certificates for the local stack, as short-lived as it is."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def issue_certificate(host: str, directory: Path, authority: Path) -> tuple[Path, Path]:
    """Makes an authority that lives as long as the stack, and a certificate of it for `host`, an IP
    address. Writes the authority's certificate to `authority`; returns the files of the certificate and of its key."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def sign(subject: str, public_key, issuer: str, signing_key, *extensions) -> x509.Certificate:
        name = lambda text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
        builder = (
            x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer)).public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=2))
        )
        for extension, is_critical in extensions:
            builder = builder.add_extension(extension, is_critical)
        return builder.sign(signing_key, hashes.SHA256())

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = "clinik-bulk local authority"
    ca = sign(ca_name, ca_key.public_key(), ca_name, ca_key, (x509.BasicConstraints(ca=True, path_length=0), True))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
    leaf = sign(host, key.public_key(), ca_name, ca_key, (address, False), (x509.BasicConstraints(False, None), True))
    pem = serialization.Encoding.PEM
    key_text = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    certificate_file, key_file = directory / "server.pem", directory / "server.key"
    authority.write_bytes(ca.public_bytes(pem))
    certificate_file.write_bytes(leaf.public_bytes(pem))
    key_file.touch(mode=0o600)
    key_file.write_bytes(key_text)
    return certificate_file, key_file
