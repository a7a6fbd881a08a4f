"""Classes from arrays: numbers, one-hot rows, whole floats, texts; one or several an example."""

import numpy as np

from cli.program import DataError
from sources import class_numbers
from sources.array_files import Arrays, described
from sources.array_names import Pair
from sources.class_numbers import Classes

_MAX_CLASSES = 1_000_000
_LARGEST_WHOLE = 1 << 53  # beyond it float64 leaves out whole numbers
_CURE = "; numbers? `targets: numbers`"


def classes_of(stored: Arrays, pairs: list[Pair], pair: Pair, class_names) -> Classes:
    """The classes of all splits, and the number of each example's in one of them, int64 [n, ...].

    Raises DataError, with the row, for what is no class.
    """
    arrays = [_squeezed(stored.arrays[each.y]) for each in pairs]
    begins = np.cumsum([0, *map(len, arrays)])
    if len({array.shape[1:] for array in arrays}) > 1 or len({_is_text(a) for a in arrays}) > 1:
        found = ", ".join(f"{each.y} {described(stored.arrays[each.y])}" for each in pairs)
        raise DataError(f"{stored.path}: expected targets of one kind in all splits, got {found}")

    def locate(index: int) -> str:
        number = int(np.searchsorted(begins, index, side="right")) - 1
        return stored.locate(pairs[number].x, index - int(begins[number]))

    labels = Labels(np.concatenate(arrays), f"{stored.path}: {pair.y}", locate)
    classes = labels.classes(class_names, stored.arrays[pair.x].shape)
    begin = begins[pairs.index(pair)]
    numbers = classes.numbers[begin : begin + len(stored.arrays[pair.y])]
    notes = [note.removeprefix(f"{stored.path}: ") for note in classes.notes]
    return Classes(classes.names, numbers, tuple(notes))


def _squeezed(array: np.ndarray) -> np.ndarray:
    return array[:, 0] if array.shape[1:] == (1,) else array


def _is_text(array: np.ndarray) -> bool:
    return array.dtype.kind in "SU"


def _encoded(texts: np.ndarray) -> list[bytes]:
    """Of what is no Unicode too, which NumPy could not make a str of."""
    if texts.dtype.kind == "S":
        return texts.tolist()
    size = texts.dtype.itemsize
    order = ">u4" if texts.dtype.byteorder == ">" else "<u4"
    data = np.frombuffer(texts.tobytes(), order).astype("<u4").tobytes()
    items = [data[size * index : size * (index + 1)] for index in range(len(texts))]
    return [np.trim_zeros(np.frombuffer(item, "<u4"), "b").tobytes() for item in items]


class Labels:
    """The targets of all splits, one after the other: `array` [n] or [n, ...]."""

    def __init__(self, array: np.ndarray, what: str, locate, cure: str = _CURE):
        self.array = array
        self.cure = cure
        self.what = what
        self.locate = locate

    def classes(self, class_names, input_shape: tuple[int, ...]) -> Classes:
        if _is_text(self.array):
            return self._of_texts(class_names)
        if self.is_one_hot():
            return self._of_one_hot(class_names)
        labels, notes = self._whole_numbers()
        if labels.ndim == 1:
            usual = ["0", "1"] if self.array.dtype == bool else None
            classes = class_numbers.of_values(
                labels, class_names or usual, self.what, self.locate, self.cure
            )
        else:
            classes = self._of_positions(labels, class_names, input_shape)
        return classes._replace(notes=(*notes, *classes.notes))

    def is_one_hot(self) -> bool:
        array = self.array
        if array.ndim != 2:
            return False
        return bool(((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all())

    def _of_one_hot(self, class_names) -> Classes:
        size = self.array.shape[1]
        if class_names and len(class_names) != size:
            raise DataError(
                f"{self.what}: expected a name for each of {size} columns, one-hot, "
                f"got {len(class_names)} `class_names`"
            )
        names = tuple(class_names or map(str, range(size)))
        note = f"{self.what}: one-hot rows taken as {size} classes"
        return Classes(names, self.array.argmax(axis=1).astype(np.int64), (note,))

    def _whole_numbers(self) -> tuple[np.ndarray, list[str]]:
        """(int64, notes). Raises DataError for fractions."""
        array = self.array
        if array.dtype.kind != "f":
            if array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:
                raise DataError(f"{self.what}: expected classes of int64, got {array.max()}")
            return array.astype(np.int64), []
        values = array.astype(np.float64)
        with np.errstate(invalid="ignore"):
            broken = ~((values == np.round(values)) & (abs(values) < _LARGEST_WHOLE))
        rows = np.flatnonzero(broken.reshape(len(array), -1).any(axis=1))
        if len(rows):
            first = array[rows[0]].ravel()[broken[rows[0]].ravel().argmax()]
            raise DataError(
                f"{self.what}: expected whole numbers as classes, got {array.dtype}"
                f"{self.cure} ({len(rows)} rows; row {rows[0]}: {first})"
            )
        return array.astype(np.int64), [f"{self.what}: whole {array.dtype} taken as classes"]

    def _of_texts(self, class_names) -> Classes:
        if self.array.ndim > 1:
            raise DataError(f"{self.what}: expected one text for each, got {described(self.array)}")
        texts = [self._text(index, text) for index, text in enumerate(_encoded(self.array))]
        empty = [index for index, text in enumerate(texts) if not text]
        if empty:
            raise DataError(
                f"{self.locate(empty[0])}: targets: expected the name of a class, "
                f"got an empty text ({len(empty)} such examples)"
            )
        return class_numbers.of_values(texts, class_names, self.what, self.locate, self.cure)

    def _text(self, index: int, encoded: bytes) -> str:
        try:
            return encoded.decode("utf-8" if self.array.dtype.kind == "S" else "utf-32-le").strip()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.locate(index)}: targets: expected a text in Unicode, got {error.reason}"
            ) from error

    def _of_positions(self, labels: np.ndarray, class_names, input_shape) -> Classes:
        """A class at each position: from 0 to the highest of any split."""
        of_inputs = labels.shape[1:] == input_shape[1 : labels.ndim]
        if labels.ndim == 2 and not of_inputs and labels.min() >= 0 and labels.max() <= 1:
            wrong = np.flatnonzero(labels.sum(axis=1) != 1)
            raise DataError(
                f"{self.what}: expected a class for each example or one-hot rows, got {len(wrong)} "
                f"rows with several ones or none (row {wrong[0]}); several labels an example"
                f"{self.cure.replace('; numbers', '')}"
            )
        highest = int(labels.max())
        if highest > _MAX_CLASSES:  # an identifier, a time: its classes would fill the memory
            raise DataError(
                f"{self.what}: expected at most {_MAX_CLASSES:,} classes, got {highest}"
            )
        names = class_names or [str(number) for number in range(highest + 1)]
        return Classes(tuple(names), labels)
