"""Starting from trained weights: what is loaded, what is refused, what is frozen or slowed, and the subset of classes."""

import os
import signal

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from places import ROOT
from test_resume import outcome

import data_config
import data_loader
import input_ops
import model_config
import train_config
import trainer
from cli.program import CheckpointError, ConfigError, DataError, Stopped
from data_loader import from_arrays, of_classes
from engine import checkpoint
from engine.optimizer import build_multipliers, build_optimizer, build_schedule
from engine.resume import differences
from engine.variables import named_variables, read_variables, write_variables
from engine.weights import freeze, load_weights
from model import build_model, build_task
from model_config import ClassificationTask
from train_config import Clock, InitFrom, Spec, load_config
from trainer import Trainer

LENET = [
    "c1/kernel",
    "c1/bias",
    "c3/kernel",
    "c3/bias",
    "c5/kernel",
    "c5/bias",
    "f6/kernel",
    "f6/bias",
    "logits/kernel",
    "logits/bias",
]


def lenet(num_classes: int = 5, seed: int = 0) -> keras.Model:
    spec = Spec(
        input_shape=[28, 28, 1],
        input_dtype="float32",
        target_shape=[],
        target_dtype="int64",
        num_classes=num_classes,
        class_names=[str(number) for number in range(num_classes)],
    )
    return build_model(model_config.Lenet(name="lenet", dropout=0.3), spec, seed)


def values_of(model) -> dict[str, np.ndarray]:
    return {variable.path: variable.numpy() for variable in model.weights}


def same(model, before: dict) -> list[str]:
    """The variables that are as they were."""
    return [path for path, value in values_of(model).items() if np.array_equal(value, before[path])]


def load(model, ckpt, **options) -> None:
    load_weights(model, InitFrom(ckpt=str(ckpt), **options))


def write_run(run_dir, model) -> None:
    """A run with a checkpoint of the network, and of an optimizer."""
    optimizer = keras.optimizers.SGD(momentum=0.9)
    optimizer.build(model.trainable_variables)
    variables = named_variables(model=model.variables, optimizer=optimizer.variables)
    run_dir.mkdir(exist_ok=True)
    checkpoint.commit(
        run_dir / "checkpoints",
        7,
        lambda path: write_variables(path, variables),
        {"step": 7},
        size=0,
    )
    (run_dir / "config.yaml").touch()


WRITE = {
    "run": write_run,
    "run.npz": lambda path, model: np.savez(path, **values_of(model)),
    "run.weights.h5": lambda path, model: model.save_weights(path),
}
each_form = pytest.mark.parametrize("form", WRITE)


# ------------------------------------------------------------------------------------------------- whole, part, new head


@each_form
def test_the_same_network_loads_whole(form, tmp_path, capsys):
    old, new = lenet(seed=1), lenet(seed=2)
    for variable in old.weights:  # zeros would be alike in any two networks
        variable.assign(np.random.default_rng(len(variable.path)).random(variable.shape))
    WRITE[form](tmp_path / form, old)
    assert same(new, values_of(old)) == []
    load(new, tmp_path / form)
    assert same(new, values_of(old)) == LENET
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f": loaded 10 of 10 variables: {', '.join(LENET)}")


@each_form
def test_a_new_head_and_a_renamed_layer(form, tmp_path, capsys):
    """A network with 5 classes from one with 10, whose C1 bore another name."""
    images = keras.Input([28, 28, 1])
    x = layers.Conv2D(6, 5, padding="same", name="first")(images)
    for name, width in (("c3", 16), ("c5", 120)):
        x = layers.Conv2D(width, 5, name=name)(layers.AveragePooling2D(2)(x))
    x = layers.Dense(84, name="f6")(layers.Flatten()(x))
    old, new = keras.Model(images, layers.Dense(10, name="logits")(x)), lenet(5)
    fresh = values_of(new)
    WRITE[form](tmp_path / form, old)
    load(new, tmp_path / form, map={"^fir(st)/": "c1/"}, skip=["^logits/"])
    expected = {
        path.replace("first", "c1"): value
        for path, value in values_of(old).items()
        if "logits" not in path
    }
    assert all(np.array_equal(values_of(new)[path], value) for path, value in expected.items())
    assert set(expected) == set(LENET[:8]) and set(same(new, fresh)) >= set(LENET[8:])
    loaded, skipped, left_over = capsys.readouterr().err.splitlines()
    assert loaded.endswith(f": loaded 8 of 10 variables: {', '.join(LENET[:8])}")
    assert skipped == "init_from: fresh, by init_from.skip: logits/kernel, logits/bias"
    assert left_over.startswith("init_from: left over in ") and left_over.endswith(
        ": logits/bias, logits/kernel"
    )


