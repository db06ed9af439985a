#!/bin/sh
# Compiles the locked requirements; run it after a change of pyproject.toml or requirements/*.in.
set -eu
cd "$(dirname "$0")/.."
export UV_PYTHON_DOWNLOADS=never
lock() {
    .venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url "$@"
}
lock pyproject.toml -o requirements/base.txt
lock pyproject.toml --extra all -o requirements/all.txt
lock pyproject.toml requirements/dev.in --extra all -o requirements/dev.txt
lock requirements/bootstrap.in -o requirements/bootstrap.txt
