"""Model, task and pool in a report."""

from .kinds import Fraction, Integer, Text, Texts
from .spec import record, says


@record
class Model:
    """The backbone."""

    name: Text = says("name or folder")
    parameters: Integer = says("parameters of the whole model", "1", "counted")
    weights_in_cells: Integer = says("backbone weights that sit in cells", "1", "counted")
    hidden_size: Integer = says("width", "1")
    blocks: Integer = says("transformer blocks", "1")


@record
class Task:
    """The unseen task."""

    name: Text = says("name or file")
    labels: Texts = says("classes", at_least=1)
    train_examples: Integer = says("examples that the shots are drawn from", "1", "counted")
    test_examples: Integer = says("test examples of a run", "1", "counted")
    test_pool: Integer = says("test examples that those of each run are taken from", "1", "counted")
    source: Text = says("where the examples come from")
    metric: Text = says("what every accuracy below is", choices=("accuracy", "macro-F1", "entity-F1"))


@record
class RawPixels:
    """The yardstick of image tasks: a logistic regression on the pixels, for one draw of examples."""

    shots: Integer = says("labelled examples", "1")
    seed: Integer = says("seed of the draw of examples")
    accuracy: Fraction = says("test accuracy, no model used", "1", "measured")


@record
class PoolModule:
    """An adapter of the pool."""

    name: Text = says("adapter name")
    task: Text | None = says("task the adapter was trained on; null = unknown")
    rank: Integer = says("rank of the adapter", "1")


@record
class Pool:
    """The frozen LoRA pool."""

    path: Text = says("name or folder")
    modules: list[PoolModule] = says("the adapters of the pool")
    weights_in_cells: Integer = says("pool weights that sit in cells", "1", "counted")
