"""Families of encoders, each as a tiny random model: right, or refused in one line with the reason."""

import copy
import inspect
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import transformers as hf
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.methods import Placement, get_method
from edge_adapt.methods.training.trainer import train
from edge_adapt.simulator.autograd import ExactReader
from edge_adapt.studies.encoding import Encoded
from edge_adapt.workloads.batches import encode
from edge_adapt.workloads.families import FAMILIES
from edge_adapt.workloads.images import Images
from edge_adapt.workloads.models import Backbone, load_backbone, weights_fingerprint
from edge_adapt.workloads.peft_folder import LoraModule, save_module
from edge_adapt.workloads.pools import load_pool
from edge_adapt.workloads.task import Example
from tokenizers.processors import TemplateProcessing
from transformers import AutoModel

SIZES: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 34,
}  # fmt: skip
IMAGES: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "image_size": 8,
    "patch_size": 4,
}  # fmt: skip
IDS: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}
RELATIVE: dict[str, Any] = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}
T5: dict[str, Any] = {"vocab_size": 60, "d_model": 16, "num_layers": 2, "num_heads": 2, "d_kv": 8, "d_ff": 24}


class Tiny(NamedTuple):
    """A model of a family.

    `linears`: in cells. `longest`: input in tokens. The tables of positions have 34 rows, of which RoBERTa's kind
    leaves those up to the padding index out. `exported`: whether its graph is held against torch here: one model for
    each kind of operator, for a graph takes some ten seconds to make. EDGE_ADAPT_ALL_FAMILIES=1 asks for all of them.
    """

    config: Callable[[], Any]
    linears: int
    longest: int | None = None
    exported: bool = False


