"""The allowed signers file: ALLOWED SIGNERS in ssh-keygen(1), sshsig.c of OpenSSH.

    principals [option[,option...]] keytype base64-key [comment]

Who may sign what, and when, is decided by `AllowedSigners.find`; nothing here verifies a
signature. ssh-keygen steps over a line it cannot read; we refuse the file and name the line,
since such a line is a mistake of whoever grants trust. A key type unknown to us grants nothing
and is kept in `skipped`.

Rule for editors: every way to be refused has a reason of its own; a match needs all of principal,
key, namespace and time from one line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sshwire.algorithms import find_algorithm
from sshwire.cert import (
    Certificate,
    CertificateType,
    parse_certificate,
    verify_certificate_signature,
)
from sshwire.errors import UnsupportedError, VerificationError, WireError
from sshwire.patterns import match_pattern_list
from sshwire.pubkey import PublicKey, parse_public_line

MAX_FILE_CHARS: Final = 16 * 1024 * 1024
"""Longest file we take: room for some hundred thousand Ed25519 signers."""

Localize = Callable[[datetime], datetime]
"""Gives a naive local time its zone; `datetime.astimezone` does it by the system's zone."""

# Least to most telling: with several lines for a key, the closest miss is reported.
_REASONS: Final = (
    "unknown_signer",
    "wrong_principal",
    "namespace_not_allowed",
    "unsupported",
    "signature_invalid",
    "key_not_yet_valid",
    "key_expired",
)

# They restrict logins and say nothing about files; other critical options are refused.
_LOGIN_OPTIONS: Final = frozenset({"force-command", "source-address"})

_OPTION_TAKES_VALUE: Final = {
    "cert-authority": False,
    "namespaces": True,
    "valid-after": True,
    "valid-before": True,
}

_TIMESTAMP: Final = re.compile(r"(\d{8}|\d{12}|\d{14})(Z|UTC)?", re.ASCII | re.IGNORECASE)
_STAMP_FORMATS: Final = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_OPTION: Final = re.compile(r'([A-Za-z-]+)(?:="((?:[^"\\]|\\.)*)")?(?:,(?=.)|$)', re.ASCII)
_PRINCIPALS: Final = re.compile(r'(?:"([^"]*)"|([^\s"]+))[ \t]+')
_OPTIONS_FIELD: Final = re.compile(r'((?:[^\s"\\]|\\.|"(?:[^"\\]|\\.)*")+)[ \t]+')


@dataclass(frozen=True, slots=True)
class AllowedSigner:
    """One line: who may sign with this key (or with certificates of it), for what and when."""

    line: int
    principals: str
    key: PublicKey
    is_authority: bool = False
    namespaces: str | None = None
    valid_after: datetime | None = None
    valid_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class SkippedLine:
    """A well-formed line whose key cannot be used here, so that it grants nothing."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class AllowedSigners:
    """A whole file, in its order."""

    entries: tuple[AllowedSigner, ...]
    skipped: tuple[SkippedLine, ...] = ()

    def find(
        self, key: PublicKey, *, principal: str, namespace: str, now: datetime
    ) -> AllowedSigner:
        """The first line that lets this signer sign; raises `VerificationError` with a reason.

        `key` may be a certificate: then its authority must be listed, its own principals must
        name the signer and it must be valid at `now`. `now` carries its zone.
        """
        closest = VerificationError("unknown_signer", "the key is not among the allowed signers")
        certificate = (
            parse_certificate(key.blob) if find_algorithm(key.algorithm).is_certificate else None
        )
        for entry in self.entries:
            if not _concerns(entry, key, certificate):
                continue
            try:
                _check(entry, certificate, principal, namespace, now)
            except VerificationError as refusal:
                closest = max(closest, refusal, key=_rank)
            else:
                return entry
        raise closest


def parse_allowed_signers(text: str, *, localize: Localize | None = None) -> AllowedSigners:
    """Every line of the file; raises `WireError` that names the first line that is wrong.

    A timestamp without Z is in the system's time zone by the manual. Without `localize` such a
    timestamp is refused, so that a verdict never depends on the machine unasked.
    """
    if len(text) > MAX_FILE_CHARS:
        raise WireError(f"allowed signers of {len(text)} characters: at most {MAX_FILE_CHARS}")
    entries: list[AllowedSigner] = []
    skipped: list[SkippedLine] = []
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        try:
            entries.append(_parse_line(number, line, localize))
        except UnsupportedError as error:
            skipped.append(SkippedLine(number, str(error)))
        except WireError as error:
            raise WireError(f"line {number}: {error}") from error
    return AllowedSigners(tuple(entries), tuple(skipped))


def parse_timestamp(text: str, *, localize: Localize | None = None) -> datetime:
    """`YYYYMMDD[HHMM[SS]][Z]`, as ssh-keygen takes it; `UTC` may stand for `Z`."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise WireError(f"not a timestamp YYYYMMDD[HHMM[SS]][Z]: {text[:40]!r}")
    digits, zone = match.groups()
    try:
        stamp = datetime.strptime(digits, _STAMP_FORMATS[len(digits)])  # noqa: DTZ007 - zoned below
        if zone:
            return stamp.replace(tzinfo=UTC)
        if localize is not None:
            return localize(stamp)
    except (ValueError, OverflowError) as error:
        raise WireError(f"no such date or time: {text}") from error
    raise WireError(f"timestamp {text} depends on the local time zone; end it with Z")


