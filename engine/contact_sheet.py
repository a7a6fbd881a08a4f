"""Pictures of examples in a grid."""

import textwrap
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

_CELL, _MARGIN, _LINE, _LETTER = 128, 8, 14, 6  # pixels
_COLORS = ("#1f5fa8", "#d07000", "#2f8f2f", "#803090")
_TARGET_COLOR = "#a00000"


class Series(NamedTuple):
    """Columns over time, and what follows them."""

    values: np.ndarray  # [T, C]
    names: list[str]  # of the columns
    target: np.ndarray  # [H], or none: []


def contact_sheet(path: Path, cells: list[tuple]) -> None:
    """Writes a picture of [(image [H, W, C], Series, numbers, or text; caption)]."""
    examples = [_as_text(example) for example, _ in cells]
    if isinstance(examples[0], str):
        columns = 3
        width = 3 * _CELL
        pictures = [_text(example, width, 6, "black") for example in examples]
    else:
        columns = min(len(cells), 8)
        width = _CELL
        pictures = _plots_or_images(examples)
    captions = [_text(caption, width, 3, "#a00000") for _, caption in cells]
    caption_y = max(picture.height for picture in pictures) + 2
    cell_width = width + _MARGIN
    cell_height = caption_y + max(caption.height for caption in captions) + _MARGIN
    rows = -(-len(cells) // columns)
    size = (_MARGIN + columns * cell_width, _MARGIN + rows * cell_height)
    sheet = Image.new("RGB", size, "white")
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        x = _MARGIN + column * cell_width
        y = _MARGIN + row * cell_height
        sheet.paste(picture, (x, y))
        sheet.paste(captions[number], (x, y + caption_y))
    sheet.save(path)


def _plots_or_images(examples: list) -> list[Image.Image]:
    if isinstance(examples[0], Series):
        return [_plot(example) for example in examples]
    low = min(example.min() for example in examples)
    span = max(max(example.max() for example in examples) - low, 1e-12)
    return [_image((example - low) / span) for example in examples]


def _as_text(example):
    """Images and series as they are; everything else as words."""
    if isinstance(example, str | Series) or example.shape[2:] in ((1,), (3,)):
        return example
    return f"{list(example.shape)}: " + ", ".join(f"{value:.4g}" for value in example.ravel()[:40])


def _text(text: str, width: int, max_lines: int, color: str) -> Image.Image:
    lines = textwrap.wrap(text, width // _LETTER, max_lines=max_lines, placeholder="...")
    picture = Image.new("RGB", (width, _LINE * len(lines)), "white")
    ImageDraw.Draw(picture).multiline_text((0, 0), "\n".join(lines), color)
    return picture


def _image(values) -> Image.Image:
    """An image of values in [0, 1], as large as its cell allows; small ones in whole pixels."""
    colors = np.clip(np.repeat(values, 3 // values.shape[2], axis=2), 0, 1)
    image = Image.fromarray(np.uint8(np.round(255 * colors)))
    factor = _CELL / max(image.size)
    if factor > 1:
        factor = int(factor)
    size = [max(1, round(side * factor)) for side in image.size]
    return image.resize(size, Image.NEAREST if factor >= 1 else Image.BOX)


def _plot(series: Series) -> Image.Image:
    """Each column as a line, stretched to its own range; beyond a border, what is to be forecast.

    The names of the columns, and `target`, stand below in their colors.
    """
    legend = [*zip(series.names, _COLORS, strict=False)]
    horizon = len(series.target)
    if horizon:
        legend.append((f"target, {horizon} ahead", _TARGET_COLOR))
    picture = Image.new("RGB", (_CELL, _CELL + _LINE * len(legend)), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, _CELL - 1, _CELL - 1), outline="#c0c0c0")
    values = np.float64(series.values)
    x = np.linspace(2, _CELL - 3, len(values) + horizon)
    ranges = [[column.min(), column.max()] for column in values.T]
    if len(ranges) == 1 and horizon:
        both = np.append(values, series.target)
        ranges = [[both.min(), both.max()]]
    for column, bounds, color in zip(values.T, ranges, _COLORS, strict=False):
        _line(draw, x[: len(values)], column, bounds, color)
    if horizon:
        border = x[len(values) - 1 : len(values) + 1].mean()
        draw.line((border, 0, border, _CELL - 1), fill="#c0c0c0")
        bounds = ranges[0] if len(ranges) == 1 else [series.target.min(), series.target.max()]
        _line(draw, x[len(values) :], series.target, bounds, _TARGET_COLOR)
    for row, (name, color) in enumerate(legend):
        draw.text((0, _CELL + 1 + row * _LINE), name[: _CELL // _LETTER], color)
    return picture


def _line(draw, x, values, bounds: list[float], color: str) -> None:
    """A line, or a dot where it is one point."""
    y = np.interp(values, bounds, [_CELL - 3, 2])
    if len(x) == 1:
        draw.ellipse((x[0] - 2, y[0] - 2, x[0] + 2, y[0] + 2), fill=color)
    draw.line(np.stack([x, y], axis=1).ravel().tolist(), fill=color, width=2)
