"""Shapes of the linear layers of well-known Transformers: enough to count parameters and cells without any weights."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal, get_args

from ..errors import UsageError, unknown_name

Role = Literal[
    "query", "key", "value", "query_key_value", "positions", "attention_output",
    "ffn_gate", "ffn_up", "ffn_gate_up", "ffn_down",
]  # fmt: skip
"""What a linear layer does in its block. Cross-attention has the same roles as self-attention. A joint projection has
the roles of all its parts in one (`JOINT`). "positions" projects distances between tokens, not tokens (DeBERTa).
"""

JOINT: Mapping[str, tuple[Role, ...]] = {
    "query_key_value": ("query", "key", "value"),
    "ffn_gate_up": ("ffn_gate", "ffn_up"),
}

TARGETS: tuple[Role, ...] = ("query", "key", "value", "attention_output", "ffn_gate", "ffn_up", "ffn_down")
"""What a method may be told to adapt. A joint projection is adapted as a whole where one of its parts is named."""

_STAGES: Mapping[Role, int] = {"attention_output": 1, "ffn_gate": 2, "ffn_up": 2, "ffn_down": 3}
ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True)
class LinearShape:
    """A linear layer: `name` is its module path in transformers' base model, its weight is (out, in)."""

    name: str
    role: Role
    out_features: int
    in_features: int
    bias: bool

    @property
    def roles(self) -> tuple[Role, ...]:
        """What the layer does: several things for a joint projection."""
        return JOINT.get(self.role, (self.role,))


@dataclass(frozen=True)
class BlockShape:
    """A Transformer block, its linear layers, and the number of its norms (LayerNorm or RMSNorm).

    `name` is the path of an entry of a list. `stack`: what embeddings enter and the block is part of; "" for the list
    that the block is an entry of.
    """

    name: str
    linears: tuple[LinearShape, ...]
    norms: int = 2
    stack: str = ""


@dataclass(frozen=True)
class Front:
    """Where a gradient ends.

    `entries`: the first linears that it reaches, whose inputs need none. `beyond`: those in front of them, which it
    does not reach; `below`: blocks that it does not reach however often they run (those of one list run one after
    another, and again). `skipped`: numbers of a token's queries in
    attentions that it does not reach. `spared`: numbers of a token's queries, keys and values, in those that it does
    reach, that come from frozen embeddings through frozen matrices alone; the attention's weights stand for as many.
    """

    entries: tuple[LinearShape, ...]
    beyond: tuple[LinearShape, ...]
    skipped: int
    spared: int
    below: tuple[BlockShape, ...] = ()

    @property
    def skipped_again(self) -> int:
        """Numbers of a token's queries in the blocks that it never reaches."""
        return sum(map(_query_numbers, self.below))


@dataclass(frozen=True)
class NormShape:
    """A norm: `name` is its module path; its gain has `width` numbers, and its bias, where it has one, too."""

    name: str
    width: int
    bias: bool


