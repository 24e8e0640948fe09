# SPDX-License-Identifier: MIT
"""Scenes of several objects for the bundled model: emoji over procedural backgrounds.

A scene is a function of (seed, index) alone; its size only sets the resolution. A label belongs to
a scene where at least half of the object's opaque area shows: inside the frame and not covered by
an object drawn later. Glyphs come from Noto Color Emoji (SIL OFL 1.1; Debian's
fonts-noto-color-emoji).
"""
import functools
import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
FONT_SIZE = 109  # the font's one bitmap size

# COCO's names, in COCO's order, where the font has one clear picture of the thing.
GLYPHS = {
    "person": "\U0001F6B6", "bicycle": "\U0001F6B2", "car": "\U0001F697",
    "motorcycle": "\U0001F3CD", "airplane": "\u2708", "bus": "\U0001F68C", "train": "\U0001F686",
    "truck": "\U0001F69A", "boat": "\u26F5", "traffic light": "\U0001F6A6",
    "stop sign": "\U0001F6D1", "bird": "\U0001F426", "cat": "\U0001F408", "dog": "\U0001F415",
    "horse": "\U0001F40E", "sheep": "\U0001F411", "cow": "\U0001F404", "elephant": "\U0001F418",
    "zebra": "\U0001F993", "giraffe": "\U0001F992", "backpack": "\U0001F392",
    "umbrella": "\u2602", "handbag": "\U0001F45C", "suitcase": "\U0001F9F3",
    "sports ball": "\u26BD", "kite": "\U0001FA81", "skateboard": "\U0001F6F9",
    "tennis racket": "\U0001F3BE", "cup": "\u2615", "banana": "\U0001F34C", "apple": "\U0001F34E",
    "sandwich": "\U0001F96A", "orange": "\U0001F34A", "broccoli": "\U0001F966",
    "carrot": "\U0001F955", "hot dog": "\U0001F32D", "pizza": "\U0001F355", "donut": "\U0001F369",
    "cake": "\U0001F382", "couch": "\U0001F6CB", "potted plant": "\U0001FAB4",
    "toilet": "\U0001F6BD", "tv": "\U0001F4FA", "laptop": "\U0001F4BB", "book": "\U0001F4D6",
    "clock": "\u23F0", "scissors": "\u2702", "teddy bear": "\U0001F9F8",
}
LABELS = list(GLYPHS)


@functools.lru_cache(maxsize=None)
def glyph_levels(label):
    """The label's glyph, cropped to a square, at falling sizes (a mip map)."""
    font = ImageFont.truetype(FONT, FONT_SIZE)
    picture = Image.new("RGBA", (150, 150))
    ImageDraw.Draw(picture).text((0, 0), GLYPHS[label], font=font, embedded_color=True)
    left, top, right, bottom = picture.getbbox()
    side = max(right - left, bottom - top)
    square = Image.new("RGBA", (side, side))
    square.paste(picture.crop((left, top, right, bottom)),
                 ((side - right + left) // 2, (side - bottom + top) // 2))
    return [square.resize((n, n), Image.BICUBIC) for n in (side, 96, 68, 48, 34, 24)]


def draw_object(label, side, aspect, angle, mirror, gains):
    """The glyph about `side` pixels large, turned, on a transparent patch."""
    level = next((g for g in reversed(glyph_levels(label)) if g.width >= 0.8 * side),
                 glyph_levels(label)[0])
    patch_side = int(side * 1.5) + 2
    scale = level.width / side
    c, s = np.cos(angle) * scale, np.sin(angle) * scale
    flip = -1 if mirror else 1
    a, b, d, e = flip * c / aspect, flip * s, -s / aspect, c
    half, mid = patch_side / 2, level.width / 2
    patch = level.transform((patch_side, patch_side), Image.AFFINE,
                            (a, b, mid - (a + b) * half, d, e, mid - (d + e) * half),
                            Image.BILINEAR)
    ramp = np.arange(256)
    tables = [np.clip(ramp * g, 0, 255).astype(np.uint8) for g in gains] + [ramp]
    return patch.point(np.concatenate(tables).tolist())


def draw_background(rng, width, height):
    side = min(width, height)

    def colours(rows, columns, spread):
        base = rng.uniform(0, 255, 3)
        grid = base + rng.normal(0, spread, (rows, columns, 3))
        return Image.fromarray(np.clip(grid, 0, 255).astype(np.uint8))

    kind = rng.integers(5)
    if kind == 0:
        picture = colours(2, 2, 70).resize((width, height), Image.BILINEAR)
    elif kind == 1:
        picture = colours(6, 6, 50).resize((width, height), Image.BICUBIC)
    elif kind == 2:
        picture = colours(28, 28, 35).resize((width, height), Image.BICUBIC)
    elif kind == 3:
        picture = colours(5, 5, 60).resize((width, height), Image.NEAREST)
    else:
        direction, period = rng.uniform(0, 2 * np.pi), rng.uniform(0.06, 0.4) * side
        x = np.arange(width, dtype=np.float32) * np.float32(np.cos(direction) / period)
        y = np.arange(height, dtype=np.float32) * np.float32(np.sin(direction) / period)
        wave = np.clip(np.sin(2 * np.pi * (x + y[:, None])) * 127 * rng.uniform(1, 4) + 128, 0, 255)
        first, second = (colours(2, 2, 40).resize((width, height), Image.BILINEAR)
                         for _ in range(2))
        picture = Image.composite(first, second, Image.fromarray(wave.astype(np.uint8)))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(0, 6)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        w, h = rng.uniform(0.04, 0.3, 2) * side
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        shape = rng.integers(4)
        if shape == 0:
            draw.ellipse((x - w, y - h, x + w, y + h), fill=colour)
        elif shape == 1:
            draw.rectangle((x - w, y - h, x + w, y + h), fill=colour)
        elif shape == 2:
            corners = rng.uniform(-1, 1, (int(rng.integers(3, 6)), 2)) * (w, h) + (x, y)
            draw.polygon([tuple(p) for p in corners], fill=colour)
        else:
            draw.line((x - w, y - h, x + w, y + h), fill=colour,
                      width=max(1, int(rng.uniform(0.008, 0.05) * side)))
    return picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.003, 0.012) * side))


