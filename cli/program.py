"""What every program has in common: its command line, its exit codes, its last line.

A program is two halves. The first reads the command line and the configuration, without TensorFlow
(whose import takes seconds), so that `--help` and every mistake answer at once. The second does the
work and returns a dictionary, printed as one JSON object on the last line of stdout; everything
that people read goes to stderr.

Exit codes: 0 ok, 1 bug (traceback), 2 configuration or usage, 3 data, 4 checkpoint, 5 numerics,
6 resources, 7 run directory busy, 75 stopped by a signal and saved, 130/143 stopped without saving.
"""

import atexit
import contextlib
import errno
import gc
import importlib
import importlib.util
import io
import json
import os
import re
import signal
import stat
import sys
import tempfile
import threading
import traceback
from functools import partial
from pathlib import Path

from absl import flags

try:
    import resource
except ImportError:  # on Windows
    resource = None


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

    Raises ValueError for a name that the environment does not have, and for a path that is no text.
    """
    for name in re.findall(r"\$(\w+|\{[^}]*\})", path):
        if name.strip("{}") not in os.environ:
            raise ValueError(f"no environment variable {name.strip('{}')!r}, got {path!r}")
    path = os.path.expanduser(os.path.expandvars(path))
    if _HALF_CHARACTER.search(path):  # TensorFlow takes no other paths
        raise ValueError(f"expected a path in UTF-8, got {shown(path)}")
    return path


def start(command: Command, prepare, tensorflow: bool = True):
    """First half of a program: `prepare(command)`, or one line that says what is wrong, and exit.

    `prepare` must not need TensorFlow. A string that it returns is printed, and the program ends.
    Signals from here to the training loop end the program with 128 + signal, nothing written.
    """
    open_streams()
    atexit.register(_leave_streams)
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
    """On stdout; what a full one does not take is lost, which changes no exit code.

    Where nobody reads it any more, as after `| head`, the rest is dropped without a word.
    """
    try:
        print(*map(shown, text.split("\n")), sep="\n", flush=True)
    except BrokenPipeError:
        _drop(sys.stdout)
    except (OSError, ValueError) as error:
        _drop(sys.stdout)
        warn(f"warning: stdout: {getattr(error, 'strerror', error)}: the result is lost")


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


# ---- what people read

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # what Python makes of bytes that are no UTF-8
# What moves a terminal's cursor, breaks lines, or turns the direction of text; not tabs.
_CONTROL = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def shown(text: str) -> str:
    """A line for people: names of files and the like cannot speak to the terminal through it."""
    return _CONTROL.sub(lambda character: ascii(character[0])[1:-1], text)


def warn(message: str) -> None:
    """One line on stderr; a closed or full stderr never stops the work."""
    if sys.stderr is not None:  # print would take stdout for it
        with contextlib.suppress(OSError, ValueError):
            print(shown(message), file=sys.stderr, flush=True)


def open_streams() -> None:
    """Gives a closed stdin, stdout or stderr a place, or files opened later would become them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    if sys.stderr is None:
        sys.stderr = _writer(2)
    if sys.stdout is None:
        sys.stdout = _writer(1)
        warn("warning: stdout is closed: the result will be lost")


def _writer(number: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.FileIO(number, "w", closefd=False), errors="backslashreplace")


def _leave_streams() -> None:
    """Python makes 120 of an exit code when it cannot write what is left at the end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _drop(stream)


def _drop(stream) -> None:
    """What was and will be written to it goes nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


# ---- the one writer of small files; cli/files.py reads them


def write_whole(path, text: str) -> None:
    """Replaces a file: a crash, a kill or a full disk leaves the old one or the new one.

    No link is followed: not under the name that the file has meanwhile, nor under its own.
    """
    temporary = f"{path}.part"
    check_replaceable(path)
    check_replaceable(temporary)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        with open(temporary, "x", encoding="utf-8", opener=_open_no_link) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        error.filename = str(path)
        raise


def check_replaceable(path) -> None:
    """Raises CheckpointError for a directory where a file belongs."""
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            raise CheckpointError(f"{path}: expected a file, got a directory")


def _open_no_link(path, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


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
        for line in "".join(traceback.format_exception(failure)).splitlines():
            warn(line)
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


# ---- TensorFlow

_TEMPORARY_BYTES = 1 << 20  # AutoGraph writes the sources that it makes to files
_LEAST_ADDRESS_SPACE = 3 << 30  # with less, its import ends in a crash


def _check_address_space() -> None:
    """Raises ResourceError where `ulimit -v` leaves TensorFlow too little."""
    if resource is None:
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < _LEAST_ADDRESS_SPACE:
        raise ResourceError(
            f"address space: TensorFlow needs {_LEAST_ADDRESS_SPACE:,} bytes, "
            f"got {limit:,}: raise the limit of this shell (ulimit -v)"
        )


def _check_room(file) -> None:
    """Raises ResourceError where temporary files find no room: TensorFlow would not say so."""
    try:
        left = bytes(_TEMPORARY_BYTES)
        while left:
            left = left[file.write(left) :]
        file.seek(0)
        file.truncate()
    except OSError as error:
        if error.errno == errno.EFBIG:  # a limit on one file, which says nothing of the room
            return
        raise ResourceError(
            f"{tempfile.gettempdir()}: {error.strerror}: TensorFlow needs "
            f"{_TEMPORARY_BYTES:,} bytes for temporary files; make room, or set TMPDIR"
        ) from error


def import_tensorflow() -> None:
    """Imports TensorFlow; shows its start-up notes, written to descriptor 2, only if it fails."""
    # At 2, oneDNN writes a line for each kernel that it does not take.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    open_streams()
    _check_address_space()
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    with tempfile.TemporaryFile(buffering=0) as notes, _diverted(2, notes):
        _check_room(notes)
        try:
            import keras
            import tensorflow as tf
        except (ImportError, MemoryError) as error:
            if isinstance(error, ImportError) and "map segment" not in str(error):
                raise
            raise ResourceError(f"out of memory while TensorFlow is imported: {error}") from error
        tf.get_logger().setLevel("ERROR")  # hides TensorFlow's API hints from users
        tf.config.list_physical_devices()
        gc.freeze()  # a quarter of a million objects that no collection need look through
    assert keras.backend.backend() == "tensorflow", "set KERAS_BACKEND=tensorflow"


@contextlib.contextmanager
def _diverted(number: int, file):
    """Inside `with` a descriptor writes to `file`; to its own place at the end, if that fails."""
    real = os.dup(number)
    os.dup2(file.fileno(), number)
    try:
        yield
    except Exception as error:
        if not isinstance(error, Failure):
            file.seek(0)
            with contextlib.suppress(OSError):
                os.write(real, file.read())
        raise
    finally:
        os.dup2(real, number)
        os.close(real)


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