@dataclass(frozen=True)
class ModelShape:
    """The Transformer blocks of a model, encoder first. Embeddings and heads are not part of it.

    `norms_outside` are the norms of the embeddings and behind the last block; `norm_bias`: norms add a bias
    (LayerNorm), or only scale (RMSNorm). Every norm has the width `hidden_size`. `patch_weights`: numbers in the
    projection of an image's patches; 0 for texts. `max_tokens`: longest input, where it is limited and known. `runs`:
    how often every block runs in one pass: more than once where blocks share their weights (ALBERT). `front_tokens`:
    those of an image in front of its patches, such as [CLS]. `fixed_tokens`: no others can be added, as there is a bias
    for each pair of an image's, or as a text is taken as ids of words alone. `named_norms`: all norms, where their
    paths are known; these hold then. `word_size`: numbers of a word's embedding, where they are not `hidden_size`.
    `chained`: a block takes more than hidden states from the one before (T5's biases for pairs of tokens).
    """

    name: str
    title: str
    source: str
    hidden_size: int
    blocks: tuple[BlockShape, ...]
    norms_outside: int = 1
    norm_bias: bool = True
    patch_weights: int = 0
    max_tokens: int | None = None
    runs: int = 1
    front_tokens: int = 1
    fixed_tokens: bool = False
    named_norms: tuple[NormShape, ...] | None = None
    word_size: int | None = None
    chained: bool = False

    @property
    def resumable(self) -> bool:
        """Whether a pass can go on from the hidden states that entered one of the blocks in an earlier pass."""
        return self.runs == len(self.stacks) == 1 and not self.chained

    @property
    def linears(self) -> tuple[LinearShape, ...]:
        """The linear layers of all blocks."""
        return tuple(linear for block in self.blocks for linear in block.linears)

    @property
    def norms(self) -> int:
        """Norms of all blocks and beside them."""
        return sum(block.norms for block in self.blocks) + self.norms_outside

    @property
    def norm_shapes(self) -> tuple[NormShape, ...]:
        """Every norm; where paths are not known, with names made up."""
        if self.named_norms is not None:
            return self.named_norms
        names = [f"{block.name}.norms.{index}" for block in self.blocks for index in range(block.norms)]
        names += [f"norms.{index}" for index in range(self.norms_outside)]
        return tuple(NormShape(name, self.hidden_size, self.norm_bias) for name in names)

    @property
    def weights(self) -> int:
        """Numbers in the weight matrices of all blocks."""
        return sum(linear.out_features * linear.in_features for linear in self.linears)

    @property
    def attention_numbers(self) -> int:
        """Numbers of a token's queries, over all attentions of a pass."""
        return self.runs * sum(_query_numbers(block) for block in self.blocks)

    def front(self, trained: AbstractSet[str]) -> "Front":
        """Where a gradient ends when these linears are trained or changed, and nothing in front of them is."""
        found: list[LinearShape] = []
        beyond: list[LinearShape] = []
        below: list[BlockShape] = []
        lists = {block.name.rpartition(".")[0] for block in self.blocks if {x.name for x in block.linears} & trained}
        skipped = spared = 0
        # None where blocks run again: their gradient comes from behind, too.
        stacks = self.stacks if self.runs == 1 else ()
        for block, stage in ((block, stage) for blocks in stacks for block, stage in _until(blocks, trained)):
            if stage == 0:
                found += _projections(block).values()
                spared += _spared(block, trained)
                continue
            skipped += _query_numbers(block)
            below += [block] if block.name.rpartition(".")[0] not in lists else []
            found += [linear for linear in block.linears if _stage(linear) == stage]
            beyond += [linear for linear in block.linears if stage is None or _stage(linear) < stage]
        return Front(tuple(dict.fromkeys(found)), tuple(beyond), skipped, spared, tuple(below))

    @property
    def stacks(self) -> tuple[tuple[BlockShape, ...], ...]:
        """The blocks by what embeddings enter, from the lowest up: one stack, or an encoder's and a decoder's."""
        found: dict[str, list[BlockShape]] = {}
        for block in self.blocks:
            found.setdefault(block.stack or block.name.rpartition(".")[0], []).append(block)
        return tuple(map(tuple, found.values()))

    def with_roles(self, roles: Collection[str]) -> tuple[LinearShape, ...]:
        """The linear layers that have one of the roles, joint projections included."""
        return tuple(linear for linear in self.linears if set(linear.roles) & set(roles))

    def block_of(self, linear: str) -> int:
        """The number of the block that a linear layer is in. Raises `UsageError` for another one."""
        for number, block in enumerate(self.blocks):
            if any(inside.name == linear for inside in block.linears):
                return number
        raise UsageError(f"model {self.name!r} has no linear layer {linear!r} in its blocks")


def _stage(linear: LinearShape) -> int:
    """How many linears a token has passed in its block before this one."""
    return _STAGES.get(linear.roles[0], 0)


def _until(blocks: Sequence[BlockShape], trained: Collection[str]) -> Iterator[tuple[BlockShape, int | None]]:
    """The blocks up to the first with something trained, and the stage at which that is; None for the others."""
    for block in blocks:
        stage = min((_stage(linear) for linear in block.linears if linear.name in trained), default=None)
        yield block, stage
        if stage is not None:
            return


def _projections(block: BlockShape) -> dict[Role, LinearShape]:
    """The first query, key and value of a block, by role."""
    found: dict[Role, LinearShape] = {}
    for linear in block.linears:
        for role in linear.roles:
            if role in JOINT["query_key_value"]:
                found.setdefault(role, linear)
    return found


def _spared(block: BlockShape, trained: Collection[str]) -> int:
    """Numbers of the first queries, keys and values of a block whose matrices are not trained. With trained values
    alone the attention's weights need no gradient either.
    """
    first = _projections(block)
    if "query" not in first:
        return 0
    query = first["query"]
    width = query.out_features // (3 if query.role == "query_key_value" else 1)
    frozen = [role for role, linear in first.items() if linear.name not in trained]
    return width * (len(frozen) + (sorted(frozen) == ["key", "query"]))


def _query_numbers(block: BlockShape) -> int:
    """Numbers of a token's queries in one block."""
    joint = sum(linear.out_features // 3 for linear in block.linears if linear.role == "query_key_value")
    return joint + sum(linear.out_features for linear in block.linears if linear.role == "query")


def parse_roles(text: str, option: str) -> tuple[str, ...]:
    """Roles of linear layers from "query,value".

    Raises:
        UsageError: a role that is none, one that is named twice, or none at all.
    """
    given = [word.strip() for word in text.split(",") if word.strip()]
    for place, word in enumerate(given):
        if word not in TARGETS:
            raise UsageError(unknown_name(f"role in {option}", word, TARGETS))
        if word in given[:place]:
            raise UsageError(f"{option} names {word} twice")
    if not given:
        raise UsageError(f"{option} names no role; allowed: {', '.join(TARGETS)}")
    return tuple(given)
