"""The SSH agent protocol, RFC 9987 and OpenSSH's PROTOCOL.agent, as values."""
