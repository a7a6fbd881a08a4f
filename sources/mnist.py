"""MNIST: 60,000 digits to train on; the 10,000 official test digits as both valid and test.

Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits, 1998.

A record: {"inputs": uint8 [28, 28, 1], 0 is paper, 255 is ink; "targets": int64 [], the digit}
"""

from data_loader import Source
from sources import idx, official_idx

_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_SHA256 = {  # as published
    f"{name}-ubyte.gz": digest
    for name, digest in {
        "train-images-idx3": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    }.items()
}


def load(config, split, directory) -> Source:
    return official_idx.load("mnist", split, directory, _URL, _SHA256, idx.DIGITS)