TEXTS: dict[str, Tiny] = {
    "bert": Tiny(lambda: hf.BertConfig(**SIZES), 12, 34),
    "roberta": Tiny(lambda: hf.RobertaConfig(**SIZES, pad_token_id=1), 12, 32),
    "xlm-roberta": Tiny(lambda: hf.XLMRobertaConfig(**SIZES, pad_token_id=1), 12, 32),
    "camembert": Tiny(lambda: hf.CamembertConfig(**SIZES, pad_token_id=1), 12, 32),
    "data2vec-text": Tiny(lambda: hf.Data2VecTextConfig(**SIZES, pad_token_id=1), 12, 32),
    "roberta-prelayernorm": Tiny(lambda: hf.RobertaPreLayerNormConfig(**SIZES, pad_token_id=1), 12, 32),
    "xlm-roberta-xl": Tiny(lambda: hf.XLMRobertaXLConfig(**SIZES, pad_token_id=1), 12, 32),
    "layoutlm": Tiny(lambda: hf.LayoutLMConfig(**SIZES), 12, 34),
    "distilbert": Tiny(
        lambda: hf.DistilBertConfig(
            vocab_size=60, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=34
        ), 12, 34,
    ),
    "albert": Tiny(lambda: hf.AlbertConfig(**SIZES, embedding_size=8), 6, 34),
    "albert of two groups": Tiny(lambda: hf.AlbertConfig(**SIZES, embedding_size=8, num_hidden_groups=2), 12, 34),
    "electra": Tiny(lambda: hf.ElectraConfig(**SIZES, embedding_size=8), 12, 34),
    "ernie": Tiny(lambda: hf.ErnieConfig(**SIZES), 12, 34),
    "mpnet": Tiny(lambda: hf.MPNetConfig(**SIZES), 12, 32),
    "deberta": Tiny(lambda: hf.DebertaConfig(**SIZES), 8, 34),
    "deberta, relative": Tiny(lambda: hf.DebertaConfig(**SIZES, **RELATIVE), 12),
    "deberta-v2": Tiny(lambda: hf.DebertaV2Config(**SIZES), 12, 34),
    "deberta-v2, relative": Tiny(lambda: hf.DebertaV2Config(**SIZES, **RELATIVE), 16),
    "deberta-v3": Tiny(
        lambda: hf.DebertaV2Config(
            **SIZES, **RELATIVE, share_att_key=True, norm_rel_ebd="layer_norm", position_buckets=8
        ), 12, exported=True,
    ),
    "modernbert": Tiny(
        lambda: hf.ModernBertConfig(
            **SIZES | {"num_hidden_layers": 3}, **IDS, local_attention=4, global_attn_every_n_layers=3
        ), 12,
    ),
    "eurobert": Tiny(
        lambda: hf.EuroBertConfig(**SIZES, **IDS, mask_token_id=3, num_key_value_heads=1), 14, exported=True
    ),
    "nomic_bert": Tiny(lambda: hf.NomicBertConfig(**SIZES, **IDS), 14),
    "esm": Tiny(lambda: hf.EsmConfig(**SIZES, pad_token_id=1, mask_token_id=3), 12, 32),
    "big_bird": Tiny(lambda: hf.BigBirdConfig(**SIZES), 12, 34),
    "roformer": Tiny(lambda: hf.RoFormerConfig(**SIZES, embedding_size=16), 12, 34),
    "rembert": Tiny(lambda: hf.RemBertConfig(**SIZES, input_embedding_size=8), 12, 34),
    "megatron-bert": Tiny(lambda: hf.MegatronBertConfig(**SIZES), 12, 34),
    "t5": Tiny(lambda: hf.T5Config(**T5), 12, exported=True),
    "t5, gated": Tiny(lambda: hf.T5Config(**T5, feed_forward_proj="gated-gelu"), 14),
    "mt5": Tiny(lambda: hf.MT5Config(**T5), 14),
    "clip_text_model": Tiny(lambda: hf.CLIPTextConfig(**SIZES, pad_token_id=0, bos_token_id=1, eos_token_id=2), 12, 34),
}  # fmt: skip
PICTURES: dict[str, Tiny] = {
    "vit": Tiny(lambda: hf.ViTConfig(**IMAGES), 12),
    "dinov2": Tiny(lambda: hf.Dinov2Config(**IMAGES), 12),
    "dinov2 with SwiGLU": Tiny(lambda: hf.Dinov2Config(**IMAGES, use_swiglu_ffn=True), 14),
    "dinov2_with_registers": Tiny(lambda: hf.Dinov2WithRegistersConfig(**IMAGES), 12),
    "deit": Tiny(lambda: hf.DeiTConfig(**IMAGES), 12),
    "beit": Tiny(lambda: hf.BeitConfig(**IMAGES), 12),
    "beit with biases": Tiny(lambda: hf.BeitConfig(**IMAGES, use_relative_position_bias=True), 12),
    "siglip_vision_model": Tiny(lambda: hf.SiglipVisionConfig(**IMAGES), 12),
    "clip_vision_model": Tiny(lambda: hf.CLIPVisionConfig(**IMAGES), 12),
}
EVERY = {**TEXTS, **PICTURES}
UNKNOWN = "which is not known here.*edge-adapt models families"
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "albert, unevenly shared": (
        lambda: hf.AlbertConfig(**SIZES | {"num_hidden_layers": 3}, embedding_size=8, num_hidden_groups=2),
        "3 layers are shared among 2 groups",
    ),
    "mobilebert": (lambda: hf.MobileBertConfig(**SIZES), UNKNOWN),
    "convbert": (lambda: hf.ConvBertConfig(**SIZES), UNKNOWN),
    "fnet": (lambda: hf.FNetConfig(**SIZES), UNKNOWN),
    "funnel": (
        lambda: hf.FunnelConfig(
            vocab_size=60, block_sizes=[1, 1], num_decoder_layers=1, d_model=16, n_head=2, d_head=8, d_inner=24
        ), UNKNOWN,
    ),
    "squeezebert": (lambda: hf.SqueezeBertConfig(**SIZES, embedding_size=16), UNKNOWN),
    "xlm": (
        lambda: hf.XLMConfig(vocab_size=60, emb_dim=16, n_layers=2, n_heads=2, max_position_embeddings=34),
        UNKNOWN,
    ),
    "ibert": (lambda: hf.IBertConfig(**SIZES), UNKNOWN),
    "luke": (lambda: hf.LukeConfig(**SIZES, entity_vocab_size=9, entity_emb_size=8), UNKNOWN),
    "deberta with a convolution": (
        lambda: hf.DebertaV2Config(**SIZES, **RELATIVE, conv_kernel_size=3, conv_act="gelu"), "between its blocks",
    ),
    "gpt2": (lambda: hf.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=60), UNKNOWN),
    "grey": (lambda: hf.ViTConfig(**IMAGES, num_channels=1), "images of 1 channels; allowed are 3"),
    "rectangular": (lambda: hf.Dinov2Config(**IMAGES | {"image_size": [8, 12]}), r"image_size .* \[8, 12\].* squares"),
    "swin": (lambda: hf.SwinConfig(image_size=16, patch_size=4, embed_dim=8, depths=[1], num_heads=[2]), UNKNOWN),
}  # fmt: skip

