"""BMP files of up to 256 colors, whose indices TensorFlow would take for grays.

The header is BITMAPINFOHEADER or longer, the pixels are not compressed (MS-WMF, section 2.2.2.9).
"""

import tensorflow as tf


def is_indexed_bmp(data):
    """bool []: whether an encoded image, string [], is a BMP of 1, 4 or 8 bits a pixel."""
    is_bmp = tf.strings.substr(data, 0, 2) == b"BM"
    return tf.cond(is_bmp, lambda: _bits(data) <= 8, lambda: tf.constant(False))


def decode(data):
    """uint8 [height, width, 3] of such a file."""
    bits = _bits(data)
    width = _int32(data, 18)
    height = _int32(data, 22)
    num_rows = tf.abs(height)
    row_bytes = (width * bits + 31) // 32 * 4
    packed = _bytes(data, _int32(data, 10), num_rows * row_bytes)
    packed = tf.reshape(packed, [num_rows, row_bytes, 1])
    first_bits = tf.range(8 // bits) * bits  # of each pixel in a byte
    indices = tf.bitwise.right_shift(packed, 8 - bits - first_bits) % tf.pow(2, bits)
    indices = tf.reshape(indices, [num_rows, -1])[:, :width]
    image = tf.gather(_palette(data, bits), indices)
    return tf.cond(height > 0, lambda: tf.reverse(image, [0]), lambda: image)


def _palette(data, bits):
    """uint8 [colors, 3]; in the file blue, green, red and nothing."""
    used = _int32(data, 46)
    num_colors = tf.where(used > 0, used, tf.pow(2, bits))
    colors = _bytes(data, 14 + _int32(data, 14), 4 * num_colors)
    return tf.cast(tf.reshape(colors, [-1, 4])[:, 2::-1], tf.uint8)


def _bits(data):
    return tf.cast(tf.io.decode_raw(tf.strings.substr(data, 28, 2), tf.uint16)[0], tf.int32)


def _int32(data, at: int):
    return tf.io.decode_raw(tf.strings.substr(data, at, 4), tf.int32)[0]


def _bytes(data, at, count):
    """int32 [count]"""
    return tf.cast(tf.io.decode_raw(tf.strings.substr(data, at, count), tf.uint8), tf.int32)
