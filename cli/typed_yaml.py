"""Strict YAML and `key=value` overrides, checked by pydantic; every mistake is one line.

YAML here is the JSON-like core of version 1.2: `1e-3` is a number, `010` is ten, `off` and `1:30`
are text. Duplicate keys, tags and merge keys are refused, and nothing in a file can construct an
object or run code.
"""

import difflib
import re
import textwrap
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import PydanticCustomError, core_schema

from cli import files
from cli.program import ConfigError, expanded_path, warn

MAX_BYTES = 1 << 20
MAX_NODES = 20_000  # after aliases are expanded: a bomb of nested aliases stops here
MAX_DEPTH = 50
MAX_INT = 1 << 62  # either way: what 64 bits hold, with some room


# ---- sections


class Section(BaseModel):
    """One section of a configuration: immutable, every key known, every value checked."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
        defer_build=True,
        use_attribute_docstrings=True,
    )
    exclusive: ClassVar[tuple[str, ...]] = ()  # fields of which an override displaces the others
    needs_one: ClassVar[bool] = False  # of the exclusive ones

    def model_post_init(self, _context):
        given = [name for name in self.exclusive if getattr(self, name) is not None]
        if len(given) > 1 or (self.needs_one and not given):
            raise ValueError(self.expected_one("both" if given else "neither"))

    @classmethod
    def expected_one(cls, got: str) -> str:
        bound = "exactly" if cls.needs_one else "at most"
        names = " and ".join(f"`{name}`" for name in cls.exclusive)
        return f"expected {bound} one of {names} (the other absent or null), got {got}"


@dataclass(frozen=True)
class OneOf:
    """Checks a section that is one of the classes below `base`, chosen by its key `name`.

    Only the class that is chosen is built, which pydantic takes most of a start's time for.
    """

    base: type[Section]
    default: str | None

    def __get_pydantic_core_schema__(self, source, handler):
        return core_schema.no_info_plain_validator_function(self.choose)

    def choose(self, value):
        if isinstance(value, self.base):
            return value
        classes = {name_of(section): section for section in named_classes(self.base)}
        names = list(classes)
        name = value.get("name", self.default) if isinstance(value, dict) else None
        if name in names:  # of any type
            return classes[name].model_validate({"name": name} | value)
        raise PydanticCustomError("not_one_of", "see cli/mistakes.py", {"names": names})


def one_of(base: type[Section], default: str | None = None):
    """The type of a section that is one of the classes below `base`, chosen by its key `name`.

    `default`: the name of a section that leaves it out. A class belongs to the choice by deriving
    from `base` and saying `name: Literal["its_name"]`.
    """
    return Annotated[base, OneOf(base, default)]


def or_name(section):
    """The same type, where a bare `name` may stand for `{name: name}`."""

    def named(value):
        return {"name": value} if isinstance(value, str) else value

    return Annotated[section, BeforeValidator(named)]


def named_classes(base: type[Section]) -> list[type[Section]]:
    """`base` and the classes below it, those that have a name, in the order of their definition."""
    classes = [base] if name_of(base) else []
    for child in base.__subclasses__():
        classes += named_classes(child)
    return list(dict.fromkeys(classes))  # a class may have two parents


def name_of(section: type[Section]) -> str | None:
    """What a section says as its `name`, such as "lenet" for the class Lenet."""
    names = typing.get_args(section.__annotations__.get("name"))
    return names[0] if names else None


def members(annotation) -> list[type[Section]]:
    """The section classes that an annotation allows, at any depth of Annotated, Union and list."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return named_classes(annotation) or [annotation]
    return [member for inner in typing.get_args(annotation) for member in members(inner)]


def default_name(field) -> str | None:
    """The name of a section where it leaves it out."""
    return next((rule.default for rule in field.metadata if isinstance(rule, OneOf)), None)


