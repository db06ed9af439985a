"""When the certificates under /etc/ssl and its kin expire: just enough DER to reach `validity`.

RFC 5280 section 4.1: Certificate ::= SEQUENCE { tbs SEQUENCE { [0] version, serial, algorithm,
issuer, validity SEQUENCE { notBefore, notAfter } ... } ... }. Part of the stand-alone exporter;
the rules in `host` hold.
"""

import base64
import os
import re
from datetime import datetime
from typing import List, Tuple

from fleetmdm.exporters.host import MAX_ITEMS, Facts, Host, UnreadError

CERTIFICATE_FOLDERS = (
    "/etc/ssl",
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
    "/etc/letsencrypt/live/*",
)
CERTIFICATE_SUFFIXES = (".pem", ".crt", ".cer")
CERTIFICATE_BUNDLES = ("ca-certificates.crt", "ca-bundle.crt", "ca-bundle.trust.crt")


def read_certificates(host: Host) -> Facts:
    """The host's own certificates; links into the vendor's bundle of authorities are left out."""
    items = []
    for path in _certificate_files(host):
        try:
            items.append({"path": path, "not_after": certificate_not_after(host.read(path))})
        except (UnreadError, ValueError, IndexError) as error:
            reason = error.reason if isinstance(error, UnreadError) else "malformed"
            if reason != "no_certificate":  # a key or parameters, by the same suffix
                host.miss("certificates." + path, reason)
    facts: Facts = {"count": len(items), "items": items}
    if items:
        facts["earliest_not_after"] = min(item["not_after"] for item in items)
    return facts


def _certificate_files(host: Host) -> List[str]:
    found: List[str] = []
    for folder in CERTIFICATE_FOLDERS:
        try:
            found += [path for path in host.files(folder) if _is_own_certificate(host, path)]
        except UnreadError as error:
            host.miss("certificates." + folder, error.reason)
    if len(found) > MAX_ITEMS:
        host.miss("certificates.items", "truncated")
    return found[:MAX_ITEMS]


def _is_own_certificate(host: Host, path: str) -> bool:
    name = os.path.basename(path)
    named = name.endswith(CERTIFICATE_SUFFIXES) and name not in CERTIFICATE_BUNDLES
    return named and "/share/ca-certificates/" not in os.path.realpath(host.path(path))


def certificate_not_after(text: str) -> str:
    """Expiry of the first certificate of a PEM text, RFC 3339."""
    pem = re.search(r"-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----", text)
    if pem is None:
        raise UnreadError("no_certificate")
    data = base64.b64decode("".join(pem.group(1).split()), validate=True)
    _, start, _ = _element(data, 0)  # Certificate
    _, at, _ = _element(data, start)  # TBSCertificate
    tag, _, end = _element(data, at)
    at = end if tag == 0xA0 else at  # version is optional
    for _ in ("serialNumber", "signature", "issuer"):
        _, _, at = _element(data, at)
    _, at, _ = _element(data, at)  # validity
    _, _, at = _element(data, at)  # notBefore
    tag, start, end = _element(data, at)
    moment = data[start:end].decode("ascii")
    if tag == 0x17:  # UTCTime: years 1950 to 2049
        moment = ("19" if moment[:2] >= "50" else "20") + moment
    return datetime.strptime(moment[:-1] + "+0000", "%Y%m%d%H%M%S%z").strftime("%Y-%m-%dT%H:%M:%SZ")


def _element(data: bytes, at: int) -> Tuple[int, int, int]:
    """(tag, start, end) of the element at `at`."""
    length, start = data[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length, start = int.from_bytes(data[start : start + count], "big"), start + count
    if start + length > len(data):
        raise ValueError("length beyond the data")
    return data[at], start, start + length
