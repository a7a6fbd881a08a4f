"""Pictures of examples in a grid."""

import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

_CELL, _MARGIN, _LINE, _LETTER = 128, 8, 14, 6  # pixels
_COLORS = ("#1f5fa8", "#d07000", "#2f8f2f", "#803090")


def contact_sheet(path: Path, cells: list[tuple]) -> None:
    """Writes a picture of [(image [H, W, C], series [T, C], numbers, or text; caption)]."""
    examples = [_as_text(example) for example, _ in cells]
    if isinstance(examples[0], str):
        columns = 3
        width = 3 * _CELL
        pictures = [_text(example, width, 6, "black") for example in examples]
    else:
        columns = min(len(cells), 8)
        width = _CELL
        low = min(example.min() for example in examples)
        span = max(max(example.max() for example in examples) - low, 1e-12)
        pictures = [
            _plot(example) if example.ndim == 2 else _image((example - low) / span)
            for example in examples
        ]
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


def _as_text(example):
    """Images and series as they are; everything else as words."""
    if isinstance(example, str) or example.ndim == 2 or example.shape[2:] in ((1,), (3,)):
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


def _plot(series) -> Image.Image:
    """Each column of a series as a line, stretched to its own range."""
    picture = Image.new("RGB", (_CELL, _CELL), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, _CELL - 1, _CELL - 1), outline="#c0c0c0")
    for column, color in zip(np.float64(series).T, _COLORS, strict=False):
        x = np.linspace(2, _CELL - 3, len(column))
        y = np.interp(column, [column.min(), column.max()], [_CELL - 3, 2])
        draw.line(np.stack([x, y], axis=1).ravel().tolist(), fill=color, width=2)
    return picture
