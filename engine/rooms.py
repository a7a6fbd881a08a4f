"""How a door finds what is in its room: by the name in the configuration, never by a list."""

import importlib
import importlib.util

from cli.program import ConfigError


def look_up(room: str, name: str, function: str, config_file: str):
    """`function` of <room>/<name>.py. Raises ConfigError if the file or the function is missing."""
    file = f"{room}/{name}.py"
    expected = f"expected a function `{function}` for {name!r} of {config_file}"
    if importlib.util.find_spec(f"{room}.{name}") is None:
        raise ConfigError(f"{file}: no such file; {expected}")
    module = importlib.import_module(f"{room}.{name}")
    if not hasattr(module, function):
        raise ConfigError(f"{file}: {expected}, got none")
    return getattr(module, function)
