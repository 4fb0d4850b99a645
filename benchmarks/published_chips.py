"""What the chip files predict of two published chips, beside what was published: nothing is fitted to these points.

    python benchmarks/published_chips.py

NeuRRAM: Wan et al., Nature 608 (2022), figure 12, numbers as CiMLoop keeps them (models/arch/1_macro/wan_nature_2022/
_tests.py, commit d6e13900). ISAAC: Shafiee et al., ISCA 2016, from a public summary of its text and from texts that
cite it (status secondary: not read in the paper itself). docs/energy.md discusses the differences.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from edge_adapt import load_chip
from edge_adapt.devices import Chip
from edge_adapt.simulator import CostTable, EventCounts, area
from edge_adapt.simulator.counting import input_cycles, read_events
from edge_adapt.simulator.mapping import Layout
from edge_adapt.studies.samples import program_sample
from measure import publish

CORES, ROWS, COLUMNS = 48, 256, 256
OPERATIONS = 2 * ROWS * COLUMNS // 2  # of one product on one core: a weight is two cells, a multiply-add two operations
ONE_PHASE_BITS = 3  # magnitude bits beyond which NeuRRAM applies an input in two phases

#: (output bits, input bits) -> TOPS of 48 cores, TOPS/W; inputs of more than 4 bits in two phases
NEURRAM = {
    (3, 1): (2.12230988, 43.07875866),
    (4, 2): (1.793083771, 40.33412834),
    (5, 3): (1.165400233, 23.09069279),
    (6, 4): (0.7438677864, 15.95409517),
    (7, 5): (0.5254091287, 11.03166076),
    (8, 6): (0.4177183338, 8.257196816),
    (9, 7): (0.343873405, 7.750037817),
    (10, 8): (0.2638743409, 6.437388185),
}
#: the same -> fJ of an operation for switching word lines, for neurons and control, and for input pulses
NEURRAM_PARTS = {
    (3, 1): (8.99015248, 10.6186848, 3.446220545),
    (4, 2): (8.270951256, 12.38674172, 3.955661604),
    (5, 3): (15.46307324, 20.11826462, 7.73153662),
    (6, 4): (21.75617998, 29.1084171, 11.50740478),
    (7, 5): (30.92613276, 44.21188287, 14.0246365),
    (8, 6): (37.2192395, 52.48282041, 19.23892768),
    (9, 7): (43.69214654, 61.83258722, 22.83498524),
    (10, 8): (50.52466791, 75.85721686, 27.50986693),
}

ISAAC_ARRAYS = 168 * 12 * 8  # tiles, units of a tile, arrays of a unit
ISAAC_WATTS, ISAAC_SQUARE_METERS = 65.8, 85.4e-6
ISAAC_GOPS_PER_MM2 = 479.0
ISAAC_ADC_SHARE = 0.49


@dataclass(frozen=True)
class NeurramPoint:
    """A prediction for one core: seconds and joules of one product, by part."""

    seconds: float
    word_lines: float
    neurons: float
    cells: float

    @property
    def joules(self) -> float:
        return self.word_lines + self.neurons + self.cells

    @property
    def tops(self) -> float:
        return CORES * OPERATIONS / self.seconds / 1e12

    @property
    def tops_per_watt(self) -> float:
        return OPERATIONS / self.joules / 1e12


def neurram_chip(output_bits: int, input_bits: int) -> Chip:
    """The shipped chip at a precision: an input of more than 3 magnitude bits goes in as two digits."""
    magnitude = max(1, input_bits - 1)
    phases = 1 if magnitude <= ONE_PHASE_BITS else 2
    bits = {"adc.bits": output_bits, "array.input_bits": input_bits, "dac.bits": math.ceil(magnitude / phases)}
    return load_chip("neurram", {key: str(value) for key, value in bits.items()})


def neurram(output_bits: int, input_bits: int, pairs_in_rows: bool = True) -> NeurramPoint:
    """One product on a full core.

    The chip holds a weight in two neighbouring rows and converts all 256 columns; this simulator's mapping holds it in
    two columns and converts 128 pairs (`pairs_in_rows` False).
    """
    chip = neurram_chip(output_bits, input_bits)
    layout = Layout.of(chip, (COLUMNS // 2, ROWS))
    cycles, table = input_cycles(chip), CostTable.of(chip)
    events = read_events(chip, layout, cycles)
    if pairs_in_rows:
        conversions = COLUMNS * cycles
        events = replace(events, read_conversions=conversions, sample_holds=conversions, shift_adds=conversions)
    joules = table.cost(events).joules
    return NeurramPoint(
        seconds=cycles * table.array_cycle_seconds,
        word_lines=joules["dac"] + joules["lines"],
        neurons=joules["adc"] + joules["sample_hold"] + joules["shift_add"],
        cells=program_sample(chip).read_joules_per_cell * ROWS * COLUMNS,
    )


@dataclass(frozen=True)
class Isaac:
    """A prediction for the whole chip: watts by component, operations a second, and the area of what is counted."""

    watts: dict[str, float]
    operations_per_second: float
    square_meters: float


def isaac() -> Isaac:
    """16-bit inputs bit by bit, 16-bit weights in 8 columns of 2-bit cells, every column converted; without the cells,
    whose conductances no source at hand gives.
    """
    chip = load_chip("reram", {"array.input_bits": "16"})
    cycles, inputs, outputs = 16, 128, 16
    conversions = 128 * cycles
    moved = 2.0 * inputs + 2.0 * outputs
    events = EventCounts(
        word_line_drives=inputs * cycles,
        read_conversions=conversions,
        sample_holds=conversions,
        shift_adds=conversions,
        buffer_bytes=moved,
        router_bytes=moved,
    )
    table = CostTable.of(chip)
    seconds = cycles * 128 * chip.periphery.adc_conversion_seconds  # as long as one converter takes for 128 columns
    watts = {name: ISAAC_ARRAYS * j / seconds for name, j in table.cost(events).joules.items() if j}
    parts = area(chip, ISAAC_ARRAYS)
    counted = sum(parts[name] or 0.0 for name in ("adc", "dac", "other"))
    return Isaac(watts, ISAAC_ARRAYS * 2 * inputs * outputs / seconds, counted)


def run(quick: bool) -> None:
    """Print the three tables; without `quick`, keep them in results/."""
    efficiency: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for point, (tops, tops_per_watt) in NEURRAM.items():
        rows, columns = neurram(*point), neurram(*point, pairs_in_rows=False)
        efficiency.append(
            {
                "bits_out_in": f"{point[0]}/{point[1]}", "TOPS_published": tops, "TOPS_predicted": rows.tops,
                "ratio": rows.tops / tops, "TOPS/W_published": tops_per_watt, "TOPS/W_predicted": rows.tops_per_watt,
                "its_ratio": rows.tops_per_watt / tops_per_watt, "TOPS/W_pairs_in_columns": columns.tops_per_watt,
            }
        )  # fmt: skip
        row: dict[str, Any] = {"bits_out_in": f"{point[0]}/{point[1]}"}
        found = (rows.word_lines, rows.neurons, rows.cells)
        for name, published, joules in zip(("lines", "neurons", "pulses"), NEURRAM_PARTS[point], found, strict=True):
            row |= {f"{name}_published": published, f"{name}_predicted": joules / OPERATIONS * 1e15}
        parts.append(row)
    publish("published_neurram", "nothing is fitted; buffers, control and clocks are not counted", efficiency, quick)
    publish("published_neurram_parts", "fJ of an operation; two operations a multiply-add", parts, quick)
    found_isaac = isaac()
    watts = sum(found_isaac.watts.values())
    tops = found_isaac.operations_per_second / 1e12
    mm2 = ISAAC_SQUARE_METERS * 1e6
    compared = {
        "GOPS/mm2 of the chip": (ISAAC_GOPS_PER_MM2, tops * 1e3 / mm2),
        "TOPS (published: the line above times the area)": (ISAAC_GOPS_PER_MM2 * mm2 / 1e3, tops),
        "W of the chip": (ISAAC_WATTS, watts),
        "W of the converters": (ISAAC_ADC_SHARE * ISAAC_WATTS, found_isaac.watts["adc"]),
        "GOPS/W": (ISAAC_GOPS_PER_MM2 * mm2 / ISAAC_WATTS, tops * 1e3 / watts),
        "mm2 (predicted: converters, drivers, samplers, adders)": (mm2, found_isaac.square_meters * 1e6),
    }
    rows_isaac = [
        {"what": what, "published": published, "predicted": predicted, "ratio": predicted / published}
        for what, (published, predicted) in compared.items()
    ]
    publish("published_isaac", "nothing is fitted; eDRAM, links, sigmoids and cells are not counted", rows_isaac, quick)


if __name__ == "__main__":
    run(quick=False)
