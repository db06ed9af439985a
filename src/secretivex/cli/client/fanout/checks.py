"""What would be in the way of a fan-out: decisions on facts that were gathered elsewhere.

Pure. Rule for editors: a check says what is, why it matters and what to do; what could not be found
out is `unknown`, never `ok`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from secretivex.cli.client.fanout.findings import Finding

DESCRIPTORS_EACH = 4
"""Of a fan-out tool for each ssh: three pipes and a spare."""
PROCESSES_EACH = 2
MAX_AUTH_TRIES = 6
"""sshd's default; the sixth key that fails ends the connection."""
KNOWN_HOSTS_BYTES = 1_000_000
"""Some ten thousand lines; a hashed one costs a HMAC each, for every ssh."""
SSH_EACH_CORE = 32
"""More ssh at a time on one core only wait for each other."""
STARTUPS = 10
"""Of sshd's default MaxStartups 10:30:100 the figure at which it begins to drop."""
MIN_DESCRIPTORS_SPARE = 64


@dataclass(frozen=True, slots=True)
class Facts:
    """This machine and this user; None where something could not be found out."""

    parallel: int
    socket_path: str
    max_socket_path_bytes: int
    socket_folder_mode: int | None = None
    keys: int | None = None
    agent_error: str = ""
    descriptors: int | None = None
    processes: int | None = None
    backlog: int | None = None
    cores: int = 1
    auth_sock: str = ""
    """The environment's SSH_AUTH_SOCK."""
    is_asked_by_ssh: bool = False
    """Whether what ssh asks is the very socket."""
    ssh: Mapping[str, str] = field(default_factory=dict)
    """What `ssh -G` says of one host; empty if it did not."""
    known_hosts_bytes: int | None = None
    is_clock_synchronised: bool | None = None
    is_clock_before_release: bool = False


Check = Callable[[Facts], Finding]


def check_agent(facts: Facts) -> Finding:
    """Somebody answers, and has keys."""
    if facts.agent_error:
        return Finding(
            "agent", "failed", facts.agent_error, "start the agent, or name its --socket"
        )
    if not facts.keys:
        return Finding(
            "agent", "failed", "the agent has no keys", "add one: ssh-add, or its stores"
        )
    return Finding("agent", "ok", f"{facts.keys} keys at {facts.socket_path}")


def check_socket_path(facts: Facts) -> Finding:
    """Tools that put the path into another one need room, and nobody else may reach it."""
    size = len(facts.socket_path.encode())
    if facts.socket_folder_mode is not None and facts.socket_folder_mode & 0o022:
        return Finding(
            "socket path",
            "warning",
            f"others may write to the socket's folder (mode {facts.socket_folder_mode:o})",
            "keep the socket in a folder of your own: chmod go-w",
        )
    if size > facts.max_socket_path_bytes:
        return Finding("socket path", "failed", f"{size} bytes long", "use a shorter path")
    return Finding("socket path", "ok", f"{size} of {facts.max_socket_path_bytes} bytes")


def asked_by_ssh(ssh: Mapping[str, str], auth_sock: str) -> str:
    """The socket that ssh asks; "" or `none` for no agent."""
    named = ssh.get("identityagent", "SSH_AUTH_SOCK")
    return auth_sock if named == "SSH_AUTH_SOCK" else named


def check_identity_agent(facts: Facts) -> Finding:
    """Ssh asks this agent and no other."""
    if not facts.ssh:
        return Finding("IdentityAgent", "unknown", "`ssh -G` does not answer")
    chosen = asked_by_ssh(facts.ssh, facts.auth_sock)
    if facts.is_asked_by_ssh or chosen == facts.socket_path:
        return Finding("IdentityAgent", "ok", f"ssh asks {chosen}")
    by_file = facts.ssh.get("identityagent", "SSH_AUTH_SOCK") != "SSH_AUTH_SOCK"
    source = "ssh_config" if by_file else "SSH_AUTH_SOCK"
    return Finding(
        "IdentityAgent",
        "failed",
        f"ssh asks {chosen if chosen not in ('', 'none') else 'no agent'} (by {source})",
        f"export SSH_AUTH_SOCK={shlex.quote(facts.socket_path)}, or set IdentityAgent",
    )


def check_identities(facts: Facts) -> Finding:
    """Too many keys are offered one after the other."""
    if facts.keys is None or not facts.ssh:
        return Finding("IdentitiesOnly", "unknown", "keys or ssh_config could not be read")
    if facts.ssh.get("identitiesonly") == "yes":
        return Finding("IdentitiesOnly", "ok", "yes")
    if facts.keys < MAX_AUTH_TRIES:
        return Finding("IdentitiesOnly", "ok", f"no, and the agent has {facts.keys} keys")
    return Finding(
        "IdentitiesOnly",
        "failed",
        f"the agent's {facts.keys} keys are offered in turn, and sshd hangs up after MaxAuthTries "
        f"({MAX_AUTH_TRIES} unless it says otherwise)",
        "IdentitiesOnly yes with IdentityFile naming the right .pub",
    )


