"""Pictures of figures, as SVG or PNG: what draws them, and how they look. Pure: bytes come out.

The same input gives the same bytes: no date, no random id, no setting of the user's matplotlib.
An SVG follows the reader's dark scheme; both forms carry a ground of their own, so that they can be
read on any page. Rule for editors: texts come from hostile inventory and go through `label`.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable
from typing import Any, Final

from clikit.errors import Failure
from clikit.table import show_text

MAX_LABEL_CHARS: Final = 40

INK: Final = "#1b2430"
SOFT: Final = "#556070"
LINE: Final = "#d9dee6"
PAGE: Final = "#fefefe"
GREEN: Final = "#1f7a4d"
RED: Final = "#b3261e"
AMBER: Final = "#d98a1f"
VIOLET: Final = "#7a68c4"
BLUE: Final = "#2f6fb5"
GREY: Final = "#9aa4b2"

_DARK: Final = {
    INK: "#e6eaf0",
    SOFT: "#a3adbb",
    LINE: "#333c49",
    PAGE: "#161b22",
    GREEN: "#4fb483",
    RED: "#f2766c",
    AMBER: "#e8aa50",
    VIOLET: "#a99bea",
    BLUE: "#7fb0ec",
    GREY: "#76818f",
}
"""What each colour is for who prefers a dark scheme."""

_LOOK: Final = {
    "axes.axisbelow": True,
    "axes.edgecolor": LINE,
    "axes.facecolor": PAGE,
    "axes.formatter.useoffset": False,
    "axes.labelcolor": SOFT,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.h_pad": 0.12,
    "figure.constrained_layout.w_pad": 0.16,
    "figure.dpi": 144,
    "figure.facecolor": PAGE,
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9.5,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "savefig.dpi": 144,
    "svg.fonttype": "none",
    "svg.hashsalt": "clikit",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.color": LINE,
    "ytick.labelcolor": SOFT,
}


def render_plot(
    paint: Callable[[Any], None], *, suffix: str, title: str, size: tuple[float, float]
) -> bytes:
    """What `paint` draws on a figure of so many inches; `title` is for who does not see it."""
    matplotlib, figure_type = drawing_library()
    file = io.BytesIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        # A sign that the font lacks is drawn as a box, which says enough.
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_LOOK)
        figure = figure_type(figsize=size, layout="constrained")
        paint(figure)
        if suffix == ".png":
            figure.savefig(file, format="png", metadata={"Software": None, "Title": label(title)})
            return file.getvalue()
        known = {"Date": None, "Creator": None, "Title": label(title)}
        figure.savefig(file, format="svg", metadata=known)
    return _follow_scheme(file.getvalue().decode()).encode()


def label(text: str, limit: int = MAX_LABEL_CHARS * 4) -> str:
    """A text as a picture shows it: on one line, bounded, no control character."""
    shown = show_text(" ".join(text.split()))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _follow_scheme(svg: str) -> str:
    """The same picture, with other colours for who prefers a dark scheme."""
    rules = "".join(
        f'[style*="{name}: {light}"]{{{name}:{dark}!important}}'
        for light, dark in _DARK.items()
        for name in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style>"
    return re.sub(r"(<svg [^>]*)>", rf'\1 role="img">\n {style}', svg, count=1)


def drawing_library() -> tuple[Any, Any]:
    """Matplotlib and its figure, which draws without any window system; raises `missing_extra`."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise Failure(
            "missing_extra",
            "plots need matplotlib, which is not installed",
            hint="pip install 'secretivex-fleetmdm[plot]'",
        ) from error
    # That it builds a cache, or cannot keep one, is nothing to its user.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    return mpl, Figure
