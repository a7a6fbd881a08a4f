"""Strict YAML and `key=value` overrides, checked against pydantic models; every mistake is one line.

YAML here is the JSON-like core of version 1.2: `1e-3` is a number, `010` is ten, `off` and `1:30` are text. Duplicate
keys, tags and merge keys are refused, and nothing in a file can construct an object or run code.
"""

import difflib
import re
import typing
from pathlib import Path
from typing import Annotated, Any, Union

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from cli.program import ConfigError

MAX_BYTES = 1 << 20
MAX_NODES = 20_000  # after aliases are expanded: a bomb of nested aliases stops here
MAX_DEPTH = 50
MAX_INT = 1 << 62  # either way: what 64 bits hold, with some room


class Section(BaseModel):
    """One section of a configuration: immutable, every key known, every value checked, defaults included."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True, defer_build=True
    )


def one_of(base: type[Section], default: str | None = None):
    """The type of a section that is one of the classes below `base`, chosen by its key `name`.

    `default`: the name of a section that leaves it out. A class belongs to the choice by deriving
    from `base` and saying `name: Literal["its_name"]`, before this is called.
    """
    classes = named_classes(base)
    several = Annotated[Union[tuple(classes)], Field(discriminator="name")]
    section = several if len(classes) > 1 else classes[0]
    if default is None:
        return section

    def with_name(value):
        return {"name": default} | value if isinstance(value, dict) else value

    return Annotated[section, BeforeValidator(with_name)]


def named_classes(base: type[Section]) -> list[type[Section]]:
    """The classes below `base` that have a name, in the order of their definition."""
    own = [base] if name_of(base) else []
    return own + [cls for child in base.__subclasses__() for cls in named_classes(child)]


def name_of(section: type[Section]) -> str | None:
    """What a section says as its `name`, such as "lenet" for the class Lenet."""
    names = typing.get_args(section.__annotations__.get("name"))
    return names[0] if names else None


def or_name(section):
    """The same type, where a bare `name` may stand for `{name: name}`."""
    return Annotated[
        section, BeforeValidator(lambda value: {"name": value} if isinstance(value, str) else value)
    ]


def _no_bool(value):
    if isinstance(value, bool):
        raise ValueError(f"expected a number, got {str(value).lower()}")
    return value


def _bounded(value: int) -> int:
    if abs(value) > MAX_INT:
        raise ValueError(f"expected -{MAX_INT:,} to {MAX_INT:,}, got {value}")
    return value


# Plain `int` and `float` of pydantic also take true and false, and integers of any length; these do not.
Int = Annotated[int, BeforeValidator(_no_bool), AfterValidator(_bounded)]
Float = Annotated[float, BeforeValidator(_no_bool)]
Bool = Annotated[bool, Field(strict=True)]  # plain `bool` takes 1, "yes" and "off"


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except (
        re.error,
        ValueError,
        OverflowError,
        RecursionError,
    ) as error:  # the last ones: numbers and nesting beyond all measure
        raise ValueError(f"expected a regular expression, got {show(value)}: {error}") from None
    return value


Regex = Annotated[str, AfterValidator(_regex)]


def _each_once(names: list[str]) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"expected each class once, got {name!r} twice")
    return names


ClassNames = Annotated[list[str], Field(min_length=2), AfterValidator(_each_once)]


# ---------------------------------------------------------------------------------------------------------- reading


def _mistake(message: str) -> ConfigError:
    """Of one line, also where a key or a file name in it has line breaks, or what cannot be shown."""
    return ConfigError(
        "".join(
            character if character.isprintable() else ascii(character)[1:-1]
            for character in message
        )
    )


def parse(text: str, file: str) -> tuple[Any, dict[tuple, int]]:
    """YAML text -> (plain data, line of each key path). Raises ConfigError naming file, line and column."""
    if len(text) > MAX_BYTES:
        raise _mistake(
            f"{file}: expected a configuration of at most {MAX_BYTES:,} bytes, got {len(text):,}"
        )
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _mistake(
            f"{file}:{mark.line + 1}:{mark.column + 1}: YAML syntax: {error.problem}"
        ) from error
    except (
        yaml.YAMLError,
        RecursionError,
        ValueError,
        OverflowError,
    ) as error:  # the last two: PyYAML at "\UFFFFFFFF"
        raise _mistake(f"{file}: YAML syntax: {str(error).splitlines()[0]}") from error
    lines: dict[tuple, int] = {}
    return (None if node is None else _Builder(file, lines).build(node, ())), lines


class _Loader(yaml.SafeLoader):
    """Refuses every tag, the standard ones too: `!!str 5` would otherwise be read as the number."""

    composed = 0  # keys and values

    def compose_node(self, parent, index):
        self.composed += 1
        if self.composed > 2 * MAX_NODES:  # a megabyte of them would take PyYAML ten seconds
            raise yaml.composer.ComposerError(
                None, None, f"more than {MAX_NODES:,} values", self.peek_event().start_mark
            )
        tag = getattr(self.peek_event(), "tag", None)
        if tag is not None:
            raise yaml.composer.ComposerError(
                None,
                None,
                f"tag {tag!r} is not allowed; expected plain YAML",
                self.peek_event().start_mark,
            )
        return super().compose_node(parent, index)


class _Builder:
    def __init__(self, file: str, lines: dict[tuple, int]):
        self.file, self.lines, self.nodes = file, lines, 0

    def fail(self, node, what: str):
        mark = node.start_mark
        raise _mistake(f"{self.file}:{mark.line + 1}:{mark.column + 1}: {what}")

    def build(self, node, path: tuple):
        self.nodes += 1
        if self.nodes > MAX_NODES or len(path) > MAX_DEPTH:
            self.fail(
                node,
                f"more than {MAX_NODES:,} values or {MAX_DEPTH} levels once aliases are expanded",
            )
        self.lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*path, i)) for i, child in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self.build_mapping(node, path)
        return _scalar(self.text(node)) if node.style is None else self.text(node)

    def text(self, node) -> str:
        try:
            node.value.encode()
        except UnicodeEncodeError:  # "\ud800", which no file can hold
            self.fail(node, "expected whole Unicode characters, got half a surrogate pair")
        if "\0" in node.value:  # which ends a file's name
            self.fail(node, "expected text without the character 0")
        return node.value

    def build_mapping(self, node, path: tuple) -> dict:
        result, first_lines = {}, {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or (key_node.value, key_node.style) == (
                "<<",
                None,
            ):
                self.fail(key_node, "expected a plain key")
            key = self.text(key_node)
            if key in result:
                self.fail(key_node, f"duplicate key {key!r}, first on line {first_lines[key]}")
            result[key] = self.build(value_node, (*path, key))
            first_lines[key] = self.lines[*path, key] = key_node.start_mark.line + 1
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


def read_file(path: str | Path) -> tuple[dict, dict[tuple, int]]:
    """Reads a YAML file whose top level is a mapping. A missing file is answered with the nearest names beside it."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _mistake(
                f"{path}: expected a configuration of at most {MAX_BYTES:,} bytes, got {path.stat().st_size:,}"
            )
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        beside = sorted(
            str(p) for folder in {path.parent, Path("configs")} for p in folder.glob("*.yaml")
        )
        raise _mistake(f"{path}: no such file{_hint(str(path), beside, 'there is')}") from None
    except UnicodeDecodeError as error:
        raise _mistake(
            f"{path}: expected UTF-8 text, got byte {error.object[error.start]:#x} at {error.start}"
        ) from error
    except OSError as error:
        raise _mistake(f"{path}: {error.strerror}") from error
    data, lines = parse(text, str(path))
    if not isinstance(data, dict):
        raise _mistake(f"{path}: expected sections such as `model:`, got {show(data)}")
    return data, lines


