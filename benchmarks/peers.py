"""Reading 512 x 512 weights in 128-row tiles with 8-bit converters, beside other simulators of crossbars.

    pip install edge-adapt[peers]                                              badcrossbar, aihwkit-lightning
    pip install --no-deps aihwkit                                              its dependencies would replace torch
    pip install git+https://github.com/sandialabs/cross-sim                    CrossSim is not on PyPI

A tool that is not installed has a row that says so. All are timed in turn, in one run, each with its own idea of a
device: the same size, converters and kind of read noise (of 1 % of the conductance, or what the tool has instead),
not the same numbers.
"""

import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from edge_adapt import load_chip
from edge_adapt.simulator import program
from measure import interleaved, publish

ROWS, BITS, NOISE = 128, 8, 0.01
SLOW = 2.0  # a tool that would take so many seconds a call with 16 times the vectors is not timed with more
ABSENT = "not installed"
LIMIT = (
    "per vector of N inputs and M outputs, and arrays of R rows: 2NM flops, as many again for the variance of noise "
    "that is drawn for each sum; 2NM and NM normal numbers where every cell is drawn on its own"
)
Call = Callable[[np.ndarray], object]


@dataclass(frozen=True)
class Tool:
    """A simulator: the module that shows that it is installed, its distribution, what its read noise is, and a
    function that makes a read from weights (out, in), the inputs that converters are set by, and whether it is noisy.
    """

    name: str
    module: str
    distribution: str
    noise: str
    reader: Callable[[np.ndarray, np.ndarray, bool], Call]

    def installed(self) -> bool:
        """Whether it can be imported; the module's name alone may be another package's."""
        try:
            importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return False
        return importlib.util.find_spec(self.module) is not None


def own(weight: np.ndarray, x: np.ndarray, noisy: bool) -> Call:
    """This package."""
    chip = load_chip("reram", {} if noisy else {"read.noise": "null"})
    model = program(chip, {"w": weight}, np.random.default_rng(1))
    with model.calibrating():
        model.matvec("w", x)
    return lambda inputs: model.matvec("w", inputs)


def aihwkit(weight: np.ndarray, x: np.ndarray, noisy: bool) -> Call:
    """IBM aihwkit: the inference tile in C++."""
    import torch
    from aihwkit.nn import AnalogLinear  # type: ignore[import-not-found]
    from aihwkit.simulator.configs import InferenceRPUConfig, WeightNoiseType  # type: ignore[import-not-found]

    config = InferenceRPUConfig()
    config.mapping.max_input_size, config.mapping.max_output_size = ROWS, len(weight)
    config.forward.inp_res = config.forward.out_res = 1.0 / (2**BITS - 2)
    config.forward.out_noise = 0.0
    if noisy:
        config.forward.w_noise_type, config.forward.w_noise = WeightNoiseType.ADDITIVE_CONSTANT, NOISE
    layer = AnalogLinear(weight.shape[1], len(weight), bias=False, rpu_config=config)
    layer.set_weights(torch.from_numpy(weight))
    return _torch_call(layer)


def lightning(weight: np.ndarray, x: np.ndarray, noisy: bool) -> Call:
    """aihwkit-lightning: products in torch with quantised inputs and outputs."""
    import torch
    from aihwkit_lightning.nn import AnalogLinear  # type: ignore[import-not-found]
    from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig  # type: ignore[import-not-found]

    config = TorchInferenceRPUConfig()
    config.mapping.max_input_size = ROWS
    config.forward.inp_res = config.forward.out_res = 2**BITS - 2
    config.forward.out_bound = 10.0
    config.forward.out_noise = NOISE if noisy else 0.0
    config.pre_post.input_range.enable = True
    layer = AnalogLinear(weight.shape[1], len(weight), bias=False, rpu_config=config)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
    return _torch_call(layer)


def _torch_call(layer) -> Call:  # type: ignore[no-untyped-def]
    import torch

    layer.eval()

    def call(inputs: np.ndarray) -> object:
        with torch.no_grad():
            return layer(torch.from_numpy(inputs))

    return call


