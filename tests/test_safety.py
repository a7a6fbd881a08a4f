"""Nothing that the project reads can run code, leave its directory or fill the memory: by its
source, and by hostile files.

Tags and alias bombs in YAML: cli/test_typed_yaml.py. Pickles and bombs in a data set, image bombs,
paths in a manifest, texts and IDX that claim too much: sources/. Links and bombs in HDF5:
test_transfer.py, models/test_pretrained.py.
"""

import ast
import io
import pickle
import zipfile

import h5py
import hostile
import keras
import numpy as np
import pytest
from keras import layers
from places import ROOT, product_files

from cli.program import CheckpointError, Failure
from cli.typed_yaml import read_file
from engine.weights import load_weights
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


def small() -> keras.Model:
    inputs = keras.Input([2])
    return keras.Model(inputs, layers.Dense(3, name="x", use_bias=False)(inputs), name="small")


def by_weights(path):
    model = small()
    load_weights(model, InitFrom(ckpt=str(path)))
    return model


@pytest.mark.parametrize("name", hostile.ARCHIVES_REFUSED)
def test_weights_that_would_fill_the_memory_are_refused_before_they_are_unpacked(tmp_path, name):
    hostile.check_an_archive_is_refused(tmp_path, name, by_weights, CheckpointError)


def test_weights_that_claim_more_than_there_is_take_no_memory(tmp_path):
    hostile.check_a_claim_takes_no_memory(tmp_path, by_weights, CheckpointError)


def test_the_bombs_are_live_and_honest_compression_is_read(tmp_path):
    """The control: NumPy itself unpacks them."""
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        data = hostile.bomb(method)
        assert len(np.load(io.BytesIO(data), allow_pickle=False)["x"]) == hostile.SIZE
    assert len(hostile.bomb(zipfile.ZIP_BZIP2)) < hostile.SIZE / 2000
    np.savez_compressed(tmp_path / "b.npz", **{"x/kernel": np.ones([2, 3])})
    assert (by_weights(tmp_path / "b.npz").weights[0].numpy() == 1).all()


@pytest.mark.parametrize("name", ["..__..__escaped", "__escaped"])
def test_names_in_an_archive_of_weights_are_no_paths(tmp_path, name):
    def read(path):
        assert (by_weights(path).weights[0].numpy() == 1).all()

    hostile.check_names_are_no_paths(tmp_path, name, read)


@pytest.mark.parametrize("form", hostile.PICKLES)
def test_a_pickle_for_weights_is_not_executed(tmp_path, form):
    hostile.check_a_pickle_is_not_executed(tmp_path, form, by_weights, CheckpointError)


def test_a_pickle_for_a_run_or_its_configuration_is_not_executed(tmp_path):
    path, executed = tmp_path / "config.yaml", tmp_path / "executed"
    for content in (
        pickle.dumps(hostile.Hostile(executed)),
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
    message = hostile.refused(by_weights, path, CheckpointError)
    assert "expected data in this file, got ExternalLink" in message
