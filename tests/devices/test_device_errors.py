"""What a wrong device file says: `file:line:`, what was wrong, the nearest name, how to mend it."""

import pytest
from edge_adapt.devices import load_cell, load_chip, load_periphery, schema, validate
from edge_adapt.devices.presets import preset_folder
from edge_adapt.errors import UsageError

CELL = (preset_folder("cell") / "reram.yaml").read_text(encoding="utf-8")
PERIPHERY = (preset_folder("periphery") / "isaac-32nm.yaml").read_text(encoding="utf-8")
CHIP = (preset_folder("chip") / "reram.yaml").read_text(encoding="utf-8")
LOADERS = {"cell": load_cell, "periphery": load_periphery, "chip": load_chip}


def line_of(text, fragment):
    """The number of the only line that holds `fragment`."""
    lines = [number for number, line in enumerate(text.splitlines(), 1) if fragment in line]
    assert len(lines) == 1, (fragment, lines)
    return lines[0]


def failure(tmp_path, kind, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        LOADERS[kind](str(path))
    message = str(caught.value)
    assert message.startswith(f"{path}:"), message
    place, _, rest = message.removeprefix(f"{path}:").partition(": ")
    return int(place), rest


def swap_entry(text, key, value):
    """The file with the value of the one-line entry `key` replaced."""
    number = line_of(text, f"  {key}: {{value:")
    lines = text.splitlines()
    head, _, tail = lines[number - 1].partition("value: ")
    old = tail.partition(", ")[0] if not tail.startswith('"') else tail[: tail.index('"', 1) + 1]
    lines[number - 1] = head + "value: " + value + tail.removeprefix(old)
    return "\n".join(lines) + "\n", number


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("g_max", '"40 V"', "wrong dimension; write a unit such as 'uS'"),
        ("g_max", '"40 uSS"', "unknown unit 'uSS'; did you mean 'uS'"),
        ("g_max", "40", "the number 40 has no unit; write for example '40 uS'"),
        ("g_max", '"forty"', "'forty' is not a number with a unit; write for example '40 uS'"),
        ("g_max", '"-40 uS"', "must be above 0 S"),
        ("g_max", '"0.5 uS"', "conductance.g_min (1 uS) must be below conductance.g_max (0.5 uS)"),
        ("g_max", "[1, 2]", "must be a single value, not a list"),
        ("g_max", "null", "cannot be null: the simulator needs it (highest programmed conductance)"),
        ("levels", "16.5", "'16.5' must be a whole number"),
        ("levels", "1", "must be at least 2"),
        ("levels", "020", "conductance.levels: the number 020 starts with 0 (octal or decimal?); write it without"),
        ("levels", '"020"', "the number 020 starts with 0"),
        ("levels", "0o20", "unknown unit 'o20'"),
        ("levels", "12:30", "unknown unit ':30'"),
        ("stuck_low", '"120 %"', "must be at most 1"),
        ("g_max", '"40 MS"', "is 4e+07 S, and no part of a chip has more than 1 S; m is milli, M is mega"),
        ("stuck_high", '"-1 %"', "must be at least 0"),
        ("noise", '"1 V"', "unit 'V' has the wrong dimension; write a plain number or '%'"),
        ("tolerance", '"39.5 uS"', "programming.tolerance must be less than g_max - g_min"),
        ("pulses_max", "3", "programming.pulses_mean_published (8.52) must be at most programming.pulses_max (3)"),
        ("writes_min", "1e7", "endurance.writes_min (1e7) must be at most endurance.writes (1e6)"),
    ],
)
def test_bad_values_in_a_cell(tmp_path, key, value, expected):
    text, number = swap_entry(CELL, key, value)
    line, message = failure(tmp_path, "cell", text)
    assert expected in message
    other = {"writes_min": "writes"}.get(key, key)  # a contradiction is placed at the upper of the two
    assert line == (number if other == key else line_of(CELL, f"  {other}: {{value:"))


