"""Ranges of numbers in device files: read, resolved by bits, kept when the value is set, refused with their line."""

import pytest
from edge_adapt.devices import describe_chip, list_presets, load_cell, load_chip, load_periphery
from edge_adapt.devices.presets import preset_folder
from edge_adapt.errors import UsageError

PERIPHERY = (preset_folder("periphery") / "isaac-32nm.yaml").read_text(encoding="utf-8")
MAC = 'range: {low: "0.19 pJ", high: "4.6 pJ"'


def rows(chip):
    return {row["key"]: row for row in describe_chip(chip)["values"]}


def test_a_range_is_in_si_with_its_source():
    row = rows(load_chip("reram"))["periphery.digital.mac_energy"]
    assert (row["range"]["low"], row["range"]["high"]) == (pytest.approx(0.19e-12), pytest.approx(4.6e-12))
    assert row["range"]["source"] == "horowitz-2014" and row["range"]["low_text"] == "0.19 pJ"


def test_a_table_has_the_range_of_its_bits_alone():
    assert rows(load_chip("reram"))["periphery.adc.energy"]["range"]["low"] == pytest.approx(0.078e-12)
    assert rows(load_chip("reram", {"adc.bits": "6"}))["periphery.adc.energy"]["range"] is None


def test_a_value_that_is_set_keeps_the_range_of_the_file():
    row = rows(load_chip("reram", {"digital.mac_energy": "9 pJ"}))["periphery.digital.mac_energy"]
    assert row["value"] == pytest.approx(9e-12) and row["range"]["high"] == pytest.approx(4.6e-12)
    row = rows(load_chip("reram", {"adc.energy": "3 pJ"}))["periphery.adc.energy"]
    assert row["value"] == pytest.approx(3e-12) and row["range"]["high"] == pytest.approx(23.8e-12), "of a table"
    row = rows(load_chip("reram", {"adc.energy": "3 pJ", "adc.bits": "6"}))["periphery.adc.energy"]
    assert row["range"] is None, "the file gives one for 8 bits alone"


def test_an_unknown_number_may_have_one():
    row = rows(load_chip("reram"))["periphery.leakage.gated_power"]
    assert row["value"] is None and row["range"]["high"] == pytest.approx(36.6e-6)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (MAC, 'range: {low: "5 pJ", high: "6 pJ"', "does not hold its value"),
        (MAC, 'range: {low: "4.6 pJ", high: "0.19 pJ"', "must rise"),
        (MAC, 'range: {low: "-1 pJ", high: "4.6 pJ"', "must be at least 0 J"),
        (MAC, 'range: {low: "0.19 pJ", high: "4.6 MJ"', "m is milli, M is mega"),
        (MAC, 'range: {low: "0.19 pJ"', "the range of digital.mac_energy has no high"),
        (MAC, 'range: {low: "0.19 ps", high: "4.6 pJ"', "the range of digital.mac_energy"),
        (MAC, 'range: {lowest: "0.19 pJ", high: "4.6 pJ"', "low"),
        ('4.6 pJ", source: horowitz-2014', '4.6 pJ", source: nobody', "unknown source 'nobody'"),
        ('low: {8: "0.078 pJ"}', 'low: {3: "0.078 pJ"}', "3 bits, which the table does not have"),
        ('low: {8: "0.078 pJ"}', 'low: {6: "0.078 pJ"}', "one end for [68] bits"),
        ('low: {8: "0.078 pJ"}', 'low: {8: "0.078 pJ", 6: "0.05 pJ"}', "one end for 6 bits"),
        ('node: {value: "32 nm", source: isaac-2016', 'node: {range: 3, value: "32 nm", source: isaac-2016', "range"),
    ],
)  # fmt: skip
def test_a_wrong_range_is_refused_with_its_line(tmp_path, before, after, message):
    assert PERIPHERY.count(before) == 1
    path = tmp_path / "own.yaml"
    path.write_text(PERIPHERY.replace(before, after), encoding="utf-8")
    with pytest.raises(UsageError, match=message) as refused:
        load_periphery(path)
    assert "own.yaml:" in str(refused.value)


def test_only_single_numbers_have_one(tmp_path):
    text = (preset_folder("cell") / "reram.yaml").read_text(encoding="utf-8")
    entry = "levels: {value: 16,"
    path = tmp_path / "own.yaml"
    path.write_text(text.replace(entry, f"{entry} range: {{low: 2, high: 32, source: wan-2022, note: n}},"), "utf-8")
    with pytest.raises(UsageError, match="takes no range"):
        load_cell(path)


def test_every_shipped_range_holds_its_value_and_names_its_ends():
    found = 0
    for name in list_presets("chip"):
        for row in describe_chip(load_chip(name))["values"]:
            if (between := row["range"]) is not None:
                assert between["note"] and between["low"] < between["high"]
                assert row["value"] is None or between["low"] <= row["value"] <= between["high"], row["key"]
                found += 1
    assert found >= 8
