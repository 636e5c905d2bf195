"""The picture of the house: rooms on their floors, the files in each, and which room imports which.

`make house` draws `docs/images/house.svg` from the imports and the floors that `tests/test_architecture.py` lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from xml.sax.saxutils import escape

PICTURE = Path(__file__).with_name("images") / "house.svg"
WIDTH, MARGIN, GAP, LINE, COLUMN = 1120, 16, 44, 17, 150  # px
STYLE = """text{font-family:DejaVu Sans,Verdana,sans-serif;font-size:13px;fill:#333;
paint-order:stroke;stroke:#f5f3ee;stroke-width:4px}.room{font-weight:bold;font-size:15px;fill:#111}
rect{fill:#f5f3ee;stroke:#8a8577}.background{fill:#fff;stroke:none}path{fill:none;stroke:#5b6b8c;stroke-width:1.5}"""


def arrows(modules: Mapping[str, Path], room: Callable, imports: Callable) -> set[tuple[str, str]]:
    """Which room imports which."""
    found = set[tuple[str, str]]()
    for module, path in modules.items():
        theirs = {room(other) for other in imports(path.read_text()) if other.startswith("adfd.") and other in modules}
        found |= {(room(module), other) for other in theirs if other != room(module)}
    return found


def shown(edges: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """The arrows that do not follow from two or more others."""
    below: dict[str, set[str]] = {}
    for upper, lower in edges:
        below.setdefault(upper, set()).add(lower)

    def reach(start: Iterable[str]) -> set[str]:
        return {end for room in start for end in {room} | reach(below.get(room, ()))}

    return sorted((a, b) for a, b in edges if b not in reach(set().union(*(below.get(c, ()) for c in below[a]))))


def drawing(floors: list[set[str]], modules: Mapping[str, Path], room: Callable, imports: Callable) -> str:
    """The picture as SVG."""
    files: dict[str, list[str]] = {}
    for module in sorted(modules):
        if not module.endswith("__init__"):
            files.setdefault(room(module), []).append(module.rpartition(".")[2])
    boxes, top = dict[str, tuple[float, float, float, float]](), MARGIN
    for floor in floors:
        width = (WIDTH - 2 * MARGIN - (len(floor) - 1) * MARGIN) / len(floor)
        columns = int((width - MARGIN) // COLUMN)
        height = 34 + LINE * max(-(-len(files[name]) // columns) for name in floor)
        for i, name in enumerate(sorted(floor)):
            boxes[name] = (MARGIN + i * (width + MARGIN), top, width, height)
        top += height + GAP
    parts, texts = list[str](), list[str]()
    for name, (x, y, width, height) in boxes.items():
        parts.append(f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="6"/>')
        texts.append(f'<text class="room" x="{x + 10:.0f}" y="{y + 21:.0f}">{escape(name)}</text>')
        columns = int((width - MARGIN) // COLUMN)
        for i, file in enumerate(files[name]):
            place = f'x="{x + 10 + i % columns * COLUMN:.0f}" y="{y + 40 + i // columns * LINE:.0f}"'
            texts.append(f"<text {place}>{escape(file)}</text>")
    for upper, lower in shown(arrows(modules, room, imports)):
        (x, y, width, height), (x_low, y_low, width_low, _) = boxes[upper], boxes[lower]
        start, end = (x + width / 2, x_low + width_low / 2)
        start, end = (end, end) if width > width_low else (start, start) if width < width_low else (start, end)
        parts.append(f'<path marker-end="url(#tip)" d="M{start:.0f} {y + height:.0f}L{end:.0f} {y_low - 3:.0f}"/>')
    size = f'width="{WIDTH}" height="{top - GAP + MARGIN:.0f}"'
    tip = '<marker id="tip" markerWidth="8" markerHeight="8" refX="6" refY="3" orient="auto">'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
            f"<style>{STYLE}</style>",
            f'<defs>{tip}<path d="M0 0L6 3L0 6" /></marker></defs>',
            f'<rect class="background" {size}/>',
            *parts,
            *texts,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    from tests.test_architecture import FLOORS, MODULES, imports, room

    PICTURE.write_text(drawing(FLOORS, MODULES, room, imports))
    print(PICTURE)
