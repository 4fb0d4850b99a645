"""A training step of a bundle beside onnxsim's, which differentiates ONNX graphs to plain ONNX steps, and beside torch
eager: MiniLM, one processor, the same texts, the same weights.

    pip install --no-deps onnxsim==0.8.1                                       optional; without it torch alone
    EDGE_ADAPT_BUNDLES=folder python benchmarks/run.py rival                   bundles folder/lora, folder/pasta

onnxsim needs the model rewritten for it, which is done here: extents fixed (a graph for every shape of a batch), loss
and GELU written out, axes of reductions as attributes. Embeddings, and what else follows from the data without a
product, it gets as inputs, worked out outside of what is timed. Its step holds Adam and keeps its state in onnxruntime;
ours clips, updates in numpy, and undoes a step that is not finite. Memory is of a process that only trains.

The floor is our own graph without everything but its products with frozen matrices, in the same turns and with the same
settings of onnxruntime: no graph of float32 products that it runs takes less. The bound below it is arithmetic: those
matrices read once in each direction, or the multiplications, at the rates that this machine was measured to reach.
"""

import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import publish
from on_device import adaptation_of, torch_step

LIMIT = (
    "the floor, a graph with nothing but a step's products with frozen matrices (66 or so; 85 MB of packed weights); "
    "targets over onnxsim: 1.25 x at 1 x 16, 1.5 x at 16 x 48 with a quarter of padding, 1.2 x at 16 x 48 without, "
    "never more memory; over torch eager 2 x at batch 1"
)
METHODS = ("lora", "pasta")
# (texts, tokens of the longest, whether the texts differ in length, least ratio to onnxsim, least ratio to torch)
CASES = ((1, 16, False, 1.25, 2.0), (16, 48, True, 1.5, None), (16, 48, False, 1.2, None))
SMALLEST = 4096  # numbers of a weight matrix, at least
Feeds = dict[str, np.ndarray]


def run(quick: bool) -> None:
    """All rows; every measurement in a child on one processor."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for method in METHODS:
            bundle = Path(os.environ.get("EDGE_ADAPT_BUNDLES", scratch)) / method
            model = "bert-tiny" if quick else "minilm"
            words = ["export", "--model", model, "--method", method, "--out", str(bundle)]
            if not bundle.exists():
                subprocess.run([sys.executable, "-m", "edge_adapt", *words], check=True, stdout=subprocess.DEVNULL)
            for case, (size, tokens, ragged, target, eager_target) in enumerate(CASES):
                speed = in_child("speed", bundle, case, quick)
                bound = speed.pop("bound")
                peak = {peer: in_child("memory", bundle, case, quick, peer) for peer in speed if peer in PEERS}
                rows.append(
                    {
                        "what": f"{method}, {size} x {tokens}{', a quarter padding' if ragged else ''}",
                        **{f"{name} ms": 1e3 * speed[name] if name in speed else None for name in PEERS},
                        "onnxsim / ours": speed["onnxsim"] / speed["ours"] if "onnxsim" in speed else None,
                        "target": target,
                        "eager / ours": speed["eager"] / speed["ours"],
                        "eager target": eager_target,
                        "floor ms": 1e3 * speed["floor"],
                        "ours / floor": speed["ours"] / speed["floor"],
                        "eager / floor": speed["eager"] / speed["floor"],
                        **bound,
                        **{f"{name} MB": peak.get(name) for name in PEERS},
                    }
                )
    publish("rival", f"{LIMIT}; {beyond_reach(rows)}", rows, quick)


def beyond_reach(rows: list[dict[str, Any]]) -> str:
    """Of which targets over torch eager even the floor falls short, in words."""
    asked = [row for row in rows if row["eager target"] is not None]
    short = [
        f"{row['what']}: {row['eager / floor']:.2f}" for row in asked if row["eager / floor"] < row["eager target"]
    ]
    return f"out of reach over torch eager, as even the floor has less: {'; '.join(short) or 'none'}"


def in_child(what: str, bundle: Path, case: int, quick: bool, peer: str = "") -> Any:
    """What one of the functions below prints, in a process of its own."""
    command = [sys.executable, __file__, what, str(bundle), str(case), str(int(quick)), peer]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def batch_of(size: int, tokens: int, ragged: bool) -> Feeds:
    """Random ids; the lengths of a ragged batch fall evenly from `tokens` to half: a quarter is padding."""
    rng = np.random.default_rng(0)
    lengths = np.linspace(tokens, tokens / 2, size).round().astype(int) if ragged else np.full(size, tokens)
    mask = (np.arange(tokens) < lengths[:, None]).astype(np.int64)
    ids = rng.integers(1000, 20000, (size, tokens)) * mask
    return {"input_ids": ids, "attention_mask": mask, "labels": rng.integers(0, 2, size)}


def ours(bundle: Path, feeds: Feeds) -> Callable[[], object]:
    """A step of the runtime at a rate of 0."""
    from edge_adapt.runtime import Session
    from edge_adapt.runtime.model import Batch

    session = Session(bundle, threads=1)
    labels = feeds["labels"]
    batch = Batch({name: value for name, value in feeds.items() if name != "labels"}, labels)
    return lambda: session.step(batch, factor=0.0)


def eager(bundle: Path, feeds: Feeds) -> Callable[[], object]:
    """The step of the torch trainer."""
    import torch
    from edge_adapt.runtime.manifest import read_manifest

    torch.set_num_threads(1)
    adaptation = adaptation_of(read_manifest(bundle))
    tensors = [torch.as_tensor(feeds[name]) for name in ("input_ids", "attention_mask", "labels")]
    return torch_step(adaptation, adaptation.module, [tensors])


def onnxsim(bundle: Path, feeds: Feeds) -> Callable[[], object]:
    """onnxsim's compiled step at a rate of 0; the model that it takes lies beside the bundle."""
    import onnx
    from onnxsim.compile_training import compile_training_loop

    kept = bundle.parent / f"{bundle.name}-{'x'.join(map(str, feeds['input_ids'].shape))}"
    model, inputs = onnx.load(kept / "model.onnx"), dict(np.load(kept / "inputs.npz"))
    names = json.loads((kept / "trained.json").read_text(encoding="utf-8"))
    loop = compile_training_loop(model, "loss", names, optimizer="adam")
    return lambda: loop(inputs, 0.0)


