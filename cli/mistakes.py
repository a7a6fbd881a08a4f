"""What is wrong with a configuration or a command line, and its cure, in one line.

Nothing here runs in a program that is used as it should be.
"""

import difflib
import re
import shlex
import textwrap

from absl import flags

from cli.program import Command, ConfigError
from cli.typed_yaml import (
    Section,
    members,
    mistake,
    name_of,
    nearest,
    section_at,
    show,
    unknown_name,
)

# ---- configuration


def explained(
    model: type[Section],
    details: list[dict],
    data,
    file: str,
    lines: dict[tuple, int],
    overridden: set[tuple],
) -> ConfigError:
    """The first of pydantic's mistakes, with its place in the file or on the command line."""
    # A misspelt section is unknown and, under its right name, missing: the first names the cure.
    detail = min(details, key=lambda detail: detail["type"] != "extra_forbidden")
    path = _path_in(data, detail["loc"], detail["type"] == "missing")
    what = _what(model, data, detail, path)
    if detail["type"] == "not_one_of" and isinstance(detail["input"], dict):
        path = (*path, "name") if (*path, "name") in lines.keys() | overridden else path
    by_override = any(
        path[: len(key)] == key or (path not in lines and key[: len(path)] == path)
        for key in overridden
    )
    where, line = ("command line", "") if by_override else (file, _line_of(path, lines))
    key = ".".join(map(str, path)) + ": " if path else ""
    others = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return mistake(f"{where}: {key}{what}{line}{others}")


def _line_of(path: tuple, lines: dict[tuple, int]) -> str:
    """The line of a key, or of the section that should hold it."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return f" (line {lines[path[:length]]})"
    return ""


def _path_in(data, location: tuple, missing: bool) -> tuple:
    """pydantic's location without the members of unions: keys that the user wrote or forgot."""
    path = []
    for depth, key in enumerate(location, 1):
        in_list = isinstance(data, list) and isinstance(key, int) and key < len(data)
        if in_list or (isinstance(data, dict) and key in data):
            path.append(key)
            data = data[key]
        elif missing and depth == len(location):
            path.append(key)
    return tuple(path)


def _what(model: type[Section], data, detail: dict, path: tuple) -> str:
    kind, context, value = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind == "extra_forbidden":
        return _unknown_key(model, data, path)
    if kind == "missing":
        bare = f"{{name: {value['name']}, {path[-1]}: ...}}" if _is_bare(data, path) else "a value"
        return f"missing; expected {bare}"
    if kind == "not_one_of":
        return _not_one_of(value, context["names"], ".".join(map(str, path)))
    if kind == "literal_error":
        names = re.findall(r"'([^']*)'", context["expected"])
        if names:  # numbers are shown below
            return unknown_name(value, names)
    if kind == "value_error":
        return str(context["error"])
    if kind in ("model_type", "model_attributes_type"):
        return f"expected a section, got {show(value)}"
    expected = detail["msg"].replace("Input should be", "expected")
    expected = re.split(", unable|, got", expected)[0]
    cure = f"; write [{value}]" if kind == "list_type" and isinstance(value, str) else ""
    return f"{expected[0].lower() + expected[1:]}, got {show(value)}{cure}"


def _is_bare(data, path: tuple) -> bool:
    """Whether a bare name stands where a field is missing."""
    for key in path[:-1]:
        data = data[key]
    return isinstance(data, str)


def _not_one_of(value, names: list[str], key: str) -> str:
    if isinstance(value, dict):
        if "name" not in value:
            return f"expected a section with a `name`, got {show(value)}"
        return unknown_name(value["name"], names)
    cure = nearest(str(value), names)
    if value in names:
        cure = f"; write {key}.name={value} or, for its defaults, '{key}={{name: {value}}}'"
    return f"expected a section, got {show(value)}{cure}"


def _unknown_key(model: type[Section], data, path: tuple) -> str:
    section, key = section_at(model, data, path[:-1]), str(path[-1])
    known = list(section.model_fields) if section else []
    homes = homes_of(dotted_keys(model), key)
    homes = [repr(home) for home in homes if home != ".".join(map(str, path))][:3]
    if homes and not difflib.get_close_matches(key, known, 1, 0.75):
        return f"unknown key here; did you mean {' or '.join(homes)}?"
    return f"unknown key{nearest(key, known)}"