def crosssim(weight: np.ndarray, x: np.ndarray, noisy: bool) -> Call:
    """CrossSim: balanced cores, the normal read noise of each cell."""
    from simulator.parameters.core_parameters import CoreStyle  # type: ignore[import-not-found]
    from simulator.parameters.xbar_parameters import ADCRangeLimits  # type: ignore[import-not-found]

    from simulator import AnalogCore, CrossSimParameters  # type: ignore[import-not-found]

    parameters = CrossSimParameters()
    core, xbar = parameters.core, parameters.xbar
    core.style, core.rows_max, core.cols_max = CoreStyle.BALANCED, ROWS, len(weight)
    core.mapping.inputs.mvm.percentile = 1.0
    xbar.dac.mvm.model, xbar.dac.mvm.bits = "QuantizerDAC", BITS
    xbar.adc.mvm.model, xbar.adc.mvm.bits = "QuantizerADC", BITS
    xbar.adc.mvm.adc_range_option = ADCRangeLimits.MAX
    if noisy:
        xbar.device.read_noise.enable = True
        xbar.device.read_noise.model, xbar.device.read_noise.magnitude = "NormalProportionalDevice", NOISE
    analog = AnalogCore(weight, parameters)
    return lambda inputs: analog.matmat(np.ascontiguousarray(inputs.T))


TOOLS = (
    Tool("edge-adapt", "edge_adapt", "edge-adapt", "of every cell, drawn once a sum", own),
    Tool("aihwkit", "aihwkit", "aihwkit", "of every weight, drawn once a sum", aihwkit),
    Tool("aihwkit-lightning", "aihwkit_lightning", "aihwkit-lightning", "one of all outputs", lightning),
    Tool("CrossSim", "simulator.cores", "CrossSim", "of every cell, drawn for each", crosssim),
)


def run(quick: bool) -> None:
    """Milliseconds of a read, and the ratio to numpy's product of the same shape, of every tool that is installed."""
    size = 128 if quick else 512
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((size, size)) * 0.05).astype(np.float32)
    transposed = np.ascontiguousarray(weight.T)
    typical = rng.standard_normal((64, size)).astype(np.float32)
    rows, why = (
        [],
        {(tool.name, noisy): "" if tool.installed() else ABSENT for tool in TOOLS for noisy in (False, True)},
    )
    for batch in (1, 64) if quick else (1, 64, 1024):
        x = rng.standard_normal((batch, size)).astype(np.float32)
        for noisy in (False, True):
            calls: dict[str, Callable[[], object]] = {"product": lambda x=x: x @ transposed}
            for tool in TOOLS:
                if not why[tool.name, noisy]:
                    try:
                        read = tool.reader(weight, typical, noisy)
                        read(x[:1])
                    except Exception as error:  # of somebody else's program: the others go on
                        why[tool.name, noisy] = f"does not run here: {error}"
                    else:
                        calls[tool.name] = lambda read=read, x=x: read(x)
            times = interleaved(calls, 0.1 if quick else 5.0, least=2, turn=0.01 if quick else 0.3)
            rows += [_row(tool, f"{size}x{size}", batch, noisy, times, why[tool.name, noisy]) for tool in TOOLS]
            for name, seconds in times.items():
                if name != "product" and seconds * 16 > SLOW:
                    why[name, noisy] = "not timed: slow with fewer vectors"
    publish("peers", LIMIT, rows, quick)


def _row(tool: Tool, weights: str, batch: int, noisy: bool, times: dict[str, float], why: str) -> dict[str, object]:
    known, seconds = tool.installed(), times.get(tool.name)
    return {
        "tool": f"{tool.name} {importlib.metadata.version(tool.distribution)}" if known else tool.name,
        "weights": weights,
        "batch": batch,
        "read_noise": tool.noise if noisy else "none",
        "milliseconds": None if seconds is None else 1e3 * seconds,
        "product_milliseconds": 1e3 * times["product"],
        "ratio": None if seconds is None else seconds / times["product"],
        "note": why,
    }
