"""Effects of the converters, whose ranges `converters` sets, and whose differences `mismatch` draws."""

from .. import reference
from .protocol import READ, Effect, nulls

_ADC = ("adc.offset_sigma", "adc.gain_sigma", "adc.inl_sigma")
_DAC = ("dac.offset_sigma", "dac.gain_sigma", "dac.inl_sigma")

EFFECTS = (
    Effect("DAC bits", ("array.input_bits", "dac.bits", "dac.coding"), "none: a rule", READ, place=3,
           reference=reference.drive_rows, figure="bit-serial"),
    Effect("row drivers that differ", _DAC, "the life of the chip", READ, nulls(*_DAC), place=4,
           reference=reference.drive_rows, figure="drivers"),
    Effect("ADC bits and range", ("adc.bits",), "range: from calibration on", READ, place=9,
           reference=reference.convert_rows, figure="bit-serial"),
    Effect("ADCs that differ", _ADC, "the life of the chip", READ, nulls(*_ADC), place=10,
           reference=reference.convert_rows, figure="converters"),
)  # fmt: skip
