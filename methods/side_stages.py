"""The stages of a hierarchical side network (`library.hst`): sizes and work, from shapes alone. No torch."""

from dataclasses import dataclass

WIDER = 4
"""How many times as wide a feed-forward layer is inside."""


@dataclass(frozen=True)
class StageWork:
    """Of a stage, for one image: products forward and backward, numbers that attention moves, and numbers that are kept
    for the backward pass.
    """

    forward: int
    backward: int
    moved: int
    kept: int


@dataclass(frozen=True)
class SideStage:
    """One stage: its number, the blocks beside it, numbers of a token, of one in the stage before (or of the model),
    and places to a side of its grid.
    """

    number: int
    blocks: range
    width: int
    entered: int
    side: int

    @property
    def places(self) -> int:
        return self.side**2

    @property
    def name(self) -> str:
        return f"side.stage{self.number}"

    @property
    def embed(self) -> int:
        """Numbers of the matrix that makes the stream: a linear, or a convolution."""
        return self.width * self.entered * (9 if self.number else 1)

    def work(self, hidden: int, meta: int) -> StageWork:
        """`hidden`: numbers of a token in the model; `meta`: meta tokens that a block of the stage has, 0 or 1."""
        blocks, width, places, known = len(self.blocks), self.width, self.places, meta + 1
        frozen = blocks * (places + meta) * width * hidden  # through the bridge: what enters needs no gradient
        inner = blocks * (places * (2 + 2 * WIDER) + 2 * known) * width**2
        attended = blocks * 2 * places * known * width
        embedded = places * self.embed
        passed = 2 if self.number else 1
        return StageWork(
            forward=frozen + inner + attended + embedded,
            backward=frozen + 2 * (inner + attended) + passed * embedded,
            moved=blocks * 2 * (places + known) * width,
            kept=places * (width + (0 if self.number else hidden))
            + blocks * (places * hidden + width * (places * (4 + WIDER) + 2 * known + meta)),
        )
