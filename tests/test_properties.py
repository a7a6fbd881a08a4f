"""What must hold of every input: hundreds of generated ones for each promise, the same ones in each run of the suite."""

import copy
import hashlib
import json
import tempfile
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import small_files as files
import tensorflow as tf
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from places import ROOT

import data_loader
import input_ops
from cli import typed_yaml
from cli.program import ConfigError, DataError
from data_loader import from_arrays
from engine import order
from engine import record_files as records
from input_ops import Mix, MixSource
from train_config import TrainConfig, load_config


def examples(count: int):
    """Generated from the test's own name, not from the clock or from earlier runs: each run of the suite sees the same."""
    return settings(max_examples=count, deadline=None, derandomize=True, database=None)


def one_line(error: Exception, start: str) -> str:
    message = str(error)
    assert message.startswith(start) and len(message.splitlines()) == 1 and message.isprintable(), (
        message
    )
    return message


# -------------------------------------------------------------------------------------------------------- strict YAML

TOKENS = [
    *"[]{},:?-#&*!|>%@`\"'\\~<= \n\t\r\0\x85\ufeff\u2028\ud800", "a", "bc", "1", "0.5", "1e3", "9" * 5000, "null", "\u00e9", "\U0001f600",
    "- ", ": ", "? ", "<<", "&a ", "*a", "!!str ", "!%FF ", "---\n", "...\n", "%YAML 1.2\n", "%TAG ! x\n", "|+2\n", ">-\n", "\n  ",
    '"\\ud800"', '"\\U00110000"', '"\\UFFFFFFFF"', '"\\x"', "a: &a [*a]", f"%YAML {'1' * 5000}.1\n",
]  # fmt: skip
LENET = (ROOT / "configs/lenet.yaml").read_text()
broken_configurations = st.tuples(
    st.integers(0, len(LENET)), st.integers(0, 12), st.sampled_from(TOKENS)
).map(lambda change: LENET[: change[0]] + change[2] + LENET[change[0] + change[1] :])
any_text = st.one_of(
    st.lists(st.sampled_from(TOKENS), max_size=14).map("".join), st.text(st.characters(), max_size=60), broken_configurations
)  # fmt: skip

texts = st.one_of(
    st.text(
        st.characters(codec="utf-8", exclude_characters="\0"), max_size=20
    ),  # the character 0 is refused
    st.text("\t\n\r\x85\u2028\u2029\xa0\u3000\x7f\ufeff '\"#:-a", max_size=12),
    st.from_regex(typed_yaml._FLOAT, fullmatch=True),
    st.sampled_from(
        [
            "null",
            "~",
            "",
            "true",
            "False",
            "010",
            "1e5",
            ".5",
            "<<",
            "- a",
            "a: b",
            "...",
            "---",
            "x" * 200,
            "a b " * 60,
            "=",
        ]
    ),
)
scalars = st.one_of(
    texts,
    st.integers(-(10**39) + 1, 10**39 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
)
data = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)  # of what a configuration is made


def is_plain(value) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str and is_plain(inner) for key, inner in value.items())
    return (
        all(map(is_plain, value))
        if isinstance(value, list)
        else type(value) in (str, int, float, bool, type(None))
    )


def same(a, b) -> bool:
    """Equal, of the same types, in the same order: 1, 1.0 and true are equal to Python."""
    return repr(a) == repr(b)


@examples(400)
@given(any_text)
@example('"\\U00110000"')
@example('"\\UFFFFFFFF"')
@example(f"%YAML {'1' * 5000}.1\n---\na")
@example('{"\\ud800": 1}')
def test_any_text_is_plain_data_or_one_line(text):
    try:
        value, _ = typed_yaml.parse(text, "f.yaml")
    except ConfigError as error:
        one_line(error, "f.yaml:")
    else:
        assert is_plain(value)
        again, _ = typed_yaml.parse(typed_yaml.to_yaml(value), "f.yaml")
        assert same(again, value) or "inf" in repr(value)  # 1e999, which every field refuses


