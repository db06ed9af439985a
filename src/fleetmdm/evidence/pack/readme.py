"""README.txt of a pack: how an auditor checks it with stock tools. Pure.

Rule for editors: the commands are run as they stand by a test; the text is the same in every view.
"""

from __future__ import annotations

from collections.abc import Sequence

from fleetmdm.evidence.manifest import NAMESPACE
from fleetmdm.evidence.pack.documents import PRINCIPAL
from fleetmdm.evidence.sign import signature_name

_HEAD = """\
Evidence of a compliance run
============================

This folder holds what one run of FleetMDM judged, by which policies, and with which result.
It can be checked without FleetMDM. Run the commands below inside this folder.

1. Every file is as listed

    sha256sum -c SHA256SUMS

   lists every file but itself and those under signatures/. A file that is not listed there
   does not belong to the pack.
"""

_UNSIGNED = """
2. Who vouches for it

   Nobody: this pack was exported without a signing key. It shows what somebody wrote down,
   and no more.
"""

_SIGNED = """
2. Who vouches for it

   Trust comes from you: put the signer's public key, obtained from the signer and not from
   this folder, into a file of your own, for example allowed_signers:

    {principal} namespaces="{namespace}" ssh-ed25519 AAAA...

   The keys that signed say of themselves that they are (keys/allowed_signers):

{fingerprints}
"""

_COMMANDS = """\

    ssh-keygen -Y verify -f allowed_signers -I {principal} -n {namespace} \\
        -s {manifest} < manifest.json
    ssh-keygen -Y verify -f allowed_signers -I {principal} -n {namespace} \\
        -s {sums} < SHA256SUMS
"""

_SIGNED_TAIL = """
   The first signature is over the manifest, which is the same for every view of this pack.
   The second is over this view. A view that somebody shortened later has only the first, and
   FleetMDM proves it (`fleetmdm evidence verify`). A signature carries no time of its own.
"""

_TAIL = """
3. How to read it

   run.json              when, with which tool, over what
   population.ndjson     every device in scope; reconciliation.json shows that the counts add up
   inventory.ndjson      what was known of each device
   policies/             the rules, exactly as they were
   results.ndjson        every verdict that is neither pass nor notapplicable
   transitions.ndjson    what changed since the run before; drift.json counts it
   controls.csv          the same by control
   log/                  the run's place in the fleet's append-only log
   view.json             what this view shows and what it withholds

   A line of an .ndjson file opens some fields, each as [salt, value], and lists digests of the
   fields that are withheld. A digest is SHA-256 over ["salt","name",value] without spaces.
   Devices go by pseudonyms, which are the same in every file and every pack of this fleet.

4. What it does not prove

   That the inventory was true when it was read, that nothing happened before the first pack
   you hold, and when it was signed.
"""


def render_readme(fingerprints: Sequence[str]) -> bytes:
    """The text for a pack with these signers."""
    if not fingerprints:
        return (_HEAD + _UNSIGNED + _TAIL).encode()
    listed = "\n".join(f"       {fingerprint}" for fingerprint in fingerprints)
    signed = _SIGNED.format(principal=PRINCIPAL, namespace=NAMESPACE, fingerprints=listed)
    commands = "".join(
        _COMMANDS.format(
            principal=PRINCIPAL,
            namespace=NAMESPACE,
            manifest=signature_name(fingerprint, "manifest"),
            sums=signature_name(fingerprint, "sums"),
        )
        for fingerprint in fingerprints
    )
    return (_HEAD + signed + commands + _SIGNED_TAIL + _TAIL).encode()
