"""Values that are fine one by one and impossible together."""

from collections.abc import Mapping

from ..errors import UsageError
from .entries import Entry
from .schema import PARTS, specs

# (lower, upper, whether they may be equal)
_ORDERED = {
    "cell": (
        ("g_min_siemens", "g_max_siemens", False),
        ("endurance_writes_min", "endurance_writes", True),
        ("endurance_writes", "endurance_writes_max", True),
        ("endurance_writes_min", "endurance_writes_max", True),
        ("pulses_mean_published", "pulses_max", True),
        ("read_voltage_volts", "iv_voltage_max_volts", True),
    ),
    "array": (),
    "periphery": (),
}
# all of a group are known, or none is
_TOGETHER = {
    "cell": (
        ("drift_t0_seconds", "drift_exponent_coefficients", "drift_exponent_limits"),
        ("drift_exponent_sigma_coefficients", "drift_exponent_sigma_limits"),
        ("set_nonlinearity", "reset_nonlinearity", "range_pulses"),
        ("relaxation_log_sigma", "relaxation_log_mean_siemens"),
        ("iv_quadratic", "iv_cubic", "iv_window_siemens", "iv_voltage_max_volts"),
    ),
    "array": (),
    "periphery": (),
}


def check_part(part: str, entries: dict[str, Entry]) -> None:
    """Raise `UsageError` with the place of the first contradiction in a part's values."""
    keys = {name: spec.key for name, spec in specs(PARTS[part])}
    for low, high, equal in _ORDERED[part]:
        below, above = entries[low], entries[high]
        if below.value is None or above.value is None:
            continue
        if below.value > above.value or (below.value == above.value and not equal):
            _fail(
                below if below.provenance.status == "override" else above,
                f"{keys[low]} ({below.provenance.text}) must be {'at most' if equal else 'below'} "
                f"{keys[high]} ({above.provenance.text})",
            )
    for group in _TOGETHER[part]:
        known = [name for name in group if entries[name].value not in (None, ())]
        missing = [name for name in group if name not in known]
        if known and missing:
            _fail(
                entries[missing[0]],
                f"{keys[missing[0]]} is null but {keys[known[0]]} is given; they make one law: give both or neither",
            )
    if part == "cell":
        _check_cell(entries, keys)
    if part == "periphery":
        _check_periphery(entries)


def _check_cell(entries: dict[str, Entry], keys: dict[str, str]) -> None:
    for name in ("drift_exponent_limits", "drift_exponent_sigma_limits", "iv_window_siemens"):
        limits = entries[name].value
        if limits is not None and limits[0] > limits[1]:
            _fail(entries[name], f"{keys[name]}: the lower limit {limits[0]:g} is above the upper limit {limits[1]:g}")
    scale = entries["read_noise_saturation_siemens"]
    if scale.value is not None and not scale.value[1] > 0:
        _fail(scale, "read.noise_saturation: B in A (1 - exp(-G / B)) must be above 0")
    if entries["relaxation_form"].value == "saturating":
        for number, point in enumerate(entries["relaxation"].value or (), 1):
            if len(point.sigma_coefficients_siemens) != 2 or not point.sigma_coefficients_siemens[1] > 0:
                _fail(
                    entries["relaxation"], f"relaxation.points: sigma of point {number} must be (A, B) with B above 0"
                )
    window = entries["g_max_siemens"].value - entries["g_min_siemens"].value
    if entries["program_tolerance_siemens"].value >= window:
        _fail(entries["program_tolerance_siemens"], "programming.tolerance must be less than g_max - g_min")
    _check_levels(entries, window)
    step, curve = entries["pulse_step_siemens"], entries["range_pulses"]
    if (step.value is None) == (curve.value is None):
        _fail(step, "give either response.pulse_step or the curve (response.set_nonlinearity, reset_nonlinearity and "
              "range_pulses), and null for the other")  # fmt: skip
    if entries["relaxation"].value and entries["relaxation_reference_siemens"].value is None:
        _fail(entries["relaxation_reference_siemens"], "relaxation.reference is null, but relaxation.points needs it")
    low, high = entries["stuck_low_fraction"], entries["stuck_high_fraction"]
    if (low.value or 0.0) + (high.value or 0.0) > 1.0:
        _fail(high, "faults.stuck_low and faults.stuck_high add up to more than 1")
    for direction in ("set", "reset"):
        energy, voltage = entries[f"{direction}_energy_joules"], entries[f"{direction}_voltage_volts"]
        if energy.value is None and voltage.value is None:
            _fail(
                energy,
                f"programming.{direction}_energy and programming.{direction}_voltage are both null; "
                "one of them is needed for the energy of a pulse",
            )