@examples(100)
@given(
    st.one_of(
        st.binary(max_size=40), any_text.map(lambda text: text.encode(errors="surrogatepass"))
    )
)
def test_any_file_is_a_mapping_or_one_line(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.yaml")
        path.write_bytes(content)
        try:
            found, _ = typed_yaml.read_file(path)
        except ConfigError as error:
            one_line(error, f"{path}:")
        else:
            assert isinstance(found, dict) and is_plain(found)


@examples(300)
@given(data)
@example("a\xa0")  # what `str.strip` takes for blanks is text
@example("a b\n" * 20_000)  # a vocabulary
@example({"<<": 1, "": "", "1": "1", "null": None})
def test_what_is_written_reads_back(value):
    assert same(typed_yaml.parse(typed_yaml.to_yaml(value), "f.yaml")[0], value)
    line = typed_yaml.to_text(value)
    assert len(line.splitlines()) == 1 and same(typed_yaml.parse(line, "f.yaml")[0], value)


@examples(100)
@given(st.lists(texts, min_size=1, max_size=5, unique=True), st.data())
def test_a_key_that_comes_twice_is_refused(keys, drawn):
    twice = drawn.draw(st.sampled_from(keys))
    entries = [typed_yaml.to_text({key: 1})[1:-1] for key in keys]
    assert (
        list(typed_yaml.parse(f"x: [{{{', '.join(entries)}}}]", "f.yaml")[0]["x"][0]) == keys
    )  # the control
    entries.insert(drawn.draw(st.integers(0, len(keys))), typed_yaml.to_text({twice: 2})[1:-1])
    with pytest.raises(ConfigError) as caught:
        typed_yaml.parse(f"x: [{{{', '.join(entries)}}}]", "f.yaml")
    assert "duplicate key" in one_line(caught.value, "f.yaml:1:")


@examples(40)
@given(st.integers(1, 60), st.sampled_from([("[", "]"), ("{a: ", "}")]))
@example(51, ("[", "]"))
@example(52, ("[", "]"))
def test_depth_is_limited(depth, brackets):
    text = brackets[0] * depth + brackets[1] * depth
    levels = depth - 1 + (brackets[0] != "[")  # `{a: }` holds a null, one level below
    if levels <= typed_yaml.MAX_DEPTH:
        typed_yaml.parse(text, "f.yaml")
    else:
        with pytest.raises(ConfigError, match=r"f.yaml:1:.*50 levels"):
            typed_yaml.parse(text, "f.yaml")


@examples(40)
@given(st.integers(0, 12), st.integers(0, 9))
@example(4, 11)  # 17,715 values
@example(4, 12)
def test_values_are_counted_when_aliases_are_expanded(levels, width):
    text = "\n".join(
        [
            "- &x0 1",
            *(f"- &x{n} [{', '.join([f'*x{n - 1}'] * width)}]" for n in range(1, levels + 1)),
        ]
    )
    sizes = [1]
    for _ in range(levels):
        sizes.append(1 + width * sizes[-1])
    if 1 + sum(sizes) <= typed_yaml.MAX_NODES:
        assert len(typed_yaml.parse(text, "f.yaml")[0]) == levels + 1
    else:
        with pytest.raises(ConfigError, match=r"f.yaml:\d+:\d+: more than 20,000 values"):
            typed_yaml.parse(text, "f.yaml")


def test_many_values_are_refused_before_all_are_read():
    """The control: as many as are allowed are read, ten times as many cost no more."""
    assert (
        len(typed_yaml.parse(f"[{'1,' * (typed_yaml.MAX_NODES - 1)}]", "f.yaml")[0])
        == typed_yaml.MAX_NODES - 1
    )
    with pytest.raises(ConfigError, match="more than 20,000 values") as caught:
        typed_yaml.parse(f"[{'1,' * 10 * typed_yaml.MAX_NODES}]", "f.yaml")
    column = int(str(caught.value).split(":")[2])
    assert column <= 5 * typed_yaml.MAX_NODES  # of 400,000


# ---------------------------------------------------------------------------------------------------------- overrides


def leaves(value, path=()):
    """{path: value} of what is no dictionary and no list with something in it."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    found = {key: leaf for name, each in inner for key, leaf in leaves(each, (*path, name)).items()}
    return found or {path: value}


def at(value, path):
    for part in path:
        value = value[part]
    return value


@examples(200)
@given(st.dictionaries(st.text("ab1.", min_size=1, max_size=3), data, max_size=4), st.data())
def test_an_override_is_read_back_and_nothing_else_changes(before, drawn):
    """A path is drawn by going down from the top: through keys and indices that are there, or new keys."""
    path, here, refused = [], before, False
    for _ in range(drawn.draw(st.integers(1, 4))):
        there = (
            list(here)
            if isinstance(here, dict)
            else list(range(len(here)))
            if isinstance(here, list)
            else []
        )
        new = (
            st.nothing()
            if there and isinstance(here, list)
            else st.text("ab01-\u00b2\u0663 ", max_size=3)
        )
        part = drawn.draw(st.sampled_from(there) | new if there else new)
        assume(not {".", "="} & set(str(part)))
        refused |= type(here) in (int, float, bool) or here == []  # which have nothing in them
        path.append(part)
        here = here[part] if part in there else None
    value, after = drawn.draw(data), copy.deepcopy(before)
    word = f"{'.'.join(map(str, path))}={typed_yaml.to_text(value)}"
    if refused:
        with pytest.raises(ConfigError, match="not a section") as caught:
            typed_yaml.apply_overrides(after, [word])
        one_line(caught.value, "command line: ")
        return
    (written,) = typed_yaml.apply_overrides(after, [word])
    assert written == tuple(path) and same(at(after, path), value)
    for key, leaf in leaves(before).items():
        if key[: len(path)] != written and key != written[: len(key)]:
            assert same(at(after, key), leaf), word
    for key in leaves(after):
        named = (
            len(key) > 1
            and key[-1] == "name"
            and isinstance(dict(leaves(before)).get(key[:-1]), str)
        )  # a bare name on the way
        assert key in leaves(before) or key[: len(path)] == written or named, word


KEYS = ["", "0", "1", "-1", "99", "²", "٣", "9" * 5000, "name", "a\nb", "\udcff", "x y", "\x00"]
LENET_FIELDS = load_config(ROOT / "configs/lenet.yaml").model_dump(mode="json")
FIELDS = [".".join(map(str, key)) for key, _ in typed_yaml.flatten(LENET_FIELDS)]
VALUES = [
    "", "0", "-1", "2.5", "1e999", "9" * 39, "9" * 400 + " epochs", "0." + "0" * 400 + "1 epochs", "1e-320", "true", "[]", "{}", "[null]",
    "{0: 1}", "{name: }", "{name: [1]}", "{name: {a: b}}", "[['(']]", "['(']", "['a{99999999999999999999}']", f"['{'(' * 5000}']",
    "{'(': 1}", '["a\\nb"]', '{"a\\nb": 1}', '{"a\\nb": {name: fak}}', r'{ckpt: r, map: {"a\n": "\\2"}}', "{mnist_sample: 0}",
    "{mnist_sample: 1e-320, fake: 1e308}", "!!python/name:os.abort", '"\\ud800"', "\udcff", "\x00", "fake", "{name: fake, shape: [0]}",
    "[scale, {name: pad, length: 1e9}]",
]  # fmt: skip
in_a_section = st.tuples(st.sampled_from(FIELDS), st.sampled_from(KEYS))
keys = st.one_of(
    st.sampled_from(FIELDS),
    in_a_section.map(".".join),
    in_a_section.map(lambda pair: ".".join([*pair[0].split(".")[:-1], pair[1]])),
    st.lists(st.sampled_from([*KEYS, "data", "model", "train", "sources"]), max_size=3).map(
        ".".join
    ),
    st.text(st.characters(), max_size=8),
)
override = st.tuples(
    keys, st.one_of(st.sampled_from(VALUES), any_text, data.map(typed_yaml.to_text))
).map("=".join)


@examples(250)
@given(st.lists(override, min_size=1, max_size=2))
@example(["²=1"])
@example([f"data.ops.{'9' * 5000}=1"])
@example(["freeze=['a{99999999999999999999}']"])
@example([f"train.log_every={'9' * 400} epochs"])
@example(["data.sources.\udcff.name=fake"])
@example(['data.sources={"a\\nb": {name: fak}}'])
def test_any_override_gives_a_configuration_or_one_line(words):
    try:
        config = load_config(ROOT / "configs/lenet.yaml", words)
    except ConfigError as error:
        assert one_line(error, "").startswith(("command line: ", f"{ROOT}/configs/lenet.yaml: "))
    else:
        assert isinstance(config, TrainConfig)
        typed_yaml.to_yaml(config.model_dump(mode="json")).encode()  # can be written


def test_a_key_of_digits_is_a_key_where_there_is_no_list():
    config = load_config(
        ROOT / "configs/lenet.yaml", ["data.sources.1.name=fake", "data.train.name=mnist_sample"]
    )
    assert config.data.sources["1"].name == "fake"


# -------------------------------------------------------------------------------------------------------------- order

seeds = st.integers(0, (1 << 62) - 1) | st.integers(0, 3)
lengths = st.integers(1, 40) | st.integers(1, 3000)


def permuted(seed: int, epoch: int, k, length: int) -> list[int]:
    k = tf.constant(k, tf.int64)
    return (
        order.permutation(
            tf.constant(seed, tf.int64), tf.fill(k.shape, tf.constant(epoch, tf.int64)), k, length
        )
        .numpy()
        .tolist()
    )


@examples(60)
@given(lengths, seeds, st.integers(0, 1 << 40))
@example(1, 0, 0)
def test_permutation_is_a_bijection_of_any_length(length, seed, epoch):
    assert sorted(permuted(seed, epoch, range(length), length)) == list(range(length))


@examples(30)
@given(st.integers(1 << 20, 1 << 60), seeds, st.integers(0, 1 << 40), st.data())
def test_permutation_of_a_huge_set_is_one_to_one_where_it_is_looked_at(length, seed, epoch, drawn):
    k = drawn.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=200, unique=True))
    found = permuted(seed, epoch, k, length)
    assert len(set(found)) == len(k) and all(0 <= each < length for each in found)
    assert [permuted(seed, epoch, [each], length)[0] for each in k[:3]] == found[:3]


def test_a_permutation_that_is_none_is_noticed(monkeypatch):
    """The control: over a square that is too small for the set, values collide."""
    monkeypatch.setattr(order.math, "isqrt", lambda value: 8)  # a square of 81 for 100 examples
    assert sorted(permuted(0, 0, range(100), 100)) != list(range(100))


@examples(60)
@given(lengths, seeds, st.integers(0, 7), st.integers(0, 12), st.integers(0, 1000), st.data())
def test_shuffled_epochs_hold_every_example_once_however_positions_are_batched(
    length, seed, blocks, block_length, epoch, drawn
):
    blocks = blocks * bool(block_length)
    positions = np.arange(epoch * length, (epoch + 2) * length)
    found = order.shuffled(seed, tf.constant(positions), length, block_length, blocks).numpy()
    for each in (found[:length], found[length:]):
        assert sorted(each.tolist()) == list(range(length))
    cuts = sorted(drawn.draw(st.lists(st.integers(0, 2 * length), max_size=3)))
    parts = [
        order.shuffled(seed, tf.constant(part), length, block_length, blocks).numpy()
        for part in np.split(positions, cuts)
    ]
    assert np.concatenate(parts).tolist() == found.tolist()
    if 0 < block_length * blocks < length:  # a group holds whole blocks
        for start in range(0, length - block_length * blocks + 1, block_length * blocks):
            blocks_of_group = Counter(
                (found[start : start + block_length * blocks] // block_length).tolist()
            )
            assert (
                set(blocks_of_group.values()) == {block_length} and len(blocks_of_group) == blocks
            )


# ---------------------------------------------------------------------------------------------------------------- mix

rates = st.lists(
    st.floats(1e-12, 1e12) | st.integers(1, 12).map(float) | st.floats(0.01, 1.0),
    min_size=1,
    max_size=6,
)


@examples(60)
@given(rates)
@example([5e-324, 1.7e308])
@example([1.0, 1e-9, 1e-9, 1e-9])
def test_slots_are_shares_of_a_cycle(given_rates):
    counts, total = input_ops.slots(given_rates), sum(Fraction(str(rate)) for rate in given_rates)
    assert len(counts) == len(given_rates) and min(counts) >= 1
    raised = sum(
        Fraction(str(rate)) / total < Fraction(1, 10_000) for rate in given_rates
    )  # these get one slot all the same
    assert sum(counts) <= 10_000 + raised
    for count, rate in zip(counts, given_rates, strict=True):
        assert abs(Fraction(count, sum(counts)) - Fraction(str(rate)) / total) < Fraction(
            1 + raised, 10_000
        )


@examples(60)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6))
@example([1, 9999])
def test_slots_of_a_cycle_are_spread_evenly(counts):
    number, rank = input_ops.slot_table(counts)
    assert np.bincount(number, minlength=len(counts)).tolist() == counts
    taken = np.cumsum(
        number[:, np.newaxis] == np.arange(len(counts)), axis=0
    )  # (slots, sets), after each slot
    assert (rank == taken[np.arange(len(number)), number] - 1).all()  # the how-manieth of its set
    share = np.array(counts) / sum(counts)
    expected = np.arange(1, len(number) + 1)[:, np.newaxis] * share
    assert (np.abs(taken - expected) <= 0.5 + share * len(counts) / 2 + 1e-9).all()
    one_after_the_other = np.repeat(
        np.arange(len(counts)), counts
    )  # the control: the same counts, not spread
    apart = np.cumsum(one_after_the_other[:, np.newaxis] == np.arange(len(counts)), axis=0)
    if counts[0] > 2 * len(counts) and len(counts) > 1:
        assert (np.abs(apart - expected) > 0.5 + share * len(counts) / 2 + 1e-9).any()


def numbers(name: str, length: int, first: int, block_length: int):
    values = np.arange(first, first + length)
    source = from_arrays(
        name, {"inputs": values.astype(np.float32)[:, np.newaxis], "targets": values}, (), name
    )
    return data_loader.Source(**{**vars(source), "block_length": block_length})


def mix_of(*parts):
    """(length, slots, length of a block) of each data set."""
    return Mix(
        [
            MixSource(str(i), numbers(str(i), length, 0, block), [], count)
            for i, (length, count, block) in enumerate(parts)
        ]
    )


MIXES = [
    mix_of((50, 7, 8), (20, 2, 0), (31, 1, 0)),
    mix_of((9, 1, 2), (1, 3, 0)),
    mix_of((64, 1, 10)),
]


@examples(3)
@given(
    st.sampled_from(MIXES),
    seeds,
    st.sampled_from([0, 3]),
    st.integers(1, 40),
    st.integers(0, 1000),
    st.integers(0, 9),
    st.integers(0, 9),
)
@example(MIXES[0], (1 << 62) - 1, 0, 10, 0, 4, 3)
def test_ids_of_steps_do_not_depend_on_where_they_are_cut(
    mix, seed, blocks, batch_size, start, before, after
):
    def ids(begin):
        dataset = input_ops.ids_of_steps(
            mix, batch_size, seed, begin, start + before + after, blocks
        )
        return [tuple(column.tolist() for column in row) for row in dataset.as_numpy_iterator()]

    whole = ids(start)
    assert ids(start + before) == whole[before:]
    positions = np.arange(start * batch_size, (start + before + after) * batch_size).reshape(
        -1, batch_size
    )
    columns = (
        positions,
        *(column.numpy() for column in mix.ids(seed, tf.constant(positions), blocks)),
    )
    assert whole == list(zip(*(column.tolist() for column in columns), strict=True))


@examples(40)
@given(st.sampled_from(MIXES), seeds, st.sampled_from([0, 3]), st.integers(0, 1000))
def test_every_example_of_a_mix_comes_once_in_each_epoch_of_its_set(mix, seed, blocks, epoch):
    cycle = sum(part.slots for part in mix.sources)
    for number, part in enumerate(mix.sources):
        length = len(part.source)
        cycles = range(
            epoch * length // part.slots, -(-(epoch + 1) * length // part.slots)
        )  # those that hold this epoch of this set
        positions = tf.range(cycles.start * cycle, cycles.stop * cycle, dtype=tf.int64)
        of_set, ids = (column.numpy() for column in mix.ids(seed, positions, blocks))
        inside = ids[of_set == number] - mix.offsets[number]
        skipped = epoch * length - cycles.start * part.slots
        assert sorted(inside[skipped : skipped + length].tolist()) == list(range(length))


# ------------------------------------------------------------------------------------------------------------ records

serialized = st.lists(st.binary(max_size=40), min_size=1, max_size=9)


@examples(40)
@given(serialized, st.integers(1, 4), st.booleans(), st.data())
def test_records_are_read_back_by_number_in_any_order(
    examples_of_set, per_shard, compressed, drawn
):
    with tempfile.TemporaryDirectory() as folder:
        manifest = files.write_records(
            Path(folder, "set"), examples_of_set, per_shard=per_shard, compressed=compressed
        )
        stored = records.Records(Path(folder, "set"), "train")
        assert len(stored) == len(examples_of_set)
        wanted = np.array(
            drawn.draw(st.lists(st.integers(0, len(stored) - 1), max_size=12)), np.int64
        )
        for reader in (stored.read, stored.read_in_blocks(1), stored.read_in_blocks(3)):
            assert reader(wanted).tolist() == [examples_of_set[number] for number in wanted]
        for number in range(len(stored)):
            path = Path(
                folder, "set", manifest["splits"]["train"]["shards"][number // per_shard]["file"]
            )
            found = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
            offset = sum(len(each) + 16 for each in found[: number % per_shard])
            assert stored.locate(number) == f"{path}: record {number % per_shard} at byte {offset}"


@examples(60)
@given(serialized, st.integers(1, 4), st.booleans(), st.data())
def test_one_wrong_byte_of_the_index_or_a_shard_is_refused(
    examples_of_set, per_shard, compressed, drawn
):
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder, "set")
        files.write_records(directory, examples_of_set, per_shard=per_shard, compressed=compressed)
        opened = records.Records(directory, "train")  # a run that goes on while its files rot
        path = drawn.draw(
            st.sampled_from(
                sorted(path for path in directory.iterdir() if path.name != records.MANIFEST)
            )
        )
        content = bytearray(path.read_bytes())
        content[drawn.draw(st.integers(0, len(content) - 1))] ^= drawn.draw(st.integers(1, 255))
        path.write_bytes(content)
        if path.name == "train.index":
            with pytest.raises(DataError) as caught:
                records.Records(directory, "train")
            one_line(caught.value, f"{path}: damaged: ")
            return
        refused = 0
        for reader in (opened.read, records.Records(directory, "train").read_in_blocks(2)):
            for number, expected in enumerate(examples_of_set):
                try:
                    assert reader(np.array([number])).tolist() == [expected]
                except DataError as error:
                    one_line(error, f"{opened.locate(number)}: damaged: ")
                    refused += 1
        assert refused == 2  # the one that holds the byte, by each reader


def test_without_checksums_a_wrong_byte_would_be_read(monkeypatch):
    """The control: it is the index's checksum that notices."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder, "set")
        files.write_records(directory, [b"abc"])
        shard = directory / "train-00000-of-00001.tfrecord"
        shard.write_bytes(shard.read_bytes().replace(b"abc", b"abd"))
        entries = np.frombuffer((directory / "train.index").read_bytes(), records.ENTRY).copy()
        entries["crc32"] = records.index_shard(shard, [-1])["crc32"]
        (directory / "train.index").write_bytes(entries.tobytes())
        manifest = json.loads((directory / records.MANIFEST).read_text())
        manifest["splits"]["train"]["index"]["sha256"] = hashlib.sha256(
            entries.tobytes()
        ).hexdigest()
        (directory / records.MANIFEST).write_text(json.dumps(manifest))
        assert records.Records(directory, "train").read(np.array([0])).tolist() == [b"abd"]
