"""Makes the signature of a job, on the loop or in a thread.

Rule for editors: one key's failure is one FAILURE frame, so nothing is raised from here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from secretivex.engine import SignJob, SignOutcome
from secretivex.identity import PatientKey
from secretivex.stores.token.errors import TokenError

LOG = logging.getLogger("secretivex.stores")


def sign_patiently(job: SignJob, is_wanted: Callable[[], bool]) -> SignOutcome:
    """The same for a key in a token, which may wait for a person; given up when nobody wants it."""
    key = job.entry.key
    try:
        if isinstance(key, PatientKey):
            return key.sign_while(is_wanted, job.data, job.flags)
        return key.sign(job.data, job.flags)
    except TokenError as error:
        return refuse(job, error)
    except Exception as error:  # noqa: BLE001 - as in `sign`
        return f"sign_failed_{type(error).__name__}"


def refuse(job: SignJob, error: TokenError) -> str:
    """The outcome of a job that a token did not sign; says so."""
    fields = {"reason": error.reason, "detail": str(error), "key": job.entry.sha256}
    LOG.warning("a token would not sign", extra={"fields": fields})
    return error.reason


def sign(job: SignJob) -> SignOutcome:
    """Make the signature; whatever goes wrong is an outcome."""
    try:
        return job.entry.key.sign(job.data, job.flags)
    except Exception as error:  # noqa: BLE001 - one key's failure is one FAILURE frame
        return f"sign_failed_{type(error).__name__}"