def replaced(text, old, new):
    assert text.count(old) == 1, old
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "at", "expected"),
    [
        ("  g_max: {value", "  g_mx: {value", "  g_mx:",
         "unknown key 'g_mx' in section 'conductance'; did you mean 'g_max'"),
        ("\nfaults:\n", "\nfalts:\n", "falts:", "unknown key 'falts' in the cell file; did you mean 'faults'"),
        ("  levels: {value: 16, ", "  levels: {valeu: 16, ", "valeu",
         "'valeu' in conductance.levels; did you mean 'value'"),
        ("{value: 16, source: cimloop-wan,", "{value: 16, source: cimlop-wan,", "cimlop-wan,",
         "unknown source 'cimlop-wan'; did you mean 'cimloop-wan'"),
        ("source: cimloop-wan, status: derived", "source: cimloop-wan, status: guessed", "guessed",
         "unknown status 'guessed'; allowed: derived, read, secondary, unverified"),
        ("  levels: {value: 16, source: cimloop-wan, ", "  levels: {value: 16, ", "  levels:", "has no source"),
        ("technology: reram\n", "technology: spintronics\n", "spintronics",
         "technology 'spintronics' must be one of: reram, pcm"),
        ("volatile: false\n", "volatile: maybe\n", "maybe", "volatile 'maybe' must be one of: true, false"),
        ("kind: cell\n", "kind: sell\n", "sell", "kind 'sell' must be one of: cell, periphery, chip"),
        ("kind: cell\n", "kind: periphery\n", "kind: periphery",
         "this file describes a periphery, but a cell is needed here"),
        ('"[0.348, 16.030, -43.853', '"[0.348, x, -43.853', "[0.348, x",
         "is not a list of numbers; write for example '[0.5, -1.25] uS'"),
        ('{time: "1 day"', '{time: "0.5 s"', "0.5 s", "does not come after the point before it"),
        ("  g_min: {", "  g_max: {value: 1}\n  g_min: {", "reference conductance of", "key 'g_max' stands twice"),
        ("conductance:\n", "conductance: [\n", None, "not valid YAML"),
    ],
)  # fmt: skip
def test_bad_structure_of_a_cell(tmp_path, old, new, at, expected):
    text = replaced(CELL, old, new)
    line, message = failure(tmp_path, "cell", text)
    assert expected in message
    if at is not None:
        assert line == line_of(text, at)


def without(text, fragment):
    number = line_of(text, fragment)
    return "\n".join(line for i, line in enumerate(text.splitlines(), 1) if i != number) + "\n"


def test_a_missing_key_names_its_section_and_what_to_write(tmp_path):
    line, message = failure(tmp_path, "cell", without(CELL, "  stuck_low: {"))
    assert line == CELL.splitlines().index("faults:") + 1
    assert "key 'faults.stuck_low' is missing (cells stuck at g_min)" in message
    assert "{value: null, note: ...}" in message
    _, message = failure(tmp_path, "cell", without(CELL, "  g_max: {"))
    assert "the simulator needs it" in message


def test_a_null_needs_a_note_and_takes_no_source(tmp_path):
    old = next(line for line in CELL.splitlines() if line.startswith("  t0:"))
    _, message = failure(tmp_path, "cell", CELL.replace(old, "  t0: {value: null}"))
    assert "drift.t0 is null and has no note" in message
    _, message = failure(tmp_path, "cell", CELL.replace(old, "  t0: {value: null, source: wan-2022, note: x}"))
    assert "is null, so it has no source" in message


def test_half_a_drift_law_is_refused(tmp_path):
    old = next(line for line in CELL.splitlines() if line.startswith("  t0:"))
    new = '  t0: {value: "1 s", source: wan-2022, status: read}'
    line, message = failure(tmp_path, "cell", CELL.replace(old, new))
    assert line == line_of(CELL, "  exponent_coefficients:")
    assert "drift.exponent_coefficients is null but drift.t0 is given" in message


def test_energy_of_a_pulse_must_be_known_somehow(tmp_path):
    old = next(line for line in CELL.splitlines() if line.startswith("  set_voltage:"))
    _, message = failure(tmp_path, "cell", CELL.replace(old, "  set_voltage: {value: null, note: x}"))
    assert "programming.set_energy and programming.set_voltage are both null" in message


def test_bits_that_a_table_does_not_hold(tmp_path):
    text = replaced(PERIPHERY, "  bits: {value: 8, ", "  bits: {value: 12, ")
    line, message = failure(tmp_path, "periphery", text)
    assert line == line_of(text, "bits: {value: 12")
    assert "adc.energy is not known at adc.bits = 12; known: 4, 5, 6, 7, 8, 9, 10" in message


def test_pj_is_not_pj_per_byte(tmp_path):
    text = replaced(PERIPHERY, '"0.6390625 pJ/byte"', '"0.6390625 pJ"')
    line, message = failure(tmp_path, "periphery", text)
    assert line == line_of(text, '"0.6390625 pJ"')
    assert "unit 'pJ' has the wrong dimension; write a unit such as 'pJ/byte'" in message


