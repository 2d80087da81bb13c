"""The two pictures of a full run: plain SVG whose colours can be read on light and on dark."""

import math
from pathlib import Path

TEXT = "#7d8590"
LINE = "#7d859055"
OURS, NODE, PYTHON = "#2f81f7", "#3fa45b", "#d98a1f"
FONT = "font-family='system-ui, sans-serif'"


def colour(name: str) -> str:
    return NODE if "Node" in name else PYTHON if "Python" in name else OURS


def text(x: float, y: float, content: str, anchor: str = "start", size: int = 13, fill: str = TEXT) -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='{size}' fill='{fill}' {FONT}>{content}</text>"


def svg(width: int, height: int, title: str, parts: list[str]) -> str:
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' role='img'>"
    return "\n".join([head, f"<title>{title}</title>", *parts, "</svg>"]) + "\n"


def cpu(path: Path, records: int, groups: dict[str, dict[str, float]]) -> None:
    """Bars of CPU seconds, by group and name; each group has a scale of its own."""
    left, width, row = 190, 760, 24
    parts, y = [text(0, 16, f"CPU for {records:,} observations, in seconds (less is better)", size=15)], 44
    for group, bars in groups.items():
        parts.append(text(0, y, group, size=14))
        y += 10
        longest = max(bars.values())
        for name, seconds in bars.items():
            length = max((width - left - 90) * seconds / longest, 1.5)
            parts.append(text(left - 8, y + 15, name, "end"))
            parts.append(f"<rect x='{left}' y='{y + 3}' width='{length:.1f}' height='{row - 7}' rx='2' fill='{colour(name)}'/>")
            parts.append(text(left + length + 6, y + 15, f"{seconds:.2f} s"))
            y += row
        y += 26
    path.write_text(svg(width, y - 16, "CPU beside the peers", parts))


def memory(path: Path, peaks: dict[str, dict[int, float]]) -> None:
    """Lines of peak memory in MiB, by name and number of records."""
    left, top, right, bottom, width, height = 60, 44, 540, 330, 760, 370
    counts = sorted({count for points in peaks.values() for count in points})
    most = max(peak for points in peaks.values() for peak in points.values())
    step = next(step for step in (10, 20, 25, 50, 100, 200, 500, 1_000, 2_000) if most / step <= 8)
    top_value = math.ceil(most / step) * step
    low, high = math.log10(counts[0]), math.log10(counts[-1])

    def x(count: int) -> float:
        return left + (right - left) * (math.log10(count) - low) / (high - low)

    def y(peak: float) -> float:
        return bottom - (bottom - top) * peak / top_value

    parts = [text(0, 16, "Peak memory by number of records, in MiB (less is better)", size=15)]
    for value in range(0, top_value + 1, step):
        parts.append(f"<line x1='{left}' x2='{right}' y1='{y(value):.1f}' y2='{y(value):.1f}' stroke='{LINE}'/>")
        parts.append(text(left - 8, y(value) + 4, f"{value:,}", "end"))
    for count in counts:
        parts.append(text(x(count), bottom + 20, f"{count:,}", "middle"))
    for index, (name, points) in enumerate(peaks.items()):
        # Exports are dashed.
        dash = " stroke-dasharray='6 4'" if "export" in name else ""
        along = " ".join(f"{x(count):.1f},{y(peak):.1f}" for count, peak in sorted(points.items()))
        parts.append(f"<polyline points='{along}' fill='none' stroke='{colour(name)}' stroke-width='2'{dash}/>")
        parts += [f"<circle cx='{x(count):.1f}' cy='{y(peak):.1f}' r='3' fill='{colour(name)}'/>" for count, peak in points.items()]
        at, last = top + 12 + 22 * index, points[max(points)]
        parts.append(f"<line x1='{right + 20}' x2='{right + 46}' y1='{at - 4}' y2='{at - 4}' stroke='{colour(name)}' stroke-width='2'{dash}/>")
        parts.append(text(right + 52, at, f"{name}: {last:.0f}"))
    path.write_text(svg(width, height, "Peak memory beside the peers", parts))
