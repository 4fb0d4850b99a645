"""Parts of the page of examples/browser beside those of the device: updates, and the order of the examples."""

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from types import ModuleType
from typing import Annotated, Any, ClassVar, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from edge_adapt.runtime import manifest as manifests
from edge_adapt.runtime.engine import GRAPH_BYTES
from edge_adapt.runtime.learner import Learner
from edge_adapt.runtime.manifest import Manifest
from edge_adapt.runtime.optim import AdamW, Moments
from edge_adapt.runtime.rules import GradientRule
from edge_adapt.runtime.tokenizer_file import TOKENIZER_BYTES
from edge_adapt.runtime.tokens import Batch

pytestmark = pytest.mark.download


class Bowl:
    """A loss whose gradients are known, and which is no number at some of its calls; the same in JavaScript."""

    BAD = (3, 4, 9)
    MIDDLE: ClassVar = {"a": np.float32([1.0, -2.0, 0.5]), "b": np.float32([[3.0], [0.0]])}
    SCRIPT = """
        const middle = { a: [1, -2, 0.5], b: [3, 0] };
        let calls = 0;
        function lossAndGradients(values) {
            let loss = [3, 4, 9].includes(calls++) ? NaN : 0;
            const gradients = new Map();
            for (const name of ["a", "b"]) {
                const off = values.get(name).data.map((x, k) => x - middle[name][k]);
                loss += 0.5 * off.reduce((sum, x) => sum + x * x, 0);
                gradients.set(name, off);
            }
            return { loss, gradients };
        }
    """

    def __init__(self) -> None:
        self.calls = 0

    def loss_and_gradients(self, values, _batch):
        off = {name: values[name] - middle for name, middle in self.MIDDLE.items()}
        loss = 0.5 * sum(float(np.square(x).sum()) for x in off.values())
        self.calls += 1
        return math.nan if self.calls - 1 in self.BAD else loss, off


def test_updates_are_those_of_the_device(browser, maker: ModuleType) -> None:
    """AdamW with decay, L1 and clipping, and the undoing of updates, beside the device's; steps 3, 4 and 9 go wrong."""
    names = {"a": 0.3, "b": 0.1}
    values = {"a": np.float32([0.5, 0.25, -1.0]), "b": np.float32([[-1.0], [2.0]])}
    rule = GradientRule(Bowl(), AdamW(0.02), names, 1.5, 0.01, ("a",))  # type: ignore[arg-type]
    learner = Learner(values, rule, Moments())
    losses = [learner.step([Batch({}, np.zeros(1, np.int64))], 1 - k / 20) for k in range(20)]
    recipe = {"learning_rates": names, "weight_decay": 0.02, "clip_norm": 1.5, "l1": 0.01}
    manifest = {"recipe": recipe, "l1_names": ["a"], "state": [{"name": name, "group": name} for name in names]}
    found = browser.ask(f"""(async () => {{
        {maker._script("learner.mjs")}
        {Bowl.SCRIPT}
        const tensor = (shape, data) => ({{ shape, data: Float32Array.from(data) }});
        const values = new Map([["a", tensor([3], [0.5, 0.25, -1])], ["b", tensor([2, 1], [-1, 2])]]);
        const learner = new Learner({json.dumps(manifest)}, values, lossAndGradients);
        const losses = [];
        for (let k = 0; k < 20; k++) losses.push(String(await learner.step(null, 1 - k / 20)));
        const state = ["a", "b"].map((name) => [...learner.now.values.get(name).data]);
        return {{ losses, state, undone: learner.undone }};
    }})()""")
    assert found["undone"] == learner.undone == 3
    np.testing.assert_allclose([float(loss) for loss in found["losses"]], losses, rtol=1e-5)
    for mine, name in zip(found["state"], "ab", strict=True):
        np.testing.assert_allclose(mine, learner.values[name].ravel(), rtol=1e-5)


def limits_of(kind: Any, place: str = "") -> dict[str, list[Any]]:
    """The ranges that the device asks for, by place: least, most, and whether the number is whole."""
    if get_origin(kind) is Annotated:
        inner, within = get_args(kind)
        numbers = [part for part in get_args(inner) or (inner,) if part is not type(None)]
        return {place: [within.least, within.most, numbers == [int]]}
    if is_dataclass(kind):
        found: dict[str, list[Any]] = {}
        for name, hint in get_type_hints(kind, include_extras=True).items():
            found |= limits_of(hint, f"{place}.{name}" if place else name)
        return found
    arguments = [part for part in get_args(kind) if part not in (type(None), Ellipsis, str)]
    many = get_origin(kind) in (tuple, Mapping)
    return {key: value for part in arguments for key, value in limits_of(part, place + ".*" * many).items()}


