"""Keys in a PKCS#11 token: beside a bare loop of C_Sign, and a token that hangs for five seconds.

Both need `[[stores]]` of type `pkcs11`; until the agent has that, the rows say so.
"""

from __future__ import annotations

from ratio import finish, not_measurable, read_options
from secretivex.config.table_settings import STORE_TYPES


def main() -> None:
    """Say what cannot be measured."""
    options = read_options(rounds=5)
    state = "known" if "pkcs11" in STORE_TYPES else "unknown"
    why = f"this version does not measure keys of the store type pkcs11 ({state} to it)"
    rows = [
        not_measurable("RSA-2048 in SoftHSM, 64 clients / bare C_Sign loop, at least 0.8", why),
        not_measurable("a token key stuck for 5 s delays file keys by less than 50 ms", why),
    ]
    finish(rows, options)


if __name__ == "__main__":
    main()
