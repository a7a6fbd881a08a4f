"""Nothing that the project reads can run code, leave its directory or fill the memory: by its
source, and by hostile files.

Tags and alias bombs in YAML: cli/test_typed_yaml.py. A pickle in a data set, image bombs, paths in
a manifest, IDX that claims too much: sources/. Links and bombs in HDF5: test_transfer.py,
models/test_pretrained.py.
"""

import ast
import gzip
import io
import json
import pickle
import resource
import subprocess
import tracemalloc
import zipfile

import h5py
import keras
import numpy as np
import pytest
import small_files as files
from keras import layers
from places import ROOT

import data_loader
from cli.program import CheckpointError, DataError, Failure
from cli.typed_yaml import read_file
from engine.weights import load_weights
from sources.idx import read_idx
from train_config import InitFrom

# ---- the source

MODULES = {
    "pickle",
    "marshal",
    "shelve",
    "dill",
    "joblib",
    "cloudpickle",
    "code",
    "codeop",
    "runpy",
    "builtins",
    "torch",
}
NAMES = {
    "eval",
    "exec",
    "compile",
    "__import__",
}  # Python's own; re.compile and model.compile are attributes
ATTRIBUTES = {  # of anything
    "extractall",
    "unpack_archive",
    "mktemp",
    "popen",
    "unsafe_load",
    "full_load",
    "load_all",
    "unsafe_load_all",
    "full_load_all",
    "load_model",
    "Lambda",
    "enable_unsafe_deserialization",
    "model_from_json",
    "deserialize_keras_object",
    "UnsafeLoader",
    "FullLoader",
}
DOTTED = {
    "os.system",
    "os.execv",
    "numpy.load",
    "yaml.load",
    "yaml.Loader",
    "keras.saving",
    "tf.saved_model",
    "tf.keras",
}
ARCHIVES = {"tarfile", "zipfile"}  # whose `extract` may write anywhere


def dangers(source: str) -> list[str]:
    """What in a Python file could execute data, or write where data says; each with its line."""
    found, tree = [], ast.parse(source)
    imported = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    imported |= {
        node.module.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
    }
    for node in ast.walk(tree):
        words = []
        if isinstance(node, ast.Import):
            words = [
                alias.name
                for alias in node.names
                if alias.name.split(".")[0] in MODULES or alias.name in DOTTED
            ]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            words = [
                name
                for name in names
                if (node.module or "").split(".")[0] in MODULES or is_danger(name)
            ]
            words += [node.module] * (node.module in DOTTED)
        elif isinstance(node, ast.Name):
            words = [node.id] * (node.id in NAMES)
        elif isinstance(node, ast.Attribute):
            words = [ast.unparse(node)] * (
                is_danger(ast.unparse(node))
                or (node.attr == "extract" and bool(ARCHIVES & imported))
            )
        elif isinstance(node, ast.Call):
            said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            function = ast.unparse(node.func)
            if function == "np.load" and said.get("allow_pickle") != "False":
                words = [f"{function} without allow_pickle=False"]
            if (
                said.get("allow_pickle", "False") != "False"
                or said.get("shell", "False") != "False"
                or said.get("safe_mode", "True") != "True"
            ):
                words = [
                    f"{function}({', '.join(f'{key}={value}' for key, value in said.items())})"
                ]
        found += [f"{node.lineno}: {word}" for word in words]
    return found


def is_danger(dotted: str) -> bool:
    return dotted.rpartition(".")[2] in ATTRIBUTES or any(
        dotted == word or dotted.endswith(f".{word}") for word in DOTTED
    )


def product_files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [name for name in listed if not name.startswith("tests/")]


def test_no_product_file_can_execute_what_it_reads():
    names = product_files()
    assert {"trainer.py", "engine/weights.py", "data_loader.py"} <= set(names)
    assert {name: found for name in names if (found := dangers((ROOT / name).read_text()))} == {}


