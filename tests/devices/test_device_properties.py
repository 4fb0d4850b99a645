"""Any spelling of a quantity is the same float; any wrong text is a clear error and never another exception."""

from decimal import Decimal

import pytest
from edge_adapt.devices import load_chip, validate
from edge_adapt.devices.presets import preset_folder
from edge_adapt.devices.units import COMMON_UNITS, parse_number, pretty
from edge_adapt.errors import UsageError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CELL = (preset_folder("cell") / "reram.yaml").read_text(encoding="utf-8")
PREFIXES = {"f": -15, "femto": -15, "p": -12, "n": -9, "nano": -9, "u": -6, "µ": -6, "μ": -6, "micro": -6, "m": -3,
            "milli": -3, "": 0, "k": 3, "kilo": 3, "M": 6, "G": 9}  # fmt: skip
NAMES = {
    "S": ("S", "siemens"),
    "V": ("V", "volt", "volts"),
    "J": ("J", "joule"),
    "F": ("F", "farad"),
    "s": ("s", "second"),
}


def complaint(call):
    """The message of the `UsageError` of a call, None when it succeeds; any other exception passes through."""
    try:
        call()
    except UsageError as error:
        return str(error)
    return None


slow = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(
    digits=st.integers(1, 10**6), shift=st.integers(-6, 3), prefix=st.sampled_from(sorted(PREFIXES)),
    unit=st.sampled_from(sorted(NAMES)), spelling=st.integers(0, 2), gap=st.sampled_from(["", " ", "  "]),
)  # fmt: skip
@settings(deadline=None)
def test_every_spelling_of_a_magnitude_is_the_nearest_float(digits, shift, prefix, unit, spelling, gap):
    name = NAMES[unit][spelling % len(NAMES[unit])]
    if len(name) > 1 and len(prefix) == 1:
        prefix = {"f": "femto", "p": "pico", "n": "nano", "m": "milli", "k": "kilo", "M": "mega", "G": "giga"}.get(
            prefix, "micro"
        )
    elif len(name) == 1 and len(prefix) > 1:
        name = NAMES[unit][1]
    power = PREFIXES.get(prefix, {"pico": -12, "mega": 6, "giga": 9}.get(prefix, 0))
    number = Decimal(digits).scaleb(shift)
    exact = float(number.scaleb(power))  # the decimal number itself, rounded once
    assert parse_number(f"{number}{gap}{prefix}{name}", unit) == exact


@given(value=st.floats(1e-16, 1e8, allow_nan=False), unit=st.sampled_from(sorted(set(COMMON_UNITS) - {""})))
@settings(deadline=None)
def test_readable_units_read_back(value, unit):
    assert parse_number(pretty(value, unit), unit) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize(("text", "unit", "expected"), [
    ("0.16 pJ/bit", "J/byte", 1.28e-12), ("1 day", "s", 86400.0), ("2 min", "s", 120.0), ("1200 um^2", "m^2", 1.2e-9),
    ("1200 um**2", "m^2", 1.2e-9), ("1200 µm²", "m^2", 1.2e-9), ("3 A/V", "S", 3.0), ("2 %", "", 0.02),
    ("1e3", "", 1000.0),
    ("50 kΩ", "ohm", 5e4), ("1 GHz", "1/s", 1e9), ("5 uW*ns", "J", 5e-15), (".5 V", "V", 0.5), ("1.E-3 V", "V", 1e-3),
])  # fmt: skip
def test_units_that_device_files_use(text, unit, expected):
    assert parse_number(text, unit) == pytest.approx(expected, rel=1e-14)


@given(text=st.text(max_size=30), unit=st.sampled_from(sorted(COMMON_UNITS)))
@settings(deadline=None, max_examples=300)
def test_any_text_is_a_number_or_a_usage_error(text, unit):
    message = complaint(lambda: parse_number(text, unit))
    assert message is None or "write" in message or "too large" in message


@pytest.mark.parametrize(
    "unit", ["9**9**9", "S^99999999", "(((", "S S", "1/0", "__import__", "µ", "%%", "S/", "-S", "S^-", "nan", "K" * 99]
)
def test_hostile_units_are_refused_at_once(unit):
    with pytest.raises(UsageError):
        parse_number(f"1 {unit}", "S")


@given(key=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20), value=st.text(max_size=10))
@slow
def test_a_random_override_is_a_usage_error(key, value):
    with pytest.raises(UsageError):
        load_chip("reram", {f"{key}~": value})


@given(name=st.text("abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1, max_size=15), section=st.sampled_from(
    ["conductance", "programming", "response", "read", "faults", "endurance", "layout"]))  # fmt: skip
@slow
def test_a_random_key_in_a_section_is_named_with_its_line(tmp_path, name, section):
    head = f"\n{section}:\n"
    text = CELL.replace(head, f"{head}  zz{name}: {{value: 1}}\n")
    path = tmp_path / "cell.yaml"
    path.write_text(text, encoding="utf-8")
    line = text.splitlines().index(f"{section}:") + 2
    with pytest.raises(UsageError, match=f"unknown key 'zz{name}' in section '{section}'") as caught:
        validate(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")


@given(data=st.data())
@slow
def test_a_damaged_file_loads_or_is_a_usage_error(tmp_path, data):
    start = data.draw(st.integers(0, len(CELL) - 1))
    length = data.draw(st.integers(0, 40))
    filling = data.draw(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8))
    path = tmp_path / "cell.yaml"
    path.write_text(CELL[:start] + filling + CELL[start + length :], encoding="utf-8")
    message = complaint(lambda: validate(path))
    assert message is None or str(path) in message
