"""Formats of the numbers that a digital unit multiplies and keeps. No torch.

In a 16-bit format products take operands of 16 bits, and so do what they put out, weights, activations and gradients
that are kept. The trained state stays in fp32 beside a copy of 16 bits, and so do the optimiser's numbers (Micikevicius
et al., Mixed precision training, ICLR 2018; Kalamkar et al., A study of bfloat16 for deep learning training, 2019).
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class NumberFormat:
    """A format. bytes: of a number; activation_bytes: of a query, key, value, context or activation, which have 16 bits
    in fp32 as well; macs: the event count of its multiply-adds; energy: the periphery's number for one of them; trains:
    whether a training goes with it; loss_scale: of a training, against gradients too small for the format.
    """

    name: str
    bytes: int
    activation_bytes: int
    macs: str
    energy: str
    trains: bool = True
    loss_scale: float = 1.0

    @property
    def copied(self) -> bool:
        """Whether the state has a copy in this format beside its own numbers."""
        return self.bytes < 4


FORMATS: Mapping[str, NumberFormat] = {
    form.name: form
    for form in (
        NumberFormat("fp32", 4, 2, "digital_macs", "digital_mac_energy_joules"),
        NumberFormat("bf16", 2, 2, "bf16_macs", "bf16_mac_energy_joules"),
        NumberFormat("fp16", 2, 2, "fp16_macs", "fp16_mac_energy_joules", loss_scale=1024.0),
        NumberFormat("int8", 1, 1, "int8_macs", "int8_mac_energy_joules", trains=False),
    )
}
DEFAULT = "fp32"
