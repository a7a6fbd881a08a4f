"""Installs the programs' dependencies; `pip install -e .` leaves the code here, to be read and changed."""

from setuptools import setup

setup(
    name="tf-code-pattern",
    version="0.1.0",
    description="A modular TensorFlow training codebase to fork: one training code, N models.",
    python_requires=">=3.11,<3.14",
    py_modules=[
        "blackbox", "data_config", "data_loader", "eval", "input_ops", "launch", "model", "model_config", "preprocess_data", "run",
        "train_config", "train_step", "trainer",
    ],
    packages=["cli", "engine", "models", "ops", "sources", "tasks"],
    install_requires=[
        "tensorflow>=2.21",
        "keras>=3.15.1",  # earlier ones load hostile files and distribute wrongly
        "tensorboard",  # tf.summary needs it and TensorFlow no longer brings it
        "numpy",
        "pillow",  # contact sheets
        "absl-py",
        "pyyaml",
        "pydantic>=2",
        "rich",
    ],
    extras_require={
        "test": ["hypothesis", "pytest", "pytest-timeout", "pytest-xdist", "ruff"],
        "tfds": ["tensorflow-datasets", "array_record", "importlib_resources"],
    },
)  # fmt: skip
