"""What `--help` prints: flags and sections on one screen; `--help KEY` shows one of them."""

import re
import textwrap
import typing

from cli.mistakes import homes_of
from cli.program import Command
from cli.typed_yaml import Section, default_name, members, mistake, name_of, nearest, to_text

_COLUMNS = 80


def help_text(command: Command) -> str:
    """Of `--help` alone, or of the keys after it."""
    if command.config_class and command.overrides:
        return "\n\n".join(_about(command.config_class, key) for key in command.overrides)
    lines = [_row("usage:", command.usage, 7), "", "flags:"]
    for name in command.flags:
        if len(name) > 1:
            lines.append(_row(f"  --{name}", command.flags[name].help))
    if command.config_class:
        classes = members(command.config_class)
        rows = _rows(classes)
        example = "train, --help train.epochs"
        if name_of(classes[0]):  # a choice
            rows = [_row(" ", ", ".join(map(name_of, classes)), 2)]
            example = name_of(classes[0])
        lines += ["", "configuration, in the YAML file or as key=value:", *rows, ""]
        lines.append(f"--help KEY shows more, such as --help {example}")
    return "\n".join(lines)


def _row(name: str, text: str, width: int = 22) -> str:
    """`name` and, beside it, a text of several lines."""
    return textwrap.fill(f"{name} ".ljust(width) + text, _COLUMNS, subsequent_indent=" " * width)


def _about(model: type[Section], topic: str) -> str:
    """One section, one choice (model.rnn or model.name=rnn), or one field."""
    field = None
    classes = members(model)
    for word in re.split("[.=]", topic):
        if word == "name" or word.isdigit() or not classes:
            continue
        fields = {}
        for section in classes:
            fields |= section.model_fields
        below = [cls for field in fields.values() for cls in members(field.annotation)]
        named = {name_of(section): section for section in [*below, *classes]}
        if word in fields:
            field = fields[word]
            classes = members(field.annotation)
        elif word in named:
            field = None
            classes = [named[word]]
        else:
            cure = nearest(word, [*fields, *filter(None, named), *homes_of(model, word)])
            raise mistake(f"command line: --help {topic}: unknown key {word!r}{cure}")
    text = _details(field) if field else classes[0].__doc__ or ""
    return "\n".join([_row(f"{topic}:", text, 2), *_rows(classes)])


def _rows(classes: list[type[Section]]) -> list[str]:
    """A row for each choice of several classes, and for each field that all of them have."""
    rows = []
    for section in classes if len(classes) > 1 else []:
        phrase, *_ = (section.__doc__ or "").split("\n")
        rows.append(_row(f"  {name_of(section)}", phrase))
    for name, field in classes[0].model_fields.items() if classes else []:
        if name != "name" and all(name in section.model_fields for section in classes):
            rows.append(_row(f"  {name}", _details(field)))
    return rows


def _details(field) -> str:
    """Description, (choices) and [default]."""
    text = field.description or ""
    if typing.get_origin(field.annotation) is typing.Literal:
        text += f" ({', '.join(map(str, typing.get_args(field.annotation)))})"
    default = "required" if field.is_required() else to_text(field.default)
    return f"{text} [{default_name(field) or default}]".removesuffix(" [{}]")
