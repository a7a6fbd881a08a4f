"""Strict YAML, overrides, types of fields. Nothing here imports TensorFlow."""

import copy
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from generated import examples, one_line
from hypothesis import assume, example, given
from hypothesis import strategies as st
from places import TINY
from pydantic import Field

from cli import typed_yaml
from cli.program import ConfigError
from train_config import TrainConfig, load_config

# ---- strict YAML


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),  # YAML 1.1 reads text
        ("1.", 1.0),
        ("-.5", -0.5),
        ("010", 10),  # YAML 1.1 reads 8
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),  # YAML 1.1 reads 90
        ("2024-01-31", "2024-01-31"),
        ("off", "off"),  # YAML 1.1 reads false
        ("True", True),
        ("tRUE", "tRUE"),
        ("~", None),
        ("'010'", "010"),
        ('"null"', "null"),
        (".inf", ".inf"),
    ],
)
def test_scalars_are_those_of_the_yaml_core(text, value):
    result, _ = typed_yaml.parse(f"key: {text}", "f.yaml")
    assert result == {"key": value}
    assert type(result["key"]) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1: duplicate key 'a', first on line 1"),
        ("x:\n  a: 1\n  'a': 3\n", "f.yaml:3:3: duplicate key 'a', first on line 2"),
        ("a: 1\nb: [1, 2\nc: 3\n", "f.yaml:3:2: YAML syntax: "),
        ("a: 'open\n", "f.yaml:2:1: YAML syntax: "),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: YAML syntax: "),
        ("a: \x00", "f.yaml: YAML syntax: "),
        ("a: &a {b: 1}\nc: {<<: *a}\n", "f.yaml:2:5: expected a plain key"),
        ("? [1]\n: 2\n", "f.yaml:1:3: expected a plain key"),
        ("a: 1\nb: !!set {x}\n", "f.yaml:2:4: "),
        ("a: !mine 1\n", "f.yaml:1:4: "),
        ("a: !!str 5\n", "f.yaml:1:4: "),  # neither obeyed nor ignored
        ("a: &a [*a]\n", "more than 20,000 values or 50 levels"),
        ("[" * 5_000, "f.yaml: YAML syntax: "),
        (
            "a: " + "x" * (1 << 20),
            "f.yaml: expected a configuration of at most 1,048,576 bytes, got 1,048,579",
        ),
    ],
    ids=lambda text: repr(text[:24]),
)
def test_yaml_that_is_refused(text, message):
    with pytest.raises(ConfigError) as caught:
        typed_yaml.parse(text, "f.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_alias_bomb_is_refused_while_aliases_work():
    aliases = [
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)
    ]  # 10**9 values
    assert (
        typed_yaml.parse("\n".join(["a0: &a0 1", *aliases[:2]]), "f.yaml")[0]["a2"]
        == [[1] * 10] * 10
    )
    with pytest.raises(ConfigError, match="more than 20,000 values"):
        typed_yaml.parse("\n".join(["a0: &a0 1", *aliases]), "f.yaml")


def test_a_python_tag_is_not_executed(tmp_path):
    text = f"a: !!python/object/apply:os.mkdir [{tmp_path}/made]"
    with pytest.raises(ConfigError, match="is not allowed"):
        typed_yaml.parse(text, "f.yaml")
    assert not (tmp_path / "made").exists()
    yaml.unsafe_load(text)  # the control: this text does execute where tags are obeyed
    assert (tmp_path / "made").exists()


# ---- strict YAML

TOKENS = [
    *"[]{},:?-#&*!|>%@`\"'\\~<= \n\t\r\0\x85\ufeff\u2028\ud800",
    "a",
    "bc",
    "1",
    "0.5",
    "1e3",
    "9" * 5000,
    "null",
    "\u00e9",
    "\U0001f600",
    "- ",
    ": ",
    "? ",
    "<<",
    "&a ",
    "*a",
    "!!str ",
    "!%FF ",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "%TAG ! x\n",
    "|+2\n",
    ">-\n",
    "\n  ",
    '"\\ud800"',
    '"\\U00110000"',
    '"\\UFFFFFFFF"',
    '"\\x"',
    "a: &a [*a]",
    f"%YAML {'1' * 5000}.1\n",
]
TINY_TEXT = TINY.read_text()
broken_configurations = st.tuples(
    st.integers(0, len(TINY_TEXT)), st.integers(0, 12), st.sampled_from(TOKENS)
).map(lambda change: TINY_TEXT[: change[0]] + change[2] + TINY_TEXT[change[0] + change[1] :])
any_text = st.one_of(
    st.lists(st.sampled_from(TOKENS), max_size=14).map("".join),
    st.text(st.characters(), max_size=60),
    broken_configurations,
)

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