def place_objects(rng):
    """Objects in drawing order: centres and sizes in units of the frame's side (1 x 1)."""
    count = int(rng.integers(1, 7))
    placed = []
    for label in rng.choice(len(LABELS), count, replace=False):
        size = float(np.exp(rng.uniform(np.log(0.18), np.log(0.55 if count < 4 else 0.42))))
        margin = 0.38 * size
        candidates = rng.uniform(margin, 1 - margin, (1 if rng.random() < 0.2 else 8, 2))

        def crowding(centre):
            return max((0.5 * (size + other["size"]) - np.hypot(*(centre - other["centre"]))
                        for other in placed), default=0)

        placed.append({
            "label": int(label), "size": size, "centre": min(candidates, key=crowding),
            "angle": float(rng.uniform(-0.6, 0.6)), "mirror": bool(rng.random() < 0.5),
            "gains": np.clip(rng.uniform(0.75, 1.2) * (1 + rng.normal(0, 0.05, 3)), 0.6, 1.4)})
    return placed


def draw_scene(seed, index, width=160, height=160, degrade=True):
    """Returns the picture and the sorted label numbers. `degrade` adds blur, noise and JPEG."""
    layout, texture, camera = (np.random.default_rng([seed, index, part]) for part in range(3))
    objects = place_objects(layout)
    # Pictures are squeezed to a square before they reach the network: vary the shapes likewise.
    aspect = float(np.exp(layout.uniform(-0.3, 0.3))) if width == height else 1.0
    picture = draw_background(texture, width, height)
    side = min(width, height)
    shown = []
    for thing in objects:
        patch = draw_object(LABELS[thing["label"]], thing["size"] * side, aspect, thing["angle"],
                            thing["mirror"], thing["gains"])
        x = int(round(thing["centre"][0] * width - patch.width / 2))
        y = int(round(thing["centre"][1] * height - patch.height / 2))
        picture.paste(patch, (x, y), patch)
        alpha = np.asarray(patch)[:, :, 3].astype(np.float32) / 255
        frame = (slice(max(y, 0), min(y + patch.height, height)),
                 slice(max(x, 0), min(x + patch.width, width)))
        inside = alpha[frame[0].start - y:frame[0].stop - y, frame[1].start - x:frame[1].stop - x]
        for _, _, visible in shown:
            visible[frame] *= 1 - inside
        visible = np.zeros((height, width), np.float32)
        visible[frame] = inside
        shown.append((thing["label"], alpha.sum(), visible))
    labels = sorted({label for label, area, visible in shown if visible.sum() >= 0.5 * area})
    return (photograph(picture, camera) if degrade else picture), labels


def photograph(picture, rng):
    """What a poor camera does: exposure, contrast, blur, sensor noise, JPEG."""
    gain, contrast = rng.uniform(0.75, 1.25), rng.uniform(0.75, 1.2)
    table = np.clip(((np.arange(256) - 128) * contrast + 128) * gain, 0, 255).astype(np.uint8)
    picture = picture.point(table.tolist() * 3)
    if rng.random() < 0.3:
        picture = picture.filter(
            ImageFilter.GaussianBlur(rng.uniform(0.001, 0.007) * min(picture.size)))
    if rng.random() < 0.3:
        noise = rng.standard_normal((picture.height, picture.width, 1), np.float32)
        noisy = np.asarray(picture) + noise * np.float32(rng.uniform(2, 12))
        picture = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    if rng.random() < 0.6:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(rng.integers(35, 96)))
        picture = Image.open(buffer).convert("RGB")
    return picture