def section_at(model: type[Section], data, path: Sequence) -> type[Section] | None:
    """The class of the section at `path` in `data`; None where the names on the way are wrong."""
    classes = [model]
    default = None
    for key in path:
        fields = [cls.model_fields[key] for cls in classes if key in cls.model_fields]
        if fields:
            classes = members(fields[0].annotation)
            default = default_name(fields[0])
        data = data[key]
        name = data.get("name", default) if isinstance(data, dict) else data
        classes = [cls for cls in classes if name_of(cls) == name] or classes
    return classes[0] if len(classes) == 1 else None


def dotted(path: Iterable) -> str:
    return ".".join(map(str, path))


def at(data, path: Sequence):
    for key in path:
        data = data[key]
    return data


# ---- types of fields


def _no_bool(value):
    if isinstance(value, bool):
        raise ValueError(f"expected a number, got {show(value)}")
    return value


def _bounded(value: int) -> int:
    if abs(value) > MAX_INT:
        raise ValueError(f"expected -{MAX_INT:,} to {MAX_INT:,}, got {value}")
    return value


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"expected a regular expression, got {show(value)}: {error}") from None
    return value


# Plain `int` and `float` of pydantic also take true and false, and integers of any length.
Int = Annotated[int, BeforeValidator(_no_bool), AfterValidator(_bounded)]
Float = Annotated[float, BeforeValidator(_no_bool)]
Bool = Annotated[bool, Field(strict=True)]  # plain `bool` takes 1, "yes" and "off"
Regex = Annotated[str, AfterValidator(_regex)]
Positive = Annotated[Int, Field(ge=1)]
Width = Positive  # units or channels of a layer
Rate = Annotated[Float, Field(ge=0, lt=1)]
Share = Annotated[Float, Field(ge=0, le=1)]
Multiplier = Annotated[Float, Field(gt=0, le=8)]  # of the channels or blocks of a network


def _each_once(names: list[str]) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"expected each class once, got {name!r} twice")
    return names


PathText = Annotated[str, AfterValidator(expanded_path)]  # of a file or a directory
ClassNames = Annotated[list[str], Field(min_length=2), AfterValidator(_each_once)]


# ---- words of a mistake


def mistake(message: str) -> ConfigError:
    """Of one line, also where a key or a file name in it has line breaks."""
    line = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in message)
    return ConfigError(line)


def show(value) -> str:
    """A value as in YAML, at most 60 characters of it."""
    text = "null" if value is None else repr(value)
    if isinstance(value, bool):
        text = text.lower()
    return text if len(text) <= 60 else text[:57] + "..."


def unknown_name(name, known: list[str]) -> str:
    return f"unknown name {show(name)}{nearest(str(name), known)}"


def nearest(word: str, known: list[str]) -> str:
    if close := difflib.get_close_matches(word, known, 1, 0.5):
        return f", did you mean {close[0]!r}?"
    names = textwrap.shorten(", ".join(sorted(known)), 100, placeholder=" ...")
    return f"; expected one of {names}"


# ---- reading


