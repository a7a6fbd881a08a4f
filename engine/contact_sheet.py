"""A picture of examples in a grid."""

import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

# ---------------------------------------------------------------------------------------------------- contact sheet

_CELL, _MARGIN, _LINE = 128, 8, 14  # pixels


def contact_sheet(path: Path, cells: list[tuple]) -> None:
    """Writes a picture of examples in a grid: [(image [H, W, C], series [T, C], numbers, or text; caption)]."""
    cells = [(_as_text(example), caption) for example, caption in cells]
    of_text = isinstance(cells[0][0], str)
    columns, width = (3, 3 * _CELL) if of_text else (min(len(cells), 8), _CELL)
    texts = [
        textwrap.wrap(text, width // 6, max_lines=6, placeholder="...") if of_text else []
        for text, _ in cells
    ]
    captions = [
        textwrap.wrap(caption, width // 6, max_lines=3, placeholder="...") for _, caption in cells
    ]
    inside = _LINE * max(map(len, texts)) if of_text else _CELL
    height = inside + _LINE * max(map(len, captions)) + _MARGIN
    rows = -(-len(cells) // columns)
    sheet = Image.new(
        "RGB", (columns * (width + _MARGIN) + _MARGIN, rows * (height + _MARGIN) + _MARGIN), "white"
    )
    draw = ImageDraw.Draw(sheet)
    if not of_text:
        low, high = (
            min(example.min() for example, _ in cells),
            max(example.max() for example, _ in cells),
        )
    for number, (example, _) in enumerate(cells):
        x, y = (
            _MARGIN + number % columns * (width + _MARGIN),
            _MARGIN + number // columns * (height + _MARGIN),
        )
        if of_text:
            draw.multiline_text((x, y), "\n".join(texts[number]), "black")
        elif example.ndim == 3:
            _paste_image(sheet, (x, y), (example - low) / max(high - low, 1e-12))
        else:
            _plot(draw, (x, y, x + width, y + inside), np.asarray(example, np.float64))
        draw.multiline_text((x, y + inside + 2), "\n".join(captions[number]), "#a00000")
    sheet.save(path)


def _as_text(example):
    """Pictures and series as they are; everything else as words."""
    if (
        isinstance(example, str)
        or example.ndim == 2
        or (example.ndim == 3 and example.shape[2] in (1, 3))
    ):
        return example
    return f"{list(example.shape)}: " + ", ".join(f"{value:.4g}" for value in example.ravel()[:40])


def _paste_image(sheet, corner: tuple[int, int], image) -> None:
    """An image of values in [0, 1], as large as its cell allows; small ones in whole pixels."""
    image = Image.fromarray(
        np.uint8(np.round(255 * np.clip(np.repeat(image, 3 // image.shape[2], axis=2), 0, 1)))
    )
    factor = _CELL / max(image.size)
    factor = int(factor) if factor > 1 else factor
    sheet.paste(
        image.resize(
            [max(1, round(side * factor)) for side in image.size],
            Image.NEAREST if factor >= 1 else Image.BOX,
        ),
        corner,
    )


def _plot(draw, box: tuple[int, int, int, int], series) -> None:
    """Each column of a series as a line, stretched to its own range."""
    left, top, right, bottom = box
    draw.rectangle(box, outline="#c0c0c0")
    for column, color in zip(
        series.T[:4], ("#1f5fa8", "#d07000", "#2f8f2f", "#803090"), strict=False
    ):
        span = max(column.max() - column.min(), 1e-12)
        x = np.linspace(left + 2, right - 2, len(column))
        y = bottom - 2 - (column - column.min()) / span * (bottom - top - 4)
        draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=color, width=2)