WORDS = ["w4 w9", "w30 w31 w32 w33 w40 w41", "w50", "w10 w20 w30 w40 w50 w12 w13 w14"]


@dataclass(frozen=True)
class Loaded:
    """A tiny model: its folder, as it is used here, and as transformers has it."""

    folder: Path
    backbone: Backbone
    own: Any

    def inputs(self) -> list[dict[str, torch.Tensor]]:
        """Four examples, each alone."""
        if self.backbone.kind == "image":
            side, rng = self.backbone.image_size or 0, torch.Generator().manual_seed(2)
            return [{"pixel_values": torch.randn(1, 3, side, side, generator=rng)} for _ in WORDS]
        return [{"input_ids": torch.tensor([ids])} for ids in encode(self.backbone.tokenizer, WORDS, 32)]

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """All of them in one batch: ids or pixels, and the mask."""
        rows = [next(iter(given.values())) for given in self.inputs()]
        if self.backbone.kind == "image":
            return torch.cat(rows), torch.ones(len(rows), 1)
        width = max(row.shape[1] for row in rows)
        ids = torch.cat([torch.nn.functional.pad(row, (0, width - row.shape[1])) for row in rows])
        mask = torch.cat([(torch.arange(width) < row.shape[1]).long()[None] for row in rows])
        return ids, mask


_KEPT: dict[str, Loaded] = {}


@pytest.fixture
def loaded(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    write_model: Callable[[Any, Path], Path],
) -> Loaded:
    """The model of a family, made once for all tests."""
    name = request.param
    if name not in _KEPT:
        config = EVERY[name].config()
        folder = write_model(config, tmp_path_factory.mktemp("family"))
        made = FAMILIES[config.model_type].made_by
        own = (getattr(hf, made) if made else AutoModel).from_pretrained(folder).eval()
        _KEPT[name] = Loaded(folder, load_backbone(folder), own)
    return _KEPT[name]


every_family = pytest.mark.parametrize("loaded", EVERY, indirect=True)


def _attached(backbone: Backbone, method: str, **options: Any) -> Any:
    """An adaptation without a chip, with the reader that leaves padding out."""
    adaptation = get_method(method, **options).attach(
        backbone, 2, np.random.default_rng(0), placement=Placement.DIGITAL
    )
    reader = ExactReader()
    adaptation.use(reader)
    reader.watch(adaptation.module.encoder)
    return adaptation


