"""Every key of an adapter's config, of the installed peft and of older ones: handled, harmless or refused by name."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.workloads.peft_folder import load_module
from transformers import BertConfig, BertModel

peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore")  # peft's words about its own options

SMALL = BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)
NAME = "encoder.layer.0.attention.self.query"

#: What the loader computes with.
HANDLED = {
    "peft_type", "base_model_name_or_path", "r", "lora_alpha", "target_modules", "exclude_modules", "use_rslora",
    "modules_to_save", "init_lora_weights", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern",
}  # fmt: skip
#: What does not change what a trained adapter computes: a value that is not the default, and no difference.
HARMLESS: dict[str, Any] = {
    "task_type": "SEQ_CLS",
    "auto_mapping": {"base_model_class": "BertModel", "parent_library": "transformers.models.bert.modeling_bert"},
    "peft_version": "0.4.0",
    "revision": "main",
    "inference_mode": False,
    "lora_dropout": 0.3,
    "megatron_config": {"tensor_model_parallel_size": 1},
    "megatron_core": "other.core",
    "loftq_config": {"loftq_bits": 4},
    "eva_config": {"rho": 2.0},
    "corda_config": {"corda_method": "ipm"},
    "lora_ga_config": {"direction": "ArBr"},
    "qalora_group_size": 8,
    "runtime_config": {"ephemeral_gpu_offload": True},
    "ensure_weight_tying": True,
}
#: Of peft 0.1 to 0.3.
OLD: dict[str, Any] = {"merge_weights": True, "enable_lora": None}
#: What computes something else than W + s B A.
REFUSED: dict[str, Any] = {
    "fan_in_fan_out": True,
    "bias": "all",
    "use_dora": True,
    "velora_config": {"num_groups": 4},
    "alora_invocation_tokens": [3, 4],
    "use_qalora": True,
    "monteclora_config": {"num_samples": 4},
    "layer_replication": [[0, 2]],
    "lora_bias": True,
    "target_parameters": ["experts.gate_up_proj"],
    "trainable_token_indices": {"embeddings": [1]},
    "use_bdlora": {"nblocks": 2},
    "arrow_config": {"top_k": 2},
    "kasa_config": {"beta": 1.0},
}
FIELDS = [field.name for field in dataclasses.fields(peft.LoraConfig) if field.init]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One adapter by peft, not to be changed."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("plain") / "m"
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["query"], init_lora_weights=False)
    peft.get_peft_model(BertModel(SMALL, add_pooling_layer=False), config).save_pretrained(folder)
    return folder


@pytest.fixture
def edited(plain: Path, tmp_path: Path) -> Callable[..., Path]:
    """edited(r=3): the adapter with keys of its config replaced; `...` takes a key out."""

    def make(**changes: Any) -> Path:
        folder = tmp_path / "m"
        folder.mkdir()
        config = json.loads((plain / "adapter_config.json").read_text()) | changes
        kept = {key: value for key, value in config.items() if value is not ...}
        (folder / "adapter_config.json").write_text(json.dumps(kept))
        (folder / "adapter_model.safetensors").symlink_to(plain / "adapter_model.safetensors")
        return folder

    return make


@pytest.mark.parametrize("key", [*HARMLESS, *OLD])
def test_harmless(edited: Callable[..., Path], plain: Path, key: str) -> None:
    module = load_module(edited(**{key: (HARMLESS | OLD)[key]}))
    np.testing.assert_array_equal(module.delta(NAME), load_module(plain).delta(NAME))
    assert module.messages == ()


@pytest.mark.parametrize("key", sorted({*FIELDS, *REFUSED} - HANDLED - HARMLESS.keys()))
def test_refused_by_name_also_what_a_later_peft_brings(edited: Callable[..., Path], key: str) -> None:
    with pytest.raises(UsageError, match=rf"adapter_config\.json: {key} = .* is not supported: ") as caught:
        load_module(edited(**{key: REFUSED.get(key, {"anything": 1})}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", [*HARMLESS, *REFUSED])
def test_a_key_may_be_absent_as_in_older_peft(edited: Callable[..., Path], plain: Path, key: str) -> None:
    module = load_module(edited(**{key: ...}))
    np.testing.assert_array_equal(module.delta(NAME), load_module(plain).delta(NAME))


#: `adapter_config.json` as versions of peft wrote it, by their documentation of the fields.
VERSIONS: dict[str, dict[str, Any]] = {
    "0.2": {"base_model_name_or_path": "b", "bias": "none", "enable_lora": None, "fan_in_fan_out": False,
            "inference_mode": True, "lora_alpha": 8, "lora_dropout": 0.05, "merge_weights": False,
            "modules_to_save": None, "peft_type": "LORA", "r": 4, "target_modules": ["query"],
            "task_type": "CAUSAL_LM"},
    "0.4": {"auto_mapping": None, "base_model_name_or_path": "b", "bias": "none", "fan_in_fan_out": False,
            "inference_mode": True, "init_lora_weights": True, "layers_pattern": None, "layers_to_transform": None,
            "lora_alpha": 8, "lora_dropout": 0.0, "modules_to_save": ["classifier", "score"], "peft_type": "LORA",
            "r": 4, "revision": None, "target_modules": ["query"], "task_type": "SEQ_CLS"},
    "0.7": {"alpha_pattern": {}, "auto_mapping": None, "base_model_name_or_path": "b", "bias": "none",
            "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True, "layers_pattern": None,
            "layers_to_transform": None, "loftq_config": {}, "lora_alpha": 8, "lora_dropout": 0.0,
            "megatron_config": None, "megatron_core": "megatron.core", "modules_to_save": None, "peft_type": "LORA",
            "r": 4, "rank_pattern": {}, "revision": None, "target_modules": ["query"], "task_type": None},
    "0.13": {"alpha_pattern": {}, "auto_mapping": None, "base_model_name_or_path": "b", "bias": "none",
             "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True, "layer_replication": None,
             "layers_pattern": None, "layers_to_transform": None, "loftq_config": {}, "lora_alpha": 8,
             "lora_dropout": 0.0, "megatron_config": None, "megatron_core": "megatron.core", "modules_to_save": None,
             "peft_type": "LORA", "r": 4, "rank_pattern": {}, "revision": None, "target_modules": ["query"],
             "task_type": None, "use_dora": False, "use_rslora": False},
}  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_configs_of_older_versions(edited: Callable[..., Path], plain: Path, version: str) -> None:
    folder = edited()
    (folder / "adapter_config.json").write_text(json.dumps(VERSIONS[version]))
    np.testing.assert_array_equal(load_module(folder).delta(NAME), load_module(plain).delta(NAME))


@pytest.mark.parametrize("initialisation", ["pissa", "olora", "pissa_niter_4"])
def test_what_starts_from_another_base_is_refused_until_it_is_converted(tmp_path: Path, initialisation: str) -> None:
    """The base weights were changed; peft's conversion expresses the adapter on the original ones."""
    torch.manual_seed(0)
    base = BertModel(SMALL, add_pooling_layer=False).eval()
    original = {name: weight.clone() for name, weight in base.state_dict().items()}
    config = peft.LoraConfig(r=2, lora_alpha=2, target_modules=["query"], init_lora_weights=initialisation)
    model = peft.get_peft_model(base, config).eval()
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(tmp_path / "start")
    model.peft_config["default"].init_lora_weights = initialisation
    with torch.no_grad():  # some training
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.add_(0.1 * torch.randn(weight.shape))
    model.save_pretrained(tmp_path / "raw")
    with pytest.raises(UsageError, match=rf'init_lora_weights = "{initialisation}" is not supported: it changed the'):
        load_module(tmp_path / "raw")
    model.save_pretrained(tmp_path / "plain", path_initial_model_for_weight_conversion=str(tmp_path / "start"))
    module = load_module(tmp_path / "plain")
    merged = model.merge_and_unload().get_submodule(NAME).weight.detach().numpy()
    np.testing.assert_allclose(original[f"{NAME}.weight"].numpy() + module.delta(NAME), merged, rtol=0, atol=1e-5)


