"""The runtime's numbers against torch: the same model written in torch, trained with torch's own optimisers."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from edge_adapt.runtime import Session
from edge_adapt.runtime.head import class_mean_head
from edge_adapt.runtime.optim import SGD, AdamW, Moments, clip
from edge_adapt.runtime.options import TrainOptions

torch = pytest.importorskip("torch")


class TorchModel(torch.nn.Module):
    """The hand-made model of the bundle, in float32."""

    def __init__(self, oracle, state: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.vectors = torch.tensor(oracle.vectors, dtype=torch.float32)
        self.pool = torch.tensor(oracle.pool, dtype=torch.float32)
        self.values = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in state.items()}

    def forward(self, input_ids: np.ndarray, attention_mask: np.ndarray):
        mask = torch.tensor(attention_mask, dtype=torch.float32).unsqueeze(-1)
        mean = (self.vectors[torch.tensor(input_ids)] * mask).sum(1) / mask.sum(1).clamp(min=1)
        v = self.values
        features = torch.tanh(mean * (v["magnitudes"] + v["coefficients"] @ self.pool))
        return features @ v["head.weight"].T + v["head.bias"]


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_a_hundred_steps_have_the_losses_of_torch(bundle: Path, texts, oracle, kind: str) -> None:
    session = Session(bundle, threads=1)
    recipe, data, epochs = session.manifest.recipe, texts(80, 0), 10
    batches = session.batch(*data)
    session.train(*data, TrainOptions(epochs=0))
    start = session.state
    session.reset()
    options = TrainOptions(optimizer=kind, momentum=0.9, epochs=epochs, seed=3)
    report = session.train(*data, options)
    assert len(report.losses) == 100

    model = TorchModel(oracle, start)
    groups = [
        {"params": [model.values[t.name]], "lr": recipe.learning_rates[t.group]} for t in session.manifest.trained
    ]
    decay = recipe.weight_decay
    if kind == "adamw":
        optimiser = torch.optim.AdamW(groups, weight_decay=decay)
    else:
        optimiser = torch.optim.SGD(groups, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda done: 1 - done / 100)
    rng = np.random.default_rng(3)
    parameters = list(model.values.values())
    losses = []
    for _ in range(epochs):
        order = rng.permutation(80)
        for begin in range(0, 80, 8):
            rows = order[begin : begin + 8]
            logits = model(**{name: value[rows] for name, value in batches.inputs.items()})
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(batches.labels[rows]))
            loss = loss + recipe.l1 * model.values["coefficients"].abs().mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
            if kind == "sgd":  # torch's SGD couples its decay with the momentum; ours is decoupled like AdamW's
                with torch.no_grad():
                    for group in optimiser.param_groups:
                        group["params"][0].mul_(1 - group["lr"] * decay)
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
    assert max(abs(a - b) for a, b in zip(losses, report.losses, strict=True)) <= 1e-5
    for name, value in session.state.items():
        np.testing.assert_allclose(value, model.values[name].detach().numpy(), atol=2e-5, rtol=1e-4)


def test_optimisers_step_as_those_of_torch() -> None:
    rng = np.random.default_rng(0)
    shapes = {"a": (3, 4), "b": (5,), "c": ()}
    values = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    rates = {"a": 0.1, "b": 0.01, "c": 1.0}
    for mine, theirs in (
        (AdamW(0.05), lambda groups: torch.optim.AdamW(groups, weight_decay=0.05)),
        (SGD(0.9), lambda groups: torch.optim.SGD(groups, momentum=0.9)),
        (SGD(), torch.optim.SGD),
    ):
        parameters = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in values.items()}
        optimiser = theirs([{"params": [parameters[name]], "lr": rate} for name, rate in rates.items()])
        present, moments = values, Moments()
        for scale in (1.0, 1e-3, 1e3, 0.0, 1e-12):
            gradients = {n: (scale * rng.normal(size=shape)).astype(np.float32) for n, shape in shapes.items()}
            for name, parameter in parameters.items():
                parameter.grad = torch.tensor(gradients[name])
            torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
            optimiser.step()
            present, moments = mine.update(present, clip(gradients, 1.0), moments, rates)
            for name, parameter in parameters.items():
                np.testing.assert_allclose(present[name], parameter.detach().numpy(), rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("shrinkage", [1.0, 0.5, 0.1])
def test_the_class_mean_head_is_that_of_the_torch_trainer(shrinkage: float) -> None:
    from edge_adapt.methods.class_means import set_class_mean_head

    rng = np.random.default_rng(1)
    for classes, absent, scale in ((2, None, 1.0), (4, None, 3.0), (5, 2, 1.0), (3, None, 0.0)):
        labels = rng.integers(0, classes, 40)
        labels = labels[labels != absent]
        centres = scale * rng.normal(size=(classes, 7))
        features = (centres[labels] + rng.normal(size=(len(labels), 7))).astype(np.float32)
        head = torch.nn.Linear(7, classes)
        set_class_mean_head(head, torch.tensor(features), torch.tensor(labels), 1.5, shrinkage)
        weight, bias = class_mean_head(features, labels, classes, 1.5, shrinkage)
        np.testing.assert_allclose(weight, head.weight.detach().numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(bias, head.bias.detach().numpy(), rtol=1e-4, atol=1e-4)


def test_the_manifest_recipe_is_part_of_that_of_the_methods() -> None:
    from edge_adapt.methods.recipes import Recipe
    from edge_adapt.runtime import manifest

    assert {f.name for f in dataclasses.fields(manifest.Recipe)} <= {f.name for f in dataclasses.fields(Recipe)}
