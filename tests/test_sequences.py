"""Recurrent networks and sequence to sequence: padding changes nothing, attention and decoding do what their papers say."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

import model_config
from cli.program import ConfigError, DataError
from engine.checkpoint import restore
from engine.optimizer import build_optimizer, build_schedule
from engine.variables import named_variables, read_variables, write_variables
from eval import Evaluator
from model import build_model, build_task, initialize
from train_config import Adam, Clock, Spec, Train
from trainer import Trainer

IDS = np.random.default_rng(0).integers(2, 12, [16, 7], np.int32) * (
    np.arange(7) < np.arange(16)[:, np.newaxis] % 6 + 2
)
ONE = Spec(
    input_shape=[None], input_dtype="int32", target_shape=[], target_dtype="int64", num_classes=3, class_names=list("abc"),
    vocabulary="<pad>\n<unknown>\n" + "\n".join("abcdefghij"),
)  # fmt: skip
MANY = ONE.model_copy(update={"target_shape": [None]})
BOTH = MANY.model_copy(
    update={
        "target_dtype": "int32",
        "num_classes": 0,
        "class_names": [],
        "target_vocabulary": "<pad>\n<unknown>\n<start>\n<end>\nA\nB\nC",
    }
)


SERIES = Spec(
    input_shape=[6, 1],
    input_dtype="float32",
    target_shape=[1],
    target_dtype="float32",
    num_classes=0,
    class_names=[],
)


def rnn(**options):
    return model_config.Rnn(
        name="rnn", units=8, embedding={"name": "learned", "size": 5}, **options
    )


GRID = [
    rnn(cell=cell, bidirectional=both, layers=layers, output=output, dropout=0.1)
    for cell, both, layers, output in itertools.product(
        ["simple", "lstm", "gru"], [False, True], [1, 2], ["one", "many"]
    )
]


# Every pair of options: each cell in two ways that differ in all the rest.
QUICK = {
    "simple-one-1-one",
    "simple-both-2-many",
    "lstm-one-2-many",
    "lstm-both-1-one",
    "gru-both-1-many",
    "gru-one-2-one",
}


def name_of(config):
    return (
        f"{config.cell}-{'both' if config.bidirectional else 'one'}-{config.layers}-{config.output}"
    )


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(
            config, id=name_of(config), marks=[pytest.mark.slow] * (name_of(config) not in QUICK)
        )
        for config in GRID
    ],
)
def test_every_recurrent_network_trains_saves_restores_and_evaluates(config, tmp_path):
    """How often a token stands in a sequence, or which token it is: both can be learned from 16 examples. And padding is nothing."""
    many = config.output == "many"
    spec = MANY if many else ONE
    task = build_task(
        (model_config.TaggingTask if many else model_config.ClassificationTask)(
            name="tagging" if many else "classification"
        ),
        spec,
    )
    targets = IDS % 3 if many else (IDS != 0).sum(axis=1) % 3
    weight = np.float32(IDS != 0) if many else np.ones(16, np.float32)
    batch = {
        "inputs": IDS,
        "targets": np.int64(targets),
        "sample_weight": weight,
        "id": np.arange(16),
    }
    batches = tf.data.Dataset.from_tensors(batch).repeat()
    model, settings = build_model(config, spec), Adam(name="adam", learning_rate=0.03)
    schedule = build_schedule(settings, Clock(16, 16), 40)
    step = Trainer(
        model,
        task,
        build_optimizer(settings, schedule, model),
        schedule,
        Train(steps=1),
        clip_norm=1.0,
    )
    evaluate = Evaluator(model, task)
    before = evaluate.score_batches(iter(batches), 1)
    assert bool(step.run(iter(batches), tf.constant(40)))
    after = evaluate.score_batches(iter(batches), 1)
    assert after["loss"] < 0.6 * before["loss"] and after["accuracy"] > before["accuracy"]

    outputs, variables = model(IDS).numpy(), named_variables(model=model.variables)
    write_variables(tmp_path, variables)
    for variable in variables.values():
        variable.assign(tf.zeros_like(variable))
    assert evaluate.score_batches(iter(batches), 1) != after
    restore(tmp_path, variables, read_variables, groups=("model",))
    assert evaluate.score_batches(iter(batches), 1) == after
    np.testing.assert_array_equal(model(IDS), outputs)

    longer = model(np.pad(IDS, [[0, 0], [0, 4]])).numpy()  # bit for bit
    np.testing.assert_array_equal(
        (longer[:, :7] if many else longer)[weight > 0], outputs[weight > 0]
    )
    unmasked = model(
        np.where(IDS == 0, 1, IDS)
    ).numpy()  # the control: other tokens there do change something
    assert not np.array_equal(unmasked, outputs)


def test_rows_of_images_and_an_autoregressive_part():
    """The sum of a recurrent and a linear part: with the logits' kernel at 0, it is the linear one."""
    images = ONE.model_copy(
        update={"input_shape": [28, 28, 1], "input_dtype": "float32", "vocabulary": ""}
    )
    assert build_model(rnn(), images).get_layer("rows").output.shape == (None, 28, 28)
    model = build_model(rnn(autoregressive=2), SERIES)
    model.get_layer("logits").kernel.assign(np.zeros([8, 1]))
    model.get_layer("autoregressive").kernel.assign([[10.0], [1.0]])
    values = np.float32([[[9], [9], [9], [9], [3], [4]]])
    np.testing.assert_allclose(model(values), [[34.0]])
    for relative in (True, False):  # to see every step less the last is to see no level
        model = build_model(rnn(relative=relative), SERIES)
        assert np.allclose(model(values), model(values + 100), atol=1e-5) is relative


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (
            ONE.model_copy(update={"vocabulary": "", "input_dtype": "float32", "input_shape": [4]}),
            {},
            "expected token ids, or numbers in sequences",
        ),
        (ONE, {"output": "many"}, "output: many: expected a target for every step"),
        (
            ONE,
            {"autoregressive": 3},
            "relative and autoregressive: expected numbers, got token ids",
        ),
        (ONE, {"relative": True}, "relative and autoregressive: expected numbers, got token ids"),
        (SERIES, {"autoregressive": 7}, "autoregressive: expected one output, of 7 steps or more"),
        (
            SERIES.model_copy(update={"input_shape": [None, 1]}),
            {},
            "expected token ids, or numbers in sequences of one length",
        ),
    ],
)
def test_what_rnn_refuses(spec, options, message):
    with pytest.raises(ConfigError, match=message):
        build_model(rnn(**options), spec)