def test_the_limits_are_those_of_the_device(browser, maker: ModuleType) -> None:
    """Of every number in a manifest but those of images, whose bundles the page refuses."""
    wanted = {place: limit for place, limit in limits_of(Manifest).items() if not place.startswith("images.")}
    assert len(wanted) > 15
    script = f"(() => {{ {maker._script('limits.mjs')}\nreturn [LIMITS, MOST_NUMBERS, MOST_BYTES]; }})()"
    found, numbers, most_bytes = browser.ask(script)
    assert found == wanted
    assert numbers == manifests._NUMBERS
    assert most_bytes == {"graph": GRAPH_BYTES, "tokenizer": TOKENIZER_BYTES}


SMALL = {
    "labels": ["a", "b"], "reserved_classes": 1, "opset": 20, "ir_version": 10, "plan": {"fixed_bytes": 1.5},
    "model": {"hidden_size": 4, "blocks": 1}, "l1_names": [], "files": {"t": {"bytes": 1}, "g": {"bytes": 2}},
    "recipe": {"learning_rates": {"head": 0.1}, "epochs": 1, "min_steps": 0, "batch_size": 4, "weight_decay": 0,
               "clip_norm": 1, "l1": 0, "head_margin": 1},
    "tokenizer": {"file": "t", "max_tokens": 8}, "graphs": {"infer": {"file": "g"}},
    "state": [{"name": "head.weight", "shape": [3, 4], "dtype": "float32", "group": "head"},
              {"name": "head.bias", "shape": [3], "dtype": "float32", "group": "head"}],
}  # fmt: skip


def _set(manifest: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(manifest)
    *inner, last = [int(key) if key.isdigit() else key for key in place.split(".")]
    target: Any = changed
    for key in inner:
        target = target[key]
    if value is None:
        del target[last]
    else:
        target[last] = value
    return changed


def test_what_is_out_of_its_range_is_refused(browser, maker: ModuleType) -> None:
    """Both ends of every range are taken, and what lies beyond them is not, nor what is no number, or is not there."""
    cases: list[tuple[dict[str, Any], str]] = [(SMALL, "")]
    where = {"files.*.bytes": "files.g.bytes", "plan.*": "plan.fixed_bytes", "state.*.shape.*": "state.1.shape.0",
             "recipe.learning_rates.*": "recipe.learning_rates.head"}  # fmt: skip
    for place, (least, most, whole) in limits_of(Manifest).items():
        if place.startswith("images."):
            continue
        here = where.get(place, place)
        beyond = [least - 1, most + (1 if whole else abs(most) / 8), str(most), True, *([least + 0.5] if whole else [])]
        cases += [(_set(SMALL, here, value), here) for value in beyond]
        if place not in ("recipe.head_shrinkage", "tokenizer.pad_id") and "*" not in place:
            cases.append((_set(SMALL, here, None), here))
        if place.startswith(("recipe", "tokenizer", "plan", "opset", "ir_version", "model.blocks")):
            cases += [(_set(SMALL, here, value), "") for value in (least, most)]
    more = SMALL["state"][0] | {"name": "more", "shape": [1 << 14, 1 << 14]}
    for place, value, said in (
        ("labels", ["a", "a"], "two different names"), ("labels", ["a", 1], "two different names"),
        ("reserved_classes", 2, "head.weight of shape (3,4), not (4,4)"), ("l1_names", ["x"], "l1_names with x"),
        ("state.0.dtype", "float16", "not float32"), ("state", [*SMALL["state"], SMALL["state"][0]], "twice"),
        ("state", [*SMALL["state"], more], "a state of more than 134217728 numbers"),
        ("files.g.bytes", (128 << 20) + 1, "a graph, g, of more than"),
        ("files.t.bytes", (40 << 20) + 1, "a tokenizer of more than"),
    ):  # fmt: skip
        cases.append((_set(SMALL, place, value), said))
    answers = browser.ask(f"""(() => {{
        {maker._script("limits.mjs")}
        return {json.dumps([manifest for manifest, _ in cases])}.map((manifest) => {{
            try {{ checkLimits(manifest); return ""; }}
            catch (error) {{ return error instanceof Refused ? error.message : `failed: ${{error}}`; }}
        }});
    }})()""")
    assert len(answers) == len(cases) > 100
    for (manifest, said), answer in zip(cases, answers, strict=True):
        if said:
            assert answer.startswith("manifest.json has ") and said in answer, (said, answer, manifest)
        else:
            assert answer == "", manifest


def test_examples_come_in_the_order_of_the_device(browser, maker: ModuleType) -> None:
    for seed in (0, 1, 2**32 - 1):
        rng = np.random.default_rng(seed)
        wanted = [rng.permutation(n).tolist() for n in (1, 2, 16, 5, 1000)]
        script = f"const order = new Order({seed}); return [1, 2, 16, 5, 1000].map((n) => order.permutation(n));"
        assert browser.ask(f"(() => {{ {maker._script('order.mjs')}\n{script} }})()") == wanted
