"""Long texts cut before they are tokenised, to the same tokens: a tokenizer needs hundreds of bytes for each letter."""

from collections.abc import Sequence
from typing import Any

_LETTERS_PER_TOKEN, _LEAST = 16, 4096
_SPARE_WORDS = 8


def start_of(tokenizer: Any, text: str, most_tokens: int) -> str:
    """The beginning of a text, long enough for its first `most_tokens` tokens to be those of the whole text.

    It ends at a blank, and so many words lie between the last of these tokens and its end that no rule of a tokenizer
    looks across: pieces are made inside of words, words inside of what blanks divide. Where there are no words, or none
    so far on, it is twice as long, and so on up to all of the text. The tokenizer must not cut.
    """
    length = max(_LEAST, _LETTERS_PER_TOKEN * most_tokens)
    while length < len(text):
        start = text[: text.rfind(" ", 0, length) + 1].rstrip()
        words = tokenizer.encode(start, add_special_tokens=False).word_ids if start else []
        if len(words) > most_tokens and _words_between(words[most_tokens], words[-1]) >= _SPARE_WORDS:
            return start
        length *= 2
    return text


def _words_between(one: int | None, other: int | None) -> int:
    return 0 if one is None or other is None else other - one


def starts(tokenizer: Any, texts: Sequence[str], most_tokens: int) -> list[str]:
    """`start_of` each of the texts; the tokenizer is left as it was."""
    if max(map(len, texts), default=0) <= max(_LEAST, _LETTERS_PER_TOKEN * most_tokens):
        return list(texts)
    cutting = tokenizer.truncation
    tokenizer.no_truncation()
    try:
        return [start_of(tokenizer, text, most_tokens) for text in texts]
    finally:
        if cutting is not None:
            tokenizer.enable_truncation(**cutting)
