"""The head of an HTTP request as a value: RFC 9112, as little of it as one page needs.

Rule for editors: what is not understood is refused, never guessed at: a head that two readers could
read differently is how a browser is led here under another's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from secretivex.metrics.openmetrics import OPENMETRICS, PLAIN, TextForm

_REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/1\.([01])")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^][:]+))(?::[0-9]*)?")


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: `path` without the query, `host` as it was named ("" for none)."""

    method: str
    path: str
    host: str
    accept: str


def parse_request(head: bytes) -> Request:
    """A head with its empty line; raises ValueError for what is none."""
    first, *rest = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    matched = _REQUEST_LINE.fullmatch(first)
    if matched is None:
        raise ValueError("no request line of HTTP/1")
    method, target, minor = matched.groups()
    fields = [_parse_field(line) for line in rest]
    hosts = [value for name, value in fields if name == "host"]
    if len(hosts) > 1 or "" in hosts or (minor == "1" and not hosts):
        raise ValueError("one Host is wanted")
    host = "".join(hosts)
    if target.startswith("http://"):
        # A target that names the server counts for more than the field (section 3.2.2).
        host, slash, target = target.removeprefix("http://").partition("/")
        target = slash + target
    accept = ",".join(value for name, value in fields if name == "accept")
    return Request(method, target.partition("?")[0], host, accept)


def _parse_field(line: str) -> tuple[str, str]:
    matched = _FIELD.fullmatch(line)
    if matched is None:
        raise ValueError("no field of a head")
    return matched[1].lower(), matched[2].strip()


def names_loopback(host: str) -> bool:
    """Whether that is the address of this machine alone: a name could be anybody's that points here.

    A client of HTTP/1.0 may name none; browsers always do.
    """
    matched = _AUTHORITY.fullmatch(host)
    if matched is None:
        return not host
    name = (matched[1] or matched[2]).lower()
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def choose_form(accept: str) -> TextForm:
    """OpenMetrics, unless a client likes the older form better and says so (RFC 9110, 12.5.1)."""
    liked = dict(_parse_accept(accept))
    anything = liked.get("*/*", 0.0)
    is_open = liked.get("application/openmetrics-text", liked.get("application/*", anything))
    is_plain = liked.get("text/plain", liked.get("text/*", anything))
    return PLAIN if is_plain > is_open else OPENMETRICS


def _parse_accept(accept: str) -> Iterator[tuple[str, float]]:
    """Media ranges with their weights, the lightest first."""
    ranges = []
    for one in accept.lower().split(","):
        kind, *parameters = [part.strip() for part in one.split(";")]
        ranges.append((kind, _weight(parameters)))
    yield from sorted(ranges, key=lambda pair: pair[1])


def _weight(parameters: Iterable[str]) -> float:
    for one in parameters:
        if one.startswith("q="):
            try:
                return min(1.0, max(0.0, float(one[2:])))
            except ValueError:
                return 0.0
    return 1.0
