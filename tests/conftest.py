"""One quiet TensorFlow import for all tests of a process; what more than one test file uses."""

import gc
import subprocess
import sys

import pytest
import tiny.sitecustomize  # noqa: F401  the tiny network and data set, before the configuration is made

from cli.program import import_tensorflow

import_tensorflow()
# The graphs of a thousand tests are objects by the million: looking through all of them again and
# again took a tenth of the time.
gc.set_threshold(100_000, 50, 1_000)

import tensorflow as tf

# Four devices on the CPU, so that a test may have up to four towers; others see no difference.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 4
)

from places import HANG, ROOT, WITH_TINY


@pytest.fixture
def program():
    """Runs one of the programs as a user would: program("trainer.py", "--config", ...).

    Returns a CompletedProcess with text.
    """

    def call(*words, cwd=ROOT, timeout=HANG, env=None):
        command = [sys.executable, *map(str, words)]
        options = {"capture_output": True, "text": True, "timeout": timeout}
        return subprocess.run(command, cwd=cwd, env=WITH_TINY | (env or {}), **options)

    return call