# ------------------------------------------------------------------------------------------------------------- vectors


def with_vectors(tmp_path, text, size=2, trainable=False):
    (tmp_path / "vectors.txt").write_text(text)
    section = {
        "name": "file",
        "path": str(tmp_path / "vectors.txt"),
        "size": size,
        "trainable": trainable,
    }
    config = model_config.Rnn(name="rnn", embedding=section)
    model = build_model(config, ONE)
    fresh = model.get_layer("embedding").embeddings.numpy()
    initialize(model, config, ONE)
    return fresh, model.get_layer("embedding")


@pytest.mark.parametrize("header", ["", "3 2\n"], ids=["glove", "word2vec"])
def test_vectors_from_a_file(tmp_path, header, capsys):
    fresh, embedding = with_vectors(tmp_path, header + "a 1 2\nzebra 7 7\nc -3 4e-1\n")
    found = embedding.embeddings.numpy()
    np.testing.assert_allclose(found[[2, 4]], [[1, 2], [-3, 0.4]])
    others = [0, 1, 3, *range(5, 12)]
    np.testing.assert_array_equal(found[others], fresh[others])
    assert (
        not embedding.trainable
        and "8 of 10 tokens have no vector and begin at random: b, d" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1 2 3\nb 1 2\nc 1", ":3: expected a token and 2 numbers, got 1"),
        ("a 1 x\n", ":1: a: expected finite numbers, got '1 x'"),
        ("a 1 nan\n", ":1: a: expected finite numbers, got '1 nan'"),
        ("zebra 1 2\n", "expected vectors of the vocabulary, got none of its 10 tokens"),
    ],
)
def test_vectors_that_are_none(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        with_vectors(tmp_path, text)


def test_one_hot_tokens_are_frozen():
    model = build_model(model_config.Rnn(name="rnn", embedding={"name": "one_hot"}), ONE)
    assert "embedding/embeddings" not in [v.path for v in model.trainable_variables]
    np.testing.assert_array_equal(model.get_layer("embedding").embeddings, np.eye(12))


# ------------------------------------------------------------------------------------------------ sequence to sequence


def translator(attention="luong_dot", seed=0, **options):
    sizes = {
        "embedding": 5,
        "encoder": {"units": 4, "layers": 2},
        "decoder": {"units": 8, "layers": 2},
    }
    return build_model(
        model_config.Seq2seq(name="seq2seq", attention=attention, **sizes | options),
        BOTH,
        seed=seed,
    )


SOURCES, PREVIOUS = IDS[:4], np.int32([[2, 4, 5], [2, 5, 3], [2, 6, 6], [2, 4, 4]])
each_attention = pytest.mark.parametrize(
    "attention", ["none", "luong_dot", "luong_general", "luong_concat", "bahdanau"]
)


@each_attention
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_attention_is_a_distribution_over_what_is_there(attention, cell):
    """Rows sum to 1, padding gets 0, and so more padding changes nothing but the last bits of a longer sum."""
    model = translator(attention, cell=cell)
    found = model({"source": SOURCES, "previous": PREVIOUS})
    assert found["logits"].shape == (4, 3, 7) and found["attention"].shape == (4, 3, 7)
    if attention == "none":
        assert not np.any(found["attention"])
    else:
        np.testing.assert_allclose(np.sum(found["attention"], axis=2), np.ones([4, 3]), rtol=1e-6)
        padding = np.broadcast_to((SOURCES == 0)[:, np.newaxis], [4, 3, 7])
        assert (
            np.max(np.array(found["attention"])[padding])
            < 1e-6
            < np.min(np.array(found["attention"])[~padding])
        )
    longer = model({"source": np.pad(SOURCES, [[0, 0], [0, 3]]), "previous": PREVIOUS})
    np.testing.assert_allclose(longer["logits"], found["logits"], atol=1e-6)


@each_attention
def test_a_decoder_sees_only_what_came_before(attention):
    model = translator(attention)
    first = model({"source": SOURCES, "previous": PREVIOUS})["logits"].numpy()
    changed = PREVIOUS.copy()
    changed[:, 2] = 5 - (changed[:, 2] == 5)
    second = model({"source": SOURCES, "previous": changed})["logits"].numpy()
    np.testing.assert_array_equal(first[:, :2], second[:, :2])
    assert not np.allclose(first[:, 2], second[:, 2])


@each_attention
def test_dropout_reaches_every_layer_in_training_alone(attention):
    """Also within the loop of Bahdanau's decoder, from where gradients come back."""
    model = translator(attention, dropout=0.5)
    inputs = {"source": SOURCES, "previous": PREVIOUS}

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(inputs, training=True)["logits"] ** 2)
        return loss, [
            tf.convert_to_tensor(each) for each in tape.gradient(loss, model.trainable_variables)
        ]

    (first, found), (second, _) = gradients(), gradients()
    assert float(first) != float(second)
    assert all(np.isfinite(each).all() and np.any(each) for each in found)
    np.testing.assert_array_equal(model(inputs)["logits"], model(inputs)["logits"])
    state, x = [tf.ones([4, 8])] * 2, tf.ones([4, 1, 5 + 8 * (attention == "bahdanau")])
    outputs = [
        model.decoder.recur(x, state, training=True)[0].numpy() for _ in range(4)
    ]  # two layers, dropout between them
    assert any(not np.array_equal(outputs[0], other) for other in outputs[1:])


