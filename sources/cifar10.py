"""CIFAR-10, binary version, unpacked: 50,000 train, 10,000 test images, these as valid too.

A record: {"inputs": uint8 [32, 32, 3], RGB; "targets": int64 [], 3 is "cat"}
"""

from data_loader import Source
from sources import cifar_files

_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"


def load(config, split, directory) -> Source:
    files = [f"data_batch_{number}.bin" for number in range(1, 6)]
    if split != "train":
        files = ["test_batch.bin"]
    paths = cifar_files.paths_of("cifar10", directory, "cifar-10-batches-bin", files)
    class_names = cifar_files.names_in(paths[0].with_name("batches.meta.txt"), _CLASSES.split())
    return cifar_files.labeled_images("cifar10", paths, class_names, label_bytes=1, label_at=0)
