"""Examples made ready for a model, and how right its answers to them are."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..methods.training.trainer import PassSize
from ..workloads.batches import IGNORED, Labels, batches, by_length, encode_words
from ..workloads.images import Images
from ..workloads.models import Backbone
from ..workloads.scores import SCORES, entity_f1
from ..workloads.task import Example, Task
from .test_sets import answers_in_order


@dataclass(frozen=True)
class Graded:
    """How right answers are: the score by the task's metric, and 1 for each right one in the order of the examples
    ("0110"), where each example has one answer.
    """

    score: float
    right: str | None


@dataclass(frozen=True)
class Encoded:
    """Token ids of some examples, or images, and their labels: one for each, or one for each token, see `Batch`.

    `words`, for tagged sentences: for each token the number of the word that it is the first of, or `IGNORED`; `tags`:
    those of all words, also of words that were cut off.
    """

    ids: list[list[int]] | Images
    labels: Labels
    words: list[list[int]] = field(default_factory=list)
    tags: list[tuple[int, ...]] = field(default_factory=list)

    @staticmethod
    def of(backbone: Backbone, task: Task, examples: Sequence[Example], max_tokens: int) -> "Encoded":
        """Examples of a task, for a backbone that reads them (`Backbone.reading`)."""
        if not task.tagged:
            return Encoded(backbone.encode(examples, max_tokens, task.augment), [e.label for e in examples])
        ids, words = encode_words(backbone.tokenizer, [e.words for e in examples], backbone.within(max_tokens))
        tags = [e.tags for e in examples]
        labels = [
            [IGNORED if word == IGNORED else own[word] for word in mine] for mine, own in zip(words, tags, strict=True)
        ]
        return Encoded(ids, labels, words, tags)

    def first(self, number: int) -> "Encoded":
        """The first examples alone."""
        return Encoded(self.ids[:number], self.labels[:number], self.words[:number], self.tags[:number])

    def size(self) -> PassSize:
        """Tokens, attention pairs and sequences of one pass over the examples."""
        total = PassSize()
        for batch in batches(self.ids, self.labels, 32):
            total.add(batch)
        return total

    @property
    def answers(self) -> int:
        """How many answers the head gives: one for each example, or for each word that is seen."""
        return sum(word != IGNORED for words in self.words for word in words) if self.words else len(self.ids)

    def longest(self, number: int) -> int:
        """Tokens of so many of the longest examples together: the largest batch there can be."""
        lengths = [int(own) for batch in batches(self.ids, self.labels, 32) for own in batch.attention_mask.sum(1)]
        return sum(sorted(lengths)[-number:])

    @property
    def cut_words(self) -> int:
        """Words that the model does not see."""
        seen = (sum(word != IGNORED for word in words) for words in self.words)
        return sum(len(tags) for tags in self.tags) - sum(seen)

    def grade(self, task: Task, answers: np.ndarray, labels: np.ndarray) -> Graded:
        """How right answers are: classes in the order of evaluation, as `labels` are."""
        right = None if self.words else answers_in_order(self._order, answers == labels)
        return Graded(self.score(task, answers, labels), right)

    def grade_in_order(self, task: Task, answers: np.ndarray) -> Graded:
        """The same of one class for each example, in the order of the examples."""
        return self.grade(task, answers[self._order], np.array(self.labels)[self._order])

    @property
    def _order(self) -> np.ndarray:
        """The order of evaluation."""
        return np.arange(len(self.ids)) if isinstance(self.ids, Images) else by_length(self.ids)

    def score(self, task: Task, answers: np.ndarray, labels: np.ndarray) -> float:
        """How right answers are by the task's metric: classes in the order of evaluation, as `labels` are.

        A word that the model does not see counts as named O.
        """
        if task.metric != "entity-F1":
            return SCORES[task.metric](labels, answers)
        assert not isinstance(self.ids, Images)
        given = iter(answers.tolist())
        right, named = [], []
        for number in by_length(self.ids):
            tags = ["O"] * len(self.tags[number])
            for word in self.words[number]:
                if word != IGNORED:
                    tags[word] = task.labels[next(given)]
            right.append([task.labels[tag] for tag in self.tags[number]])
            named.append(tags)
        return entity_f1(right, named)
