"""Numbers as people read them: SI prefixes, counts, percentages, durations. Formatting only."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

UNKNOWN = "–"
JOIN = "\u00a0"  # a no-break space: a number and its unit stay on one line
_PREFIXES = {
    -18: "a",
    -15: "f",
    -12: "p",
    -9: "n",
    -6: "µ",
    -3: "m",
    0: "",
    3: "k",
    6: "M",
    9: "G",
    12: "T",
    15: "P",
    18: "E",
}
_DURATIONS = ((60.0, "min"), (3600.0, "h"), (86400.0, "days"), (365.25 * 86400.0, "years"))


@dataclass(frozen=True)
class Statistic:
    """Mean over seeds with the sample standard deviation (None with fewer than two values)."""

    mean: float | None
    spread: float | None
    count: int
    minimum: float | None

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Statistic":
        """The statistic of the known values; None values are left out, and `count` says how many were known."""
        known = [float(v) for v in values if v is not None]
        if not known:
            return cls(None, None, 0, None)
        mean = math.fsum(known) / len(known)
        spread = None
        if len(known) > 1:
            spread = math.sqrt(math.fsum((v - mean) ** 2 for v in known) / (len(known) - 1))
        return cls(mean, spread, len(known), min(known))


def digits(value: float, significant: int = 3) -> str:
    """A number with so many significant digits, without exponent and with thousands separated: 1234.5 -> 1,230."""
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    rounded = round(value, significant - 1 - exponent)
    exponent = math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(significant - 1 - exponent, 0)}f}"


def si(value: float | None, unit: str = "", significant: int = 3) -> str:
    """A value with SI prefix: 0.0123, "J" -> "12.3 mJ"; None -> "–"; outside the prefixes -> scientific."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return f"0{JOIN}{unit}".strip()
    scientific = float(f"{value:.{significant - 1}e}")  # rounded first, so that 999.9 m becomes 1.00
    power = 3 * math.floor(math.log10(abs(scientific)) / 3)
    if power not in _PREFIXES:
        return f"{value:.{significant - 1}e}{JOIN}{unit}".strip()
    return f"{digits(scientific / 10.0**power, significant)}{JOIN}{_PREFIXES[power]}{unit}".strip()


def count(value: float | None) -> str:
    """A count: whole below a million (148,416), then with k/M/G words of SI (1.50 G); means of seeds are rounded."""
    if value is None:
        return UNKNOWN
    return f"{round(value):,}" if abs(value) < 1e6 else si(value)


def percent(statistic: Statistic, decimals: int = 1) -> str:
    """A fraction as percentage with its spread: "75.7 ± 0.4"; "–" when unknown."""
    if statistic.mean is None:
        return UNKNOWN
    text = f"{100 * statistic.mean:.{decimals}f}"
    return text if statistic.spread is None else f"{text}{JOIN}±{JOIN}{100 * statistic.spread:.{decimals}f}"


def duration(seconds: float | None) -> str:
    """A time: SI below a minute, then min, h, days, years: 3600 -> "1 h", 0.002 -> "2.00 ms"."""
    if seconds is None or seconds < 60:
        return si(seconds, "s")
    size, name = max((entry for entry in _DURATIONS if entry[0] <= seconds), key=lambda entry: entry[0])
    amount = seconds / size
    text = f"{round(amount)}" if math.isclose(amount, round(amount), rel_tol=1e-9) else digits(amount)
    return f"{text}{JOIN}{name if text != '1' else name.removesuffix('s')}"


_SECONDS = re.compile(r"(?<![\w.+-])(\d+(?:\.\d+)?(?:e[+-]?\d+)?) s\b")


def readable(text: str) -> str:
    """A text with its seconds as people read them: "2.592e+06 s" -> "30 days", "2e-09 s" -> "2 ns"."""
    return _SECONDS.sub(lambda found: re.sub(r"\.0+(?=\D)", "", duration(float(found[1]))), text)


def area(square_meters: float | None) -> str:
    """An area in mm² or µm²."""
    if square_meters is None:
        return UNKNOWN
    if square_meters < 1e-8:
        return f"{digits(square_meters * 1e12)}{JOIN}µm²"
    return f"{digits(square_meters * 1e6)}{JOIN}mm²"


def times(ratio: float) -> str:
    """A ratio in words: "175 times", "2.1 times"."""
    return f"{digits(ratio, 2 if ratio < 100 else 3)}{JOIN}times"


def signed(value: float, decimals: int = 1) -> str:
    """A difference with its sign: "+1.7", "−0.4", "0.0"."""
    text = f"{abs(value):.{decimals}f}"
    return text if float(text) == 0 else f"{'+' if value > 0 else '−'}{text}"


def ratio(value: float | None) -> str:
    """A multiple: "147 ×", "0.32 ×", "1.2e+08 ×"; None -> "–"."""
    if value is None:
        return UNKNOWN
    return f"{digits(value) if value == 0 or 1e-3 <= value < 1e7 else f'{value:.2e}'}{JOIN}×"