# ---- overrides


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
    """A path is drawn by going down from the top.

    Through keys and indices that are there, or new keys.
    """
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
TINY_FIELDS = load_config(TINY).model_dump(mode="json")
FIELDS = [".".join(map(str, key)) for key, _ in typed_yaml.flatten(TINY_FIELDS)]
VALUES = [
    "",
    "0",
    "-1",
    "2.5",
    "1e999",
    "9" * 39,
    "9" * 400 + " epochs",
    "0." + "0" * 400 + "1 epochs",
    "1e-320",
    "true",
    "[]",
    "{}",
    "[null]",
    "{0: 1}",
    "{name: }",
    "{name: [1]}",
    "{name: {a: b}}",
    "[['(']]",
    "['(']",
    "['a{99999999999999999999}']",
    f"['{'(' * 5000}']",
    "{'(': 1}",
    '["a\\nb"]',
    '{"a\\nb": 1}',
    '{"a\\nb": {name: fak}}',
    r'{ckpt: r, map: {"a\n": "\\2"}}',
    "{tiny_numbers: 0}",
    "{tiny_numbers: 1e-320, mine: 1e308}",
    "!!python/name:os.abort",
    '"\\ud800"',
    "\udcff",
    "\x00",
    "tiny_numbers",
    "{name: tiny_numbers, size: 0}",
    "[scale, {name: pad, length: 1e9}]",
]
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
@example(["data.sources.\udcff.name=tiny_numbers"])
@example(['data.sources={"a\\nb": {name: fak}}'])
def test_any_override_gives_a_configuration_or_one_line(words):
    try:
        config = load_config(TINY, words)
    except ConfigError as error:
        assert one_line(error, "").startswith(("command line: ", f"{TINY}: "))
    else:
        assert isinstance(config, TrainConfig)
        typed_yaml.to_yaml(config.model_dump(mode="json")).encode()  # can be written


def test_a_key_of_digits_is_a_key_where_there_is_no_list():
    config = load_config(TINY, ["data.sources.1.name=tiny_numbers", "data.train.name=tiny_numbers"])
    assert config.data.sources["1"].name == "tiny_numbers"


# ---- sections


class Animal(typed_yaml.Section):
    legs: typed_yaml.Int = Field(4, description="Number of legs.")


class Cat(Animal):
    name: Literal["cat"]
    age: typed_yaml.Int | None = Field(None, description="Age in years, or `born`.")
    born: typed_yaml.Int | None = Field(None, description="Year of birth.")
    exclusive = ("age", "born")
    needs_one = True


class Dog(Animal):
    name: Literal["dog"]
    owner: str | None = None
    chip: str | None = None
    exclusive = ("owner", "chip")


class House(typed_yaml.Section):
    pet: typed_yaml.one_of(Animal, default="dog") = Field({}, description="Who lives there.")
    guests: list[typed_yaml.or_name(typed_yaml.one_of(Animal))] = Field([])
    rooms: Annotated[typed_yaml.Rate, Field(description="Share.")] = 0.5


def house(text: str, *overrides: str):
    path = Path(tempfile.mkdtemp()) / "house.yaml"
    path.write_text(text)
    return typed_yaml.load(House, path, list(overrides))[0]


def refused(text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        house(text, *overrides)
    return str(caught.value)


def test_a_section_is_chosen_by_its_name_or_by_default():
    assert type(house("pet: {name: cat, age: 3}").pet) is Cat
    assert type(house("pet: {legs: 3}").pet) is Dog
    assert type(house("rooms: 0.2").pet) is Dog
    assert house("guests: [dog, {name: cat, born: 1}]").guests[0] == Dog(name="dog")
    dumped = house("guests: [dog]").model_dump(mode="json")  # all fields of the class chosen
    assert dumped["guests"] == [{"legs": 4, "name": "dog", "owner": None, "chip": None}]


def test_mistakes_of_a_choice():
    assert "pet.name: unknown name 'dogg', did you mean 'dog'?" in refused("pet: {name: dogg}")
    assert "guests.0: expected a section with a `name`, got {}" in refused("guests: [{}]")
    assert "pet: expected a section, got 3" in refused("pet: 3")
    assert "pet.legz: unknown key, did you mean 'legs'?" in refused("pet: {legz: 3}")
    assert refused("pet: {name: cat, age: x, legs: y}").endswith("(line 1) (and 1 more)")


@pytest.mark.parametrize(
    ("text", "overrides", "shown"),
    [
        ("pet: {name: cat, age: 3}", ["pet.born=2000"], "pet.age=3 of"),
        ("pet: {name: cat, born: 2000}", ["pet.age=3"], "pet.born=2000 of"),
        ("pet: {owner: me}", ["pet.chip=a1"], "pet.owner=me of"),  # the default's
        ("guests: [{name: cat, age: 3}]", ["guests.0.born=2000"], "guests.0.age=3 of"),
        ("pet: {name: cat, age: 3}", ["pet.name=dog", "pet.age=null"], ""),
        ("pet: {name: cat, age: 3}", ["pet.age=4"], ""),
        ("pet: {name: cat, age: 3}", ["pet={name: cat, born: 1}"], ""),
    ],
)
def test_an_override_displaces_what_it_excludes(capsys, text, overrides, shown):
    if "pet.name=dog" in overrides:
        assert "pet.age: unknown key" in refused(text, *overrides)
    else:
        house(text, *overrides)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == bool(shown) and "".join(lines).startswith(shown)


def test_exclusive_fields_of_one_place_are_refused():
    both = refused("pet: {name: cat, age: 3, born: 2}")
    assert "pet: expected exactly one of `age` and `born` (the other absent or null)" in both
    assert "got neither" in refused("pet: {name: cat}")
    both = refused("pet: {owner: me, chip: a1}")
    assert "pet: expected at most one of `owner` and `chip`" in both and "got both" in both
    both = refused("pet: {name: cat, age: 1}", "pet.age=3", "pet.born=2")
    assert both.startswith("command line: pet.") and both.endswith("got both")
