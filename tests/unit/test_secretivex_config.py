"""What a configuration means: layers, defaults, profiles, and every way it can be wrong."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from clikit.config import parse_config
from secretivex.config import AgentConfig, ConfigInput, FileStoreConfig
from secretivex.config.rows.policy import POLICY_SETTINGS
from secretivex.config.settings import SETTINGS
from secretivex.errors import SecretiveError
from secretivex.loading import AgentSetup, make_setup
from secretivex.policy import Effect
from secretivex.policy_keys import FLAT_KEYS

HOME = {"HOME": "/home/alice"}
FINGERPRINT = "SHA256:" + "A" * 43


def setup_of(
    toml: str | None = None,
    *,
    flags: dict[str, Any] | None = None,
    env: dict[str, str] | None = None,
    cores: int = 4,
) -> AgentSetup:
    file = parse_config(toml.encode(), name="agent.toml", syntax="toml") if toml else None
    base = Path("/etc/base")
    return make_setup(ConfigInput(flags or {}, {**HOME, **(env or {})}, file, cores, base))


def problems_of(toml: str, **layers: Any) -> tuple[str, list[str]]:
    with pytest.raises(SecretiveError) as caught:
        setup_of(toml, **layers)
    return caught.value.code, caught.value.message.splitlines()


def test_every_setting_is_an_attribute_and_nothing_else_is() -> None:
    names = {field.name for field in fields(AgentConfig)}
    assert names == {row.key for row in SETTINGS} | {"origins", "file_name", "warnings"}


def test_the_policy_table_has_every_list_the_policy_understands() -> None:
    lists = [row.key for row in POLICY_SETTINGS if not row.key.startswith("confirm_")]
    assert lists == [*(row.name for row in FLAT_KEYS), "rules"]


def test_with_nothing_given_the_keys_of_home_are_served() -> None:
    setup = setup_of()
    assert setup.config.socket_path == Path("/home/alice/.secretive/agent.sock")
    assert setup.config.stores == (
        FileStoreConfig(
            paths=(), default_dir=Path("/home/alice/.ssh"), passphrase_env=None, key_types=()
        ),
    )
    assert setup.policy.rules == ()
    assert (setup.config.workers, setup.config.max_signers) == (4, 16)
    assert setup.config.warnings == ()


def test_the_session_runtime_folder_holds_the_socket_where_there_is_one() -> None:
    config = setup_of(env={"XDG_RUNTIME_DIR": "/run/user/7"}).config
    assert config.socket_path == Path("/run/user/7/secretive/agent.sock")


@pytest.mark.parametrize(
    ("flags", "env", "toml", "value", "origin"),
    [
        ({"max_connections": 1}, "2", "max_connections = 3\nprofile = 'fanout'", 1, "flag"),
        ({}, "2", "max_connections = 3\nprofile = 'fanout'", 2, "env SECRETIVE_MAX_CONNECTIONS"),
        ({}, "", "max_connections = 3\nprofile = 'fanout'", 3, "file agent.toml:1"),
        ({}, "", "profile = 'fanout'", 8192, "profile fanout"),
        ({}, "", "pid_file = '/run/x'", 0, "default"),
    ],
)
def test_the_stronger_layer_wins_and_is_named(
    flags: dict[str, Any], env: str, toml: str, value: int, origin: str
) -> None:
    config = setup_of(toml, flags=flags, env={"SECRETIVE_MAX_CONNECTIONS": env}).config
    assert (config.max_connections, config.origins["max_connections"]) == (value, origin)


@pytest.mark.parametrize(
    ("name", "cores", "signers", "workers"),
    [
        ("balanced", 2, 8, 2),
        ("FanOut", 1, 8, 1),
        ("fanout", 16, 128, 16),
        ("pssh", 1, 32, 2),
        ("high_fanout", 16, 192, 16),
        ("low-memory", 1, 2, 1),
        ("lowmemory", 16, 32, 8),
    ],
)
def test_a_profile_scales_with_the_cores(name: str, cores: int, signers: int, workers: int) -> None:
    config = setup_of(f"profile = '{name}'", cores=cores).config
    assert (config.max_signers, config.max_blocking_threads) == (signers, signers)
    assert config.workers == workers


def test_the_strongest_layer_names_the_profile() -> None:
    config = setup_of("profile = 'pssh'", env={"SECRETIVE_PROFILE": "balanced"}).config
    assert (config.profile, config.max_connections) == ("balanced", 1024)


def test_paths_expand_home_and_variables_and_start_at_the_files_folder() -> None:
    setup = setup_of(
        "socket_path = '$RUN/a.sock'\npid_file = 'run/pid'\n"
        "[[stores]]\ntype = 'file'\npaths = ['~/k', '${RUN}/k', 'k']\nscan_default_dir = false",
        env={"RUN": "/run/x"},
    )
    assert setup.config.socket_path == Path("/run/x/a.sock")
    assert setup.config.pid_file == Path("/etc/base/run/pid")
    assert setup.config.stores[0].paths == (
        Path("/home/alice/k"),
        Path("/run/x/k"),
        Path("/etc/base/k"),
    )
    store = setup.config.stores[0]
    assert isinstance(store, FileStoreConfig)
    assert store.default_dir is None


@pytest.mark.parametrize(
    ("toml", "line", "words"),
    [
        ("x = 1\nsocket_pth = '/s'", 2, ["socket_pth", "unknown key", "did you mean"]),
        ("max_signers = 0", 1, ["max_signers", "at least 1"]),
        ("max_signers = true", 1, ["max_signers", "whole number"]),
        ("max_signers = '4'", 1, ["max_signers", "whole number"]),
        ("profile = 'fanot'", 1, ["unknown profile 'fanot'", "did you mean 'fanout'"]),
        ("profile = ''", 1, ["unknown profile ''"]),
        ("profile = 3", 1, ["profile", "must be a text"]),
        ("agent_mode = 'readonly'", 1, ["agent_mode", "did you mean 'read-only'"]),
        ("pid_file = '$NOPE/x'", 1, ["pid_file", "$NOPE is not set"]),
        ("socket_path = '~bob/s'", 1, ["socket_path", "homes of other users"]),
        ("stores = []", 1, ["stores", "the list is empty"]),
        ("[[stores]]\npaths = ['a']", 1, ["stores[0]", "no type"]),
        ("[[stores]]\ntype = 'fil'", 2, ["stores[0].type", "did you mean 'file'"]),
        ("[[stores]]\ntype = 7", 2, ["stores[0].type", "unknown store type 7"]),
        ("[[stores]]\ntype = 'file'\npath = 'a'", 3, ["stores[0].path", "did you mean 'paths'"]),
        ("[[stores]]\ntype = 'file'\npaths = 'a'", 3, ["stores[0].paths", "list of texts"]),
        ("[[stores]]\ntype = 'file'\naskpass = 'yes'", 3, ["askpass", "true or false"]),
        (
            "[[stores]]\ntype = 'file'\nkey_types = ['ssh-ed2519']",
            3,
            ["stores[0].key_types[0]", "did you mean 'ssh-ed25519'"],
        ),
        ("[[stores]]\ntype = 'file'\npassphrase_env = ''", 3, ["passphrase_env", "the name of"]),
        ("[policy]\ndeny_comment = ['a']", 2, ["policy.deny_comment", "did you mean"]),
        ("[policy]\ndeny_comments = 'a'", 2, ["policy.deny_comments", "list of texts"]),
        ("[policy]\nconfirm_cache_ms = -5", 2, ["confirm_cache_ms", "at least 0"]),
        ("[policy]\nconfirm_command = [' ']", 2, ["confirm_command", "names no program"]),
        ("[policy]\nconfirm_command = []", 2, ["confirm_command", "names no program"]),
        ("[policy]\nconfirm_timeout_ms = 0", 2, ["confirm_timeout_ms"]),
        ("policy = 3", 1, ["policy", "must be a table"]),
    ],
)
def test_each_mistake_names_its_line_its_key_and_the_reason(
    toml: str, line: int, words: list[str]
) -> None:
    code, messages = problems_of(toml)
    found = [message for message in messages if all(word in message for word in words)]
    assert code == "config_invalid"
    assert [message.startswith(f"agent.toml:{line}: ") for message in found] == [True]


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    code, messages = problems_of(
        "max_signers = 0\nmetrics_jsn = true\n[policy]\npin_fingerprints = ['x']\n"
        "[[stores]]\ntype = 'tpm'\n"
    )
    assert code == "config_invalid"
    assert [message.split(":")[1] for message in messages] == ["1", "2", "4", "5"]


def test_an_invalid_entry_of_the_policy_has_its_own_code_and_place() -> None:
    code, messages = problems_of(f"[policy]\ndeny_fingerprints = ['{FINGERPRINT}', 'MD5:00']")
    assert code == "policy_invalid"
    assert messages[0].startswith("agent.toml:2: policy.deny_fingerprints[1]: not a")


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has one")
def test_a_store_of_another_system_is_said_to_be_unavailable() -> None:
    code, messages = problems_of("[[stores]]\ntype = 'secure_enclave'")
    assert code == "store_unavailable"
    assert "available on macOS only" in messages[0]


def test_a_bad_variable_is_named_as_such() -> None:
    code, messages = problems_of("", env={"SECRETIVE_MAX_SIGNERS": "many"})
    assert code == "config_invalid"
    assert messages[0].startswith("environment SECRETIVE_MAX_SIGNERS: max_signers: must be")


def test_a_variable_that_is_nearly_a_setting_is_warned_about() -> None:
    warnings = setup_of(env={"SECRETIVE_MAX_SINGERS": "4"}).config.warnings
    assert [str(warning) for warning in warnings] == [
        (
            "environment SECRETIVE_MAX_SINGERS: is not a setting and is ignored "
            "(did you mean SECRETIVE_MAX_SIGNERS?)"
        )
    ]


@pytest.mark.parametrize("where", ["127.0.0.1:9464", "[::1]:1", "localhost:80", ":80", "/m.sock"])
def test_metrics_are_served_to_this_machine(where: str) -> None:
    assert setup_of(f"metrics_listen = '{where}'").config.metrics_listen == where


@pytest.mark.parametrize(
    "where", ["0.0.0.0:9464", "example.org:80", "127.0.0.1", "127.0.0.1:0", "x"]
)
def test_metrics_are_served_to_no_other_machine(where: str) -> None:
    _, messages = problems_of(f"metrics_listen = '{where}'")
    assert ["metrics_listen" in message for message in messages] == [True]


def test_a_store_without_keys_is_warned_about() -> None:
    config = setup_of("[[stores]]\ntype = 'file'\nscan_default_dir = false").config
    assert ["it has no keys" in str(warning) for warning in config.warnings] == [True]


def test_a_passphrase_variable_that_is_not_set_is_warned_about() -> None:
    toml = "[[stores]]\ntype = 'file'\npassphrase_env = 'PASS'"
    assert [w.key for w in setup_of(toml).config.warnings] == ["stores[0].passphrase_env"]
    assert setup_of(toml, env={"PASS": "x"}).config.warnings == ()


@pytest.mark.parametrize(
    ("toml", "key"),
    [
        ("audit_path = '/a'", "audit_path"),
        ("audit_to = 'syslog'", "audit_to"),
        ("audit_key_path = '/k'", "audit_key_path"),
        ("metrics_output_path = '/m'\nmetrics_every = 0", "metrics_output_path"),
        ("metrics_json = true\nmetrics_every = 0", "metrics_json"),
        ("allowed_providers = '/usr/lib/*, /opt/x.so'", "allowed_providers"),
        ("allowed_providers = '!/tmp/*,libx.so'", "allowed_providers"),
    ],
)
def test_a_setting_that_does_nothing_beside_the_others_is_warned_about(toml: str, key: str) -> None:
    (warning,) = setup_of(toml).config.warnings
    assert (warning.key, warning.where.rpartition(":")[0]) == (key, "agent.toml")
    assert warning.reason
    assert warning.hint


@pytest.mark.parametrize(
    "toml",
    [
        "audit_requests = true\naudit_path = '/a'\naudit_to = 'file'\naudit_key_path = '/k'",
        "metrics_output_path = '/m'\nmetrics_json = true",
        "metrics_every = 0\nmetrics_interval_ms = 5\nmetrics_output_path = '/m'",
        "metrics_every = 0",
        "allowed_providers = '/usr/lib/*,!*/bad.so,?opt/x'",
        "allowed_providers = ''",
    ],
)
def test_settings_that_do_what_they_say_are_not(toml: str) -> None:
    assert setup_of(toml).config.warnings == ()


def test_what_may_be_a_passphrase_is_not_repeated() -> None:
    _, messages = problems_of("[[stores]]\ntype = 'file'\npassphrase_env = 'correct horse'")
    assert "must be the name of an environment variable" in messages[0]
    assert "horse" not in messages[0]


@pytest.mark.parametrize("name", ["SECRETIVE_STORES", "SECRETIVE_POLICY"])
def test_tables_do_not_come_from_the_environment(name: str) -> None:
    code, messages = problems_of("", env={name: "[]"})
    assert code == "config_invalid"
    assert messages[0].startswith(f"environment {name}: ")


def test_the_deprecated_name_of_workers_still_works_and_says_so() -> None:
    config = setup_of("worker_threads = 3").config
    assert config.workers == 3
    assert config.origins["workers"] == "file agent.toml:1"
    assert ["write workers instead" in str(warning) for warning in config.warnings] == [True]


def test_a_flag_outweighs_the_deprecated_name_in_the_file() -> None:
    assert setup_of("worker_threads = 3", flags={"workers": 2}).config.workers == 2


def test_both_names_of_workers_must_agree() -> None:
    _, messages = problems_of("worker_threads = 3\nworkers = 2")
    assert "contradicts workers = 2" in messages[0]


def test_policy_lists_become_rules() -> None:
    setup = setup_of(f"[policy]\npin_fingerprints = ['{FINGERPRINT}']\ndeny_comments = ['a']")
    assert [rule.effect for rule in setup.policy.rules] == [Effect.DENY, Effect.PIN]


def test_a_command_that_confirms_and_its_patience_are_no_rules() -> None:
    setup = setup_of("[policy]\nconfirm_command = ['ask', '-x']\nconfirm_timeout_ms = 9")
    assert setup.policy.rules == ()
    assert setup.config.rule_lists == {}
    assert (setup.config.confirm_command, setup.config.confirm_timeout_ms) == (("ask", "-x"), 9)
    assert setup_of("").config.confirm_command == ()
    assert setup_of("").config.confirm_timeout_ms == 30_000


def test_json_means_the_same_as_toml() -> None:
    values = {"profile": "pssh", "stores": [{"type": "file", "paths": ["/k"]}]}
    file = parse_config(json.dumps(values).encode(), name="agent.json", syntax="json")
    made = make_setup(ConfigInput({}, HOME, file, 4, Path("/etc/base")))
    same = setup_of("profile = 'pssh'\n[[stores]]\ntype = 'file'\npaths = ['/k']")
    assert made.config.stores == same.config.stores
    assert made.config.max_signers == same.config.max_signers


def test_without_home_the_socket_must_be_named() -> None:
    with pytest.raises(SecretiveError, match="HOME is not set"):
        make_setup(ConfigInput({}, {}, None, 4, Path("/"), default_stores=()))
    given = ConfigInput({"socket_path": "/s"}, {}, None, 4, Path("/"), default_stores=())
    assert make_setup(given).config.stores == ()


def test_an_allow_list_that_is_empty_is_refused_where_it_is_the_whole_policy() -> None:
    for key in ("pin_fingerprints", "allow_fingerprints", "allow_comments", "allow_key_blobs"):
        code, lines = problems_of(f"[policy]\n{key} = []\n")
        assert code == "policy_invalid"
        assert lines[0].startswith(f"agent.toml:2: policy.{key}: the list is empty")


def test_everything_wrong_with_a_rule_is_told_at_once() -> None:
    _, lines = problems_of(
        "[[policy.rules]]\neffect = 'deny'\nhours = '9-17'\ndays = ['monday']\n"
        "utc_offset = 'x'\nnot_before = 'now'\nnot_after = 'later'\nusers = ['']\n"
    )
    assert [line.split(": ")[1] for line in lines] == [
        f"policy.rules[0].{key}"
        for key in ("hours", "days", "utc_offset", "not_before", "not_after", "users[0]")
    ]


def test_an_entry_of_a_list_is_told_with_its_own_line() -> None:
    _, lines = problems_of("[policy]\ndeny_comments = [\n  'a',\n  5,\n]\n")
    assert lines == [
        'agent.toml:4: policy.deny_comments[1]: must be a text, not 5 (deny_comments = ["..."])'
    ]


def test_what_may_be_a_secret_by_mistake_is_never_repeated() -> None:
    toml = (
        "[[stores]]\ntype = 'pkcs11'\nmodule_path = '/x'\npin_env = 8675309\n"
        "pin_command = 'hunter8675309'\n"
        "[[stores]]\ntype = 'file'\npassphrase_env = 'hunter 8675309'\n"
        "passphrase_command = [8675309]\n"
    )
    _, lines = problems_of(toml)
    assert len(lines) == 4
    assert "8675309" not in "".join(lines)


def test_a_socket_path_that_is_too_long_is_one_problem_of_all() -> None:
    code, lines = problems_of(f"workers = 0\nsocket_path = '/{'x' * 120}'\n")
    assert code == "config_invalid"
    assert [line.split(": ")[1] for line in lines] == ["workers", "socket_path"]
    assert problems_of(f"socket_path = '/{'x' * 120}'\n")[0] == "socket_path_too_long"


@pytest.mark.parametrize(
    ("text", "place"),
    [("~/m", "/home/alice/m"), ("$RUN/m", "/run/x/m"), ("unix:m", "/etc/base/m"), ("/m", "/m")],
)
def test_the_socket_for_metrics_is_a_path_like_any_other(text: str, place: str) -> None:
    config = setup_of(f"metrics_listen = '{text}'", env={"RUN": "/run/x"}).config
    assert config.metrics_listen == place


def test_keys_inside_stores_and_policy_have_an_origin_too() -> None:
    config = setup_of(
        "[[stores]]\ntype = 'file'\n[[stores]]\ntype = 'file'\npaths = ['k']\n"
        "[policy]\nconfirm_timeout_ms = 5\n"
    ).config
    assert config.origins["stores[0].paths"] == "default"
    assert config.origins["stores[1].paths"] == "file agent.toml:5"
    assert config.origins["policy.confirm_timeout_ms"] == "file agent.toml:7"
    assert config.origins["policy.rules"] == "default"
    named = setup_of(flags={"stores": [{"type": "file", "paths": ["~/k"]}]}).config
    assert named.origins["stores[0].paths"] == "flag"
    assert named.stores[0].paths == (Path("/home/alice/k"),)