@pytest.mark.parametrize(
    "snippet",
    [
        *(f"import {module}" for module in sorted(MODULES)),
        "import pickle as p",
        "from pickle import loads",
        "import joblib.numpy_pickle",
        "def late():\n    import dill",
        "eval(text)",
        "exec(text)",
        "compile(text, '', 'eval')",
        "__import__(name)",
        "run = eval",
        "tarfile.open(f).extractall(d)",
        "archive.extractall()",
        "import zipfile\narchive.extract(member, d)",
        "shutil.unpack_archive(f)",
        "yaml.load(text, Loader=yaml.SafeLoader)",
        "yaml.unsafe_load(text)",
        "yaml.full_load(text)",
        "from yaml import load",
        "yaml.load_all(text)",
        "class L(yaml.UnsafeLoader): pass",
        "yaml.compose(text, Loader=yaml.Loader)",
        "np.load(file)",
        "np.load(file, allow_pickle=True)",
        "np.load(file, allow_pickle=wish)",
        "from numpy import load",
        "np.lib.format.read_array(f, allow_pickle=True)",
        "keras.models.load_model(f)",
        "from keras.models import load_model",
        "layers.Lambda(f)",
        "from keras.layers import Lambda",
        "keras.config.enable_unsafe_deserialization()",
        "keras.saving.load_model(f)",
        "from keras import saving",
        "import keras.saving",
        "read(f, safe_mode=False)",
        "keras.models.model_from_json(text)",
        "tf.saved_model.load(d)",
        "tf.keras.models.clone_model(m)",
        "subprocess.run(text, shell=True)",
        "subprocess.Popen(text, shell=wish)",
        "os.system(text)",
        "os.popen(text)",
        "from os import system",
        "tempfile.mktemp()",
        "from tempfile import mktemp",
    ],
)
def test_each_danger_is_noticed(snippet):
    assert dangers(snippet)


@pytest.mark.parametrize(
    "snippet",
    [
        "re.compile(text)",
        "model.compile()",
        "yaml.compose(text, Loader=_Loader)",
        "class L(yaml.SafeLoader): pass",
        "json.loads(text)",
        "np.load(file, allow_pickle=False)",
        "subprocess.run(words)",
        "text.extract(1)",
        "model.load_weights(f)",
        "self.evaluate(x)",
    ],
)
def test_what_is_harmless_is_not(snippet):
    assert dangers(snippet) == []


# ---- hostile files