def read_file(path: str | Path) -> tuple[dict, dict[tuple, int]]:
    """(plain data, line of each key path) of a YAML file whose top level is a mapping."""
    path = Path(path)
    try:
        _check_length(path, path.stat().st_size)
        text = files.read_text(path, mistake, MAX_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from error
    data, lines = parse(text, str(path))
    if not isinstance(data, dict):
        raise mistake(f"{path}: expected sections such as `model:`, got {show(data)}")
    return data, lines


def _unreadable(path: Path, error: OSError) -> ConfigError:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return mistake(f"{path}: no such file{files_like(path)}")
    return mistake(f"{path}: {error.strerror}")


def _check_length(file, size: int) -> None:
    if size > MAX_BYTES:
        raise mistake(
            f"{file}: expected a configuration of at most {MAX_BYTES:,} bytes, got {size:,}"
        )


def files_like(path: Path) -> str:
    files = {}
    for folder in {path.parent, Path("configs")}:
        files |= {file.stem: str(file) for file in folder.glob("*.yaml")}
    close = difflib.get_close_matches(path.stem, files, 3, 0.5) or sorted(files)[:5]
    return f"; there is {', '.join(map(files.get, close))}" if files else ""


def parse(text: str, file: str) -> tuple[Any, dict[tuple, int]]:
    """YAML text -> (plain data, line of each key path). Raises ConfigError: file, line, column."""
    _check_length(file, len(text))
    try:
        node = yaml.compose(text, Loader=_Loader)
    # PyYAML raises the last two for text such as "\UFFFFFFFF".
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise _syntax_mistake(error, file) from error
    builder = _Builder(file)
    data = builder.build(node, ()) if node else None
    return data, builder.lines


def _syntax_mistake(error: Exception, file: str) -> ConfigError:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        return _mistake_at(mark, file, f"YAML syntax: {error.problem}")
    return mistake(f"{file}: YAML syntax: {str(error).splitlines()[0]}")


def _mistake_at(mark, file: str, problem: str) -> ConfigError:
    return mistake(f"{file}:{mark.line + 1}:{mark.column + 1}: {problem}")


class _Loader(yaml.SafeLoader):
    """Refuses every tag, the standard ones too: `!!str 5` would otherwise be read as the number."""

    num_nodes = 0  # keys and values

    def compose_node(self, parent, index):
        event = self.peek_event()
        tag = getattr(event, "tag", None)
        problem = tag and f"tag {tag!r} is not allowed; expected plain YAML"
        self.num_nodes += 1
        if self.num_nodes > 2 * MAX_NODES:  # a megabyte of them would take PyYAML ten seconds
            problem = f"more than {MAX_NODES:,} values"
        if problem:
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)


@dataclass
class _Builder:
    """Makes plain data from PyYAML's nodes, and notes the line of each key path in `lines`."""

    file: str
    lines: dict[tuple, int] = field(default_factory=dict)
    num_nodes: int = 0

    def fail(self, node, what: str):
        raise _mistake_at(node.start_mark, self.file, what)

    def build(self, node, path: tuple):
        self.num_nodes += 1
        if self.num_nodes > MAX_NODES or len(path) > MAX_DEPTH:
            self.fail(
                node,
                f"more than {MAX_NODES:,} values or {MAX_DEPTH} levels once aliases are expanded",
            )
        self.lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*path, i)) for i, child in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self.build_mapping(node, path)
        text = self.text(node)
        return _scalar(text) if node.style is None else text

    def text(self, node) -> str:
        try:
            node.value.encode()
        except UnicodeEncodeError:  # "\ud800", which no file can hold
            self.fail(node, "expected whole Unicode characters, got half a surrogate pair")
        if "\0" in node.value:  # which ends a file's name
            self.fail(node, "expected text without the character 0")
        return node.value

    def build_mapping(self, node, path: tuple) -> dict:
        result = {}
        for key_node, value_node in node.value:
            is_merge = key_node.value == "<<" and key_node.style is None
            if is_merge or not isinstance(key_node, yaml.ScalarNode):
                self.fail(key_node, "expected a plain key")
            key = self.text(key_node)
            place = (*path, key)
            if key in result:
                self.fail(key_node, f"duplicate key {key!r}, first on line {self.lines[place]}")
            result[key] = self.build(value_node, place)
            self.lines[place] = key_node.start_mark.line + 1
        return result


_INT = re.compile(r"[-+]?[0-9]{1,39}")  # longer ones are floats
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_WORDS |= {word.capitalize(): value for word, value in _WORDS.items() if word.isalpha()}


