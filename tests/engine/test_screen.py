"""What the terminal shows, and that nothing of it stops a run."""

import keras
import numpy as np
import pytest

from engine.log import Pace, Screen, Stopwatch


def lines(capsys) -> list[str]:
    return [line.rstrip() for line in capsys.readouterr().err.splitlines()]


def test_plain_lines_where_there_is_no_terminal(capsys):
    with Screen(200, 0) as screen:
        screen.progress(50, 1234.5, 75)
        screen.readings(50, "train", {"loss": 0.123456, "examples_per_second": 1234.5})
        screen.readings(50, "valid", {"loss": 0.5, "accuracy": 0.75})
        screen.line("[not markup] " + "x" * 200)
    assert lines(capsys) == [
        "step 50/200  loss 0.1235  1,234 examples/s  ETA 1:15",
        "step 50/200  valid: loss 0.5  accuracy 0.75",
        "[not markup] " + "x" * 200,
    ]


def test_a_quiet_screen_says_nothing(capsys):
    with Screen(200, 0, quiet=True) as screen:
        screen.line("text")
        screen.readings(50, "valid", {"loss": 0.5})
        screen.shares({"training": 1.0})
    assert lines(capsys) == []


def test_the_table_of_variables_adds_up(capsys):
    variables = {
        "kernel": keras.Variable(np.zeros([20, 60], np.float32)),
        "mean": keras.Variable(np.zeros([2], np.float16), dtype="float16", trainable=False),
        "scale": keras.Variable(1.0),
    }
    text = Screen(1, 0).variables(variables)
    assert [line.split() for line in text.splitlines()] == [
        ["kernel", "20x60", "1,200", "float32"],
        ["mean", "2", "2", "float16,", "not", "trained"],
        ["scale", "scalar", "1", "float32"],
        ["total", "1,203", "4,808", "bytes"],
    ]
    assert lines(capsys) == text.splitlines()


def test_shares_are_of_all_seconds(capsys):
    Screen(1, 0).shares({"training": 3.0, "saving": 1.0})
    text = "\n".join(lines(capsys))
    assert "75.0%" in text and "25.0%" in text


def test_a_reader_that_went_away_stops_nothing(monkeypatch):
    screen = Screen(10, 0)

    def broken(*_, **__):
        raise OSError("gone")

    monkeypatch.setattr(screen._console, "print", broken)
    screen.line("text")
    screen.shares({"training": 1.0})


def test_a_stopwatch_adds_up_also_what_fails():
    watch = Stopwatch()
    with watch("saving"):
        pass
    with pytest.raises(ValueError), watch("saving"):
        raise ValueError
    watch.seconds |= {"training": 3.0}
    watch.move("training", "waiting", 1.0)
    assert watch.seconds["training"] == 2.0 and watch.seconds["waiting"] == 1.0
    assert list(watch.shares()) == ["saving", "training", "waiting", "other"]
    assert watch.shares()["other"] == 0.0  # more was counted than has passed


def test_the_pace_forgets_the_compilation_and_is_smooth_after():
    pace = Pace()
    assert pace.steps_per_call == 1  # the first call compiles
    pace.update(10.0)
    pace.update(0.1)
    assert pace.seconds_per_step == pytest.approx(0.1) and pace.steps_per_call == 5
    pace.update(0.2)
    assert pace.seconds_per_step == pytest.approx(0.1 + 0.3 * 0.1)
    assert pace.left(10) == pytest.approx(1.3)
