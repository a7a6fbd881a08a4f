"""NumPy archives: divided, read, refused."""

import io
import zipfile

import hostile
import numpy as np
import pytest
import small_files as files
from loading import UNDIVIDED, divided, load, read, refused, seed, with_byte

from data_loader import NoSplit

X, Y = np.arange(12.0).reshape(6, 2), np.array([0, 1, 0, 1, 2, 1])
REFUSED = [  # (id, files, options, what the message begins with, below the directory)
    ("no file", {}, {"file": "x.npz"}, "/x.npz: no such file"),
    (
        "zero bytes",
        {"x.npz": b""},
        {"file": "x.npz"},
        "/x.npz: expected a NumPy archive of plain arrays",
    ),
    (
        "split is empty",
        {"x.npz": files.npz(x=X, y=Y)},
        {"file": "x.npz", "valid": 0.95, "test": 0},
        "/x.npz: the split 'train' is empty",
    ),
    (
        "label",
        {"x.npz": files.npz(x=X, y=Y)},
        {"file": "x.npz", "class_names": ["p", "q"], **UNDIVIDED},
        "/x.npz: row 4: targets: expected a class from 0 to 1, got 2",
    ),
    (
        "label below 0",
        {"x.npz": files.npz(x_train=X, y_train=Y - 1)},
        {"file": "x.npz", "class_names": ["p", "q"]},
        "/x.npz: row 0: targets: expected a class from 0 to 1, got -1 (2 such examples); "
        "`class_names` has 2 names, the labels 3 values: -1, 0, 1",
    ),
    (
        "label of millions",
        {"x.npz": files.npz(x_train=X, y_train=Y[:, None] * [10**12, 1])},
        {"file": "x.npz"},
        "/x.npz: y_train: expected at most 1,000,000 classes, got 2000000000000",
    ),
    (
        "names of other texts",
        {"x.npz": files.npz(x=X, y=np.array(["p", "q", "r"])[Y])},
        {"file": "x.npz", "class_names": ["p", "q"], **UNDIVIDED},
        "/x.npz: row 4: targets: expected one of `class_names` (p, q), got 'r' (1 such examples)",
    ),
    (
        "names of columns",
        {"x.npz": files.npz(x=X, y=np.eye(3)[Y])},
        {"file": "x.npz", "class_names": ["p", "q"], **UNDIVIDED},
        "/x.npz: y: expected a name for each of 3 columns, one-hot, got 2 `class_names`",
    ),
    (
        "several bad rows",
        {"x.npz": files.npz(x=np.where(X % 4 == 1, np.inf, X), y=Y)},
        {"file": "x.npz", **UNDIVIDED},
        "/x.npz: row 0: inputs: expected finite numbers, got inf; 3 such: row 0, row 2, row 4",
    ),
    (
        "weights below 0",
        {"x.npz": files.npz(x=X, y=Y, w=Y - 1)},
        {"file": "x.npz", "sample_weight": "w", **UNDIVIDED},
        "/x.npz: row 0: w: expected a weight of 0 or more, got -1.0 (2 such examples)",
    ),
    (
        "weights of 0",
        {"x.npz": files.npz(x=X, y=Y, w=Y * 0)},
        {"file": "x.npz", "sample_weight": "w", **UNDIVIDED},
        "/x.npz: w: expected a weight above 0, got only zeros",
    ),
    (
        "too few weights",
        {"x.npz": files.npz(x=X, y=Y, w=Y[:5])},
        {"file": "x.npz", "sample_weight": "w", **UNDIVIDED},
        "/x.npz: w: expected a weight for each of 6 examples, got int64 [5]",
    ),
    (
        "no such array",
        {"x.npz": files.npz(x=X, y=Y)},
        {"file": "x.npz", "x": "z"},
        "/x.npz: x: no array 'z'; it has x float64 [6, 2], y int64 [6]",
    ),
    (
        "bytes and floats",
        {"x.npz": files.npz(x_train=X, y_train=Y, x_test=np.uint8(X), y_test=Y)},
        {"file": "x.npz"},
        "/x.npz: expected inputs of one type in all splits, got x_train float64, x_test uint8",
    ),
    (
        "objects alone",
        {"x.npy": files.npy(np.array([{}]))},
        {"file": "x.npy"},
        "/x.npy: expected a NumPy array (.npy) of a plain type: got Python objects, which could",
    ),
    (
        "a single array",
        {"x.npy": files.npy(X)},
        {"file": "x.npy"},
        "/x.npy: expected the array y, got none; it has x float64 [6, 2]: name it, y: NAME",
    ),
    (
        "two arrays of inputs",
        {"x.npz": files.npz(images=X, inputs=X, y=Y)},
        {"file": "x.npz"},
        "/x.npz: expected one array x, got images, inputs; it has images float64 [6, 2], "
        "inputs float64 [6, 2], y int64 [6]: name it, x: NAME",
    ),
    (
        "archives of other shapes",
        {"a1.npz": files.npz(x=X, y=Y), "a2.npz": files.npz(x=X[:, :1], y=Y)},
        {"file": "a*.npz"},
        "/a2.npz: x: expected rows of shape [2], as in a1.npz, got float64 [6, 1]",
    ),
    (
        "no archive of a pattern",
        {},
        {"file": "a*.npz"},
        "/a*.npz: expected at least one file of this pattern, got none",
    ),
    (
        "600 prices",
        {"x.npz": files.npz(x=np.ones((600, 2)), y=np.arange(600) * 7)},
        {"file": "x.npz"},
        "/x.npz: y: 600 different targets in 600 examples ('0', '7', '14', ...): "
        "expected classes; numbers? `targets: numbers`",
    ),
    (
        "NaN",
        {"x.npz": files.npz(x=np.where(X == 5, np.nan, X), y=Y)},
        {"file": "x.npz", **UNDIVIDED},
        "/x.npz: row 2: inputs: expected finite numbers, got nan",
    ),
    (
        "inf",
        {"x.npz": files.npz(x=X, y=np.where(Y == 2, -np.inf, Y))},
        {"file": "x.npz", "targets": "numbers", **UNDIVIDED},
        "/x.npz: row 4: targets: expected finite numbers, got -inf",
    ),
    (
        "too large for float32",
        {"x.npz": files.npz(x=X * 1e300, y=Y)},
        {"file": "x.npz", **UNDIVIDED},
        "/x.npz: row 0: inputs: expected finite numbers, got inf",
    ),
]
REFUSED += [
    (name, {"x.npz": content}, {"file": "x.npz"} | UNDIVIDED, f"/x.npz: {message}")
    for name, content, message in [
        (
            "names",
            files.npz(a=X, b=Y),
            "expected the arrays x_train and y_train, or x and y, "
            "got a float64 [6, 2], b int64 [6]; name them, x: NAME, y: NAME",
        ),
        ("no targets", files.npz(x_train=X), "expected the array y_train, got none"),
        ("lengths", files.npz(x=X, y=Y[:5]), "expected x and y of one length, got 6 and 5"),
        (
            "text",
            files.npz(x=np.array(["a", "b"]), y=Y[:2]),
            "x: expected an array of numbers, got <U1 of shape (2,)",
        ),
        (
            "scalar",
            files.npz(x=np.float32(1), y=Y),
            "x: expected an array of numbers, got float32 of shape ()",
        ),
        (
            "fractions as classes",
            files.npz(x=X, y=Y + 0.5),
            "y: expected whole numbers as classes, got float64; numbers? `targets: numbers` "
            "(6 rows; row 0: 0.5)",
        ),
        (
            "several labels an example",
            files.npz(x=X, y=np.eye(4)[Y] + np.eye(4)[3]),
            "y: expected a class for each example or one-hot rows, got 6 rows with several ones or "
            "none (row 0); several labels an example? `targets: numbers`",
        ),
        (
            "Python objects",
            files.npz(x=X, y=np.array([None] * 6)),
            "expected a NumPy archive of plain arrays: got Python objects",
        ),
        (
            "times",
            files.npz(x=X, y=np.array(["2026-01-01"] * 6, "datetime64[D]")),
            "y: expected an array of numbers, got datetime64[D] of shape (6,)",
        ),
        (
            "no Unicode",
            files.npz(x=X, y=np.full([6, 2], 0x110000, "<u4").view("<U2")[:, 0]),
            "row 0: targets: expected a text in Unicode, got code point not in range(0x110000)",
        ),
        (
            "an empty text",
            files.npz(x=X, y=np.array(["p", "", "q"])[Y]),
            "row 1: targets: expected the name of a class, got an empty text (3 such examples)",
        ),
        (
            "nothing in it",
            files.npz(),
            "expected the arrays x_train and y_train, or x and y, got none",
        ),
        ("no examples", files.npz(x_train=X[:0], y_train=Y[:0]), "expected at least one example"),
        ("cut", files.npz(x=X, y=Y)[:-30], "expected a NumPy archive of plain arrays: "),
        (
            "flipped",
            with_byte(files.npz(x=X, y=Y), 200, 0xAA),
            "expected a NumPy archive of plain arrays: Bad CRC-32 for file 'x.npy'",
        ),
    ]
]


