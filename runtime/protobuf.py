"""Protocol buffers, as far as a graph is looked at: a message is a sequence of fields, each of a number and a kind."""

from collections.abc import Iterator

Bytes = memoryview
Part = Bytes | int | None
"""Content of a field: bytes, a whole number, or None for the others, which nothing here asks for."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class Reader:
    """Reads messages, so many fields and numbers in all: a file of eight megabytes may have four million, and Python
    takes microseconds for each.
    """

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def fields(self, content: Bytes) -> Iterator[tuple[int, Part]]:
        """Numbers and contents of the fields of a message. Raises `ValueError` for what is none, and for too many."""
        place, end = 0, len(content)
        while place < end:
            self._spend()
            key, place = _varint(content, place)
            number, kind = key >> 3, key & 7
            if kind == _LENGTH:
                length, place = _varint(content, place)
                if length > end - place:
                    raise ValueError("it is cut off, or no ONNX model")
                yield number, content[place : place + length]
                place += length
            elif kind == _VARINT:
                value, place = _varint(content, place)
                yield number, value
            elif kind in (_FIXED32, _FIXED64):
                place += 4 if kind == _FIXED32 else 8
                yield number, None
            else:
                raise ValueError("it is no ONNX model")
        if place > end:
            raise ValueError("it is cut off, or no ONNX model")

    def messages(self, content: Bytes, *numbers: int) -> Iterator[tuple[int, Bytes]]:
        """The fields with one of these numbers, those that are messages or texts."""
        for number, part in self.fields(content):
            if number in numbers and isinstance(part, memoryview):
                yield number, part

    def whole_numbers(self, part: Part) -> list[int]:
        """The signed 64-bit numbers of a repeated field: one, or many in one piece."""
        if isinstance(part, int):
            return [_signed(part)]
        found, place = [], 0
        while part is not None and place < len(part):
            self._spend()
            value, place = _varint(part, place)
            found.append(_signed(value))
        return found

    def _spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"it has more than {self._most:,} fields, which no graph of a bundle has")


def text(part: Bytes) -> str:
    """The first 200 bytes of a text."""
    return bytes(part[:200]).decode("utf-8", "replace")


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _varint(content: Bytes, place: int) -> tuple[int, int]:
    """A whole number written in groups of seven bits, and the place behind it."""
    value = 0
    for shift in range(0, 64, 7):
        if place >= len(content):
            break
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("it is cut off, or no ONNX model")
