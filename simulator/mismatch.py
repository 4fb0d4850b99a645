"""Converters that are not all alike: offset, gain and curvature (INL) of each, drawn once per chip.

Converters of outputs: an array has `adc.per_array` of them, each for as many neighbouring columns, which share its
errors. Offset and curvature count in steps (LSB), the gain is relative. The shape of the curvature follows from how the
converter works: a SAR adds binary-weighted elements that miss their weights by an error that shrinks with the root of
their size; a ramp adds up the errors of its steps, and all columns of an array share one; each threshold of a flash
converter errs by itself. Curves are drawn to the stated standard deviation over all codes, ends at zero.

Drivers of inputs: one a word line, for all arrays beside each other. A line at zero is not driven, and exact.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..devices import Chip
from .converters import code_max, digit_bits, input_cycles
from .mapping import Layout


@dataclass(frozen=True)
class Mismatch:
    """The converters of one matrix. Arrays of size 0 stand for exact ones.

    adc: (2, chunks, sensed) float32, gain and offset in steps; adc_curves: (curves, 2 top + 1) float32, steps added to
    each code from -top; adc_curve_of: (chunks, sensed) int32.
    """

    chip: Chip
    layout: Layout
    seed: np.uint64

    def _rng(self, what: int) -> np.random.Generator:
        return np.random.default_rng([int(self.seed), what])

    @cached_property
    def _converter(self) -> np.ndarray:
        """(chunks, sensed) which converter of the matrix converts a column; converters of an array are neighbours."""
        layout, each = self.layout, self.chip.periphery.adcs_per_array or 1
        local = np.arange(layout.outputs) % layout.outputs_per_array
        places = layout.outputs_per_array * layout.slices
        array = layout.array_of_output()
        found = []
        for s in range(layout.slices):
            own = np.concatenate([(local * layout.slices + s) * each // places, np.full(layout.references, each - 1)])
            found += [(tile * layout.column_tiles + array) * each + own for tile in range(layout.row_tiles)]
        return np.array(found)

    @cached_property
    def adc(self) -> np.ndarray:
        p = self.chip.periphery
        if not (p.adc_offset_sigma or p.adc_gain_sigma or self.adc_curves.size):
            return np.empty((0, 0, 0), np.float32)
        count = self.layout.arrays * (p.adcs_per_array or 1)
        rng = self._rng(1)
        gain = 1.0 + (p.adc_gain_sigma or 0.0) * rng.standard_normal(count)
        offset = (p.adc_offset_sigma or 0.0) * rng.standard_normal(count)
        return np.stack([gain, offset]).astype(np.float32)[:, self._converter]

    @cached_property
    def adc_curves(self) -> np.ndarray:
        p = self.chip.periphery
        if not p.adc_inl_sigma:
            return np.empty((0, 0), np.float32)
        count = self.layout.arrays * (1 if p.adc_kind == "ramp" else p.adcs_per_array or 1)
        curves = draw_curves(p.adc_kind, 2 * code_max(p.adc_bits) + 1, count, self._rng(2))
        return (p.adc_inl_sigma * curves).astype(np.float32)

    @cached_property
    def adc_curve_of(self) -> np.ndarray:
        if not self.adc_curves.size:
            return np.empty((0, 0), np.int32)
        each = (self.chip.periphery.adcs_per_array or 1) if self.chip.periphery.adc_kind == "ramp" else 1
        return (self._converter // each).astype(np.int32)

    @cached_property
    def digit_levels(self) -> np.ndarray:
        """(inputs, digits) float32: what the driver of a word line makes of each digit, over full drive."""
        p, bits = self.chip.periphery, self.chip.array.input_bits
        sigmas = (p.dac_gain_sigma, p.dac_offset_sigma, p.dac_inl_sigma)
        if not any(sigmas):
            return np.empty((0, 0), np.float32)
        gain, offset, curve = (sigma or 0.0 for sigma in sigmas)
        last = code_max(bits) if input_cycles(self.chip) == 1 else 2 ** digit_bits(self.chip) - 1
        rng, inputs = self._rng(3), self.layout.inputs
        steps = np.arange(last + 1) * (1.0 + gain * rng.standard_normal((inputs, 1)))
        steps += offset * rng.standard_normal((inputs, 1))
        steps[:, 1:-1] += curve * rng.standard_normal((inputs, max(0, last - 1)))
        steps[:, 0] = 0.0
        return (steps / last).astype(np.float32)

    @cached_property
    def code_levels(self) -> np.ndarray:
        """(inputs, code_max + 1) float32: the same of whole codes, their digits added up."""
        levels, cycles = self.digit_levels, input_cycles(self.chip)
        if not levels.size or cycles == 1:
            return levels
        code, base = np.arange(code_max(self.chip.array.input_bits) + 1), 2 ** digit_bits(self.chip)
        total = np.zeros((len(levels), len(code)))
        for d in range(cycles):
            total += levels[:, code // base**d % base] * base**d
        return (total * (base - 1) / code[-1]).astype(np.float32)


def draw_curves(kind: str | None, codes: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Curves (count, codes) of converters of a kind, in steps, of unit standard deviation over codes and converters,
    zero at both ends.
    """
    if kind == "sar":
        bits = max(1, int(codes - 1).bit_length())
        errors = rng.standard_normal((count, bits)) * 2.0 ** (0.5 * np.arange(bits))
        curves = errors @ ((np.arange(codes) >> np.arange(bits)[:, None]) & 1)
    elif kind == "ramp":
        curves = np.cumsum(rng.standard_normal((count, codes)), axis=1)
    else:
        curves = rng.standard_normal((count, codes))
    line = np.linspace(0.0, 1.0, codes)
    curves = curves - curves[:, :1] - (curves[:, -1:] - curves[:, :1]) * line
    spread = np.sqrt((_expected_square(kind, codes)).mean())
    return curves / spread


def _expected_square(kind: str | None, codes: int) -> np.ndarray:
    """Expected square of each code's error before it is brought to unit spread, (codes,)."""
    line = np.linspace(0.0, 1.0, codes)
    if kind == "sar":
        bits = max(1, int(codes - 1).bit_length())
        ones = ((np.arange(codes) >> np.arange(bits)[:, None]) & 1).astype(float)
        rest = ones - ones[:, :1] - (ones[:, -1:] - ones[:, :1]) * line
        return (2.0 ** np.arange(bits)) @ rest**2
    if kind == "ramp":
        return line * (1.0 - line) * (codes - 1)
    return 1.0 + (1.0 - line) ** 2 + line**2