def test_one_step_of_a_run_may_be_named_and_damage_is_found(tmp_path):
    old, new = lenet(seed=1), lenet(seed=2)
    write_run(tmp_path, old)
    step = checkpoint.path_of(tmp_path / "checkpoints", 7)
    load(new, step)
    assert same(new, values_of(old)) == LENET
    os.truncate(step / "variables.data-00000-of-00001", 1000)
    with pytest.raises(CheckpointError, match=r"expected [0-9,]+ bytes, got 1,000"):
        load(new, step)
    with pytest.raises(CheckpointError, match="every checkpoint is damaged"):
        load(new, tmp_path)
    with pytest.raises(CheckpointError, match="expected a run directory with a config"):
        load(new, tmp_path / "nowhere")


def nested(seed: int) -> keras.Model:
    """Layers within layers, in every way in which Keras numbers them: a wrapper, attributes, a list, a model, a shared one."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)

    class Block(layers.Layer):
        def __init__(self, shared, name):
            super().__init__(name=name)
            self.zoom, self.shared = layers.MultiHeadAttention(2, 4, name="attention"), shared
            self.feed = [layers.Dense(8, name="wide"), layers.Dense(4, name="narrow")]

        def call(self, x):
            return self.feed[1](self.feed[0](self.shared(self.zoom(x, x))))

    tokens, shared = keras.Input([6]), layers.Dense(4, name="shared")
    x = layers.Embedding(10, 4, name="embedding")(tokens)
    x = Block(shared, "block_b")(Block(shared, "block_a")(x))
    x = layers.Bidirectional(layers.LSTM(3, name="lstm"), name="both")(x)
    inner = keras.Sequential(
        [layers.Dense(3, name="inside"), layers.BatchNormalization(name="norm")], name="inner"
    )
    model = keras.Model(tokens, layers.Dense(2, name="logits")(inner(x)), name="nested")
    for variable in model.weights:
        variable.assign(
            np.random.default_rng([seed, *variable.path.encode()]).random(variable.shape)
        )
    return model


@each_form
def test_nested_layers_load_whole(form, tmp_path):
    old, new = nested(1), nested(2)
    WRITE[form](tmp_path / form, old)
    load(new, tmp_path / form)
    assert len(same(new, values_of(old))) == len(new.weights) == 41


# ---------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        (
            {"f6/bias": None},
            {},
            "does not fit lenet: f6/bias: missing; see init_from.map and init_from.skip",
        ),
        (
            {"c1/kernel": np.zeros([3, 3, 1, 6], np.float32)},
            {},
            "lenet: c1/kernel: expected float32[5, 5, 1, 6], got float32[3, 3, 1, 6];",
        ),
        (
            {"f6/bias": None, "f6/b": np.zeros(84)},
            {},
            "lenet: f6/bias: missing; left over in it: f6/b; see",
        ),
        (
            {"f6/bias": np.full(84, 1e300)},
            {},
            "lenet: f6/bias: expected finite numbers, got NaN or infinity;",
        ),  # of float32
        (
            {"f6/bias": np.zeros(84, complex)},
            {},
            "f6/bias: expected an array of numbers, got complex128",
        ),
        (
            {},
            {"skip": ["logit/"]},
            "init_from.skip: 'logit/' is found in no variable; there is logits/bias",
        ),
        ({}, {"map": {"^conv": "c"}}, "init_from.map: '^conv' is found in no variable; there is "),
        ({}, {"map": {"^c[13]/": "c1/"}}, "init_from.map: c1/kernel and c3/kernel of "),
        ({}, {"skip": [""]}, "init_from.skip: every variable of lenet is skipped"),
        (
            dict.fromkeys(LENET[1:]),
            {"map": {"c1/": "c9/"}},
            "c5/bias: missing; f6/kernel: missing; f6/bias: missing; logits/",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(changes, options, message, tmp_path):
    old, new = lenet(seed=1), lenet(seed=2)
    before = values_of(new)
    arrays = {
        name: value for name, value in (values_of(old) | changes).items() if value is not None
    }
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises((CheckpointError, ConfigError)) as caught:
        load(new, tmp_path / "a.npz", **options)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert same(new, before) == LENET


def test_ten_names_are_shown(tmp_path):
    np.savez(tmp_path / "a.npz", **{f"x{number:02}": np.zeros(1) for number in range(12)})
    with pytest.raises(CheckpointError) as caught:
        load(nested(1), tmp_path / "a.npz")
    assert "(and 31 more); left over in it: x00, " in str(
        caught.value
    ) and "x09 (and 2 more); see" in str(caught.value)


def pickled(path):
    np.savez(path, **{"c1/kernel": np.array([{"code": 1}], dtype=object)})


def one_array(path):
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))


def cut(path, model):
    WRITE[path.name](path, model)
    os.truncate(path, path.stat().st_size // 2)


def h5(path, change):
    """A file of the network with something else in the place of C1's kernel."""
    lenet().save_weights(path)
    with h5py.File(path, "a") as file:
        del file["layers/conv2d/vars/0"]
        change(file, "layers/conv2d/vars/0")


