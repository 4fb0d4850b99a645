"""Parts of the page of examples/browser beside those of the device: updates, and the order of the examples."""

import json
import math
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
from edge_adapt.runtime.learner import Learner
from edge_adapt.runtime.optim import AdamW, Moments
from edge_adapt.runtime.rules import GradientRule
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


def test_examples_come_in_the_order_of_the_device(browser, maker: ModuleType) -> None:
    for seed in (0, 1, 2**32 - 1):
        rng = np.random.default_rng(seed)
        wanted = [rng.permutation(n).tolist() for n in (1, 2, 16, 5, 1000)]
        script = f"const order = new Order({seed}); return [1, 2, 16, 5, 1000].map((n) => order.permutation(n));"
        assert browser.ask(f"(() => {{ {maker._script('order.mjs')}\n{script} }})()") == wanted