def _parse_line(number: int, line: str, localize: Localize | None) -> AllowedSigner:
    principals = _PRINCIPALS.match(line)
    if principals is None:
        raise WireError("principals and a key wanted, parted by spaces")
    rest = line[principals.end() :]
    options = ""
    if _is_options(rest.split(None, 1)[0]):
        field = _OPTIONS_FIELD.match(rest)
        if field is None:
            raise WireError("options end inside quotes, or no key follows them")
        options, rest = field[1], rest[field.end() :]
    given = _parse_options(options)
    key, _comment = parse_public_line(rest)
    if find_algorithm(key.algorithm).is_certificate:
        raise UnsupportedError("a certificate is listed; list its key, or its authority")
    after, before = (_timestamp(given, name, localize) for name in ("valid-after", "valid-before"))
    if after and before and before <= after:
        raise WireError("valid-before is not later than valid-after")
    return AllowedSigner(
        line=number,
        principals=principals[1] or principals[2] or "",
        key=key,
        is_authority="cert-authority" in given,
        namespaces=given.get("namespaces"),
        valid_after=after,
        valid_before=before,
    )


def _is_options(word: str) -> bool:
    """A key type has none of these; an unknown single word is reported as a key type."""
    return "=" in word or "," in word or word.lower() == "cert-authority"


def _parse_options(text: str) -> dict[str, str]:
    """Values by lower-case name; the value of a flag is empty."""
    options: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _OPTION.match(text, at)
        if match is None:
            raise WireError(f"malformed option (values need double quotes): {text[at:][:40]!r}")
        name, value = match[1].lower(), match[2]
        if name not in _OPTION_TAKES_VALUE:
            raise WireError(f"unknown option {name!r}")
        if (value is not None) != _OPTION_TAKES_VALUE[name]:
            raise WireError(f"option {name} {'needs a' if value is None else 'takes no'} value")
        if name in options:
            raise WireError(f"option {name} given twice")
        options[name] = (value or "").replace('\\"', '"')
        at = match.end()
    return options


def _timestamp(given: dict[str, str], name: str, localize: Localize | None) -> datetime | None:
    return parse_timestamp(given[name], localize=localize) if name in given else None


def _rank(refusal: VerificationError) -> int:
    return _REASONS.index(refusal.reason)


def _concerns(entry: AllowedSigner, key: PublicKey, certificate: Certificate | None) -> bool:
    """Whether the line lists this key itself, or the authority of this certificate."""
    if entry.is_authority:
        return certificate is not None and certificate.signature_key == entry.key
    return entry.key == key


def _check(
    entry: AllowedSigner,
    certificate: Certificate | None,
    principal: str,
    namespace: str,
    now: datetime,
) -> None:
    where = f"line {entry.line} of the allowed signers"
    if not match_pattern_list(principal, entry.principals):
        raise VerificationError("wrong_principal", f"{where} does not name {principal!r}")
    if entry.namespaces is not None and not match_pattern_list(namespace, entry.namespaces):
        raise VerificationError(
            "namespace_not_allowed", f"{where} does not allow namespace {namespace!r}"
        )
    if entry.valid_after is not None and now < entry.valid_after:
        raise VerificationError("key_not_yet_valid", f"{where} is not valid yet")
    if entry.valid_before is not None and now > entry.valid_before:
        raise VerificationError("key_expired", f"{where} is no longer valid")
    if certificate is not None:
        _check_certificate(certificate, principal, now)


def _check_certificate(certificate: Certificate, principal: str, now: datetime) -> None:
    """The rules of sshkey_cert_check_authority in sshkey.c, for a user certificate."""
    seconds = now.timestamp()
    if certificate.type != CertificateType.USER:
        raise VerificationError("unsupported", "the signer's certificate is not a user's")
    if {name for name, _ in certificate.critical_options} - _LOGIN_OPTIONS:
        raise VerificationError("unsupported", "the certificate has an unknown critical option")
    if principal not in certificate.principals:
        raise VerificationError("wrong_principal", f"the certificate does not name {principal!r}")
    if seconds < certificate.valid_after:
        raise VerificationError("key_not_yet_valid", "the certificate is not valid yet")
    if seconds >= certificate.valid_before:
        raise VerificationError("key_expired", "the certificate is no longer valid")
    try:
        verify_certificate_signature(certificate)
    except VerificationError as error:
        raise VerificationError(
            "signature_invalid", f"the certificate's own signature: {error}"
        ) from error