def example(folder) -> dict:
    inputs, targets = np.arange(80.0).reshape(40, 2), np.arange(40) % 2
    (folder / "x.npz").write_bytes(files.npz(x=inputs, y=targets))
    return {"file": "x.npz"}


def seeds() -> dict:
    x = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    y = np.arange(9) % 3
    options = {"file": "x.npz", **UNDIVIDED}

    def with_inputs(broken):
        return zipped({"x.npy": broken, "y.npy": files.npy(y)})

    def with_labels(broken):
        return zipped({"x.npy": files.npy(x), "y.npy": broken})

    return {
        "npz": seed("npz", "x.npz", files.npz(x=x, y=y), **options),
        "npy in npz": seed("npz", "x.npz", files.npy(x), wrapped=with_inputs, **options),
        "npy": seed(
            "npz",
            "x.npy",
            files.npy(x),
            beside={"y.npy": files.npy(y)},
            **options | {"file": "x.npy", "y": "y.npy"},
        ),
        "texts in npz": seed(
            "npz",
            "x.npz",
            files.npy(np.array(["p", "q", "r"])[y]),
            wrapped=with_labels,
            **options,
        ),
        "labels in npz": seed("npz", "x.npz", files.npy(y), wrapped=with_labels, **options),
    }


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def test_npz_in_one_piece_is_divided_class_by_class(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(200).reshape(100, 2), y=np.repeat([0, 1], [80, 20]))
    found = divided("npz", tmp_path, file="a.npz", valid=0.1, test=0.1)
    for split, counts in (("train", [64, 16]), ("valid", [8, 2]), ("test", [8, 2])):
        source = load(split, "npz", tmp_path, file="a.npz", valid=0.1, test=0.1)
        batch, rows = read(source), [int(place.rsplit(" ", 1)[1]) for place in found[split]]
        assert np.bincount(batch["targets"]).tolist() == counts
        assert (
            batch["inputs"].tolist() == [[2 * row, 2 * row + 1] for row in rows]
            and batch["inputs"].dtype == np.float32
        )
        assert batch["targets"].tolist() == [int(row >= 80) for row in rows]
    assert source.class_names == ("0", "1") and found["train"][0].startswith(
        f"{tmp_path}/a.npz: row "
    )


