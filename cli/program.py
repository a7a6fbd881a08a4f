"""What every program has in common: its command line, its exit codes, its last line.

A program is two halves. The first reads the command line and the configuration, without TensorFlow
(whose import takes seconds), so that `--help` and every mistake answer at once. The second does the
work and returns a dictionary, printed as one JSON object on the last line of stdout; everything
that people read goes to stderr.

Exit codes: 0 ok, 1 bug (traceback), 2 configuration or usage, 3 data, 4 checkpoint, 5 numerics,
6 resources, 7 run directory busy, 75 stopped by a signal and saved, 130/143 stopped without saving.
"""

import contextlib
import gc
import importlib
import importlib.util
import json
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from functools import partial
from pathlib import Path

from absl import flags


class Failure(Exception):
    """An expected failure: one line for the user and an exit code."""

    exit_code = 1
    ag_pass_through = True  # AutoGraph leaves its message as it is (read in TensorFlow 2.21)


class ConfigError(Failure):
    exit_code = 2


class DataError(Failure):
    exit_code = 3


class CheckpointError(Failure):
    exit_code = 4


class NumericsError(Failure):
    exit_code = 5


class ResourceError(Failure):
    exit_code = 6


class BusyError(Failure):
    exit_code = 7


class Stopped(Failure):
    """A signal asked the run to stop and everything up to this step is saved."""

    exit_code = 75


def look_up(module: str, expected: str, *names: str):
    """The first of these names that a module has; ConfigError names its file otherwise."""
    missing = "" if importlib.util.find_spec(module) else "no such file; "
    attributes = {} if missing else vars(importlib.import_module(module))
    for name in names:
        if name in attributes:
            return attributes[name]
    raise ConfigError(f"{module.replace('.', '/')}.py: {missing}expected {expected}")


class Command:
    """A program's flags, and the `key=value` words after them.

    Flags live in this object and not in absl's global table, because one program imports another's
    module. `command.flags.run_dir` is the value of `--run_dir`; `command.run_dir` is the same.
    """

    def __init__(self, name: str, usage: str, config_class=None):
        """`config_class`: whose fields the words set; None: the words follow `--`, for another."""
        self.name = name
        self.usage = usage
        self.config_class = config_class
        self.overrides = []
        self.flags = flags.FlagValues()
        self.flags.set_gnu_getopt(True)  # flags may follow key=value words
        self.string = partial(flags.DEFINE_string, flag_values=self.flags)
        self.boolean = partial(flags.DEFINE_boolean, flag_values=self.flags)
        self.integer = partial(flags.DEFINE_integer, flag_values=self.flags)
        self.choice = partial(flags.DEFINE_enum, flag_values=self.flags)
        self.paths = []
        about = "Print this text; --help KEY: a section of the configuration, or a field of it."
        self.boolean("help", False, about, short_name="h")
        self.boolean("traceback", False, "Show the traceback of an expected failure as well.")

    def path(self, name: str, default: str | None, description: str) -> None:
        """A flag that holds a path, in which `~`, `$NAME` and `${NAME}` stand for what they do."""
        self.string(name, default, description)
        self.paths.append(name)

    def __getattr__(self, flag: str):
        value = getattr(self.flags, flag)
        if value and flag in self.paths:
            try:
                return expanded_path(value)
            except ValueError as error:
                raise ConfigError(f"command line: --{flag}: {error}") from error
        return value

    def parse(self, argv: list[str]) -> None:
        """Reads `argv`, program name first. Raises ConfigError, with the cure where it is known."""
        try:
            words = self.flags(argv)[1:]
        except flags.Error as error:
            from cli.mistakes import wrong_flag  # not needed before

            self.flags.mark_as_parsed()  # `--traceback` may be asked for its default
            raise wrong_flag(self, error, argv) from error
        for place, word in enumerate(words):
            is_assignment = self.config_class and word.find("=") > 0
            if not is_assignment and not self.flags.help:
                from cli.mistakes import wrong_word

                raise wrong_word(self, words, place)
        self.overrides = [re.sub(" *= *", "=", word, count=1) for word in words]


def expanded_path(path: str) -> str:
    """With the home directory for `~` and the environment's values for `$NAME` and `${NAME}`.

    Raises ValueError for a name that the environment does not have.
    """
    for name in re.findall(r"\$(\w+|\{[^}]*\})", path):
        if name.strip("{}") not in os.environ:
            raise ValueError(f"no environment variable {name.strip('{}')!r}, got {path!r}")
    return os.path.expanduser(os.path.expandvars(path))


def start(command: Command, prepare, tensorflow: bool = True):
    """First half of a program: `prepare(command)`, or one line that says what is wrong, and exit.

    `prepare` must not need TensorFlow. A string that it returns is printed, and the program ends.
    Signals from here to the training loop end the program with 128 + signal, nothing written.
    """
    for number in SIGNALS:
        signal.signal(number, _exit_unsaved)

    def parse_and_prepare():
        command.parse(sys.argv)
        if command.flags.help:
            from cli.help import help_text  # not needed before

            return help_text(command)
        return prepare(command)

    prepared = _guarded(command, parse_and_prepare)
    if isinstance(prepared, str):
        _print(prepared)
        sys.exit(0)
    if tensorflow:
        _guarded(command, import_tensorflow)
    return prepared


