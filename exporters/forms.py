"""Layers in the form that a processor computes fastest, in the place of the one that crossbars need.

Which form that is, the layer says itself: any layer of a method may have a `processor_form`.
"""

import contextlib
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class HasProcessorForm(Protocol):
    """A layer with another form for processors. The numbers are the same but for the order of sums."""

    def processor_form(self) -> contextlib.AbstractContextManager[None]:
        """While it lasts, the layer computes in that form; nothing changes where it has none for what it holds."""
        ...


@contextlib.contextmanager
def processor_forms(model: nn.Module) -> Iterator[None]:
    """While it lasts, every layer of a model that has a form for processors computes in it."""
    with contextlib.ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, HasProcessorForm):
                stack.enter_context(module.processor_form())
        yield
