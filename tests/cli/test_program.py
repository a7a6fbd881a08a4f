"""What every program has in common: one line for a mistake, before TensorFlow is imported."""

import resource
import subprocess
import sys

import pytest
from places import ROOT, TINY

from cli import program as programs
from cli.program import ConfigError

CONFIG = ("--config", TINY)


@pytest.mark.parametrize(
    ("words", "code", "fragment"),
    [
        (["--help"], 0, "usage: python trainer.py --config FILE"),
        ([*CONFIG, "--print_config"], 0, "train.batch_size: "),
        (
            [*CONFIG, "train.bacth_size=3"],
            2,
            "command line: train.bacth_size: unknown key, did you mean",
        ),
        (
            ["--config", TINY.with_name("tny.yaml")],
            2,
            f"{TINY.with_name('tny.yaml')}: no such file; there is {TINY}",
        ),
        ([*CONFIG, "--dbug", "fdr"], 2, "command line: Unknown command line flag 'dbug'"),
        ([*CONFIG, "fast"], 2, "command line: fast: expected key=value"),
    ],
    ids=["help", "print", "key", "file", "flag", "word"],
)
def test_the_program_answers_in_one_line_and_writes_nothing(
    program, tmp_path, words, code, fragment
):
    ended = program("trainer.py", "--run_dir", tmp_path / "run", *words)
    assert ended.returncode == code
    assert not (tmp_path / "run").exists()
    if code == 0:
        assert ended.stderr == ""
        assert fragment in ended.stdout
    else:
        assert ended.stdout == ""
        assert ended.stderr.count("\n") == 1
        assert ended.stderr.startswith(f"trainer: error: {fragment}")


@pytest.mark.parametrize("words", [["--help"], [*CONFIG, "modle=1"]], ids=["help", "mistake"])
def test_it_answers_before_tensorflow_is_imported(program, words):
    imports = program("-X", "importtime", "trainer.py", *words).stderr
    assert "train_config" in imports  # the list is there
    assert "tensorflow" not in imports
    assert "keras" not in imports


def test_a_mistake_costs_little_cpu_time(program):
    """Half a second is promised; three times as much may pass on a machine that is busy or slow."""

    def cpu_time() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = cpu_time()
    ended = program("trainer.py", *CONFIG, "train.batch_size=0")
    assert ended.returncode == 2
    assert cpu_time() - before < 1.5


@pytest.mark.parametrize("words", [["--help"], [*map(str, CONFIG), "--print_config"]])
def test_a_reader_that_goes_away_is_no_failure(words):
    """As with `| head`: whoever reads stdout closes it before anything is written."""
    ended = subprocess.Popen(
        [sys.executable, "trainer.py", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": str(TINY.parent)},
    )
    ended.stdout.close()
    assert ended.stderr.read() == b""
    assert ended.wait(timeout=120) == 0


def command() -> programs.Command:
    command = programs.Command("test", "python test.py", object)
    command.string("out", None, "A file.")
    command.integer("count", 3, "A number.", lower_bound=1)
    return command


def test_flags_and_words_come_in_any_order():
    parsed = command()
    parsed.parse(["test.py", "a.b=1", "--out", "x", "c = [1, 2]", "--count=5"])
    assert (parsed.flags.out, parsed.flags.count) == ("x", 5)
    assert parsed.overrides == ["a.b=1", "c=[1, 2]"]  # blanks around = are taken away


@pytest.mark.parametrize("words", [["--count=0"], ["--count", "x"], ["--out"]])
def test_wrong_values_of_flags_are_refused(words):
    with pytest.raises(ConfigError, match=r"^command line: .*\(see --help\)$"):
        command().parse(["test.py", *words])
