"""Pictures of a generator, and below them those of its draft."""

from __future__ import annotations

import torch
from PIL import Image, ImageDraw, ImageFont

from adfd.analysis.distillation import Codes
from adfd.models.draft import Draft, draw
from adfd.models.networks import Networks
from adfd.runs.directory import to_pil
from adfd.runs.sheets import BACKGROUND, GAP, INK, TILE, TITLE

N_CODES = 6


@torch.no_grad()
def draft_sheet(networks: Networks, draft: Draft, seed: int) -> Image.Image:
    """Two rows of pictures of random codes that the draft has not learnt from: the generator's, and its own."""
    s = Codes(networks, seed)(-1, N_CODES)
    rows = {
        "generator": networks.synthesis_pooled(s, draft.size),
        "draft": draw(draft, networks.generator, s),
    }
    sheet = Image.new("RGB", (GAP + N_CODES * (TILE + GAP), len(rows) * (TITLE + TILE) + GAP), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    for i, (name, imgs) in enumerate(rows.items()):
        top = i * (TITLE + TILE)
        pen.text((GAP, top + 6), name, INK, ImageFont.load_default(16))
        for j, img in enumerate(imgs):
            tile = to_pil(img).resize((TILE, TILE), Image.Resampling.LANCZOS)
            sheet.paste(tile, (GAP + j * (TILE + GAP), top + TITLE))
    return sheet
