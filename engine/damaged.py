"""Which example is damaged, and why: in one line."""

import tensorflow as tf

from cli.program import reason_of


def damage_of(data: bytes, item: str) -> str | None:
    """Why an image cannot be decoded, or None; decodes it."""
    try:
        tf.io.decode_image(data, expand_animations=False)
    except (tf.errors.InvalidArgumentError, tf.errors.UnknownError) as error:
        return reason_of(error, item)
    return None