def run(command: Command, main) -> None:
    """Second half of a program: prints the dictionary of `main()` as the last line, and exits."""
    _print(json.dumps(_guarded(command, main)))
    sys.exit(0)


def _print(text: str) -> None:
    """On stdout; where nobody reads it any more, as after `| head`, the rest is dropped."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_ASKING_TO_STOP = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
SIGNALS = [getattr(signal, name) for name in _ASKING_TO_STOP if hasattr(signal, name)]


class StopSignals:
    """Inside `with`: the first of SIGNALS is noted in `.number`; a second ends the work at once.

    In a program that is the end of the process. In a notebook or a script the second goes to whom
    it went before: SIGINT raises KeyboardInterrupt. Outside of the main thread, where Python gives
    no signals, nothing is noted.
    """

    def __enter__(self):
        self.number = None
        is_main = threading.current_thread() is threading.main_thread()
        numbers = SIGNALS if is_main else []
        self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def _note(self, number, _frame):
        if self.number is None:
            self.number = number
            return
        if self._before[number] is _exit_unsaved:
            os._exit(128 + number)
        self._give_back()
        signal.raise_signal(number)

    def __exit__(self, *_):
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def warn(message: str) -> None:
    """One line on stderr; a closed stderr never stops the work."""
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, flush=True)


def write_whole(path, text: str) -> None:
    """Replaces a file: a crash, a kill or a full disk leaves the old one or the new one."""
    temporary = f"{path}.part"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        error.filename = str(path)
        raise


def _exit_unsaved(number, _frame):
    sys.exit(128 + number)


def _guarded(command: Command, work):
    try:
        return work()
    except Exception as failure:
        _exit_if_expected(command, failure)
        raise  # a bug keeps its traceback


def _exit_if_expected(command: Command, failure: Exception) -> None:
    message, code = _explained(failure)
    if code is None:
        return
    if command.traceback:
        traceback.print_exception(failure)
    word = "stopped" if code == Stopped.exit_code else "error"
    warn(f"{command.name}: {word}: {' '.join(message.split())}")
    sys.exit(code)


def _explained(failure: Exception) -> tuple[str, int | None]:
    """The line and the exit code of an expected failure; no code for anything else."""
    if isinstance(failure, Failure):
        return str(failure), failure.exit_code
    if isinstance(failure, OSError) and failure.errno is not None:
        # A full disk, a missing permission, in its own words.
        place = f"{failure.filename}: " if failure.filename else ""
        return f"{place}{failure.strerror}", ResourceError.exit_code
    if type(failure).__name__ == "ResourceExhaustedError":  # TensorFlow's
        reason, *_ = str(failure).splitlines()
        message = f"out of memory: {reason}; try a smaller train.batch_size"
        return message, ResourceError.exit_code
    return "", None


def import_tensorflow() -> None:
    """Imports TensorFlow; shows its start-up notes, written to descriptor 2, only if it fails."""
    # At 2, oneDNN writes a line for each kernel that it does not take.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    sys.stderr.flush()
    real_stderr = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            import keras
            import tensorflow as tf

            tf.get_logger().setLevel("ERROR")  # hides TensorFlow's API hints from users
            tf.config.list_physical_devices()
            gc.freeze()  # a quarter of a million objects that no collection need look through
        except BaseException as error:
            if not isinstance(error, SystemExit):
                notes.seek(0)
                os.write(real_stderr, notes.read())
            raise
        finally:
            os.dup2(real_stderr, 2)
            os.close(real_stderr)
    assert keras.backend.backend() == "tensorflow", "set KERAS_BACKEND=tensorflow"


# ---- whose modules these are

ROOT = Path(__file__).resolve().parent.parent
# What is imported by its bare name; a script beside may be called as the others are.
MODULES = "data_config data_loader eval input_ops model model_config preprocess_data train_config"
PACKAGES = "cli engine models ops sources tasks"


def check_modules() -> None:
    """Raises ImportError where a module of the user's own is found in place of one of these."""
    for name in MODULES.split():
        _check_found(name, ROOT / f"{name}.py")
    for name in PACKAGES.split():
        _check_found(name, ROOT / name / "__init__.py")


def _check_found(name: str, expected: Path) -> None:
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # made by hand in sys.modules, without a file
        return
    found = spec and spec.origin
    # Of one file in two spellings there is no difference: links, a system without upper case.
    if found and expected.exists() and not (os.path.exists(found) and expected.samefile(found)):
        raise ImportError(
            f"{name}: expected {expected}, found {found}: "
            f"rename yours, since this project imports its own as `{name}`",
            name=name,
            path=found,
        )


check_modules()  # as soon as anything of the project is imported: later the error is a puzzle
