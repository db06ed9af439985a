"""The append-only Merkle log of runs, exports, waivers and key events (RFC 6962). Pure."""