X, Y = np.arange(12.0).reshape(6, 2), np.array([0, 1, 0, 1, 2, 1])
SIZE = 64 << 20  # of what the bombs unpack to: enough to be seen, little enough for the control


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def zipped(method=zipfile.ZIP_STORED, **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_npy", ".npy"), content)
    return file.getvalue()


def bomb(method) -> bytes:
    return zipped(method, x_npy=npy(np.zeros(SIZE, np.uint8)), y_npy=npy(Y))


def claims(data: bytes, size: int) -> bytes:
    """The same archive; the directory at its end says another size of the first member when it is
    unpacked.
    """
    entry = data.index(b"PK\1\2") + 24
    return data[:entry] + size.to_bytes(4, "little") + data[entry + 4 :]


def small() -> keras.Model:
    inputs = keras.Input([2])
    return keras.Model(inputs, layers.Dense(3, name="x", use_bias=False)(inputs), name="small")


def by_data_set(path, **options):
    source = data_loader.load(
        files.dataset("npz", file=path.name, valid=0, test=0, **options), "train", str(path.parent)
    )
    return source.read(np.arange(len(source)))


def by_weights(path):
    model = small()
    load_weights(model, InitFrom(ckpt=str(path)))
    return model


def refused(read, path) -> str:
    """The one line of the expected failure.

    Little memory is taken, and nothing beside the file is written.
    """
    before = sorted(path.parent.parent.rglob("*"))
    tracemalloc.start()
    try:
        with pytest.raises(Failure) as caught:
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert isinstance(caught.value, CheckpointError if read is by_weights else DataError)
    assert message.startswith(f"{path}") and len(message.splitlines()) == 1, message
    assert peak < 16 << 20
    assert sorted(path.parent.parent.rglob("*")) == before
    return message


class Hostile:
    """What a pickle of it does when it is read: it opens a file for writing."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


SOUND = zipped(x_npy=npy(X), y_npy=npy(Y))
ARCHIVES_REFUSED = {
    "bzip2 bomb": (
        bomb(zipfile.ZIP_BZIP2),
        "expected at most 2,000 times its size when unpacked, got 67,1",
    ),
    "lzma bomb": (
        bomb(zipfile.ZIP_LZMA),
        "expected at most 2,000 times its size when unpacked, got 67,1",
    ),
    "directory": (
        claims(SOUND, (1 << 32) - 2),
        "expected at most 2,000 times its size when unpacked, got 4,29",
    ),
    "no arrays": (zipped(x=b"text", y_npy=npy(Y)), "x: expected an array"),
}


@pytest.mark.parametrize("read", [by_data_set, by_weights])
@pytest.mark.parametrize("name", ARCHIVES_REFUSED)
def test_an_archive_that_would_fill_the_memory_is_refused_before_it_is_unpacked(
    tmp_path, read, name
):
    content, message = ARCHIVES_REFUSED[name]
    path = tmp_path / "data" / "a.npz"
    path.parent.mkdir()
    path.write_bytes(content)
    assert message in refused(read, path)


@pytest.mark.parametrize("read", [by_data_set, by_weights])
def test_an_array_that_claims_more_than_there_is_takes_no_memory(tmp_path, read):
    """NumPy reserves what the header of an array claims, which the system refuses or never gives.

    It ends where the file ends.
    """
    header = (
        npy(X).replace(b"(6, 2)", b"(4294967296, 2)").replace(b" " * 9, b"", 1)
    )  # 64 GiB; as long as before
    assert len(header) == len(npy(X))
    (tmp_path / "a.npz").write_bytes(zipped(x_npy=header, y_npy=npy(Y)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises((DataError, CheckpointError), match=f"^{tmp_path}/a.npz: expected a "):
        read(tmp_path / "a.npz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_the_bombs_are_live_and_honest_compression_is_read(tmp_path):
    """The control: NumPy itself unpacks them.

    Its own compression of zeros, the best there is, stays within the bound.
    """
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert len(np.load(io.BytesIO(bomb(method)), allow_pickle=False)["x"]) == SIZE
    assert len(bomb(zipfile.ZIP_BZIP2)) < SIZE / 2000
    zeros = npy(np.zeros((1 << 20, 2), np.uint8))
    (tmp_path / "a.npz").write_bytes(zipped(zipfile.ZIP_DEFLATED, x_npy=zeros, y_npy=zeros))
    assert by_data_set(tmp_path / "a.npz", targets="numbers")["inputs"].shape == (1 << 20, 2)
    np.savez_compressed(tmp_path / "b.npz", **{"x/kernel": np.ones([2, 3])})
    assert (by_weights(tmp_path / "b.npz").weights[0].numpy() == 1).all()


@pytest.mark.parametrize("name", ["..__..__escaped", "__escaped"])
def test_names_in_an_archive_are_no_paths(tmp_path, name):
    path = tmp_path / "a" / "b" / "a.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(
        zipped(
            **{
                f"{name}_npy": npy(X),
                "x_npy": npy(X),
                "y_npy": npy(Y),
                "x__kernel_npy": npy(np.ones([2, 3])),
            }
        )
    )
    assert name.replace("__", "/") in np.load(path, allow_pickle=False).files
    assert by_data_set(path)["inputs"].shape == (6, 2)
    assert (by_weights(path).weights[0].numpy() == 1).all()
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [path]


@pytest.mark.parametrize("read", [by_data_set, by_weights])
@pytest.mark.parametrize("form", ["array of objects", "pickle", "member that is a pickle"])
def test_a_pickle_is_not_executed(tmp_path, read, form):
    path, executed = tmp_path / "data" / "a.npz", tmp_path / "executed"
    path.parent.mkdir()
    code = pickle.dumps(Hostile(executed))
    if form == "array of objects":
        np.savez(
            path,
            **{
                "x": np.array([Hostile(executed)], object),
                "x/kernel": np.array([Hostile(executed)], object),
                "y": Y,
            },
        )
    else:
        path.write_bytes(
            code if form == "pickle" else zipped(x_npy=code, y_npy=npy(Y), x__kernel_npy=code)
        )
    refused(read, path)
    assert not executed.exists()
    pickle.loads(code)  # the control: it is live
    assert executed.exists()


def test_a_pickle_for_a_run_or_its_configuration_is_not_executed(tmp_path):
    path, executed = tmp_path / "config.yaml", tmp_path / "executed"
    for content in (
        pickle.dumps(Hostile(executed)),
        f"model: !!python/object/apply:builtins.open ['{executed}', w]\n".encode(),
    ):
        path.write_bytes(content)
        with pytest.raises(Failure) as caught:
            read_file(path)
        assert str(caught.value).startswith(f"{path}:") and len(str(caught.value).splitlines()) == 1
    assert not executed.exists()


def test_weights_are_not_read_from_another_file(tmp_path):
    """The control: the same array in the file itself is loaded."""
    path, model = tmp_path / "data" / "a.weights.h5", small()
    path.parent.mkdir()
    model.weights[0].assign(np.full([2, 3], 7.0))
    model.save_weights(path)
    assert (by_weights(path).weights[0].numpy() == 7).all()
    path.rename(tmp_path / "other.h5")
    with h5py.File(path, "w") as file:
        for key in ("layers", "_layer_checkpoint_dependencies", "vars"):
            file[key] = h5py.ExternalLink(str(tmp_path / "other.h5"), f"/{key}")
    assert "expected data in this file, got ExternalLink" in refused(by_weights, path)


LONG = 1 << 20
TEXTS_REFUSED = {
    "CSV field": (
        "csv",
        f"a,y\n{'1' * LONG},x\n",
        {"target": "y"},
        ":2: damaged CSV: field larger than field limit",
    ),
    "CSV number": (
        "csv",
        f"a,y\n{'9' * 100_000},x\n",
        {"target": "y"},
        ":2: a: expected a finite number, got '9999",
    ),
    "CSV exponent": (
        "csv",
        "a,y\n1e999999999,x\n",
        {"target": "y"},
        ":2: a: expected a finite number, got '1e999999999'",
    ),
    "CSV column": (
        "csv",
        f"{'a' * LONG},y\n1,x\n",
        {"target": "y"},
        ":1: damaged CSV: field larger than field limit",
    ),
    "series number": (
        "series",
        f"t,v\n1,{'9' * 100_000}\n",
        {"window": 1},
        ":2: v: expected a finite number, got '9999",
    ),
    "JSON number": (
        "text",
        f'{{"label": {"9" * LONG}, "text": "x"}}\n',
        {},
        ':1: expected one JSON object, got \'{"label": 999',
    ),
    "JSON depth": (
        "text",
        f'{{"label": 1, "text": {"[" * LONG}\n',
        {},
        ":1: expected one JSON object, got ",
    ),
    "JSON code": (
        "text",
        json.dumps({"py/object": "os.system", "text": "x"}) + "\n",
        {},
        ":1: expected a JSON object with the key 'label'",
    ),
    "line without end": (
        "tagging",
        "a" * LONG,
        {},
        ":1: expected a token in column 0, a tag in -1, got 1 columns",
    ),
}


@pytest.mark.parametrize("name", TEXTS_REFUSED)
def test_texts_beyond_all_measure_are_refused_with_their_line(tmp_path, name):
    kind, content, options, message = TEXTS_REFUSED[name]
    path = tmp_path / "data" / ("a.jsonl" if kind == "text" else "a.csv")
    path.parent.mkdir()
    path.write_text(content)

    def read(path):
        data_loader.load(
            files.dataset(kind, file=path.name, valid=0, test=0, **options),
            "train",
            str(path.parent),
        )

    found = refused(read, path)
    assert found.startswith(f"{path}{message}"), found[:200]
    assert len(found) < 1000


def test_a_gzip_bomb_is_not_unpacked_beyond_what_its_header_says(tmp_path):
    """64 KiB in a file stand for 64 MiB of zeros behind a header of three images of 2x2."""
    path = tmp_path / "data" / "x.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(files.idx(np.zeros((3, 2, 2))) + bytes(SIZE), mtime=0))
    assert path.stat().st_size < 100_000
    assert "expected 12 bytes of data for [3, 2, 2], got more" in refused(
        lambda path: read_idx(path, 3), path
    )


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret"])
@pytest.mark.parametrize("of", ["shards", "index"])
def test_a_prepared_set_cannot_name_files_elsewhere(tmp_path, name, of):
    folder = tmp_path / "set"
    files.write_records(folder, files.number_records())
    manifest = json.loads((folder / "manifest.json").read_text())
    described = manifest["splits"]["train"][of]
    entry = described[0] if of == "shards" else described
    (folder / entry["file"]).rename(tmp_path / "secret")  # sound, and where the manifest says
    entry["file"] = name
    (folder / "manifest.json").write_text(json.dumps(manifest))
    read = files.dataset("records")
    message = refused(
        lambda path: data_loader.load(read, "train", str(path.parent)), folder / "manifest.json"
    )
    assert "expected the name of a file in this directory" in message
