"""From text to SI numbers: "40 uS" -> 4e-5, with the dimension checked by pint."""

import functools
import math
import re
from typing import Any

from ..errors import UsageError, require, unknown_name
from ..yamlfile import leading_zero

# Only what device files need. A small registry loads in milliseconds, keeps bytes apart from plain numbers
# ("pJ" where "pJ/byte" is meant is an error), and makes the nearest name of a misspelt unit a useful one.
_DEFINITIONS = (
    "zepto- = 1e-21 = z-",
    "atto- = 1e-18 = a-",
    "femto- = 1e-15 = f-",
    "pico- = 1e-12 = p-",
    "nano- = 1e-9 = n-",
    "micro- = 1e-6 = u-",
    "milli- = 1e-3 = m-",
    "centi- = 1e-2 = c-",
    "kilo- = 1e3 = k-",
    "mega- = 1e6 = M-",
    "giga- = 1e9 = G-",
    "tera- = 1e12 = T-",
    "meter = [length] = m = metre",
    "second = [time] = s",
    "volt = [potential] = V",
    "joule = [energy] = J",
    "byte = [information] = B",
    "bit = byte / 8",
    "minute = 60 * second = min",
    "hour = 3600 * second = h",
    "day = 86400 * second = d",
    "watt = joule / second = W",
    "ampere = watt / volt = A",
    "siemens = ampere / volt = S",
    "ohm = volt / ampere = Ohm = ohms = Ohms",
    "coulomb = ampere * second = C",
    "farad = coulomb / volt = F",
    "hertz = 1 / second = Hz",
    "kelvin = [temperature] = K",
    "percent = 0.01 = pct",
)

# What to write for each SI unit of the schema; the first one is used in messages.
COMMON_UNITS = {
    "S": ("uS", "nS", "mS", "S"),
    "V": ("V", "mV"),
    "s": ("ns", "us", "ms", "s", "min", "hour", "day"),
    "J": ("pJ", "fJ", "nJ", "uJ", "J"),
    "m": ("nm", "um", "m"),
    "m^2": ("um^2", "mm^2", "m^2"),
    "F": ("fF", "pF", "F"),
    "ohm": ("ohm", "kohm", "Mohm"),
    "J/byte": ("pJ/byte", "pJ/bit", "nJ/byte"),
    "1/s": ("1/s", "GHz", "MHz", "kHz", "Hz"),
    "W": ("uW", "mW", "nW", "W"),
    "W/byte": ("nW/byte", "pW/byte", "uW/byte"),
    "byte": ("MB", "kB", "B", "byte"),
    "K": ("K",),
    "1/K": ("%/K", "1/K"),
    "J/J": ("J/J",),
    "A": ("mA", "uA", "nA", "A"),
    "A/V^2": ("uA/V^2", "A/V^2"),
    "A/V^3": ("uA/V^3", "A/V^3"),
    "": ("%",),
}

_DIGITS = r"\d+(?:_\d+)*"
_NUMBER = rf"[+-]?(?:{_DIGITS}\.?\d*|\.\d+)(?:[eE][+-]?\d{{1,4}})?(?![\d._])"
_SCALAR = re.compile(rf"\s*({_NUMBER})\s*(.*?)\s*")
_LIST = re.compile(rf"\s*\[\s*({_NUMBER}(?:\s*,\s*{_NUMBER})*)\s*,?\s*\]\s*(.*?)\s*")
_TERM = r"(?:1|(?:[A-Za-z]{1,20}|%)(?:(?:\^|\*\*)-?[1-9]|²|³)?)"
_UNIT = re.compile(rf"{_TERM}(?:\s*[*/·]\s*{_TERM}){{0,5}}")


_SIGNS = str.maketrans({"\N{OHM SIGN}": "ohm", "\N{GREEK CAPITAL LETTER OMEGA}": "ohm", "\N{MICRO SIGN}": "u",
                        "\N{GREEK SMALL LETTER MU}": "u", "\N{KELVIN SIGN}": "K", "\N{NO-BREAK SPACE}": " ",
                        "\N{NARROW NO-BREAK SPACE}": " ", "\N{MINUS SIGN}": "-"})  # fmt: skip
"""Signs that look alike have several code points, and all of them are written."""
_CELSIUS = re.compile("°C|℃|degC")
_ZERO_CELSIUS = 273.15  # kelvins


@functools.cache
def _registry() -> Any:
    require("pint")
    import pint

    registry: Any = pint.UnitRegistry(None)
    for line in _DEFINITIONS:
        registry.define(line)
    return registry


