"""Fashion-MNIST: 60,000 pictures of clothes; the 10,000 official test pictures as valid and test.

H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, 2017. Its files have the names of MNIST's, so it
needs a directory of its own.

A record: {"inputs": uint8 [28, 28, 1], 0 is background; "targets": int64 [], 9 is "Ankle boot"}
"""

from data_loader import Source
from sources import official_idx

_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_MD5 = {  # as published; it guards against damage, not against malice
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
_CLASSES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"


def load(config, split, directory) -> Source:
    class_names = _CLASSES.split(",")
    return official_idx.load("fashion_mnist", split, directory, _URL, _MD5, class_names)
