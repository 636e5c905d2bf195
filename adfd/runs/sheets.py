"""Contact sheets: source | anchor | outputs, with ages and identity similarity under each picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

TILE, GAP, CAPTION, TITLE = 256, 8, 46, 30
BACKGROUND, INK, FAINT, MARK = "#ffffff", "#1b1b1b", "#6b6b6b", "#a8261c"


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet: its file, a bold first line and a faint second one, and what to doubt about it."""

    image: Path
    heading: str
    detail: str
    mark: str = ""


def render_sheet(title: str, tiles: list[Tile]) -> Image.Image:
    """A row of captioned pictures under a title."""
    width = GAP + len(tiles) * (TILE + GAP)
    sheet = Image.new("RGB", (width, TITLE + TILE + CAPTION), BACKGROUND)
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
        draw.text((x, TITLE + TILE + 24), tile.detail, FAINT, ImageFont.load_default(14))
    return sheet


def stack_sheets(sheets: list[Image.Image]) -> Image.Image:
    """Sheets below one another, left-aligned."""
    stack = Image.new("RGB", (max(s.width for s in sheets), sum(s.height + GAP for s in sheets)), BACKGROUND)
    y = 0
    for sheet in sheets:
        stack.paste(sheet, (0, y))
        y += sheet.height + GAP
    return stack
