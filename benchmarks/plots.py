"""Line plots as small SVG texts: one line of text for each line of the plot, so diffs can be read.

The x axis is logarithmic (how cost grows is a question about orders of magnitude), the y axis
linear from zero (so that what is flat looks flat). Colours are fit for light and dark pages.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Points = Sequence[tuple[float, float]]

_WIDTH: Final = 480
_HEIGHT: Final = 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 30, 44
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # told apart by everybody
_GREY: Final = "#888888"
_TICKS: Final = 4


def _ceiling(highest: float) -> float:
    """Return the least of 1, 2, 2.5, 4, 5 times a power of ten that is not below."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1, 2, 2.5, 4, 5, 10) if step * power >= highest)


def _short(value: float) -> str:
    """Write a number for an axis: 1,000 as 1k."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:.3g}"


def _text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    words = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{words}</text>'


def lines(title: str, x_label: str, y_label: str, series: Mapping[str, Points]) -> str:
    """Return a plot as SVG.

    Args:
        title: stands above it.
        x_label: what grows.
        y_label: what it costs, with its unit.
        series: for each name its points (x above 0, y not below).
    """
    xs = [x for points in series.values() for x, _ in points]
    top = _ceiling(max(y for points in series.values() for _, y in points))
    low, high = math.floor(math.log10(min(xs))), math.ceil(math.log10(max(xs)))
    high = max(high, low + 1)

    def across(x: float) -> float:
        return _LEFT + (math.log10(x) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def up(y: float) -> float:
        return _HEIGHT - _BOTTOM - y / top * (_HEIGHT - _TOP - _BOTTOM)

    drawn = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            f'font-family="sans-serif" font-size="11" fill="{_GREY}" stroke-width="1.5">'
        ),
        _text(_WIDTH / 2, 16, title),
        _text((_LEFT + _WIDTH) / 2, _HEIGHT - 8, x_label),
        _text(8, _TOP - 8, y_label, "start"),
    ]
    for tick in range(_TICKS + 1):
        y = top * tick / _TICKS
        drawn += [
            f'<path d="M{_LEFT} {up(y):.0f}H{_WIDTH - _RIGHT}" stroke="{_GREY}" opacity="0.3"/>',
            _text(_LEFT - 6, up(y) + 4, _short(y), "end"),
        ]
    for power in range(low, high + 1):
        drawn.append(_text(across(10.0**power), _HEIGHT - _BOTTOM + 16, _short(10.0**power)))
    for number, (name, points) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        way = "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in points)
        drawn.append(f'<path d="M{way}" fill="none" stroke="{colour}"/>')
        drawn += [
            f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3" fill="{colour}"/>'
            for x, y in points
        ]
        label = _text(_WIDTH - _RIGHT, _TOP + 12 + 14 * number, name, "end")
        drawn.append(label.replace("<text ", f'<text fill="{colour}" '))
    return "\n".join([*drawn, "</svg>", ""])
