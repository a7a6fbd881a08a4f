"""Masks as they are stored -> the class of each pixel, uint8 [n, height, width, 1].

A PNG holds classes as gray or as places in a palette, of 1 to 8 bits, just as stored: the colors of
a palette are for eyes. A file of three equal channels is gray too.
"""

import struct
import zlib

import numpy as np
import tensorflow as tf

from cli.program import ConfigError
from ops import features as expected
from ops.features import IGNORED

_SIZES = "expected a mask as large as its picture, got sizes of both,"
_NONE = 256  # of a value that is no class
_GRAY, _PALETTE = 0, 3  # color types (PNG 1.2, section 4.1.1)


def decode_mask(features, seeds, config):
    """Of `mask`, or else of the targets: strings [n], or integers [n, height, width(, 1)]."""
    images = expected.images(features, config)
    features = dict(features)
    stored = features.pop("mask" if "mask" in features else "targets", None)
    if stored is None or not (stored.dtype == tf.string or stored.dtype.is_integer):
        got = "none" if stored is None else stored.dtype.name
        raise ConfigError(f"decode_mask: expected masks, PNG files or whole numbers, got {got}")
    values = _values_of_files(stored, images) if stored.dtype == tf.string else _as_images(stored)
    values = _of_size(values, images)
    table, cure = _classes_of_values(config)
    classes = tf.gather(table, tf.clip_by_value(values, 0, 256))
    is_class = classes != _NONE
    wrong = tf.reduce_max(tf.where(is_class, 0, values))
    is_known = tf.debugging.Assert(tf.reduce_all(is_class), [f"decode_mask: {cure}, got", wrong])
    with tf.control_dependencies([is_known]):
        mask = tf.cast(classes, tf.uint8)
    expected.check_mask(mask, images, config)
    return features | {"mask": mask}


def _classes_of_values(config) -> tuple[list[int], str]:
    """(class of each value from 0 to 256, what to do about others)."""
    table = [_NONE] * 257
    for number, value in enumerate(config.values or range(IGNORED)):
        table[value] = number
    if config.ignore is not None:
        table[config.ignore] = IGNORED
    if config.values:
        return table, f"expected one of the values {config.values}, or `ignore`"
    return table, "expected classes below 255 (`values` names others, `ignore` what counts nothing)"


def _as_images(stored):
    """Whole numbers [n, height, width] or [n, height, width, 1] -> int32, the latter."""
    if stored.shape.rank == 3:
        stored = stored[..., tf.newaxis]
    if stored.shape.rank != 4 or stored.shape[3] != 1:
        raise ConfigError(
            f"decode_mask: expected a class for each pixel, got targets of shape {stored.shape[1:]}"
        )
    return tf.cast(stored, tf.int32)


def _of_size(values, images):
    """The same. A mask of another size than its picture is an error where it is read."""
    static = values.shape[1:3]
    if static.is_fully_defined() and images.shape[1:3].is_fully_defined():
        return values
    size = tf.shape(values)[1:3]
    size_of_image = tf.shape(images)[1:3]
    fits = tf.reduce_all(size == size_of_image)
    words = [f"decode_mask: {_SIZES}", size_of_image, size]
    with tf.control_dependencies([tf.debugging.Assert(fits, words)]):
        return tf.ensure_shape(values, [None, *images.shape[1:3], 1])


# ---- files


def _values_of_files(files, images):
    """string [n] -> int32 [n, height, width, 1]; what is no such file is an error."""
    size_of_image = tf.shape(images)[1:3]

    def values_of(row):
        file, scale = row
        expected_file = "decode_mask: expected a PNG of gray or of a palette, of at most 8 bits"
        with tf.control_dependencies([tf.debugging.Assert(scale > 0, [expected_file])]):
            file = tf.identity(file)
        pixels = tf.cast(tf.io.decode_png(file, channels=3), tf.int32)
        size = tf.shape(pixels)[:2]
        fits = tf.reduce_all(size == size_of_image)
        words = [f"decode_mask: {_SIZES}", size_of_image, size]
        is_gray = tf.reduce_all(pixels == pixels[..., :1])
        colors = "decode_mask: expected gray or a palette, got colors"
        checks = [tf.debugging.Assert(fits, words), tf.debugging.Assert(is_gray, [colors])]
        with tf.control_dependencies(checks):
            return tf.ensure_shape(pixels[..., :1] // scale, [*images.shape[1:3], 1])

    spec = tf.TensorSpec([*images.shape[1:3], 1], tf.int32)
    files, scales = tf.numpy_function(_all_as_gray, [files], [tf.string, tf.int32], stateful=False)
    rows = tf.ensure_shape(files, [None]), tf.ensure_shape(scales, [None])
    return tf.map_fn(values_of, rows, fn_output_signature=spec)


def _all_as_gray(files: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    files, scales = zip(*map(_as_gray, files), strict=True)
    return np.array(files, object), np.array(scales, np.int32)


def _as_gray(file: bytes) -> tuple[bytes, int]:
    """(a PNG whose palette is gone, so that it decodes to places in it; scale of its values).

    A decoder stretches fewer bits than 8 to 255. The scale is 0 for what is no such file.
    """
    if file[:8] != b"\x89PNG\r\n\x1a\n" or len(file) < 33 or file[24] > 8:
        return file, 0
    bits, color_type = file[24:26]
    scale = 255 // (2**bits - 1)
    if color_type != _PALETTE:
        return file, scale
    header = b"IHDR" + file[16:25] + bytes([_GRAY]) + file[26:29]
    kept = [file[:12], header, struct.pack(">I", zlib.crc32(header))]
    at = 33
    while at + 12 <= len(file):
        (length,) = struct.unpack(">I", file[at : at + 4])
        if file[at + 4 : at + 8] not in (b"PLTE", b"tRNS"):
            kept.append(file[at : at + length + 12])
        at += length + 12
    return b"".join(kept), scale
