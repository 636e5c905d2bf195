"""Contact sheets: source, anchor and outputs in a row, with ages and identity similarity under each picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from adfd.basics.files import Row

TILE, GAP, CAPTION, LINE, TITLE = 256, 8, 46, 20, 30
BACKGROUND, INK, FAINT, MARK = "#ffffff", "#1b1b1b", "#6b6b6b", "#a8261c"


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet: its file, a bold first line, grey further lines, and a warning across the picture."""

    image: Path
    heading: str
    detail: str
    mark: str = ""
    more: str = ""


def render_sheet(title: str, tiles: list[Tile]) -> Image.Image:
    """A row of captioned pictures under a title."""
    width = GAP + len(tiles) * (TILE + GAP)
    caption = CAPTION + LINE * any(tile.more for tile in tiles)
    sheet = Image.new("RGB", (width, TITLE + TILE + caption), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 6), title, INK, ImageFont.load_default(16))
    for i, tile in enumerate(tiles):
        x = GAP + i * (TILE + GAP)
        with Image.open(tile.image) as picture:
            sheet.paste(picture.convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS), (x, TITLE))
        if tile.mark:
            font = ImageFont.load_default(14)
            draw.rectangle((x, TITLE + TILE - 22, x + draw.textlength(tile.mark, font) + 12, TITLE + TILE), MARK)
            draw.text((x + 6, TITLE + TILE - 20), tile.mark, BACKGROUND, font)
        draw.text((x, TITLE + TILE + 4), tile.heading, INK, ImageFont.load_default(15))
        for line, text in enumerate((tile.detail, tile.more)):
            draw.text((x, TITLE + TILE + 24 + line * LINE), text, FAINT, ImageFont.load_default(14))
    return sheet


def outputs_sheet(run: Path, rows: Sequence[Row]) -> Image.Image:
    """Sheet of source, anchor and outputs of one photo at one age, with independent readings if there are any."""
    first = rows[0]
    photo, target_age = first["photo"], first["target_age"]
    files = {"source": f"{photo}_source", "anchor": f"{photo}_age{target_age:g}_anchor"}
    tiles = [
        Tile(run / f"images/{file}.png", kind, _reads(first[f"{kind}_age"]), more=independent(first, f"_{kind}"))
        for kind, file in files.items()
    ]
    for row in rows:
        detail = f"identity {row['id_similarity_source']:.2f}, to anchor {row['id_similarity_anchor']:.2f}"
        heading = f"reads {row['age']:.1f} years" + (f", {row['reference'][:16]}" if row.get("reference") else "")
        tiles.append(Tile(run / row["image"], heading, detail, mark(row), independent(row)))
    return render_sheet(f"{photo}, {first['method']} at {target_age:g}", tiles)


def _reads(age: float | None) -> str:
    return "" if age is None else f"reads {age:.0f} years"


def independent(row: Row, of: str = "") -> str:
    """The panel's age of an output, or of its "_source" or "_anchor", as text; empty where it was not measured."""
    age = row.get(f"panel_age{of}")
    return "" if age is None else f"independently {age:.1f} years"


def mark(row: Row) -> str:
    """The warning written across the picture of a doubtful output; otherwise empty."""
    marks = {"not reached": row.get("reached") is False, "judges disagree": bool(row.get("judges_disagree"))}
    return ", ".join(text for text, up in marks.items() if up)


def stack_sheets(sheets: list[Image.Image]) -> Image.Image:
    """Stack sheets vertically, left-aligned."""
    stack = Image.new("RGB", (max(s.width for s in sheets), sum(s.height + GAP for s in sheets)), BACKGROUND)
    y = 0
    for sheet in sheets:
        stack.paste(sheet, (0, y))
        y += sheet.height + GAP
    return stack