def check_control_persist(facts: Facts) -> Finding:
    """Repeated logins can share one connection."""
    if not facts.ssh:
        return Finding("ControlPersist", "unknown", "`ssh -G` does not answer")
    if facts.ssh.get("controlmaster", "false") not in ("false", "no"):
        return Finding("ControlPersist", "ok", f"ControlMaster {facts.ssh['controlmaster']}")
    return Finding(
        "ControlPersist",
        "warning",
        "each login is a new connection and a new signature",
        "ControlMaster auto and ControlPersist 60, if hosts are reached more than once",
    )


def check_gssapi(facts: Facts) -> Finding:
    """Kerberos that is not there costs name look-ups."""
    if not facts.ssh:
        return Finding("GSSAPI", "unknown", "`ssh -G` does not answer")
    if facts.ssh.get("gssapiauthentication") == "yes":
        return Finding(
            "GSSAPI",
            "warning",
            "GSSAPIAuthentication is tried before keys",
            "GSSAPIAuthentication no, unless there is Kerberos",
        )
    return Finding("GSSAPI", "ok", "off")


def check_known_hosts(facts: Facts) -> Finding:
    """Each ssh reads the whole file."""
    size = facts.known_hosts_bytes
    if size is None:
        return Finding("known_hosts", "unknown", "no file to look at")
    if size > KNOWN_HOSTS_BYTES:
        return Finding(
            "known_hosts",
            "warning",
            f"{size} bytes are read by every single ssh",
            "an @cert-authority line, KnownHostsCommand, or a UserKnownHostsFile for each group",
        )
    return Finding("known_hosts", "ok", f"{size} bytes")


def check_startups(facts: Facts) -> Finding:
    """A jump host's sshd sees all logins at once."""
    if not facts.ssh:
        return Finding("MaxStartups", "unknown", "`ssh -G` does not answer")
    jump = facts.ssh.get("proxyjump", "none")
    if jump != "none" and facts.parallel > STARTUPS:
        return Finding(
            "MaxStartups",
            "warning",
            f"{facts.parallel} logins at a time pass through {jump}, and an sshd as it comes begins "
            f"to drop them at {STARTUPS}",
            f"MaxStartups {facts.parallel}:30:{facts.parallel * 4} on {jump}",
        )
    return Finding("MaxStartups", "ok", "no jump host: each sshd sees its own logins only")


def check_descriptors(facts: Facts) -> Finding:
    """The tool that starts the ssh's needs pipes."""
    needed = facts.parallel * DESCRIPTORS_EACH + MIN_DESCRIPTORS_SPARE
    if facts.descriptors is None:
        return Finding("open files", "unknown", "this system does not tell")
    if facts.descriptors < needed:
        return Finding(
            "open files",
            "failed",
            f"{facts.descriptors} may be open, {facts.parallel} ssh at a time need {needed}",
            f"ulimit -n {needed}",
        )
    return Finding("open files", "ok", f"{facts.descriptors} may be open, {needed} are needed")


def check_processes(facts: Facts) -> Finding:
    """An ssh is a process, and its proxy another one."""
    needed = facts.parallel * PROCESSES_EACH
    if facts.processes is None:
        return Finding("processes", "unknown", "this system does not tell")
    if facts.processes < needed:
        return Finding(
            "processes", "failed", f"{facts.processes} are allowed", f"ulimit -u {needed + 200}"
        )
    return Finding("processes", "ok", f"{facts.processes} are allowed")


def check_backlog(facts: Facts) -> Finding:
    """The kernel caps what an agent asks for."""
    if facts.backlog is None:
        return Finding("backlog", "unknown", "this system does not tell")
    if facts.backlog < facts.parallel:
        return Finding(
            "backlog",
            "warning",
            f"{facts.backlog} connections may wait for the agent, {facts.parallel} come at a time",
            f"sysctl net.core.somaxconn={max(4096, facts.parallel)}, then restart the agent",
        )
    return Finding("backlog", "ok", f"{facts.backlog} connections may wait for the agent")


def check_cores(facts: Facts) -> Finding:
    """The usual bottleneck."""
    sensible = facts.cores * SSH_EACH_CORE
    if facts.parallel > sensible:
        return Finding(
            "cores",
            "warning",
            f"{facts.parallel} ssh at a time on {facts.cores} cores wait for each other",
            f"{sensible} at a time finish as early; a signature is the smallest part of a login",
        )
    return Finding("cores", "ok", f"{facts.parallel} ssh at a time on {facts.cores} cores")


def check_clock(facts: Facts) -> Finding:
    """Certificates, lifetimes and logs go by it."""
    if facts.is_clock_before_release:
        return Finding("clock", "failed", "it stands before this program was made", "set the clock")
    if facts.is_clock_synchronised is None:
        return Finding("clock", "unknown", "nothing tells whether it is synchronised")
    if not facts.is_clock_synchronised:
        return Finding(
            "clock", "warning", "it is not synchronised", "run a time service, such as chrony"
        )
    return Finding("clock", "ok", "synchronised")


CHECKS: tuple[Check, ...] = (
    check_agent,
    check_socket_path,
    check_identity_agent,
    check_identities,
    check_control_persist,
    check_gssapi,
    check_known_hosts,
    check_startups,
    check_descriptors,
    check_processes,
    check_backlog,
    check_cores,
    check_clock,
)
"""In the order in which they are told."""


def examine(facts: Facts) -> list[Finding]:
    """Every check."""
    return [check(facts) for check in CHECKS]
