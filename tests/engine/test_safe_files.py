"""Files of others: honest ones are read; hostile and damaged ones are one line, nothing runs."""

import os

import h5py
import keras
import numpy as np
import pytest

from engine.safe_files import read_h5, read_npz

READ = {"a.npz": read_npz, "a.weights.h5": read_h5}
KERNEL = "layers/dense/vars/0"


class Refused(Exception):
    pass


def network() -> keras.Model:
    keras.utils.clear_session()
    return keras.Sequential([keras.Input([3]), keras.layers.Dense(5, name="logits")])


def write(path) -> None:
    if path.suffix == ".npz":
        np.savez(path, kernel=np.arange(15.0).reshape(3, 5))
    else:
        network().save_weights(path)


def with_other_kernel(path, change) -> None:
    """A file of the network with something else in the place of its kernel."""
    write(path)
    with h5py.File(path, "a") as file:
        del file[KERNEL]
        change(file, KERNEL)


def circle(file, place):
    file[place] = file["layers"]


def bomb(file, place):
    file.create_dataset(place, [1 << 40], "f4", chunks=(1 << 20,), compression="gzip")


def virtual(file, place):
    layout = h5py.VirtualLayout((3, 5), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (3, 5))
    file.create_virtual_dataset(place, layout)


def external(file, place):
    file.create_dataset(place, [15], "f4", external=[("secret", 0, 60)])


HOSTILE = {
    "external link": lambda file, place: file.__setitem__(
        place, h5py.ExternalLink("other.h5", "/x")
    ),
    "soft link": lambda file, place: file.__setitem__(place, h5py.SoftLink("/layers/dense/vars/1")),
    "external array": external,
    "virtual array": virtual,
    "objects": lambda file, place: file.create_dataset(place, data="text"),
    "circle": circle,
    "bomb": bomb,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_hdf5_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File("other.h5", "w") as other:  # what the links lead to would fit
        other["x"] = np.zeros([3, 5], np.float32)
    (tmp_path / "secret").write_bytes(bytes(60))
    path = tmp_path / "a.weights.h5"
    with_other_kernel(path, HOSTILE[name])
    with pytest.raises(Refused, match=f"^{path}: /{KERNEL}") as caught:
        read_h5(path, Refused)
    outside = name.endswith(("link", "array"))
    assert ("expected data in this file, got" in str(caught.value)) == outside


def test_the_place_that_hostile_files_use_is_the_one_that_is_read(tmp_path):
    """The control: an honest array there is read, under the name of its layer."""
    path = tmp_path / "a.weights.h5"
    honest = np.full([3, 5], 7.0)
    with_other_kernel(path, lambda file, place: file.create_dataset(place, data=honest))
    arrays = read_h5(path, Refused)
    assert sorted(arrays) == ["logits/0", "logits/1"]
    np.testing.assert_array_equal(arrays["logits/0"], honest)


def test_two_layers_of_one_name_are_refused(tmp_path):
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        for group in ("dense", "dense_1"):
            variables = file.create_group(f"layers/{group}/vars")
            variables.attrs["name"] = "logits"
            variables["0"] = np.zeros(3)
    with pytest.raises(Refused, match="expected one array called logits/0, got two"):
        read_h5(path, Refused)


def test_an_archive_is_read_as_it_was_written(tmp_path):
    write(tmp_path / "a.npz")
    arrays = read_npz(tmp_path / "a.npz", Refused)
    assert list(arrays) == ["kernel"] and arrays["kernel"].tolist() == [
        [5.0 * row + column for column in range(5)] for row in range(3)
    ]


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def pickled(path):
    np.savez(path, kernel=np.array([Hostile()] * 3, object))


def one_array(path):
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))


def cut(path):
    write(path)
    os.truncate(path, path.stat().st_size // 2)


DAMAGE = {
    "text": lambda path: path.write_text("no arrays"),
    "empty": lambda path: path.write_bytes(b""),
    "cut": cut,
}
OF_NPZ = {"pickled": pickled, "one array": one_array}


@pytest.mark.parametrize(
    ("name", "damage"),
    [*((name, damage) for name in READ for damage in DAMAGE), *(("a.npz", key) for key in OF_NPZ)],
)
def test_files_that_are_none_are_named(name, damage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    with pytest.raises(Refused, match=f"^{path}: no such file$"):
        READ[name](path, Refused)
    (DAMAGE | OF_NPZ)[damage](path)
    with pytest.raises(Refused, match=f"^{path}: expected ") as caught:
        READ[name](path, Refused)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_the_pickle_is_live(tmp_path, monkeypatch):
    """The control: whoever unpickles it runs it."""
    monkeypatch.chdir(tmp_path)
    pickled(tmp_path / "a.npz")
    with np.load("a.npz", allow_pickle=True) as archive:
        assert archive["kernel"].shape == (3,)
    assert (tmp_path / "executed").exists()