def _scalar(text: str):
    """The YAML 1.2 core schema without octal, hexadecimal, infinity and NaN."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


# ---- overrides


def apply_overrides(data: dict, overrides: list[str]) -> set[tuple]:
    """Writes each `a.b.c=value` (the value is YAML) into `data`; returns the paths it wrote."""
    paths = set()
    for word in overrides:
        key, _, text = word.partition("=")
        if re.search("[\ud800-\udfff]", key):  # what Python makes of bytes that are no UTF-8
            raise mistake(f"command line: {key}: expected a key in UTF-8")
        value, _ = parse(text, f"command line: {key}")
        paths.add(_write(data, key, value))
    return paths


def _write(data, dotted_key: str, value) -> tuple:
    """Writes one value, making the sections on its way; returns its path."""
    section = data
    path = ()
    *parents, last = dotted_key.split(".")
    for key in parents:
        key = _key_in(section, key, path, dotted_key)
        inner = section.get(key) if isinstance(section, dict) else section[key]
        if isinstance(inner, str):  # a bare name stands for {name: name}
            inner = {"name": inner}
        section[key] = {} if inner is None else inner
        section = section[key]
        path += (key,)
    last = _key_in(section, last, path, dotted_key)
    section[last] = value
    return (*path, last)


def _key_in(target, key: str, path: tuple, dotted_key: str) -> str | int:
    """`key` as it stands in `target`: a number in a list."""
    if isinstance(target, list) and key in map(str, range(len(target))):
        return int(key)
    if not isinstance(target, dict):
        raise mistake(
            f"command line: {dotted_key}: {dotted(path)} is {show(target)}, not a section"
        )
    return key


def displace(model: type[Section], data: dict, lines: dict, overridden: set[tuple], file) -> None:
    """Takes out of `data` what an override excludes, such as `epochs` for `train.steps=100`."""
    for *place, key in sorted(overridden, key=str):
        section = section_at(model, data, place)
        values = at(data, place)
        if not section or key not in section.exclusive or values[key] is None:
            continue
        winner = dotted([*place, key])
        for other in section.exclusive:
            path = (*place, other)
            if other == key or values.get(other) is None:
                continue
            if path in overridden:
                raise mistake(f"command line: {winner}: {section.expected_one('both')}")
            old = to_text(values.pop(other))
            warn(f"{dotted(path)}={old} of {file} gives way to {winner}")
            lines.pop(path, None)


# ---- checking


def load(model: type[Section], path, overrides: list[str]) -> tuple[Section, dict, set]:
    """(a `model` from a YAML file and overrides, line of each key path, paths overridden)."""
    data, lines = read_file(path)
    overridden = apply_overrides(data, overrides)
    displace(model, data, lines, overridden, path)
    return validate(model, data, str(path), lines, overridden), lines, overridden


def validate(
    model: type[Section], data: dict, file: str, lines: dict, overridden: set[tuple]
) -> Section:
    """`data` as a `model`. Raises ConfigError: `<file>: <key>: <what>` of the first mistake."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        from cli.mistakes import explained  # not needed before

        details = error.errors(include_url=False)
    raise explained(model, details, data, file, lines, overridden)


# ---- writing


def flatten(data, path: tuple = ()):
    """Yields (path, value) of every leaf; a list is a leaf."""
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from flatten(value, (*path, key))
    else:
        yield path, data


class _Dumper(yaml.SafeDumper):
    """Writes what `parse` reads back: text that looks like a number or null is quoted."""

    def ignore_aliases(self, data):
        return True

    def represent_text(self, text: str):
        style = None if isinstance(_scalar(text), str) else "'"
        if set(text) & set("\n\x85\u2028\u2029"):  # line breaks to YAML: escaped, on one line
            style = '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)


def _dump(data, **style) -> str:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **style)


def to_yaml(data) -> str:
    """Plain data as a YAML file, which `parse` reads back as the same data."""
    return _dump(data, width=120, default_flow_style=None)


def to_text(value) -> str:
    """One value on one line of YAML, which `parse` reads back as the same value."""
    text = _dump(value, width=1 << 30, default_flow_style=True)
    return text.strip("\n").removesuffix("...").strip("\n")