def floor(bundle: Path, feeds: Feeds) -> tuple[Callable[[], object], dict[str, float]]:
    """All products of our step with frozen matrices and nothing else, their results written to the same place again and
    again; and what they need: GFLOP, and MB of matrices.
    """
    import onnx
    import onnxruntime
    from edge_adapt.runtime.engine import open_graph
    from edge_adapt.runtime.manifest import Graph, read_manifest

    rows, kept = int(feeds["attention_mask"].sum()), bundle.parent / f"{bundle.name}-floor"
    kept.mkdir(exist_ok=True)
    products, extents, work = products_of(onnx.load(bundle / "train.onnx"), rows)
    (kept / "weights.data").unlink(missing_ok=True)  # onnx would append to it
    onnx.save(products, kept / "floor.onnx", save_as_external_data=True, location="weights.data")
    settings = read_manifest(bundle).graphs["train"].session
    session = open_graph(kept, Graph("floor.onnx", (), (), settings), threads=1)
    binding, rng = session.io_binding(), np.random.default_rng(0)
    for value in session.get_inputs():
        drawn = rng.standard_normal((rows, extents[value.name])).astype(np.float32)
        binding.bind_ortvalue_input(value.name, onnxruntime.OrtValue.ortvalue_from_numpy(drawn))
    places: dict[int, Any] = {}
    for value in session.get_outputs():
        width = extents[value.name]
        if width not in places:
            places[width] = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((rows, width), np.float32))
        binding.bind_ortvalue_output(value.name, places[width])
    return lambda: session.run_with_iobinding(binding), work


def products_of(model: Any, rows: int) -> tuple[Any, dict[str, int], dict[str, float]]:
    """The products of a model of `rows` rows with frozen matrices as a model; the last extents of its inputs and
    outputs; GFLOP and MB of matrices.
    """
    from onnx import TensorProto, helper

    frozen = {t.name: t for t in model.graph.initializer if len(t.dims) == 2 and np.prod(t.dims) >= SMALLEST}
    nodes, extents, numbers = [], {}, 0
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in frozen:
            attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
            deep, wide = frozen[node.input[1]].dims[:: -1 if attributes.get("transB") else 1]
            source, result = f"rows.{deep}", f"product.{len(nodes)}"
            nodes.append(helper.make_node(node.op_type, [source, node.input[1]], [result], **attributes))
            extents[source], extents[result] = deep, wide
            numbers += deep * wide
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", extents[name]])
    used = {node.input[1]: frozen[node.input[1]] for node in nodes}
    inputs, outputs = sorted({node.input[0] for node in nodes}), [node.output[0] for node in nodes]
    graph = helper.make_graph(nodes, "floor", [*map(value, inputs)], [*map(value, outputs)], [*used.values()])
    products = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return products, extents, {"GFLOP": 2e-9 * rows * numbers, "weights MB": 4e-6 * numbers}


