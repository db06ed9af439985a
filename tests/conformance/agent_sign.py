"""Ask a running ssh-agent for one raw signature: `agent_sign.py KEY.pub FLAGS DATA`, base64 out.

Standard library only, so that the vectors owe nothing to the code they test.
"""

import base64
import os
import socket
import struct
import sys
from pathlib import Path


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def main() -> None:
    line, flags, data = sys.argv[1:4]
    blob = base64.b64decode(Path(line).read_text().split()[1])
    body = b"\x0d" + _string(blob) + _string(data.encode()) + struct.pack(">I", int(flags))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.environ["SSH_AUTH_SOCK"])
        client.sendall(_string(body))
        stream = client.makefile("rb")
        reply = stream.read(struct.unpack(">I", stream.read(4))[0])
    if reply[:1] != b"\x0e":
        sys.exit(f"the agent refused: {reply.hex()}")
    sys.stdout.write(base64.b64encode(reply[5:]).decode() + "\n")


if __name__ == "__main__":
    main()
