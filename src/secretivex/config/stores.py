"""The key stores that a configuration names, each as a typed value.

Rule for editors: an unknown type, and a known one that this version lacks, are problems; no store
is left out in silence.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clikit.nearest import nearest
from secretivex.config.paths import PathError, expand_path
from secretivex.config.pkcs11_uri import UriError, parse_uri
from secretivex.config.problems import Problems
from secretivex.config.rows.stores import STORE_TYPES
from secretivex.config.source import is_missing
from secretivex.config.store_kinds import (
    EnclaveStoreConfig,
    FileStoreConfig,
    Pkcs11StoreConfig,
    SecretConfig,
    StoreConfig,
    TpmStoreConfig,
)
from secretivex.config.tables import Place, check_table
from sshwire.algorithms import KEY_ALGORITHMS

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_stores(
    tables: Sequence[Mapping[str, Any]],
    place: Place,
    environ: Mapping[str, str],
    problems: Problems,
) -> tuple[StoreConfig, ...]:
    """The stores in their order; every one that is not valid is a problem and left out."""
    if not tables:
        problems.add(
            place.problem(reason="the list is empty", hint="leave the key out, or add one")
        )
    found = []
    for index, table in enumerate(tables):
        store = _check_store(table, place.below(index), environ, problems)
        if store is not None:
            found.append(store)
    return tuple(found)


def _check_store(
    table: Mapping[str, Any], place: Place, environ: Mapping[str, str], problems: Problems
) -> StoreConfig | None:
    name = table.get("type")
    if name is None:
        hint = f"add type = one of: {', '.join(STORE_TYPES)}"
        problems.add(place.problem(reason="the store has no type", hint=hint))
        return None
    kind = STORE_TYPES.get(name) if isinstance(name, str) else None
    if kind is None:
        near = nearest(str(name), STORE_TYPES)
        hint = f"did you mean {near!r}?" if near else f"known types: {', '.join(STORE_TYPES)}"
        problems.add(place.problem("type", reason=f"unknown store type {name!r}", hint=hint))
        return None
    rest = {key: value for key, value in table.items() if key != "type"}
    values = check_table(kind.settings, rest, place, problems)
    if kind.unavailable:
        reason = f"store type {kind.name!r} is {kind.unavailable}"
        problems.add(place.problem("type", reason=reason, hint="remove it"), "store_unavailable")
        return None
    if kind.only_on and kind.only_on != sys.platform:
        reason = f"store type {kind.name!r} is available on {_SYSTEMS[kind.only_on]} only"
        problems.add(place.problem("type", reason=reason, hint="remove it"), "store_unavailable")
        return None
    return _BUILDERS[kind.name](values, place, environ, problems)


def _file_store(
    values: Mapping[str, Any], place: Place, environ: Mapping[str, str], problems: Problems
) -> FileStoreConfig:
    if not values["paths"] and not values["scan_default_dir"]:
        reason = "the store names no path and does not scan ~/.ssh: it has no keys"
        problems.warn(place.where(), place.name(), reason, "add paths = [...]")
    return FileStoreConfig(
        paths=tuple(_expand_paths(values["paths"], place, environ, problems)),
        default_dir=_default_dir(place, environ, problems) if values["scan_default_dir"] else None,
        passphrase_env=_check_variable("passphrase_env", values, place, environ, problems),
        key_types=_check_key_types(values["key_types"] or (), place, problems),
        passphrase_command=_check_command("passphrase_command", values, place, problems),
        passphrase_keyring=values["passphrase_keyring"],
        askpass=values["askpass"],
        certificates=_path_list("certificates", values, place, environ, problems),
    )


def _pkcs11_store(
    values: Mapping[str, Any], place: Place, environ: Mapping[str, str], problems: Problems
) -> Pkcs11StoreConfig | None:
    module = _find_module(values, place, environ, problems)
    parts = [key for key in ("token_label", "token_serial", "slot") if values[key] is not None]
    if values["uri"] is not None and parts:
        reason = f"names the token, and so does {parts[0]}"
        problems.add(place.problem("uri", reason=reason, hint="leave one of them out"))
    pin = _check_pin(values, place, environ, problems)
    if module is None:
        return None
    return Pkcs11StoreConfig(
        module_path=module,
        uri=values["uri"],
        token_label=values["token_label"],
        token_serial=values["token_serial"],
        slot=values["slot"],
        pin=pin,
        refresh_min_interval_ms=values["refresh_min_interval_ms"],
        module_timeout_ms=values["module_timeout_ms"],
        max_sessions=values["max_sessions"],
        certificates=_path_list("certificates", values, place, environ, problems),
        key_types=_check_key_types(values["key_types"] or (), place, problems),
    )


def _find_module(
    values: Mapping[str, Any], place: Place, environ: Mapping[str, str], problems: Problems
) -> Path | None:
    """The module of `module_path`, or of the URI."""
    named, in_uri = values["module_path"], ""
    if values["uri"] is not None:
        try:
            in_uri = parse_uri(values["uri"])[1]
        except UriError as error:
            problems.add(place.problem("uri", reason=str(error), hint=error.hint))
            return None
    if named is None and not in_uri:
        hint = "name the PKCS#11 library, for example /usr/lib/softhsm/libsofthsm2.so"
        problems.add(place.problem(reason="the store has no module_path", hint=hint))
        return None
    key = "uri" if named is None else "module_path"
    try:
        path = expand_path(str(named or in_uri), environ, base=place.base)
    except PathError as error:
        problems.add(place.problem(key, reason=str(error), hint=error.hint))
        return None
    if is_missing(path):
        hint = "install the library, or correct the path"
        problems.warn(place.where(key), place.name(key), f"{path}: no such file", hint)
    return path


def _check_pin(
    values: Mapping[str, Any], place: Place, environ: Mapping[str, str], problems: Problems
) -> SecretConfig:
    """One source at most: a second one would be a second try."""
    sources = [key for key in ("pin_env", "pin_file", "pin_command", "askpass") if values[key]]
    for extra in sources[1:]:
        reason = f"the PIN comes from {sources[0]} already"
        problems.add(place.problem(extra, reason=reason, hint="leave one of them out"))
    file = None
    if values["pin_file"] is not None:
        try:
            file = expand_path(str(values["pin_file"]), environ, base=place.base)
        except PathError as error:
            problems.add(place.problem("pin_file", reason=str(error), hint=error.hint))
    return SecretConfig(
        env=_check_variable("pin_env", values, place, environ, problems),
        file=file,
        command=_check_command("pin_command", values, place, problems),
        askpass=values["askpass"],
    )


def _check_command(
    key: str, values: Mapping[str, Any], place: Place, problems: Problems
) -> tuple[str, ...]:
    command = values[key]
    if command is None:
        return ()
    if not "".join(command[:1]).strip():
        problems.add(place.problem(key, reason="names no program", hint="or leave the key out"))
    return tuple(command)


def _path_list(
    key: str,
    values: Mapping[str, Any],
    place: Place,
    environ: Mapping[str, str],
    problems: Problems,
) -> tuple[Path, ...]:
    return tuple(_expand_paths(values[key] or (), place, environ, problems, key))


def _check_variable(
    key: str,
    values: Mapping[str, Any],
    place: Place,
    environ: Mapping[str, str],
    problems: Problems,
) -> str | None:
    """The name of a variable. What is no name is not repeated: it may be the secret itself."""
    name: str | None = values[key]
    if name is None:
        return None
    if not _VARIABLE_NAME.fullmatch(name):
        reason = "must be the name of an environment variable"
        problems.add(
            place.problem(key, reason=reason, hint=f"never the {key.removesuffix('_env')} itself")
        )
    elif not environ.get(name):
        left_out = "the token stays closed" if key == "pin_env" else "encrypted keys are left out"
        reason = f"the variable {name} is not set: {left_out}"
        problems.warn(place.where(key), place.name(key), reason)
    return name


def _expand_paths(
    texts: Sequence[str],
    place: Place,
    environ: Mapping[str, str],
    problems: Problems,
    key: str = "paths",
) -> Iterator[Path]:
    for index, text in enumerate(texts):
        try:
            yield expand_path(text, environ, base=place.base)
        except PathError as error:
            problems.add(place.problem(key, index, reason=str(error), hint=error.hint))


def _default_dir(place: Place, environ: Mapping[str, str], problems: Problems) -> Path | None:
    try:
        return expand_path("~/.ssh", environ, base=place.base)
    except PathError as error:
        problems.add(place.problem("scan_default_dir", reason=str(error), hint=error.hint))
        return None


def _check_key_types(names: Sequence[str], place: Place, problems: Problems) -> tuple[str, ...]:
    """A name that is no key type would offer nothing and say nothing."""
    for index, name in enumerate(names):
        if name not in KEY_ALGORITHMS:
            near = nearest(name, KEY_ALGORITHMS)
            hint = f"did you mean {near!r}?" if near else "names as in a .pub file: ssh-ed25519"
            reason = f"unknown key type {name!r}"
            problems.add(place.problem("key_types", index, reason=reason, hint=hint))
    return tuple(names)


def _tpm_store(
    values: Mapping[str, Any], place: Place, environ: Mapping[str, str], problems: Problems
) -> TpmStoreConfig:
    if not values["paths"]:
        problems.add(place.problem(reason="the store names no path", hint="add paths = [...]"))
    if not str(values["device"]).startswith(("device:", "swtpm:path=")):
        hint = "device:/dev/tpmrm0 or swtpm:path=SOCKET"
        problems.add(place.problem("device", reason="no address of a TPM", hint=hint))
    return TpmStoreConfig(
        paths=tuple(_expand_paths(values["paths"], place, environ, problems)),
        device=values["device"],
        pin=_check_pin(values, place, environ, problems),
        certificates=_path_list("certificates", values, place, environ, problems),
        key_types=_check_key_types(values["key_types"] or (), place, problems),
    )


def _enclave_store(
    values: Mapping[str, Any], place: Place, environ: Mapping[str, str], problems: Problems
) -> EnclaveStoreConfig:
    return EnclaveStoreConfig(
        prompt=values["prompt"],
        reuse_ms=values["reuse_ms"],
        certificates=_path_list("certificates", values, place, environ, problems),
        key_types=_check_key_types(values["key_types"] or (), place, problems),
    )


_SYSTEMS = {"darwin": "macOS"}

_BUILDERS: Mapping[str, Callable[..., StoreConfig | None]] = {
    "file": _file_store,
    "pkcs11": _pkcs11_store,
    "tpm": _tpm_store,
    "secure_enclave": _enclave_store,
}