def apply_overrides(data: dict, overrides: list[str]) -> set[tuple]:
    """Writes each `a.b.c=value` (the value is YAML) into `data`; returns the paths it wrote."""
    paths = set()
    for word in overrides:
        key, _, text = word.partition("=")
        if any(
            "\ud800" <= character <= "\udfff" for character in key
        ):  # what Python makes of bytes that are no UTF-8
            raise _mistake(f"command line: {key}: expected a key in UTF-8")
        value, _ = parse(text, f"command line: {key}")
        target, path, parts = data, (), key.split(".")
        for depth, part in enumerate(parts, 1):
            if isinstance(target, list) and part in map(str, range(len(target))):
                part = int(part)
            elif not isinstance(target, dict):
                raise _mistake(
                    f"command line: {key}: {'.'.join(map(str, path))} is {show(target)}, not a section"
                )
            path = (*path, part)
            if depth == len(parts):
                target[part] = value
                break
            section = target.get(part) if isinstance(target, dict) else target[part]
            if section is None or isinstance(section, str):
                target[part] = section = (
                    {} if section is None else {"name": section}
                )  # a bare name stands for {name: name}
            target = section
        paths.add(path)
    return paths


# ---------------------------------------------------------------------------------------------------------- checking


def validate(
    model: type[Section], data: dict, file: str, lines: dict[tuple, int], overridden: set[tuple]
) -> Section:
    """`data` as a `model`. Raises ConfigError: `<file>: <key>: <what>`, the first mistake of the file's order."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # A misspelt section is unknown and, under its right name, missing: the first of the two names the cure.
        details = sorted(
            error.errors(include_url=False), key=lambda found: found["type"] != "extra_forbidden"
        )
    detail = details[0]
    path = _path_in(data, detail["loc"], detail["type"] == "missing")
    if detail["type"] == "union_tag_invalid" and (*path, "name") in lines.keys() | overridden:
        path = (*path, "name")
    if any(
        path[: len(word)] == word or (path not in lines and word[: len(path)] == path)
        for word in overridden
    ):
        where, line = "command line", ""
    else:
        number = next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), None)
        where, line = file, f" (line {number})" if number else ""
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    key = ".".join(map(str, path))
    raise _mistake(f"{where}: {key + ': ' if key else ''}{_what(model, detail, path)}{line}{more}")


def _path_in(data, loc: tuple, missing: bool) -> tuple:
    """pydantic's location without the parts that name a member of a union: only keys that the user wrote or forgot."""
    path = []
    for i, part in enumerate(loc):
        if (isinstance(data, dict) and part in data) or (
            isinstance(data, list) and isinstance(part, int) and part < len(data)
        ):
            path.append(part)
            data = data[part]
        elif (
            missing
            and i == len(loc) - 1
            and isinstance(part, str)
            and isinstance(data, (dict, str))  # a bare name stands for {name: name}
            and "[" not in part
        ):
            path.append(part)  # a missing key
    return tuple(path)