PEERS: dict[str, Callable[[Path, Feeds], Callable[[], object]]] = {"ours": ours, "onnxsim": onnxsim, "eager": eager}


def rates() -> dict[str, Callable[[], object]]:
    """What shows the rates of this machine by torch: a large product (2 x 1024^3 operations), and reading 400 MB."""
    import torch

    square, far = torch.ones(1024, 1024), torch.ones(100_000_000)
    return {"product": lambda: square @ square, "reading": far.sum}


def speed(bundle: Path, case: int, quick: bool) -> dict[str, Any]:
    """Median processor seconds of a step of each and of the floor, taken in turn; and the bound by arithmetic."""
    size, tokens, ragged, *_ = CASES[case]
    feeds = batch_of(size, tokens, ragged)
    names = ["ours", "eager"]
    if importlib.util.find_spec("onnxsim") is not None:
        rewrite(bundle, feeds)
        names.append("onnxsim")
    steps = {name: PEERS[name](bundle, feeds) for name in names}
    steps["floor"], work = floor(bundle, feeds)
    steps |= rates()
    taken: dict[str, list[float]] = {name: [] for name in steps}
    # A turn of several steps: what is trained goes on from step to step, its weights in the cache as far as they fit.
    again = 6 if size == 1 else 2
    for turn in range(2 if quick else 20 if size == 1 else 6):
        for name, step in steps.items():
            for count in range(1 if name in ("product", "reading") else again):
                start = time.process_time()
                step()
                if turn > 0 and (count >= again / 3 or name in ("product", "reading")):
                    taken[name].append(time.process_time() - start)
    seconds = {name: statistics.median(values) for name, values in taken.items()}
    rate, bandwidth = 2e-9 * 1024**3 / seconds.pop("product"), 0.4 / seconds.pop("reading")  # GFLOP/s, GB/s
    bound = {"GFLOP/s": rate, "GB/s": bandwidth}
    bound["bound ms"] = max(1e3 * work["GFLOP"] / rate, work["weights MB"] / bandwidth)
    return {**seconds, "bound": {**work, **bound}}


def memory(bundle: Path, case: int, peer: str) -> float:
    """Megabytes that a process of one peer needs at most for three steps."""
    size, tokens, ragged, *_ = CASES[case]
    step = PEERS[peer](bundle, batch_of(size, tokens, ragged))
    for _ in range(3):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def rewrite(bundle: Path, feeds: Feeds) -> None:
    """Write the model as onnxsim takes it, with the inputs that it then has."""
    import onnx
    import onnx_ir as ir
    from edge_adapt.runtime.manifest import read_manifest

    kept = bundle.parent / f"{bundle.name}-{'x'.join(map(str, feeds['input_ids'].shape))}"
    kept.mkdir(exist_ok=True)
    adaptation = adaptation_of(read_manifest(bundle))
    traced, names = loss_of(adaptation, feeds)
    for value in list(traced.graph.inputs):
        if value.name in adaptation.state:
            traced.graph.inputs.remove(value)
            value.const_value = ir.tensor(adaptation.state[value.name].detach().numpy().copy(), name=value.name)
            traced.graph.initializers.add(value)
    model = onnx.shape_inference.infer_shapes(ir.to_proto(traced))
    one_hot = np.eye(len(adaptation.state["head.bias"]), dtype=np.float32)[feeds["labels"]]
    inputs = with_data_worked_out(model, feeds | {"labels": one_hot}, names)
    lower_axes(model)
    write_gelu_out(model)
    model.opset_import[0].version = 17
    onnx.save(model, kept / "model.onnx")
    np.savez(kept / "inputs.npz", **inputs)
    (kept / "trained.json").write_text(json.dumps(names), encoding="utf-8")