def test_a_chip_names_cells_that_exist(tmp_path):
    text = replaced(CHIP, "\ncell: reram\n", "\ncell: rerma\n")
    line, message = failure(tmp_path, "chip", text)
    assert line == line_of(text, "cell: rerma")
    assert "unknown cell 'rerma'; did you mean 'reram'" in message
    text = replaced(CHIP, "\ncell: reram\n", "\ncell: mine/cell.yaml\n")
    line, message = failure(tmp_path, "chip", text)
    assert line == line_of(text, "cell: mine")
    assert f"there is no cell file {tmp_path / 'mine/cell.yaml'}" in message


def test_a_wrong_number_in_a_chips_own_cell_is_placed_in_the_cell_file(tmp_path):
    text, number = swap_entry(CELL, "g_max", '"40 pJ"')
    (tmp_path / "cell.yaml").write_text(text, encoding="utf-8")
    path = tmp_path / "chip.yaml"
    path.write_text(replaced(CHIP, "\ncell: reram\n", "\ncell: cell.yaml\n"), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_chip(path)
    assert str(caught.value).startswith(f"{tmp_path / 'cell.yaml'}:{number}: conductance.g_max: ")


def test_files_that_are_no_device_files(tmp_path):
    for content, expected in [
        (b"", "the file is empty"),
        (b"# nothing\n", "the file is empty"),
        (b"- a\n- b\n", "must be a mapping"),
        (b"hello\n", "must be a mapping"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"a: 1\n", "key 'kind' is missing"),
        (b"kind: cell\n", "is missing in the cell file"),
        (b"a: {b\n", "not valid YAML"),
        (b"\x00", "not valid YAML"),
        (b"kind: [cell]\n", "kind must be a single value, not a list"),
        (b"? [1]\n: 2\n", "must be a single value"),
        (b"[" * 5000, "nested too deeply"),
    ]:
        path = tmp_path / "bad.yaml"
        path.write_bytes(content)
        with pytest.raises(UsageError) as caught:
            validate(path)
        assert expected in str(caught.value)
        assert str(caught.value).startswith(str(path))
    with pytest.raises(UsageError, match="there is no"):
        validate(tmp_path / "absent.yaml")
    with pytest.raises(UsageError, match="there is no"):
        validate(tmp_path)


def test_unknown_presets_name_the_nearest():
    with pytest.raises(UsageError, match="unknown device 'rerem'; did you mean 'reram'"):
        load_chip("rerem")
    with pytest.raises(UsageError, match="unknown cell 'pmc'; did you mean 'pcm'"):
        load_cell("pmc")
    with pytest.raises(UsageError, match="unknown periphery 'isac-32nm'; did you mean 'isaac-32nm'"):
        load_periphery("isac-32nm")


def test_a_user_chip_by_path_with_its_own_cell_beside_it(tmp_path):
    text, _ = swap_entry(CELL, "g_max", '"60 uS"')
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "strong.yaml").write_text(text.replace("name: reram\n", "name: strong\n"), encoding="utf-8")
    path = tmp_path / "my-chip.yaml"
    path.write_text(CHIP.replace("cell: reram\n", "cell: parts/strong.yaml\n"), encoding="utf-8")
    for given in (path, str(path)):
        chip = load_chip(given)
        assert chip.cell.name == "strong"
        assert chip.cell.g_max_siemens == 60e-6
        assert chip.periphery == load_chip("reram").periphery
    assert validate(path)["numbers"] == len(dict(schema.specs(schema.Array)))
    with pytest.raises(UsageError, match="this file describes a cell, but a chip is needed here; write a chip file"):
        load_chip(tmp_path / "parts" / "strong.yaml")


def test_references_that_share_a_key_stay_apart(tmp_path):
    cell = CELL.replace("isaac", "x").replace("  wan-2022:", "  puma:").replace("source: wan-2022", "source: puma")
    (tmp_path / "cell.yaml").write_text(cell, encoding="utf-8")
    path = tmp_path / "chip.yaml"
    path.write_text(CHIP.replace("cell: reram\n", "cell: cell.yaml\n"), encoding="utf-8")
    chip = load_chip(path)
    citations = {item.key: item.citation for item in chip.references}
    assert "NeuRRAM" in citations["puma"] or "Wan" in citations["puma"]
    assert "PUMA" in citations["periphery/puma"]
    assert chip.provenance["periphery.shift_add_area_square_meters"].source == "periphery/puma"