@functools.cache
def _factor(unit: str, si_unit: str) -> float:
    """How many `si_unit` one `unit` is; `UsageError` for an unknown unit or another dimension."""
    wanted = f"a unit such as {COMMON_UNITS[si_unit][0]!r}" if si_unit else "a plain number or '%'"
    if not _UNIT.fullmatch(unit):
        near = unknown_name("unit", unit, COMMON_UNITS[si_unit])
        raise UsageError(f"{near}; write {wanted}")
    registry = _registry()
    written = unit.replace("%", " percent ").replace("·", "*").strip()
    try:
        quantity = (1.0 * registry.parse_units(written)).to_base_units()
        target = (1.0 * registry.parse_units(si_unit)).to_base_units()
    except Exception:  # pint, its tokenizer and its evaluator raise many kinds for the same thing: not a unit
        near = unknown_name("unit", unit, COMMON_UNITS[si_unit])
        raise UsageError(f"{near}; write {wanted}") from None
    if quantity.dimensionality != target.dimensionality:
        raise UsageError(f"unit {unit!r} has the wrong dimension; write {wanted}")
    return float(quantity.magnitude) / float(target.magnitude)


def _scaled(number: str, unit: str, si_unit: str) -> float:
    if doubt := leading_zero(number):
        raise UsageError(f"{doubt}; write it without")
    if not unit and si_unit:
        raise UsageError(f"the number {number} has no unit; write for example '{number} {COMMON_UNITS[si_unit][0]}'")
    if si_unit == "K" and _CELSIUS.fullmatch(unit):
        return round(float(number) + _ZERO_CELSIUS, 9)
    unit = _CELSIUS.sub("K", unit)  # of a difference, as in %/°C
    factor = _factor(unit, si_unit) if unit else 1.0
    power = round(math.log10(factor))
    if math.isclose(factor, 10.0**power, rel_tol=1e-12):  # shift the decimal point: "40 uS" is exactly float("40e-6")
        mantissa, _, exponent = number.lower().replace("_", "").partition("e")
        result = float(f"{mantissa}e{int(exponent or 0) + power}")
    else:
        result = float(number) * factor
    if math.isinf(result):
        raise UsageError(f"the number {number} {unit} is too large".rstrip())
    return result


def parse_number(text: str, si_unit: str) -> float:
    """The SI value of one number with its unit, such as "40 uS" (unit "S") or "1.75 %" (unit "").

    Raises `UsageError` when the text is no number, has no unit where one is needed, or has a wrong one.
    """
    text = text.translate(_SIGNS)
    match = _SCALAR.fullmatch(text)
    if match is None or re.match(r",\s*\d", match[2]):
        if re.match(r"\s*[+-]?\d+,\d", text):
            raise UsageError(f"{text!r} has a comma; write a point: {text.replace(',', '.', 1)!r}")
        example = f"'40 {COMMON_UNITS[si_unit][0]}'" if si_unit else "'0.5' or '2 %'"
        raise UsageError(f"{text!r} is not a number{' with a unit' if si_unit else ''}; write for example {example}")
    return _scaled(match[1], match[2], si_unit)


def parse_list(text: str, si_unit: str) -> tuple[float, ...]:
    """The SI values of a list with one unit behind it, such as "[0.348, 16.03] uS"; raises `UsageError`."""
    text = text.translate(_SIGNS)
    match = _LIST.fullmatch(text)
    if match is None:
        unit = f" {COMMON_UNITS[si_unit][0]}" if si_unit else ""
        raise UsageError(f"{text!r} is not a list of numbers; write for example '[0.5, -1.25]{unit}'")
    return tuple(_scaled(number.strip(), match[2], si_unit) for number in match[1].split(","))


_PREFIXES = (
    (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""),
    (1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"),
)  # fmt: skip


def pretty(value: float, si_unit: str) -> str:
    """A number with a readable unit: 4e-05 S -> "40 uS", 1.2e-09 m^2 -> "1200 um^2"."""
    if math.isinf(value):
        return "unlimited"
    if si_unit == "m^2":
        factor, unit = (1e-6, "mm^2") if abs(value) >= 1e-8 else (1e-12, "um^2")
        return f"{value / factor:.6g} {unit}"
    if si_unit == "s" and value >= 3600:
        factor, unit = (86400.0, "day") if value >= 86400 else (3600.0, "hour")
        return f"{value / factor:.6g} {unit}"
    if si_unit in ("", "1/s", "1/K") or value == 0:
        return f"{_short(value)} {si_unit}".rstrip()
    if si_unit == "V" and abs(value) >= 0.01:
        return f"{value:.6g} V"
    fitting = (item for item in _PREFIXES if abs(value) >= item[0] * (1 - 1e-9))
    scale, prefix = next(fitting, _PREFIXES[-1])
    return f"{value / scale:.6g} {prefix}{si_unit}"


def _short(value: float) -> str:
    """1000000 -> "1e6", 0.15 -> "0.15"."""
    text = f"{value:.6g}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.6e}"
    mantissa, exponent, power = text.partition("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(power)}" if exponent else mantissa
