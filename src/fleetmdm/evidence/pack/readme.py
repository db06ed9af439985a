"""README.txt of a pack: how an auditor checks it with stock tools. Pure.

Rule for editors: the commands are run as they stand by a test; the text is the same in every view.
"""

from __future__ import annotations

from collections.abc import Sequence

from fleetmdm.evidence.attest.dsse import PAYLOAD_TYPE, can_attest
from fleetmdm.evidence.manifest import NAMESPACE
from fleetmdm.evidence.pack.documents import PRINCIPAL
from fleetmdm.evidence.sign import principal_of, signature_name
from sshwire.algorithms import find_algorithm
from sshwire.pubkey import PublicKey, fingerprint

_HEAD = """\
Evidence of a compliance run
============================

What one run of FleetMDM judged, by which policies, with which result. To check it without
FleetMDM, run the commands below in this folder.

1. Every file is as listed

    sha256sum -c SHA256SUMS

   lists every file but itself and those under signatures/. No other belongs to the pack.
"""

_UNSIGNED = """
2. Who vouches for it

   Nobody: this pack was exported without a signing key. It shows what somebody wrote down,
   and no more.
"""

_SIGNED = """
2. Who vouches for it

   Trust comes from you: put the signer's public key, had from the signer and not from this
   folder, into a file of your own, here allowed_signers:

    {principal} namespaces="{namespace}" ssh-ed25519 AAAA...

   The keys in keys/allowed_signers say they are:

{fingerprints}
"""

_COMMANDS = """\

    ssh-keygen -Y verify -f allowed_signers -I {principal} -n {namespace} \\
        -s {manifest} < manifest.json
    ssh-keygen -Y verify -f allowed_signers -I {principal} -n {namespace} \\
        -s {sums} < SHA256SUMS
"""

_ATTESTATION = """\

   The same key signed an in-toto statement about the manifest (DSSE). With its public key in
   signer.pub:

    T=$(mktemp -d)
    F={envelope}
    sed 's/.*"payload":"\\([^"]*\\)".*/\\1/' $F | base64 -d > $T/statement
    sed 's/.*"sig":"\\([^"]*\\)".*/\\1/' $F | base64 -d > $T/signature
    printf 'DSSEv1 {type_bytes} {type} %d ' $(wc -c < $T/statement) > $T/signed
    cat $T/statement >> $T/signed
{verify}
    grep $(sha256sum < manifest.json | cut -c1-64) $T/statement
"""

_OPENSSL_ED25519 = """\
    printf '\\060\\052\\060\\005\\006\\003\\053\\145\\160\\003\\041\\000' > $T/der
    cut -d' ' -f2 signer.pub | base64 -d | tail -c 32 >> $T/der
    openssl pkey -pubin -inform DER -in $T/der -out $T/pem
    openssl pkeyutl -verify -pubin -inkey $T/pem -rawin -in $T/signed -sigfile $T/signature"""

_OPENSSL_OTHER = """\
    ssh-keygen -e -m PKCS8 -f signer.pub > $T/pem
    openssl dgst -{hash} -verify $T/pem -signature $T/signature $T/signed"""

_LATER = """\

   Added later, perhaps: a time-stamp token (tsa.pem: its authority's certificate); a witness's
   signature over the log's checkpoint (allow its key for witness@fleetmdm).

    openssl ts -verify -token_in -in {token} \\
        -data {manifest} -CAfile tsa.pem
    ssh-keygen -Y verify -f allowed_signers -I witness -n witness@fleetmdm \\
        -s signatures/KEY.witness.sshsig < log/checkpoint
"""

_SIGNED_TAIL = """
   The first signature is over the manifest, the same for every view; the second is over this
   view. A view shortened later has only the first: `fleetmdm evidence verify` proves it.
   A signature carries no time of its own.
"""

_TAIL = """
3. How to read it

   metadata.json says what each file holds; run.json when, with which tool and over what. The
   rules are in policies/ as they were. view.json says what this view withholds.

   A line of an .ndjson file opens some fields, each as [salt, value], and lists digests of the
   fields that are withheld. A digest is SHA-256 over ["salt","name",value] without spaces.
   Devices go by pseudonyms, the same in every pack of this fleet.

4. What it does not prove

   That the inventory was true when it was read, that nothing happened before the first pack
   you hold, and when it was signed.
"""


def render_readme(keys: Sequence[PublicKey]) -> bytes:
    """The text for a pack that these keys sign."""
    if not keys:
        return (_HEAD + _UNSIGNED + _TAIL).encode()
    names = {key: principal_of(key, PRINCIPAL) for key in keys}
    marks = "\n".join(f"       {fingerprint(key.blob)} as {names[key]}" for key in keys)
    signed = _SIGNED.format(principal=PRINCIPAL, namespace=NAMESPACE, fingerprints=marks)
    commands = "".join(_render_commands(key, names[key]) for key in keys)
    first = fingerprint(keys[0].blob)
    later = _LATER.format(
        token=signature_name(first, "timestamp"), manifest=signature_name(first, "manifest")
    )
    return (_HEAD + signed + commands + later + _SIGNED_TAIL + _TAIL).encode()


def _render_commands(key: PublicKey, principal: str) -> str:
    mark = fingerprint(key.blob)
    commands = _COMMANDS.format(
        principal=principal,
        namespace=NAMESPACE,
        manifest=signature_name(mark, "manifest"),
        sums=signature_name(mark, "sums"),
    )
    if not can_attest(key):
        return commands
    row = find_algorithm(key.algorithm)
    other = _OPENSSL_OTHER.format(hash=row.curve.hash_name if row.curve else "sha256")
    return commands + _ATTESTATION.format(
        envelope=signature_name(mark, "dsse"),
        type=PAYLOAD_TYPE,
        type_bytes=len(PAYLOAD_TYPE),
        verify=_OPENSSL_ED25519 if row.family == "ed25519" else other,
    )
