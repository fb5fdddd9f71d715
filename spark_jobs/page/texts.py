"""Numbers as people read them."""

from datetime import datetime


def percent(part: float, whole: float) -> str:
    """Renders a share; only all of it is 100 %, and only none of it 0 %."""
    share = part / whole if whole else 0.0
    text = f"{share:.1%}"
    if part < whole and text == "100.0%":
        return "99.9%"
    return "<0.1%" if part > 0 and text == "0.0%" else text.replace("100.0%", "100%")


def short(number: float) -> str:
    """Renders a large number with three digits and a unit."""
    for limit, unit in ((1e9, "bn"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= limit:
            value = number / (1e3 if unit == "k" else limit)
            return f"{value:.3g}{unit}" if abs(value) < 999.5 else f"{value:,.0f}{unit}"
    return f"{number:,.0f}"


def duration(seconds: float) -> str:
    """Renders seconds as people read them."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"


def money(amount: float) -> str:
    """Renders an amount of money, a small one with two digits."""
    return f"{amount:,.2f}" if amount >= 0.1 or not amount else f"{amount:.2g}"


def instant(at: datetime) -> str:
    """Renders an instant in UTC."""
    return f"{at:%Y-%m-%d %H:%M}"
