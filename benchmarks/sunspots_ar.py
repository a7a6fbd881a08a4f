"""What a forecast of sunspots has to beat: persistence, and an autoregressive model fitted by least
squares.

python benchmarks/sunspots_ar.py [order]
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import tensorflow as tf

from data_config import Series
from data_loader import load


def windows(split: str, order: int) -> tuple[np.ndarray, np.ndarray]:
    """([n, order] months, [n] the month after them)."""
    source = load(Series(name="series", window=order, horizon=1), split, None)
    values = (
        source.read(tf.range(len(source), dtype=tf.int64))["inputs"]
        .numpy()[..., 0]
        .astype(np.float64)
    )
    return values[:, :-1], values[:, -1]


def main(order: int) -> None:
    """Fitted on the first 80 % of the months, scored on the last 20 %.

    Those of `eval.py --split test`.
    """
    seen, following = (
        np.concatenate(parts)
        for parts in zip(windows("train", order), windows("valid", order), strict=True)
    )
    coefficients, *_ = np.linalg.lstsq(np.c_[seen, np.ones(len(seen))], following, rcond=None)
    inputs, targets = windows("test", order)
    errors = {
        "persistence": inputs[:, -1] - targets,
        f"AR({order})": np.c_[inputs, np.ones(len(inputs))] @ coefficients - targets,
    }
    rmse = {name: round(float(np.sqrt(np.mean(error**2))), 3) for name, error in errors.items()}
    print(json.dumps({"months": len(targets), "rmse": rmse}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 24)