def loss_of(adaptation: Any, feeds: Feeds) -> tuple[Any, list[str]]:
    """The loss of a batch of this shape, written with operators that onnxsim differentiates; names of the state."""
    import torch
    from edge_adapt.exporters import graph as tracing

    class Loss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = adaptation.module

        def forward(self, ids: Any, mask: Any, wanted: Any) -> Any:
            chances = torch.softmax(self.model.head(tracing.features_of(self.model, (ids, mask))), -1)
            return -(torch.log(chances) * wanted).sum(-1).mean()

    wrapped = Loss()
    given = [torch.as_tensor(feeds[name]) for name in ("input_ids", "attention_mask")]
    wanted = torch.eye(len(adaptation.state["head.bias"]))[torch.as_tensor(feeds["labels"])]
    with tracing._tracing(adaptation):
        program = tracing._translate(torch.export.export(wrapped, (*given, wanted), strict=False))
        names = tracing._state_names(wrapped, adaptation)
        tracing._name_outputs(program.model, ["loss"])
        for value, name in zip(program.model.graph.inputs, ("input_ids", "attention_mask", "labels"), strict=True):
            value.name = name
        tracing._state_as_inputs(program.model, adaptation, names)
        program.optimize()
    return program.model, list(names.values())


def with_data_worked_out(model: Any, feeds: Feeds, trained: list[str]) -> Feeds:
    """Make what follows from ids, mask and labels without a product an input, embeddings too; returns all inputs."""
    import onnx
    import onnxruntime

    graph = model.graph
    known = {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}
    of_data, weights = {value.name for value in graph.input}, set()
    for tensor in graph.initializer:
        small = int(np.prod(tensor.dims)) < SMALLEST and tensor.name not in trained
        (of_data if small else weights).add(tensor.name)
    worked_out = []
    for node in graph.node:
        looked_up = node.op_type == "Gather" and node.input[0] in weights and node.input[1] in of_data
        if looked_up or of_data.issuperset(filter(None, node.input)):
            of_data.update(node.output)
            worked_out += node.output
    rest = [node for node in graph.node if not of_data.issuperset(node.output)]
    names = sorted({name for node in rest for name in node.input} & set(worked_out))
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(known[name] for name in names)
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    values = dict(zip(names, session.run(names, feeds), strict=True)) if names else {}
    del graph.node[:]
    graph.node.extend(rest)
    graph.input.extend(known[name] for name in names)
    used = {name for node in graph.node for name in node.input}
    for value in list(graph.input):
        if value.name not in used:
            graph.input.remove(value)
    return {value.name: (feeds | values)[value.name] for value in graph.input}


def lower_axes(model: Any) -> None:
    """Axes of reductions as attributes, as operator sets had them before 18."""
    from onnx import helper, numpy_helper

    values = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("ReduceMean", "ReduceMax", "ReduceMin"):
            kept = [attribute for attribute in node.attribute if attribute.name == "keepdims"]
            del node.attribute[:]
            node.attribute.extend(kept)
            if len(node.input) > 1:
                axes = numpy_helper.to_array(values[node.input.pop()])
                node.attribute.append(helper.make_attribute("axes", [int(axis) for axis in axes]))


def write_gelu_out(model: Any) -> None:
    """GELU as x (1 + erf(x / sqrt 2)) / 2."""
    from onnx import helper, numpy_helper

    graph, nodes = model.graph, []
    for name, value in (("gelu.root", 2**0.5), ("gelu.one", 1.0), ("gelu.half", 0.5)):
        graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    for node in graph.node:
        if node.op_type != "Gelu":
            nodes.append(node)
            continue
        x, y = node.input[0], node.output[0]
        nodes += [
            helper.make_node("Div", [x, "gelu.root"], [f"{y}.scaled"]),
            helper.make_node("Erf", [f"{y}.scaled"], [f"{y}.erf"]),
            helper.make_node("Add", [f"{y}.erf", "gelu.one"], [f"{y}.above"]),
            helper.make_node("Mul", [x, f"{y}.above"], [f"{y}.double"]),
            helper.make_node("Mul", [f"{y}.double", "gelu.half"], [y]),
        ]
    del graph.node[:]
    graph.node.extend(nodes)


if __name__ == "__main__":
    what, folder, number, is_quick, peer_name = sys.argv[1:]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    found = memory(Path(folder), int(number), peer_name) if what == "memory" else speed(
        Path(folder), int(number), bool(int(is_quick))
    )  # fmt: skip
    print(json.dumps(found))
