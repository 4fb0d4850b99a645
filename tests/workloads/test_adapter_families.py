"""What peft saves on models of every family and task: the features are those of peft's own model, and nothing that peft
adapted is dropped without its name.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from edge_adapt.errors import UsageError
from edge_adapt.methods import get_method
from edge_adapt.workloads.models import Backbone, load_backbone
from edge_adapt.workloads.pools import Pool, load_pool
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

peft = pytest.importorskip("peft")

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),  # peft calls transformers
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`"),
]

_SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
_TEXT = _SMALL | {"vocab_size": 40, "max_position_embeddings": 40}
_IMAGE = _SMALL | {"image_size": 8, "patch_size": 4}
_MODERN = {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}

FAMILIES: dict[str, Any] = {
    "bert": hf.BertConfig(**_TEXT),
    "roberta": hf.RobertaConfig(**_TEXT),
    "distilbert": hf.DistilBertConfig(
        dim=16, n_layers=2, n_heads=2, hidden_dim=24, vocab_size=40, max_position_embeddings=40
    ),
    "mpnet": hf.MPNetConfig(**_TEXT),
    "deberta-v2": hf.DebertaV2Config(**_TEXT),
    "electra": hf.ElectraConfig(**_TEXT, embedding_size=8),
    "modernbert": hf.ModernBertConfig(**_TEXT, **_MODERN, global_attn_every_n_layers=1),
    "vit": hf.ViTConfig(**_IMAGE),
    "dinov2": hf.Dinov2Config(**_IMAGE),
}
TASKS: dict[str, Any] = {
    "FEATURE_EXTRACTION": hf.AutoModel,
    "SEQ_CLS": hf.AutoModelForSequenceClassification,
    "TOKEN_CLS": hf.AutoModelForTokenClassification,
    "QUESTION_ANS": hf.AutoModelForQuestionAnswering,
    "masked words": hf.AutoModelForMaskedLM,
    "pre-training": hf.AutoModelForPreTraining,
    "next sentence": hf.AutoModelForNextSentencePrediction,
    "multiple choice": hf.AutoModelForMultipleChoice,
    "images": hf.AutoModelForImageClassification,
    "masked images": hf.AutoModelForMaskedImageModeling,
}
PAIRS = [(family, kind) for family, config in FAMILIES.items() for kind, auto in TASKS.items()
         if type(config) in auto._model_mapping]  # fmt: skip


@dataclass(frozen=True)
class Base:
    """A tiny random model of a family: its folder, read by us, and inputs for it."""

    folder: Path
    backbone: Backbone
    inputs: dict[str, torch.Tensor]

    def task_model(self, kind: str) -> Any:
        """transformers' model for a task on this base."""
        torch.manual_seed(1)
        model = TASKS[kind].from_config(self.backbone.module.config).eval()
        encoder = getattr(model, model.base_model_prefix, model)
        missing = encoder.load_state_dict(self.backbone.module.state_dict(), strict=False).missing_keys
        assert all("pooler" in name or "mask_token" in name for name in missing)
        return model

    def features(self, model: Any) -> torch.Tensor:
        """Last hidden states (B, T, hidden) of the encoder in a task model."""
        encoder = getattr(model, model.base_model_prefix, model)
        with torch.no_grad():
            return encoder(**self.inputs).last_hidden_state

    def fused(self, pool: Pool) -> torch.Tensor:
        """The same of the backbone, with the one module of a pool added to its weights."""
        (module,) = pool.modules
        weights = {
            f"{name}.weight": self.backbone.module.get_submodule(name).weight + torch.from_numpy(module.delta(name))
            for name in pool.target_names
        }
        with torch.no_grad():
            return torch.func.functional_call(self.backbone.module, weights, (), self.inputs).last_hidden_state


@pytest.fixture(scope="module")
def base_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Base]:
    """base_of("bert"): made once."""
    made: dict[str, Base] = {}

    def get(family: str) -> Base:
        if family not in made:
            made[family] = _base(tmp_path_factory.mktemp(family) / "base", FAMILIES[family])
        return made[family]

    return get


def _base(folder: Path, config: Any) -> Base:
    torch.manual_seed(0)
    model = hf.AutoModel.from_config(config).eval()
    model.save_pretrained(folder)
    if model.main_input_name == "pixel_values":
        settings = '{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "size": {"height": 8, "width": 8}}'
        (folder / "preprocessor_config.json").write_text(settings)
        inputs = {"pixel_values": torch.rand(2, 3, 8, 8)}
    else:
        Tokenizer(WordLevel({f"w{i}": i for i in range(40)}, unk_token="w0")).save(str(folder / "tokenizer.json"))
        inputs = {"input_ids": torch.randint(5, 40, (2, 9)), "attention_mask": torch.ones(2, 9, dtype=torch.int64)}
    return Base(folder, load_backbone(folder), inputs)


def _linears(model: Any) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]


def _adapted(model: Any, kind: str, **settings: Any) -> Any:
    """peft's model with random matrices."""
    torch.manual_seed(2)
    plain = {"r": 3, "lora_alpha": 5, "init_lora_weights": False, "task_type": kind if kind.isupper() else None}
    return peft.get_peft_model(model, peft.LoraConfig(**(plain | settings))).eval()