def test_npz_that_is_divided_and_holds_numbers(tmp_path):
    arrays = {
        "x_train": np.uint8([[7], [8]]),
        "y_train": [[0.5], [2]],
        "x_test": np.uint8([[9]]),
        "y_test": [[3.0]],
    }
    np.savez(tmp_path / "a.npz", **arrays)
    train = load("train", "npz", tmp_path, file="a.npz", targets="numbers")
    found = read(train)
    assert (
        found["inputs"].tolist() == [[7], [8]] and found["inputs"].dtype == np.uint8
    )  # bytes stay bytes
    assert (
        found["targets"].tolist() == [[0.5], [2]]
        and train.class_names == ()
        and train.locate(1) == f"{tmp_path}/a.npz: row 1"
    )
    assert read(load("test", "npz", tmp_path, file="a.npz", targets="numbers"))[
        "targets"
    ].tolist() == [[3]]
    with pytest.raises(NoSplit, match="the split 'valid' is empty"):  # a tenth of two examples
        load("valid", "npz", tmp_path, file="a.npz", targets="numbers")
    np.savez(tmp_path / "b.npz", x=np.zeros((4, 3)), y=[[0], [1], [2], [1]])  # a column of classes
    named = load(
        "train", "npz", tmp_path, file="b.npz", valid=0, test=0, class_names=["x", "y", "z"]
    )
    assert named.class_names == ("x", "y", "z") and named.labels.tolist() == [0, 1, 2, 1]


