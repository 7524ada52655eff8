"""Plots are small SVG texts, the same for the same figures."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from benchmarks import plots

SVG = "{http://www.w3.org/2000/svg}"


def test_a_plot_has_a_line_and_its_points_for_each_series() -> None:
    """It is well-formed, and a point lies where its figures say."""
    text = plots.lines("t", "shards", "µs", {"a <b>": [(10, 5), (1000, 10)], "c": [(10, 0)]})
    root = ET.fromstring(text)
    circles = [(float(c.get("cx", 0)), float(c.get("cy", 0))) for c in root.iter(f"{SVG}circle")]
    assert len(circles) == 3
    (left, middle), (right, top), (_, bottom) = circles
    assert left < right
    assert top < middle < bottom
    assert middle - top == bottom - middle
    assert "a <b>" in [label.text for label in root.iter(f"{SVG}text")]


def test_one_point_is_a_plot() -> None:
    """Also where all x are the same and y is nothing."""
    ET.fromstring(plots.lines("t", "x", "y", {"a": [(1, 0)]}))
