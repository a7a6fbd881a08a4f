"""Operations on whole batches of images [n, height, width, channels]; see `preprocess_data.py` for what an operation is.

Image files of different sizes cannot be one tensor: from `decode_image` up to the operation that gives them one size,
the operations run on one image at a time (`decode_batch`), as batches of one; everything after takes the whole batch.
"""

import math

import tensorflow as tf

import data_config
from cli.program import ConfigError
from engine.stateless import fold, integers, philox, uniform


def images_of(features, op: str) -> tf.Tensor:
    images = features["inputs"]
    if images.shape.rank != 4:
        cure = "; put `decode_image` before" if images.dtype == tf.string else ""
        raise ConfigError(
            f"{op}: expected images [height, width, channels], got inputs of shape {images.shape[1:]}{cure}"
        )
    return images


def _like(images: tf.Tensor, changed: tf.Tensor) -> tf.Tensor:
    """`changed`, a treatment of `images`, in their type; bytes are rounded and clipped."""
    if images.dtype != tf.uint8 or changed.dtype == tf.uint8:
        return tf.cast(changed, images.dtype)
    return tf.cast(tf.clip_by_value(tf.round(changed), 0.0, 255.0), tf.uint8)


def _brightest(images: tf.Tensor) -> float:
    """The value of white: 255 for bytes, 1 for floats."""
    return 255.0 if images.dtype == tf.uint8 else 1.0


# --------------------------------------------------------------------------------------------------------- decoding


def decode_image(features, seeds, config: data_config.DecodeImage):
    return decode_batch(features, [seeds], [config])


def decode_batch(features, seeds: list, ops: list):
    """Encoded images [n] -> one tensor: `ops` are `decode_image` and the operations of images up to one that gives a size.

    One image after the other: the pipeline runs several batches beside each other, which uses all cores without a switch
    of threads an image. A batch of plain JPEGs takes a loop with as few operations as can be; for small images each counts.
    """
    encoded = features["inputs"]
    if encoded.dtype != tf.string or encoded.shape.rank != 1:
        raise ConfigError(
            f"decode_image: expected encoded images, got {encoded.dtype.name} inputs of shape {encoded.shape[1:]}"
        )
    sizes = [config.size for config in ops if getattr(config, "size", None) is not None]
    if not sizes or not all(config.of_images for config in ops):
        raise ConfigError(
            "decode_image: files may differ in size: expected `resize` with a size, a crop or `pad_image` after it"
        )
    channels, first = ops[0].channels, ops[1]
    spec = tf.TensorSpec([*sizes[-1], channels], tf.uint8)
    orientation = features.get("orientation", tf.ones_like(encoded, tf.int32))

    def rest(image, row_seeds):
        """The operations after decoding, on one image."""
        result = {"inputs": image[tf.newaxis]}
        for config, seed in list(zip(ops, row_seeds, strict=True))[1:]:
            result = IMAGE_OPS[config.name](result, seed[tf.newaxis], config)
        return result["inputs"][0]

    def any_image(row):
        data, turn, *row_seeds = row
        return rest(_decode(data, turn, channels), row_seeds)

    def plain_jpeg(row):
        data, *row_seeds = row
        return rest(tf.io.decode_jpeg(data, channels=channels), row_seeds)

    def cut_of_jpeg(row):
        """Decodes little more than the window that a crop cuts out."""
        data, decoded, begin = row
        image = tf.slice(
            tf.io.decode_and_crop_jpeg(data, decoded, channels=channels),
            begin,
            [*first.size, channels],
        )
        image.set_shape(spec.shape)
        return image

    def resized_cut_of_jpeg(row):
        data, decoded, begin, size = row
        image = tf.slice(tf.io.decode_and_crop_jpeg(data, decoded, channels=channels), begin, size)
        return tf.ensure_shape(_resized(image[tf.newaxis], first.size, "bilinear")[0], spec.shape)

    def loop(function, *rows):
        if (
            tf.executing_eagerly()
        ):  # where an image has its size, which would choose other ways than in the pipeline
            function = tf.function(function)
        return tf.map_fn(function, rows, fn_output_signature=spec, parallel_iterations=1)

    def plain_jpegs():
        if (
            first.name in _WINDOWS
            and getattr(first, "padding", 0) == 0
            and "image_size" in features
        ):
            height, width = tf.unstack(features["image_size"], axis=1)
            y, x, h, w = _WINDOWS[first.name](first, height, width, seeds[1])
            # A column more on each side: the decoder interpolates colors between columns, and at an edge it cannot.
            left, right, zero = tf.maximum(x - 1, 0), tf.minimum(x + w + 1, width), tf.zeros_like(x)
            decoded, begin = (
                tf.stack([y, left, h, right - left], axis=1),
                tf.stack([zero, x - left, zero], axis=1),
            )
            if first.name == "random_resized_crop":
                return loop(
                    resized_cut_of_jpeg,
                    encoded,
                    decoded,
                    begin,
                    tf.stack([h, w, zero + channels], axis=1),
                )
            return loop(cut_of_jpeg, encoded, decoded, begin)
        return loop(plain_jpeg, encoded, *seeds)

    plain = tf.reduce_all((tf.strings.substr(encoded, 0, 2) == b"\xff\xd8") & (orientation <= 1))
    images = tf.cond(plain, plain_jpegs, lambda: loop(any_image, encoded, orientation, *seeds))
    kept = {
        key: value for key, value in features.items() if key not in ("orientation", "image_size")
    }
    return kept | {"inputs": tf.ensure_shape(images, [encoded.shape[0], *spec.shape])}


