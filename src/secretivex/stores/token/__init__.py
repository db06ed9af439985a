"""Keys that sign elsewhere: security keys and PKCS#11 modules, each behind a program of OpenSSH's."""
