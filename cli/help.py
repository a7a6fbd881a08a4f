"""What `--help` prints: flags and sections on one screen; `--help KEY` shows one of them."""

import re
import textwrap
import typing

from cli.mistakes import dotted_keys, homes_of
from cli.program import Command
from cli.typed_yaml import Section, default_name, members, mistake, name_of, nearest, to_text

_COLUMNS = 80


def help_text(command: Command) -> str:
    """Of `--help` alone, or of the keys after it."""
    if command.config_class and command.overrides:
        return "\n\n".join(_about(command.config_class, key) for key in command.overrides)
    lines = [_row("usage:", command.usage, indent=0, width=7), "", "flags:"]
    for name in command.flags:
        flag = command.flags[name]
        if name != flag.short_name:
            lines.append(_row(f"--{name}", flag.help + _listed(_enumerated(flag))))
    if command.config_class:
        lines += ["", "configuration, in the YAML file or as key=value:"]
        lines += _contents(members(command.config_class), with_defaults=False)
        lines += ["", "--help KEY shows more, such as --help train, --help train.epochs"]
    return "\n".join(lines)


def _enumerated(flag) -> list[str]:
    return getattr(flag.parser, "enum_values", [])


def _row(name: str, text: str, indent: int = 2, width: int = 22) -> str:
    """`name` and, beside it, a text of several lines."""
    start = f"{' ' * indent}{name} ".ljust(width)
    return textwrap.fill(start + text, _COLUMNS, subsequent_indent=" " * width)


def _listed(names) -> str:
    return f" ({', '.join(map(str, names))})" if names else ""


def _about(model: type[Section], topic: str) -> str:
    """One section, one choice (model.rnn or model.name=rnn), or one field."""
    field, classes = _found(model, topic)
    text = field.description if field else classes[0].__doc__
    lines = [_row(f"{topic}:", text or "", indent=0, width=2)]
    if field:
        choices = ", ".join(map(str, _choices(field.annotation)))
        details = {"one of:": "" if classes else choices, "default:": _default(field)}
        lines += [_row(name, shown) for name, shown in details.items() if shown]
    return "\n".join([*lines, *_contents(classes)])


def _found(model: type[Section], topic: str):
    """(field, classes of its sections) that `topic` names; no field where it ends in a class."""
    field, classes = None, members(model)
    for word in re.split("[.=]", topic):
        if word == "name" or word.isdigit() or not classes:
            continue
        known = {name_of(cls): cls for cls in reversed(_reachable(classes))}
        fields = {name: field for cls in classes for name, field in cls.model_fields.items()}
        if word not in fields and word not in known:
            names = [*fields, *filter(None, known)]
            homes = homes_of(dotted_keys(model), word)
            cure = f", did you mean {homes[0]!r}?" if homes else nearest(word, names)
            raise mistake(f"command line: --help {topic}: unknown key {word!r}{cure}")
        field = fields.get(word)
        classes = members(field.annotation) if field else [known[word]]
    return field, classes


def _reachable(classes: list[type[Section]]) -> list[type[Section]]:
    """The classes and all classes of sections below them."""
    below = [
        member
        for section in classes
        for field in section.model_fields.values()
        for member in _reachable(members(field.annotation))
    ]
    return list(dict.fromkeys([*classes, *below]))


def _contents(classes: list[type[Section]], with_defaults: bool = True) -> list[str]:
    """A line for each choice of several classes, and for each field that all of them have."""
    rows = []
    if len(classes) > 1:
        rows = [_row(str(name_of(cls)), (cls.__doc__ or "").split("\n")[0]) for cls in classes]
    for name, field in classes[0].model_fields.items() if classes else ():
        if name != "name" and all(name in cls.model_fields for cls in classes):
            choices = _listed(_choices(field.annotation)) if with_defaults else ""
            default = f" [{_default(field)}]" if with_defaults and _default(field) else ""
            rows.append(_row(name, f"{field.description or ''}{choices}{default}"))
    return rows


def _choices(annotation) -> list:
    """The values that a field of few values may have."""
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    return [choice for inner in typing.get_args(annotation) for choice in _choices(inner)]


def _default(field) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default == {} and members(field.annotation):
        return default_name(field) or ""
    return to_text(default)
