"""The predictions of benchmarks/published_chips.py, worked out by hand from the numbers of the chip files."""

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "published_chips.py"
OPERATIONS = 256 * 128 * 2


@pytest.fixture(scope="module")
def chips():
    sys.path.insert(0, str(FILE.parent))  # it imports `measure` beside it
    try:
        spec = importlib.util.spec_from_file_location("published_chips", FILE)
        module = importlib.util.module_from_spec(spec)
        sys.modules["published_chips"] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(FILE.parent))
        del sys.modules["published_chips"]


# A word line: 2.1 fF for each of 256 cells at 1.8 V, and the driver's 48 fF, once for each input bit.
WORD_LINE_PJ = 256 * 2.1e-3 * 1.8**2 + 48e-3 * 1.8**2


@pytest.mark.parametrize(
    ("point", "cycles", "bits", "settle_us", "sample_pj"), [((3, 1), 1, 1, 0.57, 1.45), ((8, 6), 2, 3, 2.19, 5.35)]
)
def test_neurram_by_hand(chips, point, cycles, bits, settle_us, sample_pj):
    output_bits = point[0]
    found = chips.neurram(*point)
    # Settling, then one conversion of 0.3 us a bit on every column.
    assert found.seconds == pytest.approx(cycles * (settle_us + 0.3 * output_bits) * 1e-6)
    assert found.tops == pytest.approx(48 * OPERATIONS / found.seconds / 1e12)
    assert found.word_lines == pytest.approx(cycles * 256 * bits * WORD_LINE_PJ * 1e-12)
    # 0.3 pJ and 0.1 pJ a step of converter and adder, on 256 columns.
    assert found.neurons == pytest.approx(cycles * 256 * (0.4 * output_bits + sample_pj) * 1e-12)
    assert found.tops_per_watt == pytest.approx(OPERATIONS / (found.word_lines + found.neurons + found.cells) / 1e12)
    halved = chips.neurram(*point, pairs_in_rows=False)
    assert halved.neurons == pytest.approx(found.neurons / 2) and halved.word_lines == found.word_lines


def test_no_point_is_further_off_than_the_page_says(chips):
    """Nothing is fitted, so nothing holds these figures in place but the model: they are pinned loosely."""
    for point, (tops, tops_per_watt) in chips.NEURRAM.items():
        found = chips.neurram(*point)
        assert 0.8 < found.tops / tops < 1.07, point
        assert 0.8 < found.tops_per_watt / tops_per_watt < 1.18, point
        pulses = found.cells / OPERATIONS * 1e15
        assert 0.5 < pulses / chips.NEURRAM_PARTS[point][2] < 1.25, point


def test_isaac_by_hand(chips):
    found = chips.isaac()
    arrays, second = 168 * 12 * 8, 1e-7  # one cycle of 128 conversions
    assert found.watts["adc"] == pytest.approx(arrays * 128 * 1.67e-12 / second)
    assert found.watts["dac"] == pytest.approx(arrays * 128 * 0.41667e-12 / second)
    assert found.watts["shift_add"] == pytest.approx(arrays * 128 * 0.021e-12 / second)
    assert found.watts["sample_hold"] == pytest.approx(arrays * 128 * 0.97e-15 / second)
    moved = (128 + 16) * 2
    assert found.watts["buffer"] == pytest.approx(arrays * moved * 0.6390625e-12 / (16 * second))
    assert found.watts["router"] == pytest.approx(arrays * moved * 0.648125e-12 / (16 * second))
    # 128 inputs by 16 outputs every 16 cycles.
    assert found.operations_per_second == pytest.approx(arrays * 2 * 128 * 16 / (16 * second))
    assert found.square_meters == pytest.approx(arrays * (1200 + 128 * 0.166015625 + 128 * 0.0390625 + 60) * 1e-12)


def test_the_tables_are_printed(chips, capsys):
    chips.run(quick=True)
    out = capsys.readouterr().out
    assert "published_neurram" in out and "published_isaac" in out and "GOPS/W" in out


def test_the_page_shows_these_figures(chips):
    page = (FILE.parents[1] / "docs" / "energy.md").read_text(encoding="utf-8")
    for point in chips.NEURRAM:
        found = chips.neurram(*point)
        row = next(line for line in page.splitlines() if line.startswith(f"| {point[0]}/{point[1]} |"))
        assert f"| {found.tops:.3f} |" in row and f"| {found.tops_per_watt:.2f} |" in row, row
    assert f"| {sum(chips.isaac().watts.values()):.4g} |" in page