def homes_of(keys: list[str], word: str) -> list[str]:
    """The dotted keys that end in `word`, or in a name of these initials: lr."""
    homes = [key for key in keys if f".{key}".endswith(f".{word}")]
    return homes or [key for key in keys if _initials(key.split(".")[-1]) == word]


def _initials(name: str) -> str:
    words = name.split("_")
    return "".join(word[:1] for word in words) if len(words) > 1 else ""


def dotted_keys(model: type[Section], prefix: str = "") -> list[str]:
    """Every field of every section that a `model` may have."""
    keys = []
    for section in members(model):
        for name, field in section.model_fields.items():
            keys.append(prefix + name)
            for member in members(field.annotation):
                keys += dotted_keys(member, f"{prefix}{name}.")
    return list(dict.fromkeys(keys))


# ---- command line


def wrong_flag(command: Command, error: flags.Error, argv: list[str]) -> ConfigError:
    """The cure of a flag that is unknown, which may be a field's name, or whose value is wrong."""
    reason = str(error).splitlines()[0]
    if not isinstance(error, flags.UnrecognizedFlagError):
        return mistake(f"command line: {reason} (see --help)")
    at = argv.index(error.flagvalue)
    if close := difflib.get_close_matches(error.flagname, list(command.flags), 1, 0.75):
        return mistake(f"command line: {reason.split('. Did')[0]}, did you mean --{close[0]}?")
    if command.passes_on:
        return _before_dashes(command, argv, at)
    flag, _, value = error.flagvalue.partition("=")
    value = value or " ".join(argv[at + 1 : at + 2])
    homes = _homes_of_flag(command.config_class, error.flagname)
    words = " or ".join(shlex.quote(f"{home}={value}") for home in homes[:3])
    return mistake(f"command line: {flag}: no such flag{f'; write {words}' if words else ''}")


def _homes_of_flag(model: type[Section] | None, flag: str) -> list[str]:
    """The fields that may be meant: of that name, of those initials, or of a name like it."""
    keys = dotted_keys(model) if model else []
    name = flag.replace("-", "_")
    last_words = {key.split(".")[-1] for key in keys}
    close = difflib.get_close_matches(name, last_words, 1, 0.75)
    homes = homes_of(keys, name) or homes_of(keys, *close)
    return [f"{home}.name" if f"{home}.name" in keys else home for home in homes]


def wrong_word(command: Command, words: list[str], at: int) -> ConfigError:
    """The cure of a word that is no `key=value`."""
    if command.passes_on:
        return _before_dashes(command, [f"{command.name}.py", *words], at + 1)
    cure = _cure(command, words, at)
    ending = f"; write {cure}" if cure else f", got {words[at]!r} (see --help)"
    return mistake(f"command line: {words[at]}: expected key=value{ending}")


def _cure(command: Command, words: list[str], at: int) -> str | None:
    word, before = words[at], words[at - 1] if at else ""
    key, _, value = word.partition("=")
    if key in command.flags:
        return f"--{key} {value}"
    is_main = re.search(r"/|\.ya?ml$", word) or word in map(name_of, members(command.config_class))
    if is_main and command.flags[command.main_flag].value is None:
        return f"--{command.main_flag} {word}"
    if re.search(r"=.*[\[{][^\]}]*$", before) or re.fullmatch("steps?|epochs?", word):
        return f"'{before} {word}', in quotes"
    words_from_key = words[at - 1 :] if before.endswith("=") else words[at:]
    match = re.match(r"([\w.]+)(?: ?[=:] ?| )([^ ]+)", " ".join(words_from_key))
    known = match and match[1] in dotted_keys(command.config_class)
    return f"{match[1]}={match[2]}" if known else None


def _before_dashes(command: Command, words: list[str], at: int) -> ConfigError:
    line = f"{shlex.join(words[:at])} -- {shlex.join(words[at:])}"
    cure = f"words for {command.passes_on} come after --: {textwrap.shorten(line, 120)}"
    return mistake(f"command line: {words[at]}: {cure}")