OTHERS: dict[str, Callable[[], Any]] = {
    "IA3": lambda: peft.IA3Config(target_modules=["query"], feedforward_modules=[]),
    "LOHA": lambda: peft.LoHaConfig(r=2, target_modules=["query"]),
    "LOKR": lambda: peft.LoKrConfig(r=2, target_modules=["query"]),
    "ADALORA": lambda: peft.AdaLoraConfig(init_r=2, target_r=1, target_modules=["query"], total_step=10),
    "VERA": lambda: peft.VeraConfig(r=2, target_modules=["query"]),
    "OFT": lambda: peft.OFTConfig(r=2, oft_block_size=0, target_modules=["query"]),
    "BOFT": lambda: peft.BOFTConfig(boft_block_size=2, target_modules=["query"]),
    "HRA": lambda: peft.HRAConfig(r=2, target_modules=["query"]),
    "FOURIERFT": lambda: peft.FourierFTConfig(n_frequency=4, target_modules=["query"]),
    "LN_TUNING": lambda: peft.LNTuningConfig(target_modules=["LayerNorm"]),
    "PROMPT_TUNING": lambda: peft.PromptTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=2),
    "PREFIX_TUNING": lambda: peft.PrefixTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=2),
    "P_TUNING": lambda: peft.PromptEncoderConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=2),
}


@pytest.mark.parametrize("tuner", OTHERS)
def test_other_tuners_are_refused_by_their_name(tmp_path: Path, tuner: str) -> None:
    try:
        model = peft.get_peft_model(BertModel(SMALL, add_pooling_layer=False), OTHERS[tuner]())
    except (AttributeError, TypeError, ImportError) as error:
        pytest.skip(f"this peft cannot make one: {error}")
    model.save_pretrained(tmp_path / "m")
    with pytest.raises(UsageError, match=rf"peft_type is '{tuner}'; only 'LORA' adapters can join a pool"):
        load_module(tmp_path / "m")


@pytest.mark.parametrize("kind", [kind.value for kind in peft.PeftType if kind.value != "LORA"])
def test_every_tuner_of_the_installed_peft(edited: Callable[..., Path], kind: str) -> None:
    with pytest.raises(EdgeAdaptError, match=rf"peft_type is '{kind}'; only 'LORA'"):
        load_module(edited(peft_type=kind))