def _check_levels(entries: dict[str, Entry], window: float) -> None:
    """Levels must be further apart than verify lets cells be from them; the last digit of a rounded number may give."""
    levels, relative = entries["levels"], entries["program_tolerance_relative"].value or 0.0
    tolerance = entries["program_tolerance_siemens"].value + relative * entries["g_max_siemens"].value
    most = int(window / (2 * tolerance) * 1.001) + 1
    if levels.value > max(2, most):
        _fail(
            levels,
            f"conductance.levels: {levels.value} levels lie {1e6 * window / (levels.value - 1):.4g} uS apart, but "
            f"programming.tolerance accepts {1e6 * tolerance:.4g} uS on either side; at most {most} can be told apart: "
            "give fewer levels, or a smaller tolerance too",
        )


def _check_periphery(entries: dict[str, Entry]) -> None:
    kind = entries["adc_kind"]
    if kind.value is None or kind.provenance.status != "override":
        return
    for name, key in (("adc_energy_joules", "adc.energy"), ("adc_conversion_seconds", "adc.conversion_time")):
        if entries[name].provenance.status != "override":
            _fail(
                kind,
                f"{key} ({entries[name].provenance.text}) is that of the converter of the file; give {key} of a "
                f"{kind.value} converter too",
            )


def check_chip(parts: Mapping[str, Mapping[str, Entry]]) -> None:
    """Raise `UsageError` for the first number that an effect of the chip needs and a part of it does not know, and for
    effects that exclude each other.
    """
    wires, curve = parts["array"]["wires"], parts["cell"]["iv_quadratic"]
    if wires.value != "none" and curve.value is not None:
        _fail(
            wires,
            f"array.wires is {wires.value!r}, but the cells' current is not proportional to the voltage "
            "(read.iv_quadratic): such an array has no matrix of effective conductances; set array.wires to none, or "
            "read.iv_quadratic, read.iv_cubic, read.iv_window and read.iv_voltage_max to null "
            "(edge_adapt.simulator.nonlinear_read solves one array with both)",
        )
    limit = parts["periphery"]["write_amperes_max"]
    for side in ("set", "reset") if limit.value is not None else ():
        if parts["cell"][f"{side}_amperes"].value is None and parts["cell"][f"{side}_voltage_volts"].value is None:
            _fail(
                limit,
                f"write.current_max is {limit.provenance.text}, but neither programming.{side}_current nor "
                f"programming.{side}_voltage of the cell is known; give cell.programming.{side}_current, or null for "
                "no limit",
            )
    needed = {"none": (), "exact": (("periphery", "wire_ohms_per_cell"),)}.get(
        wires.value, (("periphery", "wire_ohms_per_cell"), ("cell", "access_ohms"))
    )
    for part, name in needed:
        if parts[part][name].value is None:
            key = f"{part}.{next(spec.key for attribute, spec in specs(PARTS[part]) if attribute == name)}"
            _fail(
                wires,
                f"array.wires is {wires.value!r}, but {key} is null in this chip; give it (--set {key}='2 ohm', for "
                "example) or set array.wires to none",
            )


def _fail(entry: Entry, message: str) -> None:
    raise UsageError(f"{entry.where}: {message}")
