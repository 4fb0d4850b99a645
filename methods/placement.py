"""Where a trained tensor lives, and how far a method's gradient has to travel."""

import enum


class Placement(enum.StrEnum):
    """Where a tensor lives and when its cells are written."""

    NVM_FROZEN = "NVM_FROZEN"
    """Programmed once, never again."""
    NVM_TASK = "NVM_TASK"
    """Trained digitally, then written to its cells once per task."""
    NVM_STEP = "NVM_STEP"
    """Trained in its cells: rewritten at every optimiser step."""
    DIGITAL = "DIGITAL"
    """SRAM or registers: no cell is written."""


class BackwardNeed(enum.StrEnum):
    """How far the gradient has to travel."""

    NONE = "NONE"
    """Forward passes only."""
    SIDE = "SIDE"
    """The gradient stays in side modules."""
    THROUGH = "THROUGH"
    """The gradient passes through the frozen backbone: transposed reads of its arrays."""
    FULL = "FULL"
    """THROUGH, and weight gradients of the backbone itself."""