def _what(model: type[Section], detail: dict, path: tuple) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        section = _section_at(model, detail["loc"][:-1])
        known = list(section.model_fields) if section else []
        homes = [home for home in _homes(model, path[-1]) if home != ".".join(map(str, path))]
        if difflib.get_close_matches(str(path[-1]), known, 1, 0.75) or not homes:
            return f"unknown key{_hint(str(path[-1]), known)}"
        return f"unknown key here; did you mean {' or '.join(repr(home) for home in homes[:3])}?"
    if kind == "missing":
        return "missing; expected a value"
    if kind in ("union_tag_invalid", "literal_error"):
        expected = re.findall(
            r"'([^']*)'", str(context.get("expected_tags", context.get("expected")))
        )
        got = detail["input"].get("name") if isinstance(detail["input"], dict) else detail["input"]
        if expected:  # names; numbers are shown below
            return unknown_name(got, expected)
    if kind == "union_tag_not_found":
        return f"expected a section with a `name`, got {show(detail['input'])}"
    if kind == "value_error":
        return str(context["error"])
    if kind in ("model_type", "model_attributes_type"):
        return f"expected a section, got {show(detail['input'])}"
    expected = (
        detail["msg"].replace("Input should be", "expected").split(", unable")[0].split(", got")[0]
    )
    return f"{expected[0].lower() + expected[1:]}, got {show(detail['input'])}"


def unknown_name(name, known: list[str]) -> str:
    return f"unknown name {show(name)}{_hint(str(name), known)}"


def _hint(word: str, known: list[str], verb: str = "did you mean") -> str:
    close = difflib.get_close_matches(word, known, 3 if verb != "did you mean" else 1, 0.5)
    if verb == "did you mean":
        return (
            f", did you mean {close[0]!r}?"
            if close
            else f"; expected one of {', '.join(sorted(known))}"
        )
    return f"; {verb} {', '.join(close or known[:5])}" if known else ""


