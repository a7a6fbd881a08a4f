"""NumPy archives: divided, read, refused."""

import io
import zipfile

import hostile
import numpy as np
import pytest
import small_files as files
from loading import UNDIVIDED, divided, load, read, refused, seed, with_byte

from cli.program import DataError

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
        {"file": "x.npz"},
        "/x.npz: row 0: targets: expected a class from 0 to 1, got -1",
    ),
    (
        "label of millions",
        {"x.npz": files.npz(x_train=X, y_train=Y * 10**12)},
        {"file": "x.npz"},
        "/x.npz: expected at most 1,000,000 classes, got a class 2000000000000",
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
            "expected the arrays x_train and y_train, or x and y, got a, b",
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
            "y: expected whole numbers as classes, got float64; or targets: numbers",
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
    with pytest.raises(DataError, match="expected the arrays x_valid and y_valid, or x and y"):
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
    assert "allow_pickle=False" in message
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
