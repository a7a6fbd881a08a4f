"""What every program of this project has in common: its command line, its exit codes, its last line.

A program is two halves. The first reads the command line and the configuration, without TensorFlow (whose import takes
seconds), so that `--help` and every mistake answer at once. The second does the work and returns a dictionary, printed
as one JSON object on the last line of stdout; everything that people read goes to stderr.

Exit codes: 0 ok, 1 bug (traceback), 2 configuration or usage, 3 data, 4 checkpoint, 5 numerics, 6 resources,
7 run directory busy, 75 stopped by a signal and saved, 130/143 stopped without saving.
"""

import contextlib
import gc
import json
import os
import signal
import sys
import tempfile
import traceback

from absl import flags


class Failure(Exception):
    """An expected failure: one line for the user and an exit code; never a traceback unless asked for."""

    exit_code = 1


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


class Command:
    """A program's flags, and the `key=value` words after them.

    Flags live in this object and not in absl's global table, because one program imports another's module.
    """

    def __init__(self, name: str, usage: str):
        self.name, self.usage = name, usage
        self.flags = flags.FlagValues()
        self.flags.set_gnu_getopt(True)  # flags may follow key=value words
        self.string = self._definer(flags.DEFINE_string)
        self.boolean = self._definer(flags.DEFINE_boolean)
        self.integer = self._definer(flags.DEFINE_integer)
        self.choice = self._definer(flags.DEFINE_enum)
        self.boolean("help", False, "Print this text.")
        self.boolean("traceback", False, "Show the traceback of an expected failure as well.")
        self.overrides: list[str] = []

    def _definer(self, define):
        return lambda *arguments, **limits: define(*arguments, flag_values=self.flags, **limits)

    def __getattr__(self, flag: str):
        return getattr(self.flags, flag)

    def parse(self, argv: list[str]) -> None:
        """Reads `argv` (program name first). Raises ConfigError for an unknown flag or a word that is no `key=value`."""
        try:
            words = self.flags(argv)[1:]
        except flags.Error as error:
            self.flags.mark_as_parsed()  # `--traceback` may be asked for its default
            raise ConfigError(f"command line: {str(error).splitlines()[0]} (see --help)") from error
        for word in words:
            if "=" not in word:
                raise ConfigError(
                    f"command line: {word}: expected key=value, got {word!r} (see --help)"
                )
        self.overrides = words

    def help_text(self, more: str = "") -> str:
        lines = [f"usage: {self.usage}", "", "flags:"]
        for name in self.flags:
            flag = self.flags[name]
            values = (
                f" ({'|'.join(flag.parser.enum_values)})"
                if hasattr(flag.parser, "enum_values")
                else ""
            )
            lines.append(f"  --{name:<16} {flag.help}{values}")
        return "\n".join(lines) + ("\n\n" + more if more else "")


def start(command: Command, prepare, tensorflow: bool = True):
    """First half of a program: returns `prepare(command)`, or exits with the one line that says what is wrong.

    `prepare` must not need TensorFlow. A string that it returns (`--help`) is printed, and the program ends.
    Signals from here to the training loop end the program with 128 + signal, having written nothing.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit_unsaved)

    def parse_and_prepare():
        command.parse(sys.argv)
        return prepare(command)

    prepared = _guarded(command, parse_and_prepare)
    if isinstance(prepared, str):
        print(prepared)
        sys.exit(0)
    if tensorflow:
        _guarded(command, import_tensorflow)
    return prepared


def run(command: Command, main) -> None:
    """Second half of a program: prints the dictionary that `main()` returns as the last line of stdout, and exits."""
    result = _guarded(command, main)
    try:
        print(json.dumps(result), flush=True)
    except BrokenPipeError:  # nobody reads stdout any more; the work is done all the same
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


class StopSignals:
    """Inside `with`: the first SIGINT, SIGTERM or SIGHUP is noted in `.number`; a second ends the process at once."""

    def __enter__(self):
        self.number = None
        self._before = {
            n: signal.signal(n, self._note) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        return self

    def _note(self, number, _frame):
        if self.number is not None:
            os._exit(128 + number)
        self.number = number

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)


def warn(message: str) -> None:
    """One line on stderr; a closed stderr never stops the work."""
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, flush=True)


def write_whole(path, text: str) -> None:
    """Replaces a file: whoever is killed in mid-write, and whatever the disk does, leaves the old one or the new one."""
    part = f"{path}.part"
    try:
        with open(part, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(part)
        error.filename = str(path)
        raise


def _exit_unsaved(number, _frame):
    sys.exit(128 + number)


def _guarded(command: Command, work):
    try:
        return work()
    except Exception as failure:
        message, code = _explained(failure)
        if code is None:  # a bug keeps its traceback
            raise
        if command.traceback:
            traceback.print_exception(failure)
    word = "stopped" if code == Stopped.exit_code else "error"
    warn(f"{command.name}: {word}: {' '.join(message.split())}")
    sys.exit(code)


def _explained(failure: Exception) -> tuple[str, int | None]:
    """The line and the exit code of an expected failure; no code for anything else."""
    if isinstance(failure, Failure):
        return str(failure), failure.exit_code
    if (
        isinstance(failure, OSError) and failure.errno is not None
    ):  # a full disk, a missing permission, in its own words
        return f"{failure.filename}: {failure.strerror}" if failure.filename else str(
            failure.strerror
        ), ResourceError.exit_code
    if type(failure).__name__ == "ResourceExhaustedError":  # TensorFlow's
        return (
            f"out of memory: {str(failure).splitlines()[0]}; try a smaller train.batch_size",
            ResourceError.exit_code,
        )
    return "", None


def import_tensorflow() -> None:
    """Imports TensorFlow with its start-up notes (written by C++ straight to descriptor 2) kept for a failure only."""
    os.environ.setdefault(
        "TF_CPP_MIN_LOG_LEVEL", "3"
    )  # at 2, oneDNN writes a line for each kernel that it does not take
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    sys.stderr.flush()
    real_stderr = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            import keras
            import tensorflow as tf

            tf.get_logger().setLevel(
                "ERROR"
            )  # its hints on how to call it are not for those who run a program
            tf.config.list_physical_devices()
            gc.freeze()  # a quarter of a million objects that stay, and that each collection would look through
        except BaseException as error:
            if not isinstance(error, SystemExit):
                notes.seek(0)
                os.write(real_stderr, notes.read())
            raise
        finally:
            os.dup2(real_stderr, 2)
            os.close(real_stderr)
    assert keras.backend.backend() == "tensorflow", "set KERAS_BACKEND=tensorflow"
