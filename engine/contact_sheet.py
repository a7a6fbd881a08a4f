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
    of_text = isinstance(examples[0], str)
    if of_text:
        columns, width = 3, 3 * _CELL
        examples = [_wrapped(example, width, 6) for example in examples]
        inner_height = _LINE * max(map(len, examples))
    else:
        columns, width, inner_height = min(len(cells), 8), _CELL, _CELL
        low = min(example.min() for example in examples)
        span = max(max(example.max() for example in examples) - low, 1e-12)
    captions = [_wrapped(caption, width, 3) for _, caption in cells]
    height = inner_height + _LINE * max(map(len, captions)) + _MARGIN
    rows = -(-len(cells) // columns)
    size = columns * (width + _MARGIN) + _MARGIN, rows * (height + _MARGIN) + _MARGIN
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for number, example in enumerate(examples):
        row, column = divmod(number, columns)
        x, y = _MARGIN + column * (width + _MARGIN), _MARGIN + row * (height + _MARGIN)
        if of_text:
            draw.multiline_text((x, y), "\n".join(example), "black")
        elif example.ndim == 3:
            _paste_image(sheet, (x, y), (example - low) / span)
        else:
            _plot(draw, (x, y, x + width, y + inner_height), np.asarray(example, np.float64))
        caption = "\n".join(captions[number])
        draw.multiline_text((x, y + inner_height + 2), caption, "#a00000")
    sheet.save(path)


def _as_text(example):
    """Images and series as they are; everything else as words."""
    if isinstance(example, str) or example.ndim == 2 or example.shape[2:] in ((1,), (3,)):
        return example
    return f"{list(example.shape)}: " + ", ".join(f"{value:.4g}" for value in example.ravel()[:40])


def _wrapped(text: str, width: int, max_lines: int) -> list[str]:
    return textwrap.wrap(text, width // _LETTER, max_lines=max_lines, placeholder="...")


def _paste_image(sheet, corner: tuple[int, int], image) -> None:
    """An image of values in [0, 1], as large as its cell allows; small ones in whole pixels."""
    colors = np.clip(np.repeat(image, 3 // image.shape[2], axis=2), 0, 1)
    image = Image.fromarray(np.uint8(np.round(255 * colors)))
    factor = _CELL / max(image.size)
    factor = int(factor) if factor > 1 else factor
    size = [max(1, round(side * factor)) for side in image.size]
    sheet.paste(image.resize(size, Image.NEAREST if factor >= 1 else Image.BOX), corner)


def _plot(draw, box: tuple[int, int, int, int], series) -> None:
    """Each column of a series as a line, stretched to its own range."""
    left, top, right, bottom = box
    draw.rectangle(box, outline="#c0c0c0")
    for column, color in zip(series.T, _COLORS, strict=False):
        span = max(column.max() - column.min(), 1e-12)
        x = np.linspace(left + 2, right - 2, len(column))
        y = bottom - 2 - (column - column.min()) / span * (bottom - top - 4)
        draw.line(np.stack([x, y], axis=1).ravel().tolist(), fill=color, width=2)