def show(value) -> str:
    text = (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    )
    return text if len(text) <= 60 else text[:57] + "..."


def members(annotation) -> list[type[Section]]:
    """The section classes that an annotation names, at any depth of Annotated, Union and list."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for part in typing.get_args(annotation) for found in members(part)]


def _section_at(model: type[Section], loc: tuple) -> type[Section] | None:
    """The class that pydantic was filling at `loc` (keys, list indices and union tags)."""
    candidates = [model]
    for part in loc:
        if isinstance(part, int):
            continue
        fields = [f for c in candidates for n, f in c.model_fields.items() if part == n]
        if fields:
            candidates = [member for field in fields for member in members(field.annotation)]
        else:
            candidates = [c for c in candidates if name_of(c) == part] or candidates
    return candidates[0] if len(candidates) == 1 else None


def _homes(model: type[Section], key: str, prefix: str = "") -> list[str]:
    """Every dotted path at which `key` is a field: where a key in the wrong section belongs."""
    homes = []
    for name, field in model.model_fields.items():
        if name == key:
            homes.append(prefix + name)
        for member in members(field.annotation):
            homes += _homes(member, key, f"{prefix}{name}.")
    return list(dict.fromkeys(homes))


# ---------------------------------------------------------------------------------------------------------- showing


def flatten(data, path: tuple = ()):
    """Yields (path, value) of every leaf; a list is a leaf."""
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from flatten(value, (*path, key))
    else:
        yield path, data


class _Dumper(yaml.SafeDumper):
    """Writes what `parse` reads back: text that our scalars would take for a number or null is quoted."""

    def ignore_aliases(self, data):
        return True


def _represent_str(dumper, text: str):
    style = None if isinstance(_scalar(text), str) else "'"
    if set(text) & set(
        "\n\x85\u2028\u2029"
    ):  # line breaks to YAML: escaped, so that the value stays on its line
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_str)


def to_yaml(data) -> str:
    """Plain data as a YAML file, which `parse` reads back as the same data."""
    return yaml.dump(
        data,
        Dumper=_Dumper,
        sort_keys=False,
        width=120,
        default_flow_style=None,
        allow_unicode=True,
    )


def to_text(value) -> str:
    """One value on one line of YAML, which `parse` reads back as the same value."""
    text = yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=True,
        width=1 << 30,
        sort_keys=False,
        allow_unicode=True,
    )
    return text.strip("\n").removesuffix("...").strip("\n")


def field_lines(model: type[Section], prefix: str = "", shown_at: dict | None = None) -> list[str]:
    """One line per field: dotted key, default, description. A choice of sections is laid out once, then referred to."""
    lines, shown_at = [], {} if shown_at is None else shown_at
    for name, field in model.model_fields.items():
        key = prefix + name
        classes = members(field.annotation)
        default = field.get_default(call_default_factory=True)
        if not classes or isinstance(default, list):
            shown = "required" if field.is_required() else to_text(_plain(default))
            names = f" ({', '.join(filter(None, map(name_of, classes)))})" if classes else ""
            if name != "name":
                lines.append(f"  {key:<32} {field.description or ''}{names} [{shown}]")
            continue
        tags = [name_of(member) for member in classes]
        if len(tags) > 1 and shown_at.setdefault(tuple(tags), key) != key:
            lines.append(
                f"  {key:<32} {field.description or ''} (as {shown_at[tuple(tags)]}){' [null]' * (default is None)}"
            )
            continue
        chosen = "" if default is None else getattr(default, "name", "")
        shown = f" ({', '.join(tags)})" if all(tags) else ""
        lines.append(
            f"  {key:<32} {field.description or ''}{shown}{f' [{chosen}]' if chosen else ' [null]' * (default is None)}"
        )
        owners: dict[
            str, list[str]
        ] = {}  # a line that several members share stands once, with their names
        for member, tag in zip(classes, tags, strict=True):
            for line in field_lines(member, f"{key}.", shown_at):
                owners.setdefault(line, []).append(tag or "")
        for line, who in owners.items():
            lines.append(line + (f" {{{', '.join(who)}}}" if len(who) < len(classes) else ""))
    return lines


def _plain(value):
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.model_dump() if isinstance(value, Section) else value
