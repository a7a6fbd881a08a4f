"""The official sets of IDX files, MNIST and Fashion-MNIST: from their directory, or downloaded."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from cli.program import DataError
from data_loader import BUNDLED, Source
from sources import idx


def load(
    name: str, split: str, directory: str | None, url: str, digests: dict, class_names: list
) -> Source:
    """`digests`: {file: SHA-256 or MD5, as published}. The test set is both valid and test."""
    prefix = "train" if split == "train" else "t10k"
    paths = []
    for part in idx.PARTS:
        raw = Path(directory or BUNDLED / name, f"{prefix}-{part}")
        packed = raw.with_name(f"{raw.name}.gz")
        if not raw.exists() and not packed.exists():
            download(url + packed.name, packed, digests)
        paths.append(raw if raw.exists() else packed)
    return idx.labeled_images(name, *paths, class_names)


def download(url: str, path: Path, digests: dict[str, str]) -> None:
    """To `<path>.part`, checked, then renamed: a file with its own name is always whole."""
    by_hand = (
        f"put {', '.join(digests)} (gzip or unpacked) into {path.parent} by hand, "
        "or name their directory with data.dir=DIR"
    )
    expected = digests[path.name]
    algorithm = "MD5" if len(expected) == 32 else "SHA-256"
    digest = hashlib.new(algorithm.replace("-", ""))
    part = path.with_name(f"{path.name}.part")
    try:
        _fetch(url, part, digest)
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        ConnectionError,
        TimeoutError,
    ) as error:
        raise DataError(
            f"{path}: not there, and {url} cannot be reached ({getattr(error, 'reason', error)}); "
            f"{by_hand}"
        ) from error
    if digest.hexdigest() != expected:
        part.unlink()
        raise DataError(
            f"{url}: expected {algorithm} {expected}, "
            f"got {digest.hexdigest()}; the file was removed; {by_hand}"
        )
    os.replace(part, path)


def _fetch(url: str, path, digest) -> None:
    with urllib.request.urlopen(url, timeout=20) as response:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            while block := response.read(1 << 20):
                digest.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