def circle(file, place):
    file[place] = file["layers"]


def bomb(file, place):
    file.create_dataset(place, [1 << 40], "f4", chunks=(1 << 20,), compression="gzip")


def virtual(file, place):
    layout = h5py.VirtualLayout((5, 5, 1, 6), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (5, 5, 1, 6))
    file.create_virtual_dataset(place, layout)


HOSTILE = {
    "external link": lambda file, place: file.__setitem__(
        place, h5py.ExternalLink("other.h5", "/x")
    ),
    "soft link": lambda file, place: file.__setitem__(
        place, h5py.SoftLink("/layers/conv2d_1/vars/0")
    ),
    "external array": lambda file, place: file.create_dataset(
        place, [150], "f4", external=[("secret", 0, 600)]
    ),
    "virtual array": virtual,
    "objects": lambda file, place: file.create_dataset(place, data="text"),
    "circle": circle,
    "bomb": bomb,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_hdf5_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File("other.h5", "w") as other:  # what the links lead to would fit
        other["x"] = np.zeros([5, 5, 1, 6], np.float32)
    (tmp_path / "secret").write_bytes(bytes(600))
    h5("a.weights.h5", HOSTILE[name])
    with pytest.raises(CheckpointError, match=r"^a.weights.h5: /layers/conv2d/vars/0") as caught:
        load(lenet(), "a.weights.h5")
    assert ("expected data in this file, got" in str(caught.value)) == name.endswith(
        ("link", "array")
    )


def test_the_place_that_hostile_files_use_is_the_one_that_is_read(tmp_path):
    """The control: an honest array there is loaded."""
    h5(
        tmp_path / "a.weights.h5",
        lambda file, place: file.create_dataset(place, data=np.full([5, 5, 1, 6], 7.0)),
    )
    model = lenet(seed=1)
    load(model, tmp_path / "a.weights.h5")
    assert (values_of(model)["c1/kernel"] == 7).all()


@pytest.mark.parametrize("name", ["run.npz", "run.weights.h5"])
def test_files_that_are_none_are_named(name, tmp_path):
    path = tmp_path / name
    with pytest.raises(CheckpointError, match="no such file"):
        load(lenet(), path)
    makers = {
        "text": lambda: path.write_text("no weights"),
        "empty": lambda: path.write_bytes(b""),
        "cut": lambda: cut(path, lenet()),
    }
    makers |= (
        {"pickled": lambda: pickled(path), "one array": lambda: one_array(path)}
        if name == "run.npz"
        else {}
    )
    for make in makers.values():
        make()
        with pytest.raises(CheckpointError, match=f"^{path}: expected ") as caught:
            load(lenet(), path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("freeze=['(']", "freeze.0: expected a regular expression, got '('"),
        (
            "init_from={ckpt: r, skip: ['[']}",
            "init_from.skip.0: expected a regular expression, got '['",
        ),
        ("init_from={ckpt: r, map: {'(': x}}", "expected a regular expression, got '('"),
        (
            "init_from={ckpt: r, map: {c: '\\2'}}",
            "init_from.map: c: expected a replacement for re.sub, got '\\\\2': invalid group",
        ),
        ("init_from={skip: [c]}", "init_from.ckpt: missing"),
        (
            "optimizer.multipliers={c1: 0}",
            "optimizer.multipliers: c1: expected a factor above 0, got 0; to keep variables as they are",
        ),
        ("data.train={name: mnist_sample, classes: ['1']}", "data.train.classes: "),
        (
            "data.train={name: mnist_sample, classes: ['1', '2', '1']}",
            "data.train.classes: expected each class once, got '1' twice",
        ),
    ],
)
def test_mistakes_in_the_configuration(override, message):
    with pytest.raises(ConfigError) as caught:
        load_config(ROOT / "configs/lenet.yaml", [override])
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_the_order_of_multipliers_is_a_change():
    old, new = (
        load_config(ROOT / "configs/lenet.yaml", [f"optimizer.multipliers={text}"])
        for text in ("{c1: 2, c: 3}", "{c: 3, c1: 2}")
    )
    assert differences(old, new) == ["optimizer.multipliers: in the order c1, c -> c, c1"]
    assert differences(old, old) == []


