"""What is wrong with a configuration or a command line, and its cure, in one line.

Nothing here runs in a program that is used as it should be.
"""

import difflib
import re
import shlex
import textwrap
from collections.abc import Iterable

from absl import flags

from cli.program import Command, ConfigError
from cli.typed_yaml import (
    Section,
    at,
    dotted,
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
    lines: dict,
    overridden: set[tuple],
) -> ConfigError:
    """The first of pydantic's mistakes, with its place in the file or on the command line."""
    # A misspelt section is unknown and, under its right name, missing: the first names the cure.
    detail = min(details, key=lambda detail: detail["type"] != "extra_forbidden")
    path = _path_in(data, detail)
    what = _what(model, data, detail, path)
    if detail["type"] == "not_one_of" and isinstance(detail["input"], dict):
        path = (*path, "name") if (*path, "name") in lines.keys() | overridden else path
    place = file
    # A path and the sections on its way, the innermost first.
    ways = [path[:length] for length in range(len(path), 0, -1)]
    # The line of a key, or of the section that should hold it.
    line = next((f" (line {lines[way]})" for way in ways if way in lines), "")
    below = {key[: len(path)] for key in overridden}
    if overridden & set(ways) or (path not in lines and path in below):
        place = "command line"
        line = ""
    key = f"{dotted(path)}: " if path else ""
    others = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return mistake(f"{place}: {key}{what}{line}{others}")


def _path_in(data, detail: dict) -> tuple:
    """pydantic's location without the members of unions: keys that the user wrote or forgot."""
    path = ()
    for key in detail["loc"]:
        try:
            data = data[key]
        except (LookupError, TypeError):
            continue
        path += (key,)
    return (*path, detail["loc"][-1]) if detail["type"] == "missing" else path


def _what(model: type[Section], data, detail: dict, path: tuple) -> str:
    kind = detail["type"]
    value = detail["input"]
    context = detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(model, data, path)
    if kind == "missing":
        section = at(data, path[:-1])
        if isinstance(section, str):  # a bare name
            return f"missing; expected {{name: {section}, {path[-1]}: ...}}"
        return "missing; expected a value"
    if kind == "not_one_of":
        return _not_one_of(value, context["names"], dotted(path))
    if kind == "literal_error" and "'" in context["expected"]:  # names, not numbers
        return unknown_name(value, re.findall(r"'([^']*)'", context["expected"]))
    if kind == "value_error":
        return str(context["error"])
    expected = re.split(", unable|, got", detail["msg"].replace("Input should be ", ""))[0]
    if kind in ("model_type", "model_attributes_type"):
        expected = "a section"
    cure = f"; write [{show(value)}]" if kind == "list_type" and isinstance(value, str) else ""
    return f"expected {expected[0].lower()}{expected[1:]}, got {show(value)}{cure}"


def _not_one_of(value, names: list[str], key: str) -> str:
    if isinstance(value, dict):
        if "name" in value:
            return unknown_name(value["name"], names)
        return f"expected a section with a `name`, got {show(value)}"
    cure = nearest(str(value), names)
    if value in names:
        cure = f"; write {key}.name={value} or, for its defaults, '{key}={{name: {value}}}'"
    return f"expected a section, got {show(value)}{cure}"


def _unknown_key(model: type[Section], data, path: tuple) -> str:
    key = path[-1]
    section = section_at(model, data, path[:-1])
    known = section.model_fields if section else ()
    homes = [repr(home) for home in homes_of(model, key) if home != dotted(path)]
    if homes and not _alike(key, known):
        return f"unknown key here; did you mean {' or '.join(homes[:3])}?"
    return f"unknown key{nearest(key, known)}"


def homes_of(model: type[Section], word: str) -> list[str]:
    """The dotted keys that end in `word`, in a name of these initials (lr), or in one like it."""
    keys = dotted_keys(model)
    homes = [key for key in keys if f".{key}".endswith(f".{word}")]
    if not homes:
        names = {key: key.split(".")[-1] for key in keys}
        initials = {name: "".join(re.findall("(?:^|_)(.)", name)) for name in names.values()}
        alike = [name for name in initials if initials[name] == word] or _alike(word, initials)
        homes = [key for key in keys if names[key] in alike]
    homes.sort(key=lambda key: key.count("."))
    return [f"{key}.name" if f"{key}.name" in keys else key for key in homes]


def _alike(word: str, names: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(word, names, 1, 0.75)


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
    reason = f"{str(error).splitlines()[0]} (see --help)"
    if isinstance(error, flags.UnrecognizedFlagError):
        place = argv.index(error.flagvalue)
        if command.config_class is None:
            return _after_dashes(argv, place)
        flag, _, value = error.flagvalue.partition("=")
        value = value or " ".join(argv[place + 1 : place + 2])
        keys = homes_of(command.config_class, error.flagname.replace("-", "_"))
        cures = " or ".join(shlex.quote(f"{key}={value}") for key in keys[:3])
        if cures:
            reason = f"{flag}: no such flag; write {cures}"
    return mistake(f"command line: {reason}")


def wrong_word(command: Command, words: list[str], place: int) -> ConfigError:
    """The cure of a word that is no `key=value`."""
    if command.config_class is None:
        return _after_dashes([f"{command.name}.py", *words], place + 1)
    word = words[place]
    before = words[place - 1] if place else ""
    main_flag = next(name for name in command.flags if command.flags[name].flag_type() == "string")
    choices = map(name_of, members(command.config_class))
    is_main = word in choices or re.search(r"/|\.ya?ml", word)
    assignment = " ".join(words[place - before.endswith("=") :])
    blanks = re.match(r"([\w.]+)(?: ?[=:] ?| )([^ ]+)", assignment)
    ending = f", got {word!r} (see --help)"
    if is_main and command.flags[main_flag].value is None:
        ending = f"; write --{main_flag} {word}"
    elif blanks and blanks[1] in dotted_keys(command.config_class):
        ending = f"; write {blanks[1]}={blanks[2]}"
    elif re.search(r"=.*[\[{][^\]}]*$", before) or re.fullmatch("steps?|epochs?", word):
        ending = f"; write '{before} {word}', in quotes"
    return mistake(f"command line: {word}: expected key=value{ending}")


def _after_dashes(words: list[str], place: int) -> ConfigError:
    line = textwrap.shorten(f"{shlex.join(words[:place])} -- {shlex.join(words[place:])}", 120)
    return mistake(f"command line: {words[place]}: what is for the trainer follows --: {line}")