def _decode(data, orientation, channels: int) -> tf.Tensor:
    def usual():
        return tf.io.decode_image(data, channels=channels, expand_animations=False)

    def of_its_own_channels():
        """GIF and BMP, of which TensorFlow gives just what the file holds."""
        image = tf.io.decode_image(data, expand_animations=False)
        image.set_shape([None, None, None])
        rgb = tf.cond(
            tf.shape(image)[2] == 1, lambda: tf.repeat(image, 3, axis=2), lambda: image[:, :, :3]
        )
        rgb.set_shape([None, None, 3])
        return rgb if channels == 3 else _like(image, _luma(rgb))

    start = tf.strings.substr(data, 0, 2)
    image = tf.cond((start == b"GI") | (start == b"BM"), of_its_own_channels, usual)
    image.set_shape([None, None, channels])
    image = tf.cond(orientation > 1, lambda: _upright(image, orientation), lambda: image)
    image.set_shape([None, None, channels])
    return image


def _upright(image, orientation):
    """EXIF orientation 2 to 8 undone (CIPA DC-008, tag 0x0112): mirrored, turned, or both."""
    mirrored = tf.image.flip_left_right
    turned = [lambda: image, lambda: mirrored(image), lambda: tf.image.rot90(image, 2), lambda: tf.image.flip_up_down(image),
              lambda: tf.image.transpose(image), lambda: tf.image.rot90(image, 3), lambda: tf.image.rot90(tf.image.transpose(image), 2),
              lambda: tf.image.rot90(image, 1)]  # fmt: skip
    return tf.switch_case(tf.clip_by_value(orientation - 1, 0, 7), turned)


# --------------------------------------------------------------------------------------------------- size and place


def _resized(images, size, method: str):
    return _like(images, tf.image.resize(images, size, method=method, antialias=True))


def resize(features, seeds, config: data_config.Resize):
    images = images_of(features, "resize")
    if config.size is not None:
        return features | {"inputs": _resized(images, config.size, config.method)}
    height, width = tf.unstack(tf.shape(images)[1:3])
    ratio = config.shortest / tf.minimum(height, width)
    size = tf.cast(
        tf.round([tf.cast(height, tf.float64) * ratio, tf.cast(width, tf.float64) * ratio]),
        tf.int32,
    )
    return features | {"inputs": _resized(images, size, config.method)}


# A window is (y, x, height, width), int32 [n] each, in images of the height and width given: ints, or tensors.


def _free(op: str, height, width, size):
    """How far a window of `size` can move; checks that it fits: at once if the images' size is known, else while they are read."""
    if isinstance(height, int):
        if height < size[0] or width < size[1]:
            raise ConfigError(
                f"{op}: size: expected at most the image, {height}x{width}, got {size[0]}x{size[1]}"
            )
        return height - size[0], width - size[1]
    rows, columns = height - size[0], width - size[1]
    fits = tf.reduce_all((rows >= 0) & (columns >= 0))
    with tf.control_dependencies(
        [
            tf.debugging.Assert(
                fits,
                [f"{op}: expected an image of at least {size[0]}x{size[1]}, got", height, width],
            )
        ]
    ):
        return tf.identity(rows), tf.identity(columns)