def test_a_pickle_in_an_npz_is_not_executed(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    np.savez(tmp_path / "x.npz", x=np.array([Hostile()] * 3, object), y=np.array([0, 1, 0]))
    message = refused(
        lambda: load("train", "npz", tmp_path, file="x.npz", **UNDIVIDED),
        f"{tmp_path}/x.npz: expected a NumPy archive of plain arrays",
    )
    assert "got Python objects, which could run code" in message
    assert not (tmp_path / "executed").exists()
    np.load(tmp_path / "x.npz", allow_pickle=True)["x"]  # the fixture is live
    assert (tmp_path / "executed").exists()


# ---- hostile archives


def read_archive(path, **options):
    return read(load("train", "npz", path.parent, file=path.name, **UNDIVIDED, **options))


@pytest.mark.parametrize("name", hostile.ARCHIVES_REFUSED)
def test_an_archive_that_would_fill_the_memory_is_refused_before_it_is_unpacked(tmp_path, name):
    hostile.check_an_archive_is_refused(tmp_path, name, read_archive)


def test_an_array_that_claims_more_than_there_is_takes_no_memory(tmp_path):
    hostile.check_a_claim_takes_no_memory(tmp_path, read_archive)


def test_honest_compression_is_read(tmp_path):
    """NumPy's own compression of zeros, the best there is, stays within the bound."""
    zeros = files.npy(np.zeros((1 << 20, 2), np.uint8))
    data = hostile.zipped(zipfile.ZIP_DEFLATED, x_npy=zeros, y_npy=zeros)
    (tmp_path / "a.npz").write_bytes(data)
    features = read_archive(tmp_path / "a.npz", targets="numbers")
    assert features["inputs"].shape == (1 << 20, 2)


@pytest.mark.parametrize("name", ["..__..__escaped", "__escaped"])
def test_names_in_an_archive_are_no_paths(tmp_path, name):
    def read_inputs(path):
        assert read_archive(path)["inputs"].shape == (6, 2)

    hostile.check_names_are_no_paths(tmp_path, name, read_inputs)


@pytest.mark.parametrize("form", hostile.PICKLES)
def test_a_pickle_is_not_executed(tmp_path, form):
    hostile.check_a_pickle_is_not_executed(tmp_path, form, read_archive)


PIXELS = np.arange(60 * 9 * 8, dtype=np.int64).astype(np.uint8).reshape(60, 9, 8)
CLASSES = np.arange(60) % 3
ROWS = PIXELS[:, 0]  # [60, 8]
LABELS = [  # (labels of 60 examples, names of their classes, number of each, a note)
    (CLASSES, "0 1 2", CLASSES, None),
    (CLASSES + 1, "1 2 3", CLASSES, "y: 3 classes, the values that occur: 1, 2, 3"),
    (CLASSES * 10, "0 10 20", CLASSES, "y: 3 classes, the values that occur: 0, 10, 20"),
    (np.where(CLASSES, 3, -7), "-7 3", np.minimum(CLASSES, 1), "y: 2 classes, the values that"),
    (np.eye(3, dtype=np.int64)[CLASSES], "0 1 2", CLASSES, "y: one-hot rows taken as 3 classes"),
    (np.eye(4)[CLASSES], "0 1 2 3", CLASSES, "y: one-hot rows taken as 4 classes"),
    (np.eye(3, dtype=bool)[CLASSES], "0 1 2", CLASSES, "y: one-hot rows taken as 3 classes"),
    (np.float32(CLASSES), "0 1 2", CLASSES, "y: whole float32 taken as classes"),
    (CLASSES[:, None], "0 1 2", CLASSES, None),
    (CLASSES > 0, "0 1", np.minimum(CLASSES, 1), None),
    (np.array(["dog", "cat", "fox"])[CLASSES], "cat dog fox", np.array([1, 0, 2])[CLASSES], None),
    (np.array(["ö", "az", "b"], ">U4")[CLASSES], "az b ö", np.array([2, 0, 1])[CLASSES], None),
    (
        np.array(["a ", "A", "b"])[CLASSES],
        "A a b",
        np.array([1, 0, 2])[CLASSES],
        "y: classes that differ by case: A, a",
    ),
    (np.array(["ö".encode(), b"a", b"b"])[CLASSES], "a b ö", np.array([2, 0, 1])[CLASSES], None),
]


@pytest.mark.parametrize(("labels", "names", "numbers", "note"), LABELS)
def test_labels_as_people_store_them(tmp_path, labels, names, numbers, note):
    np.savez(tmp_path / "a.npz", x=ROWS, y=labels)
    source = load("train", "npz", tmp_path, file="a.npz", **UNDIVIDED)
    assert source.class_names == tuple(names.split())
    assert read(source)["targets"].tolist() == source.labels.tolist() == numbers.tolist()
    assert source.notes == () if note is None else source.notes[0].startswith(note)


@pytest.mark.parametrize(
    ("labels", "given", "numbers", "note"),
    [
        ([0, 2, 1, 0], "p q r", [0, 2, 1, 0], None),
        ([1, 3, 2, 1], "p q r", [0, 2, 1, 0], "y: the values 1, 2, 3 are p, q, r"),
        ([0, 2, 2, 0], "p q r", [0, 2, 2, 0], "classes without an example: q"),
        (["b", "a", "a", "b"], "b a", [0, 1, 1, 0], None),
    ],
)
def test_names_of_classes(tmp_path, labels, given, numbers, note):
    np.savez(tmp_path / "a.npz", x=ROWS[:4], y=labels)
    options = {"file": "a.npz", "class_names": given.split(), **UNDIVIDED}
    source = load("train", "npz", tmp_path, **options)
    assert (source.class_names, source.labels.tolist()) == (tuple(given.split()), numbers)
    assert source.notes == (() if note is None else (note,))


FOUND = [  # (arrays, options, the array of inputs and that of targets, notes)
    ("arr_0 arr_1", {}, "arr_0 arr_1", "arrays without names: arr_0 taken as inputs, arr_1 as"),
    ("images labels", {}, "images labels", None),
    ("X Y", {}, "X Y", None),
    ("data target", {}, "data target", None),
    ("a y", {}, "a y", None),
    ("a b", {"x": "a", "y": "b"}, "a b", None),
    ("x y x_clean", {}, "x y", "arrays left out: x_clean"),
    ("x_test y_test y", {"x": "x_test"}, "x_test y_test", "arrays left out: y"),
]


@pytest.mark.parametrize(("names", "options", "pair", "note"), FOUND)
def test_arrays_by_name(tmp_path, names, options, pair, note):
    arrays = {name: CLASSES if number else ROWS for number, name in enumerate(names.split())}
    np.savez(tmp_path / "a.npz", **arrays)
    source = load("train", "npz", tmp_path, file="a.npz", **options, **UNDIVIDED)
    assert [*source.columns["inputs"], *source.columns["targets"]] == pair.split()
    assert source.notes == () if note is None else source.notes[0].startswith(note)
    assert read(source)["targets"].tolist() == CLASSES.tolist()


@pytest.mark.parametrize(
    ("layout", "stored"),
    [
        ("{0}_{1}", ["train", "test"]),
        ("{1}_{0}", ["Train", "TEST"]),
        ("{1}{0}", ["training", "testing"]),
    ],
)
@pytest.mark.parametrize("pair", [("x", "y"), ("images", "labels"), ("X", "y")])
def test_train_and_test_only(tmp_path, layout, stored, pair):
    """As Keras' own mnist.npz: a tenth of `train` is held out as `valid`, and that is said."""
    train, test = stored
    x, y = pair
    arrays = {layout.format(x, train): ROWS, layout.format(y, train): CLASSES}
    arrays |= {layout.format(x, test): ROWS[:9], layout.format(y, test): CLASSES[:9] + 1}
    np.savez(tmp_path / "a.npz", **arrays)
    found = divided("npz", tmp_path, splits=["train", "valid"], file="a.npz")
    assert [len(found["train"]), len(found["valid"])] == [54, 6]
    source = load("valid", "npz", tmp_path, file="a.npz")
    assert source.notes[0] == "no split 'valid': 10% of 'train' held out for it, by hash"
    assert np.bincount(source.labels).tolist() == [2, 2, 2]
    whole_test = load("test", "npz", tmp_path, file="a.npz")
    assert whole_test.class_names == ("0", "1", "2", "3")
    assert whole_test.labels.tolist() == (CLASSES[:9] + 1).tolist()


SHAPES = [  # (inputs, options, shape and type of one, what the note says)
    (PIXELS, {}, [9, 8, 1], np.uint8, "x: images [9, 8] with an axis of one channel added"),
    (PIXELS, {"images": False}, [9, 8], np.uint8, None),
    (PIXELS[:, :, :7], {}, [9, 7], np.uint8, None),
    (PIXELS / 255, {"images": True}, [9, 8, 1], np.float32, "x: images [9, 8] with an axis"),
    (PIXELS[:, :8] / 255, {}, [8, 8], np.float32, "x: float64 [60, 8, 8] taken as it is; images?"),
    (np.stack([PIXELS] * 3, 1), {}, [9, 8, 3], np.uint8, "x: channels put last, [3, 9, 8] -> "),
    (np.stack([PIXELS] * 3, 3), {}, [9, 8, 3], np.uint8, None),
    (np.float16(ROWS), {}, [8], np.float32, None),
    (ROWS > 9, {}, [8], np.float32, None),
    (
        ROWS + np.int64(2**24),
        {},
        [8],
        np.float32,
        "x: 240 whole numbers rounded, because float32 does",
    ),
]


@pytest.mark.parametrize(("inputs", "options", "shape", "dtype", "note"), SHAPES)
def test_inputs_as_people_store_them(tmp_path, inputs, options, shape, dtype, note):
    np.savez(tmp_path / "a.npz", x=inputs, y=CLASSES)
    source = load("train", "npz", tmp_path, file="a.npz", **options, **UNDIVIDED)
    found = read(source)["inputs"]
    assert (list(found.shape[1:]), found.dtype) == (shape, dtype)
    assert source.notes == () if note is None else source.notes[0].startswith(note)
    if inputs.ndim == 4:
        assert (found == PIXELS[..., None]).all()


def test_files_of_one_array_directories_and_patterns(tmp_path):
    np.save(tmp_path / "x.npy", ROWS)
    np.save(tmp_path / "y.npy", CLASSES)
    source = load("train", "npz", tmp_path, file="x.npy", y="y.npy", **UNDIVIDED)
    of_directory = load("train", "npz", tmp_path, file=".", **UNDIVIDED)
    for name, rows in (("part-0.npz", slice(0, 40)), ("part-1.npz", slice(40, 60))):
        np.savez(tmp_path / name, x=ROWS[rows], y=CLASSES[rows])
    of_archives = load("train", "npz", tmp_path, file="part-*.npz", **UNDIVIDED)
    assert source.fingerprint == of_directory.fingerprint == of_archives.fingerprint
    assert source.labels.tolist() == CLASSES.tolist()
    assert of_archives.locate(39) == f"{tmp_path}/part-0.npz: row 39"
    assert of_archives.locate(40) == f"{tmp_path}/part-1.npz: row 0"
    assert source.locate(3) == f"{tmp_path}/x.npy: row 3"


def test_weights_of_examples(tmp_path):
    np.savez(tmp_path / "a.npz", x=ROWS, y=CLASSES, w=CLASSES[:, None] / 2)
    source = load("train", "npz", tmp_path, file="a.npz", sample_weight="w", **UNDIVIDED)
    assert read(source)["sample_weight"].tolist() == (CLASSES / 2).tolist()