def likely(model, sequences) -> np.ndarray:
    """Log probability over length^0.6 of each of some sequences of one length for the first source, by teacher forcing."""
    tokens = np.array(sequences, np.int32)
    previous = np.concatenate([np.full([len(tokens), 1], 2, np.int32), tokens[:, :-1]], axis=1)
    logits = model({"source": np.repeat(SOURCES[:1], len(tokens), axis=0), "previous": previous})[
        "logits"
    ]
    chosen = tf.gather(tf.nn.log_softmax(logits), tokens, batch_dims=2).numpy()
    return chosen.sum(axis=1) / tokens.shape[1] ** 0.6


@each_attention
def test_greedy_writing_takes_the_most_likely_token_each_time(attention):
    model = translator(attention, seed=3)
    written = model.write(SOURCES).numpy()
    previous = np.concatenate([np.full([4, 1], 2), written[:, :-1]], axis=1)
    logits = model({"source": SOURCES, "previous": np.int32(previous)})["logits"].numpy()
    logits[:, :, [0, 2]] = -np.inf  # neither padding nor another start
    going_on = np.cumsum(previous == 3, axis=1) == 0  # after its end a sequence is only padded
    np.testing.assert_array_equal(written, np.where(going_on, logits.argmax(axis=2), 0))


@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_the_most_likely_sequence_of_all(seed):
    """Ends are made likely, so that the best of all sequences of up to four tokens is the best of all."""
    model = translator("luong_general", seed=seed)
    model.decoder.logits.bias.assign([0, 0, 0, 1.0, 0.5, 0.2, 0])
    written = model.write(SOURCES[:1], beam=200).numpy()[0]
    found = tuple(written[: list(written).index(3) + 1])
    every = [
        [(*tokens, 3) for tokens in itertools.product((1, 4, 5, 6), repeat=length)]
        for length in range(4)
    ]
    best, sequence = max(
        (score, sequence)
        for some in every
        for score, sequence in zip(likely(model, some), some, strict=True)
    )
    assert likely(model, [found])[0] >= best - 1e-5
    assert len(found) > 4 or found == sequence
    assert not np.any(written[len(found) :])


def test_each_source_of_a_batch_is_written_for_itself():
    model = translator(seed=5)
    together = model.write(SOURCES, beam=3).numpy()
    for row, source in enumerate(SOURCES):
        alone = model.write(source[np.newaxis], beam=3).numpy()[0]
        shorter = min(len(alone), together.shape[1])
        np.testing.assert_array_equal(together[row, :shorter], alone[:shorter])


def test_what_seq2seq_refuses():
    with pytest.raises(
        ConfigError,
        match="luong_dot expected as many of both, got 8 units of the encoder and 9 of the decoder",
    ):
        translator(decoder={"units": 9})
    with pytest.raises(ConfigError, match="expected token ids as inputs and as targets"):
        build_model(model_config.Seq2seq(name="seq2seq"), ONE)
