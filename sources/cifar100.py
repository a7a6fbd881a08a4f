"""CIFAR-100, binary version, unpacked: as CIFAR-10, with 100 fine classes in 20 coarse ones.

A record: {"inputs": uint8 [32, 32, 3], RGB; "targets": int64 [], the fine or the coarse class}
"""

from data_loader import Source
from sources import cifar_files


def load(config, split, directory) -> Source:
    file = "train.bin" if split == "train" else "test.bin"
    paths = cifar_files.paths_of("cifar100", directory, "cifar-100-binary", [file])
    label_at, num_classes = {"coarse": (0, 20), "fine": (1, 100)}[config.labels]
    names_path = paths[0].with_name(f"{config.labels}_label_names.txt")
    class_names = cifar_files.names_in(names_path, [str(label) for label in range(num_classes)])
    return cifar_files.labeled_images("cifar100", paths, class_names, 2, label_at)