# ------------------------------------------------------------------------------------------------- frozen and slowed down


def small(seed: int = 0) -> keras.Model:
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    inputs = keras.Input([3])
    x = layers.BatchNormalization(name="norm")(layers.Dense(4, name="first")(inputs))
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name="small")


SPEC = Spec(
    input_shape=[3],
    input_dtype="float32",
    target_shape=[],
    target_dtype="int64",
    num_classes=3,
    class_names=list("abc"),
)


def train_steps(model, config, number: int = 1) -> Trainer:
    schedule, task = (
        build_schedule(config, Clock(4, 4), 10),
        build_task(ClassificationTask(name="classification"), SPEC),
    )
    optimizer = build_optimizer(config, schedule, model)
    step = Trainer(
        model,
        task,
        optimizer,
        schedule,
        train_config.Train(steps=1),
        None,
        build_multipliers(config, model),
    )
    inputs = np.random.default_rng(5).normal(size=[4, 3]).astype(np.float32) + 3
    batch = {
        "inputs": inputs,
        "targets": np.array([0, 1, 2, 0]),
        "sample_weight": np.ones(4, np.float32),
        "id": np.arange(4),
    }
    assert step.run(iter(tf.data.Dataset.from_tensors(batch).repeat()), tf.constant(number))
    return step


def test_what_is_frozen_stays_and_has_no_slots():
    model = small()
    before = values_of(model)
    freeze(model, ["^first/kernel", "^norm/"])
    step = train_steps(model, train_config.Adam(name="adam", learning_rate=0.1), 3)
    assert same(model, before) == [
        "first/kernel",
        "norm/gamma",
        "norm/beta",
        "norm/moving_mean",
        "norm/moving_variance",
    ]
    assert [path for path in step.variables() if path.endswith("_momentum")] == [
        "optimizer/adam/first_bias_momentum",
        "optimizer/adam/logits_kernel_momentum",
        "optimizer/adam/logits_bias_momentum",
    ]


def test_moving_averages_go_on_where_the_layer_is_not_frozen_as_a_whole():
    model = small()
    before = values_of(model)
    freeze(model, ["^norm/gamma", "^norm/beta"])
    train_steps(model, train_config.Sgd(name="sgd"), 1)
    assert same(model, before) == ["norm/gamma", "norm/beta"]


def test_a_layer_within_a_layer_is_frozen_as_such():
    model = nested(0)
    freeze(model, ["norm/", "attention/"])
    inner = model.get_layer("inner").get_layer("norm")
    assert not inner.trainable and model.get_layer("inner").trainable
    assert {v.path for v in model.weights if not v.trainable} == {
        path for path in (v.path for v in model.weights) if "norm/" in path or "attention/" in path
    }