def _changed(model: Any) -> set[str]:
    """The modules that an adapter of peft changes or trains beside: what must be loaded or named."""
    from peft.utils.other import ModulesToSaveWrapper

    found = set()
    for name, module in model.named_modules():
        path = name.removeprefix("base_model.model.")
        if hasattr(module, "lora_A"):
            found.add(path)
        if isinstance(module, ModulesToSaveWrapper):
            inner = module.modules_to_save["default"]
            found |= {
                f"{path}.{leaf}".rstrip(".") for leaf, m in inner.named_modules() if list(m.parameters(recurse=False))
            }
    return found


@pytest.mark.parametrize("targets", ["all-linear", "every linear"])
@pytest.mark.parametrize(("family", "kind"), PAIRS)
def test_features_are_those_of_peft_and_the_rest_is_named(
    base_of: Callable[[str], Base], tmp_path: Path, family: str, kind: str, targets: str
) -> None:
    base = base_of(family)
    model = base.task_model(kind)
    ours = base.backbone.linear_names()
    inside = [name for name in _linears(model) if any(name == own or name.endswith(f".{own}") for own in ours)]
    wanted = {"all-linear": "all-linear", "every linear": _linears(model)}[targets]
    try:
        adapted = _adapted(model, kind, target_modules=wanted)
    except TypeError:  # peft does not adapt a head that its task type trains: one after the other
        model = base.task_model(kind)
        settings = {"target_modules": wanted, "task_type": None} if targets == "every linear" else {}
        adapted = _adapted(model, kind, **({"target_modules": inside} | settings))
    adapted.save_pretrained(tmp_path / "m")
    changed = _changed(adapted)
    outside_blocks = sorted(name for name in changed if name.endswith("embeddings_project"))
    if outside_blocks:  # ELECTRA's features depend on it, and it is in no block
        with pytest.raises(UsageError, match=f"changes {outside_blocks[0]}, which the features depend on"):
            load_pool(tmp_path / "m", base.backbone)
        return
    pool = load_pool(tmp_path / "m", base.backbone)
    said = " ".join(pool.messages)
    left_out = set(said.partition("leaves out: ")[2].split(", ")) - {""}
    loaded = {name for name in changed if name in inside}
    assert loaded | left_out == changed
    assert len(pool.target_names) == len(loaded)
    expected = base.features(adapted.get_base_model())
    tolerance = {"rtol": 0, "atol": 1e-5 * float(expected.abs().max())}
    torch.testing.assert_close(base.fused(pool), expected, **tolerance)
    tied = any(name.endswith(("decoder", "vocab_projector")) for name in changed)
    if not tied:  # merging a decoder of words changes the embeddings too, which no training with the adapter did
        torch.testing.assert_close(base.fused(pool), base.features(adapted.merge_and_unload()), **tolerance)


@pytest.mark.parametrize("alpha", [5, -5])
def test_lorafusion_with_one_module_and_coefficient_one_is_the_merged_model(
    base_of: Callable[[str], Base], tmp_path: Path, alpha: int
) -> None:
    base = base_of("bert")
    adapted = _adapted(base.task_model("SEQ_CLS"), "SEQ_CLS", target_modules="all-linear", lora_alpha=alpha)
    adapted.save_pretrained(tmp_path / "m")
    pool = load_pool(tmp_path / "m", base.backbone)
    expected = base.features(adapted.merge_and_unload())
    for cross_terms in (True, False):
        method = get_method("lorafusion", magnitude=False, cross_terms=cross_terms)
        fused = method.attach(base.backbone, 2, np.random.default_rng(0), pool=pool)
        with torch.no_grad():
            fused.state["coefficients"].fill_(1.0)
            got = fused.module.features(base.inputs["input_ids"], base.inputs["attention_mask"])
        torch.testing.assert_close(got, expected.mean(1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["vit", "dinov2"])
def test_names_of_transformers_4_are_understood(base_of: Callable[[str], Base], tmp_path: Path, family: str) -> None:
    """Before transformers 5 the linears of image models had other paths."""
    from safetensors.torch import load_file, save_file

    base = base_of(family)
    inside = base.backbone.linear_names()
    _adapted(base.task_model("images"), "images", target_modules=inside).save_pretrained(tmp_path / "new")
    new = load_pool(tmp_path / "new", base.backbone)
    old_names = {
        "layers.": "encoder.layer.", "attention.q_proj": "attention.attention.query",
        "attention.k_proj": "attention.attention.key", "attention.v_proj": "attention.attention.value",
        "attention.o_proj": "attention.output.dense",
    } | ({"mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"} if family == "vit" else {})  # fmt: skip
    if family == "dinov2":
        del old_names["layers."]

    def old(name: str) -> str:
        for here, there in old_names.items():
            name = name.replace(here, there)
        return name

    (tmp_path / "old").mkdir()
    tensors = {old(name): value for name, value in load_file(tmp_path / "new/adapter_model.safetensors").items()}
    save_file(tensors, tmp_path / "old/adapter_model.safetensors")
    config = json.loads((tmp_path / "new/adapter_config.json").read_text())
    config["target_modules"] = [old(name) for name in config["target_modules"]]
    (tmp_path / "old/adapter_config.json").write_text(json.dumps(config))
    pool = load_pool(tmp_path / "old", base.backbone)
    assert pool.target_names == new.target_names
    for name in new.target_names:
        np.testing.assert_array_equal(pool.modules[0].delta(name), new.modules[0].delta(name))