def _hidden(adaptation: Any, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The last hidden states of a batch."""
    encoder = adaptation.module.encoder
    given = {"pixel_values": inputs} if adaptation.module.of_images else {"input_ids": inputs, "attention_mask": mask}
    with torch.no_grad():
        states: torch.Tensor = encoder(**given).last_hidden_state
    return states


def test_the_table_has_a_model_of_every_family_that_runs() -> None:
    assert {EVERY[name].config().model_type for name in EVERY} == {
        kind for kind, entry in FAMILIES.items() if not entry.counted_only
    }


@every_family
def test_hidden_states_are_those_of_transformers(loaded: Loaded, request: pytest.FixtureRequest) -> None:
    tiny = EVERY[request.node.callspec.params["loaded"]]
    adaptation = _attached(loaded.backbone, "frozen")
    together = _hidden(adaptation, *loaded.batch())
    for row, given in enumerate(loaded.inputs()):
        with torch.no_grad():
            expected = loaded.own(**given).last_hidden_state
        (inputs,) = given.values()
        alone = _hidden(adaptation, inputs, torch.ones(inputs.shape[:2], dtype=torch.int64))
        tolerance = {"rtol": 0.0, "atol": 1e-5 * max(1.0, float(expected.abs().max()))}
        torch.testing.assert_close(alone, expected, **tolerance)
        torch.testing.assert_close(together[row : row + 1, : expected.shape[1]], expected, **tolerance)
    names = loaded.backbone.linear_names()
    assert len(names) == len(set(names)) == tiny.linears
    assert set(names) <= adaptation.cell_tensors.keys()
    if loaded.backbone.kind == "text":
        assert loaded.backbone.max_tokens == tiny.longest


@every_family
def test_every_linear_of_a_block_is_read_as_often_as_its_block_runs(loaded: Loaded) -> None:
    adaptation, reads = _attached(loaded.backbone, "frozen"), []

    def note(name: str, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        reads.append(name)
        return torch.nn.functional.linear(x, weight)

    adaptation.use(note)
    _hidden(adaptation, *loaded.batch())
    shape = loaded.backbone.shape
    # DeBERTa's queries and keys are made of distances between tokens, too.
    tokens = [linear.name for linear in shape.linears if linear.role not in ("positions", "query", "key")]
    assert {name: reads.count(name) for name in tokens} == dict.fromkeys(tokens, shape.runs)
    inside = {
        name
        for name, child in loaded.backbone.module.named_modules()
        if isinstance(child, torch.nn.Linear) and any(name.startswith(f"{block.name}.") for block in shape.blocks)
    }
    assert inside == {linear.name for linear in shape.linears} == set(reads)


@every_family
def test_ten_steps_of_training(loaded: Loaded) -> None:
    adaptation = _attached(loaded.backbone, "lora", rank=2)
    before, frozen = adaptation.state_dict(), weights_fingerprint(loaded.backbone.module)
    if loaded.backbone.kind == "image":
        pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
        encoded: Any = Images(pixels, 8, loaded.backbone.max_tokens or 0)
    else:
        encoded = encode(loaded.backbone.tokenizer, WORDS * 5, 32)
    recipe = replace(adaptation.recipe, epochs=1, min_steps=0, batch_size=2)
    log = train(adaptation, encoded, [0, 1, 0, 1] * 5, np.random.default_rng(0), recipe=recipe)
    assert log.steps == 10
    assert all(bool(torch.isfinite(value).all()) for value in adaptation.state.values())
    still = [name for name in adaptation.trained_names if torch.equal(before[name], adaptation.state[name])]
    assert not still
    assert weights_fingerprint(loaded.backbone.module) == frozen


@every_family
@pytest.mark.filterwarnings("ignore")
def test_a_pool_in_the_format_of_peft(loaded: Loaded, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    adaptation, rng = (
        _attached(loaded.backbone, "lora", rank=2, alpha=3.0, targets="query,value,ffn_up"),
        torch.Generator().manual_seed(1),
    )
    with torch.no_grad():
        for parameter in adaptation.state.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    part = lambda end: {
        name.removesuffix(end): value.numpy() for name, value in adaptation.state_dict().items() if name.endswith(end)
    }
    module = LoraModule("mine", 2, 1.5, part(".lora_a"), part(".lora_b"))
    save_module(tmp_path / "pool" / "mine", module)
    pool = load_pool(tmp_path / "pool", loaded.backbone)
    wanted = loaded.backbone.shape.with_roles(("query", "value", "ffn_up"))
    assert set(pool.target_names) == {linear.name for linear in wanted}
    for name in pool.target_names:
        np.testing.assert_array_equal(pool.modules[0].a[name], module.a[name])
    model = peft.PeftModel.from_pretrained(copy.deepcopy(loaded.own), tmp_path / "pool" / "mine").eval()
    given = loaded.inputs()[1]
    with torch.no_grad():
        changed, untouched = (one(**given).last_hidden_state for one in (model, loaded.own))
    (inputs,) = given.values()
    found = _hidden(adaptation, inputs, torch.ones(inputs.shape[:2], dtype=torch.int64))
    torch.testing.assert_close(found, changed, rtol=0, atol=2e-5 * max(1.0, float(changed.abs().max())))
    assert float((changed - untouched).abs().max()) > 1e-3


EXPORTED = [
    name
    for name, tiny in EVERY.items()
    if FAMILIES[tiny.config().model_type].exported and (tiny.exported or os.environ.get("EDGE_ADAPT_ALL_FAMILIES"))
]


@pytest.mark.parametrize("loaded", EXPORTED, indirect=True)
def test_the_graph_gives_the_loss_and_the_gradients_of_torch_for_ten_steps(loaded: Loaded) -> None:
    """In a padded batch; the parity of an export compares many shapes, and examples alone."""
    ort, ir = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx_ir")
    from edge_adapt.exporters.graph import training_graph
    from edge_adapt.exporters.layout import optimise

    adaptation = get_method("lora", rank=2).attach(
        loaded.backbone, 2, np.random.default_rng(0), placement=Placement.DIGITAL
    )
    with torch.no_grad():
        for parameter in adaptation.state.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    inputs, mask = loaded.batch()
    labels, names = torch.tensor([0, 1, 1, 0]), adaptation.trained_names
    feeds = {name: value.detach().numpy().copy() for name, value in adaptation.state.items()}
    feeds |= {"labels": labels.numpy()}
    feeds |= {"pixel_values": inputs.numpy()} if loaded.backbone.kind == "image" else {
        "input_ids": inputs.numpy(), "attention_mask": mask.numpy()
    }  # fmt: skip
    graph = training_graph(adaptation)
    optimise(graph)
    assert {node.domain for node in graph.graph.all_nodes()} <= {"", "ai.onnx"}
    session = ort.InferenceSession(ir.to_proto(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    for _ in range(10):
        loss = torch.nn.functional.cross_entropy(adaptation.module(inputs, mask), labels)
        slopes = torch.autograd.grad(loss, [adaptation.state[name] for name in names])
        found = dict(zip(outputs, session.run(None, feeds), strict=True))
        assert float(found["loss"]) == pytest.approx(float(loss.detach()), rel=1e-3)
        largest = max(float(slope.abs().max()) for slope in slopes)
        for name, slope in zip(names, slopes, strict=True):
            tolerance = 1e-3 * max(float(slope.abs().max()), 1e-3 * largest)
            np.testing.assert_allclose(found[f"grad/{name}"], slope, rtol=0, atol=tolerance, err_msg=name)
            feeds[name] -= 0.05 / largest * found[f"grad/{name}"]
            with torch.no_grad():
                adaptation.state[name].sub_(slope, alpha=0.05 / largest)
    for name in names:
        np.testing.assert_allclose(feeds[name], adaptation.state[name].detach(), rtol=0, atol=1e-3, err_msg=name)


def test_every_model_of_the_battery_whose_graph_is_compared_is_said_to_be_exported() -> None:
    for name, tiny in EVERY.items():
        assert FAMILIES[tiny.config().model_type].exported or not tiny.exported, name
    assert not [kind for kind, entry in FAMILIES.items() if entry.exported and (entry.no_bundle or entry.counted_only)]


@pytest.mark.parametrize("loaded", [name for name, tiny in TEXTS.items() if tiny.longest], indirect=True)
def test_the_longest_text_is_read_and_longer_ones_are_cut(loaded: Loaded, request: pytest.FixtureRequest) -> None:
    backbone, longest = loaded.backbone, TEXTS[request.node.callspec.params["loaded"]].longest
    assert longest is not None
    long = Example(" ".join(["w7"] * 200), 0)
    (ids,) = Encoded.of(backbone, _single_texts(), [long], 64).ids
    assert len(ids) == longest
    adaptation = _attached(backbone, "frozen")
    assert bool(torch.isfinite(_hidden(adaptation, torch.tensor([ids]), torch.ones(1, longest).long())).all())
    assert backbone.within(64) == longest
    assert f"cut to {longest} tokens, not 64" in str(backbone.cut_message(64))
    assert backbone.cut_message(longest) is None
    assert backbone.within(64, added=8) == longest - 8
    with pytest.raises(UsageError, match="31 prompts leave no room"):
        backbone.within(64, added=31)


@pytest.mark.parametrize("loaded", PICTURES, indirect=True)
def test_other_sizes_of_images(loaded: Loaded) -> None:
    """The table of positions is resized as transformers does it: bicubic, without the tokens in front."""
    if loaded.backbone.shape.fixed_tokens:
        with pytest.raises(UsageError, match="biases for images of 8 pixels alone"):
            load_backbone(loaded.folder, image_size=12)
        return
    backbone = load_backbone(loaded.folder, image_size=12)
    pixels = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(3))
    found = _hidden(_attached(backbone, "frozen"), pixels, pixels)
    takes = inspect.signature(loaded.own.forward).parameters
    kwargs = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in takes or "kwargs" in takes else {}
    try:
        with torch.no_grad():
            expected = loaded.own(pixel_values=pixels, **kwargs).last_hidden_state
    except TypeError:  # a family whose model always interpolates
        with torch.no_grad():
            expected = loaded.own(pixel_values=pixels).last_hidden_state
    assert found.shape[1] == backbone.max_tokens == backbone.shape.front_tokens + 9
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("loaded", PICTURES, indirect=True)
def test_prompts_leave_features_to_the_patches(loaded: Loaded) -> None:
    """Prompts of no strength in front of the patches; pooling sees none of them."""
    if loaded.backbone.shape.fixed_tokens:
        with pytest.raises(UsageError, match="there is none for the prompts of vpt"):
            _attached(loaded.backbone, "vpt")
        return
    adaptation, (pixels, mask) = _attached(loaded.backbone, "vpt-shallow", prompts=3), loaded.batch()
    seen: list[torch.Tensor] = []
    adaptation.module.encoder.register_forward_hook(lambda _m, _a, output: seen.append(output.last_hidden_state))
    with torch.no_grad():
        features = adaptation.module.features(pixels, mask)
    front = loaded.backbone.shape.front_tokens
    assert seen[0].shape[1] == front + 3 + 4
    expected = seen[0][:, 0] if loaded.backbone.pooling == "cls" else seen[0][:, -4:].mean(1)
    if FAMILIES[loaded.own.config.model_type].norm:
        expected = loaded.own.post_layernorm(expected).detach()
    torch.testing.assert_close(features, expected)


@pytest.mark.parametrize("loaded", ["clip_vision_model", "clip_text_model"], indirect=True)
def test_features_of_clip_are_its_own(loaded: Loaded) -> None:
    inputs, mask = loaded.batch()
    alone = loaded.inputs()
    if loaded.backbone.kind == "text":  # CLIP takes the highest id for the end of a text, as it is in its vocabulary
        inputs = torch.tensor([[1, 5, 7, 59], [1, 9, 59, 0]])
        mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
        alone = [{"input_ids": inputs[:1]}, {"input_ids": inputs[1:, :3]}]
    with torch.no_grad():
        found = _attached(loaded.backbone, "frozen").module.features(inputs, mask)
        expected = torch.cat([loaded.own(**given).pooler_output for given in alone])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"word_embedding_dimension": 16, "pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode_mean_tokens": True}, "mean"),
    ],
)
def test_a_folder_says_what_a_head_sees(
    config: dict[str, Any], pooling: str, model_folder: Callable[[Any], Path]
) -> None:
    folder = model_folder(TEXTS["bert"].config())
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps(config))
    backbone = load_backbone(folder)
    assert backbone.pooling == pooling
    assert any("1_Pooling/config.json" in message for message in backbone.messages) == (pooling != "mean")
    ids, mask = torch.tensor([[1, 7, 8, 2, 0], [1, 9, 2, 0, 0]]), torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]])
    with torch.no_grad():
        hidden = backbone.module(input_ids=ids, attention_mask=mask).last_hidden_state
        found = _attached(backbone, "frozen").module.features(ids, mask)
    rows = {"cls": [hidden[0, 0], hidden[1, 0]], "last": [hidden[0, 3], hidden[1, 2]],
            "mean": [hidden[0, :4].mean(0), hidden[1, :3].mean(0)]}  # fmt: skip
    torch.testing.assert_close(found, torch.stack(rows[pooling]))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pooling_mode_max_tokens": True}, "made by max_tokens; allowed is one of mean_tokens"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "made by mean_tokens and cls_token"),
        ({}, "made by no pooling"),
    ],
)
def test_a_pooling_that_is_none_here(config: dict[str, Any], message: str, model_folder: Callable[[Any], Path]) -> None:
    folder = model_folder(TEXTS["bert"].config())
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=message):
        load_backbone(folder)


def _single_texts() -> Any:
    """A task of single texts: nothing of it but its kind is looked at."""
    return type("Task", (), {"tagged": False, "augment": False})()


def test_positions_that_are_not_counted_have_no_end(model_folder: Callable[[Any], Path]) -> None:
    backbone = load_backbone(model_folder(TEXTS["deberta-v3"].config()))
    assert backbone.within(10_000) == 10_000
    assert len(backbone.tokenizer.encode(" ".join(["w7"] * 700)).ids) == 702


@pytest.mark.parametrize("family", REFUSED)
def test_others_are_refused_with_the_reason(family: str, model_folder: Callable[[Any], Path]) -> None:
    make, reason = REFUSED[family]
    folder = model_folder(make())
    with pytest.raises(UsageError, match=reason) as caught:
        load_backbone(folder)
    assert "\n" not in str(caught.value)


def test_a_matrix_in_front_of_the_blocks_is_told_of(model_folder: Callable[[Any], Path]) -> None:
    (message,) = load_backbone(model_folder(TEXTS["electra"].config())).messages
    assert "embeddings_project" in message
    assert "not charged" in message


def test_pairs_are_told_apart_as_the_tokenizer_does(model_folder: Callable[[Any], Path]) -> None:
    backbone = replace(load_backbone(model_folder(TEXTS["bert"].config())), paired=True)
    assert backbone.separator == 2
    encoding = backbone.tokenizer.encode("w4 w5", "w6")
    model = get_method("probe").attach(backbone, 2, np.random.default_rng(0)).module
    assert model.token_types(torch.tensor([encoding.ids]))["token_type_ids"].tolist() == [encoding.type_ids]


def test_a_tokenizer_that_puts_nothing_between_two_texts(model_folder: Callable[[Any], Path]) -> None:
    backbone = load_backbone(model_folder(TEXTS["bert"].config()))
    backbone.tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    assert replace(backbone, paired=True).separator is None


def test_sparse_attention_is_kept_to_texts_that_it_reads_whole(model_folder: Callable[[Any], Path]) -> None:
    """BigBird reads up to 5 + 2 x 3 blocks of 64 tokens with full attention; beyond, padding has a say."""
    backbone = load_backbone(model_folder(hf.BigBirdConfig(**SIZES | {"max_position_embeddings": 1024})))
    assert backbone.max_tokens == 704


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"do_rescale": False}, "pixels times 1;"),
        ({"rescale_factor": 1 / 127.5}, "pixels times 0.00784"),
        ({"image_std": [1, 0, 1]}, "deviation"),
        ({"image_mean": [0.5]}, "three colours"),
    ],
)
def test_a_preprocessor_that_does_something_else(
    settings: dict[str, Any], message: str, model_folder: Callable[[Any], Path]
) -> None:
    folder = model_folder(hf.ViTConfig(**IMAGES))
    given = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_normalize": False}
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(given))
    reader: Any = load_backbone(folder).preprocessor
    assert (reader.mean, reader.deviation) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    path.write_text(json.dumps(given | {"do_normalize": True} | settings))
    with pytest.raises(EdgeAdaptError, match=message):
        load_backbone(folder)