@pytest.mark.parametrize(
    ("regexes", "message"),
    [
        (["^frist/"], "freeze: '^frist/' is found in no variable; there is first/"),
        (["moving"], "freeze: 'moving' is found in no variable"),  # averages are not trained anyway
        (
            ["kernel", "bias", "norm"],
            "freeze: nothing of small is left to train; expected fewer of its 6 variables",
        ),
    ],
)
def test_freezing_nothing_or_everything_is_refused(regexes, message):
    with pytest.raises(ConfigError) as caught:
        freeze(small(), regexes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("regexes", "message"),
    [
        ({"^c3/": 0.5}, "optimizer.multipliers: '^c3/' is found in no variable; there is "),
        (
            {"logits": 0.5, "^logits/bias": 2},
            "optimizer.multipliers: '^logits/bias' is found only where an earlier one is",
        ),
        (
            {"^first/": 0.5},
            "optimizer.multipliers: '^first/' is found in no variable",
        ),  # it is frozen
    ],
)
def test_multipliers_of_nothing_are_refused(regexes, message):
    model = small()
    freeze(model, ["^first/"])
    with pytest.raises(ConfigError) as caught:
        build_multipliers(train_config.Sgd(name="sgd", multipliers=regexes), model)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_multipliers_by_hand(name):
    """One step moves what matches by a quarter of, or twice, what it moves without; the first regex that matches counts."""
    cls = {"sgd": train_config.Sgd, "adam": train_config.Adam}[name]
    moved = []
    for multipliers in ({}, {"^logits/bias": 2.0, "^logits/": 0.25, "gamma": 1.0}):
        model = small()
        before = values_of(model)
        train_steps(
            model, cls(name=name, learning_rate=0.5, weight_decay=0.1, multipliers=multipliers)
        )
        moved.append({path: value - before[path] for path, value in values_of(model).items()})
    for path, change in moved[0].items():
        factor = {"logits/kernel": 0.25, "logits/bias": 2.0}.get(path, 1.0)
        np.testing.assert_allclose(moved[1][path], factor * change, atol=1e-6, err_msg=path)
    if (
        name == "adam"
    ):  # its first step is the learning rate, whatever the gradient; decay spares biases
        np.testing.assert_allclose(np.abs(moved[0]["logits/bias"]), 0.5, rtol=1e-4)
        np.testing.assert_allclose(np.abs(moved[1]["logits/bias"]), 1.0, rtol=1e-4)


# ------------------------------------------------------------------------------------------------------- whole runs

OVERRIDES = [
    "model.dropout=0.4", "data.train={name: mnist_sample, classes: ['5', '9', '7']}", "data.valid=null", "train.epochs=null",
    "train.steps=40", "train.batch_size=32", "train.log_every=11", "validation={every: 6}", "checkpoint={every: 10, keep: 9}",
    "summary={tensorboard: false}", "freeze=[^c1/]", "optimizer.multipliers={^c3/: 0.3, ^f6/kernel: 2}",
]  # fmt: skip


