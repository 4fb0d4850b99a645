"""Read `adapter_config.json` of a LoRA adapter in `peft` format, and refuse what would change the maths unseen."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import EdgeAdaptError, UsageError
from ..inputs import NotJsonError, read_json
from .patterns import match
from .peft_values import ALPHA, CONFIG_FILE, FINITE, RANK, Targets, Values, shown

_READ = {
    "peft_type",
    "r",
    "lora_alpha",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "base_model_name_or_path",
    "modules_to_save",
    "init_lora_weights",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
}

# Keys that say how the adapter was made, but not what it computes. Those of one initialisation count only where
# `init_lora_weights` names it; peft leaves them behind where it does not.
_HARMLESS = {
    "task_type",
    "auto_mapping",
    "peft_version",
    "revision",
    "inference_mode",
    "lora_dropout",
    "merge_weights",
    "megatron_config",
    "megatron_core",
    "eva_config",
    "loftq_config",
    "corda_config",
    "lora_ga_config",
    "qalora_group_size",
    "runtime_config",
    "ensure_weight_tying",
}

_REASONS = {
    "use_dora": "a DoRA magnitude rescales the merged weight and cannot be fused with other adapters; "
    "train the adapter with use_dora=False",
    "fan_in_fan_out": "the adapter is for layers that store their weights transposed (GPT-2), not for linear layers",
    "bias": "the adapter comes with trained biases of the base model; train it with bias='none'",
    "lora_bias": "the adapter has biases of its own; train it with lora_bias=False",
    "layer_replication": "the adapter is for a model with repeated layers",
    "target_parameters": "the adapter changes parameters that are not linear layers",
    "trainable_token_indices": "the adapter changes token embeddings",
    "use_qalora": "the adapter reads averages of its inputs, not the inputs",
    "alora_invocation_tokens": "the adapter acts only behind certain tokens",
    "arrow_config": "the adapter is chosen anew for every token",
    "enable_lora": "the adapter changes parts of a layer only",
}

# Initialisations that leave the base weights as they are; the others (pissa, olora, corda, loftq, ...) change them.
_PLAIN_INITIALISATIONS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")


@dataclass(frozen=True)
class AdapterConfig:
    """What the maths of a LoRA adapter needs. Patterns map a regular expression of a module path to rank or alpha."""

    rank: int
    alpha: float
    use_rslora: bool
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    base_model: str | None
    targets: Targets

    def rank_of(self, module_path: str) -> int:
        """Rank of the adapter at a module path as it stands in the weights file."""
        return self.rank_pattern.get(_pattern_for(self.rank_pattern, module_path), self.rank)

    def scale_of(self, module_path: str) -> float:
        """Factor of B A at a module path: alpha / r, or alpha / sqrt(r) for rank-stabilised LoRA (arXiv 2312.03732)."""
        alpha = self.alpha_pattern.get(_pattern_for(self.alpha_pattern, module_path), self.alpha)
        return self._scale(alpha, self.rank_of(module_path))

    @property
    def scale(self) -> float:
        """The factor of B A where no pattern says otherwise."""
        return self._scale(self.alpha, self.rank)

    def _scale(self, alpha: float, rank: int) -> float:
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def read_config(folder: Path) -> AdapterConfig:
    """Read the config of the adapter in `folder`.

    Raises:
        EdgeAdaptError: missing or not JSON.
        UsageError: not a LoRA adapter, or one with a setting that is wrong or not supported; the message names the key.
    """
    path = folder / CONFIG_FILE
    try:
        raw = read_json(path, finite=False)
    except OSError as error:
        raise EdgeAdaptError(f"cannot read {path}: {error.strerror}") from error
    except NotJsonError as error:
        raise EdgeAdaptError(f"{path}: {error}") from error
    if not isinstance(raw, dict):
        raise EdgeAdaptError(f"{path} is not a JSON object")
    if "peft_type" not in raw:
        raise UsageError(f"{path} has no peft_type: only adapters that peft wrote can join a pool")
    if raw["peft_type"] != "LORA":
        raise UsageError(f"{path}: peft_type is {raw['peft_type']!r}; only 'LORA' adapters can join a pool")
    values = Values(path, raw)
    values.names("modules_to_save")  # what they hold is decided by the tensors
    _refuse_unsupported(path, raw)
    return AdapterConfig(
        rank=values.number("r", RANK),
        alpha=values.number("lora_alpha", ALPHA),
        use_rslora=values.switch("use_rslora"),
        rank_pattern=values.patterns("rank_pattern", RANK),
        alpha_pattern=values.patterns("alpha_pattern", FINITE),
        base_model=values.text("base_model_name_or_path") or None,
        targets=values.targets(),
    )


def _refuse_unsupported(path: Path, raw: Mapping[str, Any]) -> None:
    for key, value in raw.items():
        if key in _READ or key in _HARMLESS or not value or (key == "bias" and value == "none"):
            continue
        reason = _REASONS.get(key, "this setting is not known here and may change what the adapter computes")
        raise UsageError(f"{path}: {key} = {shown(value)} is not supported: {reason}")
    initialisation = raw.get("init_lora_weights")
    if initialisation not in _PLAIN_INITIALISATIONS:
        mend = (
            "train it with init_lora_weights=True" if initialisation == "loftq" else
            "save the adapter with peft's path_initial_model_for_weight_conversion, which turns it into plain LoRA"
        )  # fmt: skip
        raise UsageError(
            f"{path}: init_lora_weights = {shown(initialisation)} is not supported: it changed the base model's "
            f"weights; {mend}"
        )


def _pattern_for(patterns: Mapping[str, object], module_path: str) -> str:
    """The first pattern that matches the whole path or its end after a dot (peft's rule), else ""."""
    for pattern in patterns:
        if match(rf"(.*\.)?({pattern})$", module_path):
            return pattern
    return ""
