"""Figures on textured ground, drawn from a seed: discs, squares, triangles that cover each other.

Masks:  {"inputs": uint8 [H, W, 3]; "mask": uint8 [H, W, 1], the class of each pixel}
Points: {"inputs": uint8 [H, W, 3]; "points": float32 [3, 3], x, y, visible: of the one triangle
         the tip, which points up by 45 degrees, and the corners to its right and its left}
"""

from typing import NamedTuple

import numpy as np

from data_loader import SPLITS, Source, from_arrays

_DISC, _SQUARE, _TRIANGLE = 1, 2, 3
_CLASSES = ("ground", "disc", "square", "triangle")
_ANY_ANGLE = (0, 2 * np.pi)
_UPWARD = (-0.75 * np.pi, -0.25 * np.pi)
_FIGURES = 4  # in an image, some of them hidden
_CORNERS = np.float32([[1.4, 0], [-0.7, 0.7], [-0.7, -0.7]])  # of a triangle of radius 1


def load(config, split, directory) -> Source:
    number = SPLITS.index(split)
    random = np.random.default_rng([number, config.image_size])
    count = config.size if number == 0 else max(1, config.size // 4)
    images = _Images(random, count, config.image_size)
    if config.targets == "masks":
        for _ in range(_FIGURES):
            images.draw(random.integers(1, 4, count))
        masks = {"mask": images.masks[..., np.newaxis]}
        return from_arrays("shapes", {"inputs": images.pixels()} | masks, _CLASSES)
    images.draw(random.integers(1, 3, count))
    images.draw(np.full(count, _TRIANGLE), _UPWARD)
    images.draw(random.integers(1, 3, count))
    return from_arrays("shapes", {"inputs": images.pixels(), "points": images.points()})


class _Figure(NamedTuple):
    """One in each image: all are [n, 1, 1], in pixels and radians."""

    kind: np.ndarray
    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    angle: np.ndarray

    def contains(self, x, y) -> np.ndarray:
        """Whether places, which broadcast to [n, ., .], are in it."""
        x = (x - self.x) / self.radius
        y = (y - self.y) / self.radius
        along = np.cos(self.angle) * x + np.sin(self.angle) * y
        across = np.cos(self.angle) * y - np.sin(self.angle) * x
        in_disc = along**2 + across**2 < 1
        in_square = np.maximum(abs(along), abs(across)) < 0.85
        in_triangle = (along > -0.7) & (abs(across) < (1.4 - along) / 3)
        kinds = [self.kind == kind for kind in (_DISC, _SQUARE, _TRIANGLE)]
        return np.select(kinds, [in_disc, in_square, in_triangle])

    def corners(self) -> tuple:
        """x and y of a triangle's: [n, 1, 3]."""
        along, across = self.radius * _CORNERS[:, 0], self.radius * _CORNERS[:, 1]
        x = self.x + np.cos(self.angle) * along - np.sin(self.angle) * across
        return x, self.y + np.sin(self.angle) * along + np.cos(self.angle) * across


class _Images:
    """`count` images of one size, in each of which figures are drawn over what is there."""

    def __init__(self, random: np.random.Generator, count: int, size: int):
        self.random = random
        self.count = count
        self.size = size
        self.y, self.x = np.mgrid[:size, :size].astype(np.float32)
        self.masks = np.zeros((count, size, size), np.uint8)
        self.colors = self._texture()
        self.corners = np.zeros((2, count, 1, 3), np.float32)
        self.visible = np.zeros((count, 1, 3), bool)

    def _uniform(self, low: float, high: float, *shape: int):
        drawn = self.random.random((self.count, *shape, 1, 1), np.float32)
        return low + (high - low) * drawn

    def _texture(self):
        """A color with stripes and noise: float32 [n, 3, H, W]."""
        angle = self._uniform(0, 2 * np.pi, 1)
        along = np.cos(angle) * self.x + np.sin(angle) * self.y
        stripes = np.sin(self._uniform(0.3, 1.2, 1) * along + self._uniform(0, 2 * np.pi, 1))
        return self._uniform(50, 205, 3) + self._uniform(5, 40, 3) * stripes

    def draw(self, kind: np.ndarray, angle=_ANY_ANGLE) -> None:
        """A figure of a kind, [n], in each image; `angle`: lowest and highest, in radians."""
        place = (0.2 * self.size, 0.8 * self.size)
        figure = _Figure(
            kind[:, np.newaxis, np.newaxis],
            x=self._uniform(*place),
            y=self._uniform(*place),
            radius=self._uniform(self.size / 8, self.size / 4.5),
            angle=self._uniform(*angle),
        )
        inside = figure.contains(self.x, self.y)
        self.masks = np.where(inside, figure.kind, self.masks).astype(np.uint8)
        self.colors = np.where(inside[:, np.newaxis], self._texture(), self.colors)
        is_triangle = figure.kind == _TRIANGLE
        hidden = figure.contains(*self.corners)
        self.corners = np.where(is_triangle, figure.corners(), self.corners)
        low, high = self.corners.min(axis=0), self.corners.max(axis=0)
        in_image = (low > -0.5) & (high < self.size - 0.5)
        self.visible = in_image & np.where(is_triangle, True, self.visible & ~hidden)

    def pixels(self) -> np.ndarray:
        noise = 12 * self.random.standard_normal(self.colors.shape, np.float32)
        pixels = np.clip(self.colors + noise, 0, 255).astype(np.uint8)
        return np.moveaxis(pixels, 1, 3)

    def points(self) -> np.ndarray:
        points = np.stack([*self.corners, self.visible], axis=-1)
        return points[:, 0].astype(np.float32)