def run(run_dir, trained, *more, **options):
    init = f"init_from={{ckpt: {trained}, skip: [^logits/]}}"
    return trainer.train_and_evaluate(
        load_config(ROOT / "configs/lenet.yaml", [*OVERRIDES, init, *more]), run_dir, **options
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "five.npz"
    WRITE["run.npz"](path, lenet(5, seed=9))
    return path


@pytest.fixture(scope="module")
def uninterrupted(trained, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("uninterrupted")
    run(run_dir, trained)
    return run_dir


def test_a_run_begins_with_what_it_is_given_and_moves_what_it_may(uninterrupted, trained):
    saved = read_variables(checkpoint.newest(uninterrupted / "checkpoints"))
    begun = np.load(trained)
    for layer, change in {"c1": "none", "c3": "some", "c5": "some", "f6": "some"}.items():
        assert np.array_equal(saved[f"model/{layer}/kernel"], begun[f"{layer}/kernel"]) == (
            change == "none"
        ), layer
        assert np.abs(saved[f"model/{layer}/kernel"] - begun[f"{layer}/kernel"]).max() < 0.2, (
            layer
        )  # a fresh one would be further off
    assert saved["model/logits/kernel"].shape == (84, 3) and not [
        name for name in saved if "c1_kernel" in name
    ]


def test_a_stopped_run_goes_on_to_the_same_bytes(uninterrupted, trained, tmp_path, monkeypatch):
    seen = []

    def interrupt(step, _metrics):
        seen.append(step)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped, match="at step 20 of 40"):
        run(tmp_path / "run", trained, on_eval=interrupt)
    monkeypatch.setattr(
        "trainer.load_weights", lambda *_: pytest.fail("weights are loaded once, at the beginning")
    )
    run(tmp_path / "run", trained)
    assert outcome(tmp_path / "run") == outcome(uninterrupted)
    with pytest.raises(CheckpointError, match=r"optimizer.multipliers.\^c3/: 0.3 -> 0.4"):
        run(tmp_path / "run", trained, "optimizer.multipliers={^c3/: 0.4, ^f6/kernel: 2}")


def test_the_comparison_notices_another_multiplier_and_other_weights(
    uninterrupted, trained, tmp_path
):
    run(tmp_path / "slower", trained, "optimizer.multipliers={^c3/: 0.3, ^f6/kernel: 1.99}")
    WRITE["run.npz"](tmp_path / "other.npz", lenet(5, seed=8))
    run(tmp_path / "other", tmp_path / "other.npz")
    for run_dir in (tmp_path / "slower", tmp_path / "other"):
        assert outcome(run_dir)[0] != outcome(uninterrupted)[0]


def test_weights_that_do_not_fit_leave_no_run_behind(trained, tmp_path):
    with pytest.raises(
        CheckpointError, match=r"logits/kernel: expected float32\[84, 3\], got float32\[84, 5\]"
    ):
        run(tmp_path / "run", trained, "init_from.skip=[]")
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------------------------- some of the classes

SEVEN = from_arrays(
    "seven",
    {"inputs": np.arange(7.0), "targets": np.array([2, 0, 1, 2, 3, 1, 2])},
    list("abcd"),
    "file",
)


def test_classes_are_chosen_and_numbered_in_their_order():
    source = of_classes(SEVEN, ["c", "a"])
    assert (len(source), source.class_names, source.labels.tolist()) == (
        4,
        ("c", "a"),
        [0, 1, 0, 0],
    )
    found = source.read(tf.constant([3, 0, 1], tf.int64))
    assert found["inputs"].numpy().tolist() == [6.0, 0.0, 1.0] and found[
        "targets"
    ].numpy().tolist() == [0, 0, 1]
    assert found["targets"].dtype == SEVEN.read(tf.constant([0], tf.int64))["targets"].dtype
    assert source.locate(2) == "file: record 3"
    fingerprints = {
        each.fingerprint
        for each in (SEVEN, source, of_classes(SEVEN, ["a", "c"]), of_classes(SEVEN, ["c", "b"]))
    }
    assert len(fingerprints) == 4


def test_classes_of_stored_examples():
    stored = data_loader.Source(
        **{
            **vars(SEVEN),
            "stored_bytes": 700,
            "block_length": 2,
            "read_in_blocks": lambda number: SEVEN.read,
        }
    )
    source = of_classes(stored, ["c", "a"])
    assert (source.stored_bytes, source.block_length, source.read_in_blocks) == (400, 0, None)


def test_classes_of_texts_keep_their_sizes():
    texts = from_arrays(
        "texts",
        {
            "inputs": np.array([b"aaa", b"b", b"cc", b"dddd"], object),
            "targets": np.array([0, 1, 0, 2]),
        },
        list("xyz"),
    )
    assert texts.sizes.tolist() == [3, 1, 2, 4] and of_classes(
        texts, ["x", "z"]
    ).sizes.tolist() == [3, 2, 4]


def test_classes_that_cannot_be_had_are_named():
    with pytest.raises(DataError, match="seven: classes: no class 'e'; it has a, b, c, d"):
        of_classes(SEVEN, ["a", "e"])
    with pytest.raises(DataError, match="expected a set that knows the class of each example"):
        of_classes(data_loader.Source(**{**vars(SEVEN), "labels": None}), ["a", "b"])
    soft = from_arrays("soft", {"inputs": np.arange(2.0), "targets": np.eye(2)}, list("ab"))
    with pytest.raises(DataError, match="expected a class index as the target"):
        of_classes(data_loader.Source(**{**vars(soft), "labels": np.arange(2)}), ["a", "b"])
    empty = from_arrays(
        "empty", {"inputs": np.arange(2.0), "targets": np.array([0, 1])}, list("abcd")
    )
    assert len(of_classes(empty, ["c", "d"])) == 0


def test_classes_of_digits_in_every_split():
    config = data_config.MnistSample(name="mnist_sample", classes=["9", "0"])
    for split in ("train", "valid"):
        part, whole = (
            data_loader.load(config, split, None),
            data_loader.load(data_config.MnistSample(name="mnist_sample"), split, None),
        )
        assert len(part) == (whole.labels == 9).sum() + (whole.labels == 0).sum()
        mine = part.read(tf.range(len(part), dtype=tf.int64))
        chosen = tf.constant(np.flatnonzero((whole.labels == 9) | (whole.labels == 0)))
        np.testing.assert_array_equal(mine["inputs"], whole.read(chosen)["inputs"])
        np.testing.assert_array_equal(mine["targets"], whole.labels[chosen.numpy()] == 0)


def test_other_classes_in_validation_than_in_training_are_refused():
    data = load_config(
        ROOT / "configs/lenet.yaml", ["data.train={name: mnist_sample, classes: ['1', '2']}"]
    ).data
    spec = input_ops.spec_of(input_ops.open_mix(data, "train", training=True))
    assert spec.class_names == ["1", "2"]
    with pytest.raises(DataError, match="num_classes: expected 2, as in training, got 10"):
        input_ops.check_spec(spec, input_ops.open_mix(data, "valid", training=False))
