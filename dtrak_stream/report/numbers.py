"""Numbers as a reader wants them: three digits or the whole part, and a true minus sign."""

from __future__ import annotations

import math

_MINUS = "\N{MINUS SIGN}"
_DIGITS = 3


def signed(value: float) -> str:
    """Return a score such as `+0.0123`, `−45.6` or `+1.23e−7`."""
    text = unsigned(value)
    return text if value <= 0 or not math.isfinite(value) else f"+{text}"


def unsigned(value: float) -> str:
    """Return a number such as `0.0123`, `12,345` or `1.23e−7`; NaN and infinity are a dash."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    exponent = int(f"{value:.{_DIGITS - 1}e}".partition("e")[2])
    if -4 <= exponent < 6:
        return f"{value:,.{max(0, _DIGITS - 1 - exponent)}f}".replace("-", _MINUS)
    mantissa = f"{value:.{_DIGITS - 1}e}".partition("e")[0]
    return f"{mantissa}e{exponent}".replace("-", _MINUS)


def short(value: float) -> str:
    """Return a number with no digits it does not need, for the ticks of an axis."""
    text = f"{value:,.6g}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    return text.replace("-", _MINUS)
