"""The control socket's listener: whoever owns the agent's own socket opens and keeps it.

Rule for editors: it listens before anybody can learn that the agent serves, so that who waited for
the one may ask the other at once.
"""

from __future__ import annotations

import logging
from pathlib import Path

from secretivex.errors import SecretiveError
from secretivex.server.listen_unix import Listener, listen
from secretivex.server.report.control_socket import control_path

LOG = logging.getLogger("secretivex.metrics")


def open_control(socket_path: Path) -> Listener | None:
    """Listen beside the agent's socket. What cannot be had is logged: the agent serves without it."""
    try:
        return listen(control_path(socket_path))
    except SecretiveError as error:
        LOG.warning("no control socket", extra={"fields": {"reason": error.message}})
        return None