def _window(seeds, *parts):
    return tuple(tf.broadcast_to(tf.cast(part, tf.int32), tf.shape(seeds)) for part in parts)


def _center_window(config, height, width, seeds):
    rows, columns = _free("center_crop", height, width, config.size)
    return _window(seeds, rows // 2, columns // 2, *config.size)


def _random_window(config, height, width, seeds):
    rows, columns = _free("random_crop", height, width, config.size)
    return _window(seeds, _below(seeds, 0, rows + 1), _below(seeds, 1, columns + 1), *config.size)


def _random_area_window(config, height, width, seeds):
    """Area and logarithm of the proportions drawn evenly; what would be larger than the image is cut to it."""
    height, width = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    area = uniform(seeds, 0, *config.area) * height * width
    aspect = tf.exp(uniform(seeds, 1, math.log(config.aspect[0]), math.log(config.aspect[1])))
    h = tf.clip_by_value(tf.round(tf.sqrt(area / aspect)), 1.0, height)
    w = tf.clip_by_value(tf.round(tf.sqrt(area * aspect)), 1.0, width)
    y, x = (
        tf.floor(uniform(seeds, 2) * (height - h + 1)),
        tf.floor(uniform(seeds, 3) * (width - w + 1)),
    )
    return tuple(tf.cast(part, tf.int32) for part in (y, x, h, w))


def _below(seeds, draw: int, count) -> tf.Tensor:
    """int32 [n] in [0, count), where `count` may be a tensor."""
    return tf.cast(tf.math.floormod(fold(seeds, draw), tf.cast(count, tf.uint64)), tf.int32)


_WINDOWS = {
    "center_crop": _center_window,
    "random_crop": _random_window,
    "random_resized_crop": _random_area_window,
}


def _size_of(images):
    """Height and width: ints where they are known, else tensors."""
    if images.shape[1] is not None and images.shape[2] is not None:
        return images.shape[1], images.shape[2]
    return tuple(tf.unstack(tf.shape(images)[1:3]))


def center_crop(features, seeds, config: data_config.CenterCrop):
    images = images_of(features, "center_crop")
    y, x, _, _ = (
        part[0] for part in _center_window(config, *_size_of(images), tf.zeros([1], tf.uint64))
    )
    window = images[:, y : y + config.size[0], x : x + config.size[1]]
    return features | {
        "inputs": tf.ensure_shape(window, [images.shape[0], *config.size, images.shape[3]])
    }


def random_crop(features, seeds, config: data_config.RandomCrop):
    images = images_of(features, "random_crop")
    (height, width), pad, channels = config.size, config.padding, images.shape[3]
    full_height, full_width = _size_of(images)
    if not isinstance(full_height, int):  # one image of a size of its own
        image = tf.pad(images, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        y, x, _, _ = (
            part[0]
            for part in _random_window(config, full_height + 2 * pad, full_width + 2 * pad, seeds)
        )
        return features | {
            "inputs": tf.ensure_shape(
                image[:, y : y + height, x : x + width], [1, height, width, channels]
            )
        }
    rows, columns = (
        full_height + 2 * pad - height,
        full_width + 2 * pad - width,
    )  # how far the window can move
    if rows < 0 or columns < 0:
        padded = f"{full_height + 2 * pad}x{full_width + 2 * pad}"
        raise ConfigError(
            f"random_crop: size: expected at most the padded image, {padded}, got {height}x{width}"
        )
    # Padding flat rows, then one glimpse for the batch, inside the image, is the fastest way on CPU: a gather of pixels
    # takes five times as long, and so does a glimpse that pads by itself.
    flat = tf.reshape(tf.cast(images, tf.float32), [-1, full_height, full_width * channels])
    flat = tf.pad(flat, [[0, 0], [pad, pad], [pad * channels, pad * channels]])
    images = tf.reshape(flat, [-1, full_height + 2 * pad, full_width + 2 * pad, channels])
    corner = tf.cast(
        tf.stack([integers(seeds, 0, rows + 1), integers(seeds, 1, columns + 1)], axis=1),
        tf.float32,
    )
    windows = tf.image.extract_glimpse(
        images, [height, width], corner, centered=False, normalized=False, noise="zero"
    )
    return features | {"inputs": tf.cast(windows, features["inputs"].dtype)}


def random_resized_crop(features, seeds, config: data_config.RandomResizedCrop):
    images = images_of(features, "random_resized_crop")
    height, width = _size_of(images)
    y, x, h, w = _random_area_window(config, height, width, seeds)
    if not isinstance(height, int):
        return features | {
            "inputs": _resized(
                images[:, y[0] : y[0] + h[0], x[0] : x[0] + w[0]], config.size, "bilinear"
            )
        }
    # crop_and_resize maps the ends of a box to the centers of the corner pixels.
    last_row, last_column = max(height - 1, 1), max(width - 1, 1)
    box = tf.cast(
        tf.stack(
            [y / last_row, x / last_column, (y + h - 1) / last_row, (x + w - 1) / last_column],
            axis=1,
        ),
        tf.float32,
    )
    box = tf.minimum(box, 1 - 1e-6)  # beyond the last pixel by a rounding error it would give 0
    resized = tf.image.crop_and_resize(images, box, tf.range(tf.shape(images)[0]), config.size)
    return features | {"inputs": _like(images, resized)}


def pad_image(features, seeds, config: data_config.PadImage):
    images = images_of(features, "pad_image")
    height, width = _size_of(images)
    below, right = config.size[0] - height, config.size[1] - width
    if isinstance(height, int) and (below < 0 or right < 0):
        raise ConfigError(
            f"pad_image: size: expected at least the image, {height}x{width}, got {config.size[0]}x{config.size[1]}"
        )
    around = [[0, 0], [below // 2, below - below // 2], [right // 2, right - right // 2], [0, 0]]
    padded = tf.pad(images, around, constant_values=tf.cast(config.value, images.dtype))
    return features | {
        "inputs": tf.ensure_shape(padded, [images.shape[0], *config.size, images.shape[3]])
    }


def random_shift(features, seeds, config: data_config.RandomShift):
    size = tuple(images_of(features, "random_shift").shape[1:3])
    return random_crop(
        features,
        seeds,
        data_config.RandomCrop(name="random_crop", size=size, padding=config.pixels),
    )


def random_flip(features, seeds, config: data_config.RandomFlip):
    images = images_of(features, "random_flip")
    flipped = tf.reverse(images, [2 if config.direction == "horizontal" else 1])
    return features | {"inputs": tf.where(_each(integers(seeds, 0, 2)) == 1, flipped, images)}


def random_rotate(features, seeds, config: data_config.RandomRotate):
    images = images_of(features, "random_rotate")
    limit = math.radians(config.degrees)
    angle = uniform(seeds, 0, -limit, limit)
    return features | {
        "inputs": _like(
            images, _affine(images, tf.cos(angle), -tf.sin(angle), tf.sin(angle), tf.cos(angle))
        )
    }


def _affine(images, a, b, d, e, shift_x=0.0, shift_y=0.0) -> tf.Tensor:
    """Each output pixel (x, y), from the center, reads the input at (a x + b y + shift_x, d x + e y + shift_y).

    float32, bilinear, 0 outside.
    """
    y, x = (images.shape[1] - 1) / 2, (images.shape[2] - 1) / 2
    zero = tf.zeros_like(a)
    transforms = tf.stack(
        [a, b, x - a * x - b * y + shift_x, d, e, y - d * x - e * y + shift_y, zero, zero], axis=1
    )
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=transforms,
        output_shape=images.shape[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )


def _each(values) -> tf.Tensor:
    """[n] -> [n, 1, 1, 1]: one value an image."""
    return values[:, tf.newaxis, tf.newaxis, tf.newaxis]


# ------------------------------------------------------------------------------------------------ colors and noise


def _luma(images) -> tf.Tensor:
    """[..., 3] -> float32 [..., 1]; one channel stays."""
    images = tf.cast(images, tf.float32)
    return images if images.shape[-1] == 1 else tf.tensordot(images, [[0.299], [0.587], [0.114]], 1)


def grayscale(features, seeds, config: data_config.Grayscale):
    images = images_of(features, "grayscale")
    if images.shape[3] not in (1, 3):
        raise ConfigError(f"grayscale: expected 1 or 3 channels, got {images.shape[3]}")
    return features | {"inputs": _like(images, _luma(images))}


def _blend(away, images, factor) -> tf.Tensor:
    """factor 0: `away`; 1: the images; above 1: beyond them."""
    return away + _each(factor) * (images - away)


def color_jitter(features, seeds, config: data_config.ColorJitter):
    images = images_of(features, "color_jitter")
    if images.shape[3] not in (1, 3):
        raise ConfigError(f"color_jitter: expected 1 or 3 channels, got {images.shape[3]}")
    white, pixels = _brightest(images), tf.cast(images, tf.float32)
    factors = [
        uniform(seeds, i, 1 - x, 1 + x)
        for i, x in enumerate((config.brightness, config.contrast, config.saturation))
    ]
    pixels = tf.clip_by_value(_blend(0.0, pixels, factors[0]), 0.0, white)
    pixels = tf.clip_by_value(
        _blend(tf.reduce_mean(_luma(pixels), [1, 2, 3], keepdims=True), pixels, factors[1]),
        0.0,
        white,
    )
    pixels = tf.clip_by_value(_blend(_luma(pixels), pixels, factors[2]), 0.0, white)
    if config.hue:
        if images.shape[3] != 3:
            raise ConfigError(f"color_jitter: hue: expected 3 channels, got {images.shape[3]}")
        hue, rest = tf.split(tf.image.rgb_to_hsv(pixels / white), [1, 2], axis=-1)
        hue = tf.math.floormod(hue + _each(uniform(seeds, 3, -config.hue, config.hue)), 1.0)
        pixels = tf.image.hsv_to_rgb(tf.concat([hue, rest], axis=-1)) * white
    return features | {"inputs": _like(images, pixels)}


def _rectangle(images, y, x, h, w) -> tf.Tensor:
    """bool [n, height, width, 1], true inside; corners and sizes [n] in pixels."""
    rows, columns = (
        tf.range(images.shape[1])[tf.newaxis, :],
        tf.range(images.shape[2])[tf.newaxis, :],
    )
    y, x, h, w = (part[:, tf.newaxis] for part in (y, x, h, w))
    in_rows, in_columns = (rows >= y) & (rows < y + h), (columns >= x) & (columns < x + w)
    return (in_rows[:, :, tf.newaxis] & in_columns[:, tf.newaxis, :])[..., tf.newaxis]


def random_erasing(features, seeds, config: data_config.RandomErasing):
    images = images_of(features, "random_erasing")
    height, width = images.shape[1:3]
    area = uniform(seeds, 0, *config.area) * height * width
    aspect = tf.exp(uniform(seeds, 1, math.log(config.aspect[0]), math.log(config.aspect[1])))
    h = tf.minimum(tf.cast(tf.round(tf.sqrt(area * aspect)), tf.int32), height)
    w = tf.minimum(tf.cast(tf.round(tf.sqrt(area / aspect)), tf.int32), width)
    y, x = (
        _below(seeds[:, tf.newaxis], 2, height - h[:, tf.newaxis] + 1),
        _below(seeds[:, tf.newaxis], 3, width - w[:, tf.newaxis] + 1),
    )
    erased = _rectangle(images, y[:, 0], x[:, 0], h, w) & _each(
        uniform(seeds, 4) < config.probability
    )
    return features | {"inputs": tf.where(erased, tf.cast(config.value, images.dtype), images)}


def cutout(features, seeds, config: data_config.Cutout):
    images = images_of(features, "cutout")
    side = tf.fill(tf.shape(seeds), config.size)
    y, x = (integers(seeds, draw, images.shape[1 + draw]) - config.size // 2 for draw in (0, 1))
    return features | {
        "inputs": tf.where(
            _rectangle(images, y, x, side, side), tf.cast(config.value, images.dtype), images
        )
    }


def _noise(seeds, inputs, draw) -> tf.Tensor:
    """draw(shape, seed) for each example with its own seed: float32 of the inputs' shape."""
    return tf.map_fn(
        lambda seed: draw(tf.shape(inputs)[1:], seed),
        philox(seeds),
        fn_output_signature=tf.TensorSpec(inputs.shape[1:]),
    )


def gaussian_noise(features, seeds, config: data_config.GaussianNoise):
    inputs = features["inputs"]
    if not inputs.dtype.is_floating:
        raise ConfigError(
            f"gaussian_noise: expected float inputs, got {inputs.dtype.name}; put `scale` before"
        )
    noise = _noise(
        seeds, inputs, lambda shape, seed: tf.random.stateless_normal(shape, seed, alg="philox")
    )
    return features | {"inputs": inputs + config.std * noise}


def salt_noise(features, seeds, config: data_config.SaltNoise):
    inputs = features["inputs"]
    draws = _noise(
        seeds, inputs, lambda shape, seed: tf.random.stateless_uniform(shape, seed, alg="philox")
    )
    low, high = tf.cast(config.low, inputs.dtype), tf.cast(config.high, inputs.dtype)
    salted = tf.where(draws < config.share / 2, low, tf.where(draws < config.share, high, inputs))
    return features | {"inputs": salted}


# ------------------------------------------------------------------------------------------------------ RandAugment


def rand_augment(features, seeds, config: data_config.RandAugment):
    """The paper's fourteen operations on one image at a time; strengths as in its table 6, up to `magnitude` 10."""
    images = images_of(features, "rand_augment")
    if images.dtype != tf.uint8 or images.shape[3] not in (1, 3):
        raise ConfigError(
            f"rand_augment: expected bytes in 1 or 3 channels, got {images.dtype.name} in {images.shape[3]}; put it before `scale`"
        )
    strength = config.magnitude / 10

    def one(row):
        image, seed = tf.cast(row[0], tf.float32)[tf.newaxis], row[1][tf.newaxis]
        for number in range(config.count):
            image = _augmented(image, fold(seed, number), strength)
        return tf.cast(image[0], tf.uint8)

    return features | {
        "inputs": tf.map_fn(
            one, (images, seeds), fn_output_signature=tf.TensorSpec(images.shape[1:], tf.uint8)
        )
    }


def _augmented(image, seed, strength: float) -> tf.Tensor:
    """One of the operations on float32 [1, height, width, channels] with values of bytes."""
    sign = 2.0 * uniform(seed, 1, 0.0, 1.0) - 1.0
    sign = tf.where(sign < 0, -1.0, 1.0)
    one, zero, amount = tf.ones_like(sign), tf.zeros_like(sign), sign * strength
    angle = amount * math.radians(30)
    factor, bits = 1 + 0.9 * amount, 8 - round(4 * strength)
    step = float(1 << (8 - bits))
    branches = [
        lambda: image,
        lambda: _auto_contrast(image),
        lambda: _equalized(image),
        lambda: _affine(image, tf.cos(angle), -tf.sin(angle), tf.sin(angle), tf.cos(angle)),
        lambda: tf.where(image >= 256 - 256 * strength, 255 - image, image),  # solarize
        lambda: tf.floor(image / step) * step,  # posterize
        lambda: _blend(_luma(image), image, factor),  # color
        lambda: _blend(
            tf.reduce_mean(_luma(image), [1, 2, 3], keepdims=True), image, factor
        ),  # contrast
        lambda: _blend(0.0, image, factor),  # brightness
        lambda: _blend(_smoothed(image), image, factor),  # sharpness
        lambda: _affine(image, one, 0.3 * amount, zero, one),  # shear
        lambda: _affine(image, one, zero, 0.3 * amount, one),
        lambda: _affine(
            image, one, zero, zero, one, shift_x=0.45 * amount * image.shape[2]
        ),  # translate
        lambda: _affine(image, one, zero, zero, one, shift_y=0.45 * amount * image.shape[1]),
    ]
    changed = tf.switch_case(integers(seed, 0, len(branches))[0], branches)
    return tf.ensure_shape(tf.clip_by_value(tf.round(changed), 0.0, 255.0), image.shape)


def _auto_contrast(image):
    low, high = (
        tf.reduce_min(image, [1, 2], keepdims=True),
        tf.reduce_max(image, [1, 2], keepdims=True),
    )
    return tf.where(high > low, (image - low) * 255.0 / tf.maximum(high - low, 1.0), image)


def _equalized(image):
    """Each channel's histogram made flat."""
    channels = []
    for channel in tf.unstack(image[0], axis=-1):
        counts = tf.cumsum(
            tf.math.bincount(
                tf.cast(channel, tf.int32), minlength=256, maxlength=256, dtype=tf.float32
            )
        )
        first = tf.reduce_min(
            tf.where(counts > 0, counts, counts[-1])
        )  # of the darkest value that occurs
        table = tf.round((counts - first) * 255.0 / tf.maximum(counts[-1] - first, 1.0))
        channels.append(
            tf.where(counts[-1] > first, tf.gather(table, tf.cast(channel, tf.int32)), channel)
        )
    return tf.stack(channels, axis=-1)[tf.newaxis]


def _smoothed(image):
    kernel = tf.constant([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]])[:, :, tf.newaxis, tf.newaxis] / 13
    padded = tf.pad(image, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    return tf.nn.depthwise_conv2d(
        padded, tf.tile(kernel, [1, 1, image.shape[3], 1]), [1, 1, 1, 1], "VALID"
    )


# ------------------------------------------------------------------------------------------ examples of whole batches


def _neighbors(values) -> tf.Tensor:
    """[n, ...] with the examples 2 i and 2 i + 1 exchanged: a tower's even part of a batch needs no other part."""
    return tf.reshape(
        tf.reverse(tf.reshape(values, [-1, 2, *values.shape[1:]]), [1]), [-1, *values.shape[1:]]
    )


def _soft_targets(features, num_classes: int, op: str) -> tf.Tensor:
    targets = features["targets"]
    if targets.dtype.is_integer:
        if targets.shape.rank != 1 or not num_classes:
            raise ConfigError(
                f"{op}: expected one class for each example, got targets of shape {targets.shape[1:]}"
            )
        targets = tf.one_hot(targets, num_classes)
    return tf.cast(targets, tf.float32)


def _pair_share(seeds, alpha: float) -> tf.Tensor:
    """float32 [n] from Beta(alpha, alpha): what each example keeps of itself; the same for both of a pair."""
    gammas = tf.map_fn(
        lambda seed: tf.random.stateless_gamma([2], seed, alpha),
        philox(seeds[::2]),
        fn_output_signature=tf.TensorSpec([2]),
    )
    return tf.repeat(tf.math.divide_no_nan(gammas[:, 0], gammas[:, 0] + gammas[:, 1]), 2)


def mixup(features, seeds, config: data_config.Mixup, *, num_classes: int):
    inputs = features["inputs"]
    if not inputs.dtype.is_floating:
        raise ConfigError(
            f"mixup: expected float inputs, got {inputs.dtype.name}; put `scale` into data.ops"
        )
    targets, share = _soft_targets(features, num_classes, "mixup"), _pair_share(seeds, config.alpha)

    def blended(values):
        each = tf.reshape(share, [-1] + [1] * (values.shape.rank - 1))
        return each * values + (1 - each) * _neighbors(values)

    return features | {"inputs": blended(inputs), "targets": blended(targets)}


def cutmix(features, seeds, config: data_config.Cutmix, *, num_classes: int):
    images, targets = images_of(features, "cutmix"), _soft_targets(features, num_classes, "cutmix")
    height, width = images.shape[1:3]
    side = tf.sqrt(
        1 - _pair_share(seeds, config.alpha)
    )  # of the rectangle, as a share of the image's
    h, w = tf.cast(tf.round(side * height), tf.int32), tf.cast(tf.round(side * width), tf.int32)
    y, x = integers(seeds, 2, height) - h // 2, integers(seeds, 3, width) - w // 2
    pasted = _rectangle(images, y, x, h, w)
    own = (
        1 - tf.reduce_mean(tf.cast(pasted, tf.float32), [1, 2, 3])[:, tf.newaxis]
    )  # what is left after the edges cut it
    mixed = own * targets + (1 - own) * _neighbors(targets)
    return features | {"inputs": tf.where(pasted, _neighbors(images), images), "targets": mixed}


_FUNCTIONS = (
    decode_image, resize, center_crop, random_crop, random_resized_crop, pad_image, random_shift, random_flip, random_rotate, grayscale,
    color_jitter, random_erasing, cutout, rand_augment, gaussian_noise, salt_noise,
)  # fmt: skip
IMAGE_OPS = {op.__name__: op for op in _FUNCTIONS}
BATCH_OPS = {op.__name__: op for op in (mixup, cutmix)}
