"""Installs the programs' dependencies; `pip install -e .` leaves the code here, to be changed."""

from setuptools import setup

MODULES = "data_config data_loader eval input_ops launch model model_config preprocess_data"
MODULES += " train_config trainer"

setup(
    name="tf-code-pattern",
    version="0.1.0",
    description="A modular TensorFlow training codebase to fork: one training code, N models.",
    license="Apache-2.0",  # the code; the data under data/ keep theirs: data/README.md
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    py_modules=MODULES.split(),
    packages=["cli", "engine", "models", "ops", "sources", "tasks"],
    install_requires=[
        # Bounded by what was tested: engine/ uses some private names of Keras.
        "tensorflow>=2.21,<2.22",
        "keras>=3.15.1,<3.16",  # earlier ones load hostile files and distribute wrongly
        "tensorboard",  # tf.summary needs it and TensorFlow no longer brings it
        "numpy",
        "pillow",  # contact sheets
        "absl-py",
        "pyyaml",
        "pydantic>=2",
        "rich",
    ],
    extras_require={
        "parquet": ["pyarrow"],
        "test": [
            "hypothesis",
            "ipykernel",
            "nbclient",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "ruff",
        ],
        "tfds": ["tensorflow-datasets", "array_record", "importlib_resources"],
    },
)
