#!/bin/sh
# Prepares a machine and a checkout: Debian's packages, then .venv from the hashed requirements.
# `setup.sh demo` leaves out the packages of the tests. Safe to run again: each step looks first.
set -eu
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-/usr/bin/python3}
PACKAGES=tools/apt-packages.txt
last=
[ "${1:-}" = demo ] && last='/only the tests/,$d'
say() { printf 'setup: %s\n' "$*" >&2; }

missing_packages() {
    # Prints the packages that dpkg does not know as installed.
    sed -e "$last" -e '/^#/d' -e '/^$/d' "$PACKAGES" | while read -r name; do
        status=$(dpkg-query -W -f '${Status}' "$name" 2>/dev/null || true)
        [ "$status" = 'install ok installed' ] || printf '%s ' "$name"
    done
}

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root='sudo -n'
    else
        as_root=none
    fi
fi

if command -v dpkg-query >/dev/null 2>&1; then
    missing=$(missing_packages)
    if [ -n "$missing" ]; then
        if [ "$as_root" = none ]; then
            say "no root and no password-less sudo; these Debian packages are missing: $missing"
            say "ask an administrator for: apt-get install --no-install-recommends $missing"
        else
            say "installing Debian packages: $missing"
            log=$(mktemp)
            # Programs are wanted, not their services: Debian asks this file before it starts one.
            guard=/usr/sbin/policy-rc.d
            if [ ! -e "$guard" ]; then
                trap '$as_root rm -f "$guard"' EXIT
                printf '#!/bin/sh\nexit 101\n' | $as_root tee "$guard" >/dev/null
                $as_root chmod 755 "$guard"
            fi
            # shellcheck disable=SC2086 # both are word lists on purpose
            if ! { $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive \
                apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1; then
                cat "$log" >&2
                say "apt-get failed; its words are above"
                exit 5
            fi
            rm -f "$log"
            # Nor at the next start of the machine.
            for unit in prometheus prometheus-node-exporter rsyslog logrotate; do
                case " $missing" in
                *" $unit "*)
                    [ "$unit" != logrotate ] || unit=logrotate.timer
                    $as_root systemctl disable -q "$unit" 2>/dev/null || true
                    ;;
                esac
            done
        fi
    fi
else
    say "this is not a Debian system; install by hand what $PACKAGES names"
fi

# The sum of the locked files stands for the environment; equal sum, nothing to do.
stamp=.venv/.requirements.sha256
want=$(cat requirements/*.txt pyproject.toml | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && [ -x .venv/bin/python ]; then
    exit 0
fi
if ! "$PYTHON" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    say "$PYTHON must be Python 3.11 or newer with its venv module (Debian: python3-venv)"
    exit 5
fi
say "building .venv over $PYTHON"
rm -rf .venv
"$PYTHON" -m venv .venv
.venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
export UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV="$PWD/.venv"
.venv/bin/uv pip install -q --require-hashes -r requirements/dev.txt
.venv/bin/uv pip install -q --no-deps --no-build-isolation -e .
printf '%s\n' "$want" > "$stamp"
