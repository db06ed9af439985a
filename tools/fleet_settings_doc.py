"""Writes the table of docs/fleetmdm-settings.md from FleetMDM's settings.

Usage: fleet_settings_doc.py [--check]; with --check nothing is written and a difference is exit 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from clikit.config import Setting  # noqa: E402 - the path above comes first
from fleetmdm.config import ENV_PREFIX, SETTINGS  # noqa: E402 - same

DOCUMENT = ROOT / "docs" / "fleetmdm-settings.md"
BEGIN, END = "<!-- begin settings -->\n", "<!-- end settings -->\n"


def row(setting: Setting) -> str:
    """One line of the table."""
    name = setting.env or ENV_PREFIX + setting.key.upper().replace(".", "_")
    bounds = []
    if setting.choices:
        bounds.append(", ".join(setting.choices))
    if setting.minimum is not None:
        bounds.append(f"from {setting.minimum:,}".replace(",", ""))
    if setting.maximum is not None:
        bounds.append(f"to {setting.maximum:,}".replace(",", ""))
    default = "" if setting.default in (None, "", ()) else f"`{setting.default}`"
    takes = "; ".join([setting.kind, *bounds]).replace("|", "\\|")
    return f"| `{setting.key}` | `{name}` | {takes} | {default} | {setting.help} |\n"


def main(arguments: list[str]) -> int:
    """Write the table, or compare it."""
    text = DOCUMENT.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    head = (
        "| setting | environment | takes | default | meaning |\n| --- | --- | --- | --- | --- |\n"
    )
    table = head + "".join(map(row, sorted(SETTINGS, key=lambda each: each.key)))
    made = f"{before}{BEGIN}\n{table}\n{END}{after}"
    if made == text:
        return 0
    if "--check" in arguments:
        sys.stderr.write(f"{DOCUMENT} is out of date: run {Path(__file__).name}\n")
        return 1
    DOCUMENT.write_text(made)
    sys.stdout.write(f"wrote {DOCUMENT.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
