"""Numbers with units as people write them."""

import pytest
from edge_adapt.devices.units import parse_list, parse_number
from edge_adapt.errors import UsageError
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("2 \N{OHM SIGN}", "ohm", 2.0),
        ("2 \N{GREEK CAPITAL LETTER OMEGA}", "ohm", 2.0),
        ("2 k\N{OHM SIGN}", "ohm", 2e3),
        ("2 M\N{GREEK CAPITAL LETTER OMEGA}", "ohm", 2e6),
        ("2 kOhm", "ohm", 2e3),
        ("2 kohm", "ohm", 2e3),
        ("2 Mohms", "ohm", 2e6),
        ("3 aJ", "J", 3e-18),
        ("3 zJ", "J", 3e-21),
        ("4 fJ/bit", "J/byte", 32e-15),
        ("4 \N{MICRO SIGN}S", "S", 4e-6),
        ("4 \N{GREEK SMALL LETTER MU}S", "S", 4e-6),
        ("4\N{NO-BREAK SPACE}uS", "S", 4e-6),
        ("\N{MINUS SIGN}4 uS", "S", -4e-6),
        ("25 °C", "K", 298.15),
        ("-40 degC", "K", 233.15),
        ("300 K", "K", 300.0),
        ("0.2 %/°C", "1/K", 0.002),
        ("2 %", "", 0.02),
        ("2 percent", "", 0.02),
        ("1e-6 S", "S", 1e-6),
        ("1E-6", "", 1e-6),
        ("1_000 uS", "S", 1e-3),
        (".5 uS", "S", 5e-7),
        ("5. uS", "S", 5e-6),
    ],
)
def test_what_is_written_is_read(text: str, unit: str, value: float) -> None:
    assert parse_number(text, unit) == pytest.approx(value, rel=1e-15)
    if unit != "K":
        number, _, written = text.replace("\N{NO-BREAK SPACE}", " ").partition(" ")
        assert parse_list(f"[{number}, {number}] {written}", unit) == pytest.approx((value, value), rel=1e-15)


@pytest.mark.parametrize(
    ("text", "unit", "said"),
    [
        ("40", "S", "the number 40 has no unit; write for example '40 uS'"),
        ("40 K", "S", "wrong dimension"),
        ("40 °F", "K", "unknown unit '°F'"),
        ("40 °C", "S", "wrong dimension"),
        ("1,5 uS", "S", "'1,5 uS' has a comma; write a point: '1.5 uS'"),
        ("inf S", "S", "is not a number"),
        (".inf", "S", "is not a number"),
        ("nan S", "S", "is not a number"),
        ("1e400 S", "S", "is too large"),
        ("12:30 s", "s", "unknown unit ':30 s'"),
        ("0x10 uS", "S", "unknown unit 'x10 uS'"),
        ("1__0 uS", "S", "is not a number"),
        ("020", "", "the number 020 starts with 0 (octal or decimal?); write it without"),
        ("-01.5 V", "V", "the number -01.5 starts with 0"),
        ("0_5", "", "the number 0_5 starts with 0"),
        ("0o17", "", "unknown unit 'o17'"),
        ("12:30", "", "unknown unit ':30'"),
        ("1,000", "", "has a comma"),
        ("1_ uS", "S", "is not a number"),
        ("40 KOhm", "ohm", "unknown unit 'KOhm'"),
    ],
)
def test_what_is_unclear_is_refused(text: str, unit: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_number(text, unit)
    assert said in str(caught.value)


@settings(max_examples=200)
@given(
    st.text(st.sampled_from("0123456789.,eE+-_ []%uSkJVΩΩ°CK/^²*"), max_size=14),
    st.sampled_from(["", "S", "K", "1/K", "ohm"]),
)
def test_any_text_is_a_number_or_refused(text: str, unit: str) -> None:
    for parse in (parse_number, parse_list):
        try:
            found = parse(text, unit)
        except UsageError:
            continue
        assert all(abs(number) < float("inf") for number in (found if isinstance(found, tuple) else [found]))
