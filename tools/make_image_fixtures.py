#!/usr/bin/python3
"""Writes tests/image/data: small pictures of every kind, and the pixels that decoding them must give.

Each line of manifest.txt is: file, width, height, tolerance, file with the expected RGB bytes. Lossless kinds
are expected as drawn, with transparency composited on white, and compared with Pillow where Pillow keeps
the samples; lossy ones are expected as Pillow (libjpeg; before 13) decodes them.

    tools/make_image_fixtures.py [FOLDER]
"""
import argparse
import io
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

WIDTH, HEIGHT = 23, 17
FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests/image/data"


def scene():
    """RGBA with 16 bits a channel: two gradients, a disc and a see-through corner."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    red, green = x / (WIDTH - 1), y / (HEIGHT - 1)
    disc = (x - 12) ** 2 + (y - 7) ** 2 < 20
    blue = np.where(disc, 0.9, 0.2)
    alpha = np.clip((x + y) / 20, 0, 1)
    return np.rint(np.stack([red, green, blue, alpha], -1) * 65535).astype(np.uint16)


def on_white(rgb, alpha):
    """8-bit channels over white, rounded to nearest."""
    rgb, alpha = rgb.astype(np.int64), alpha.astype(np.int64)[..., None]
    return ((rgb * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def png_chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def pack_row(row, depth):
    """Samples of one row [w, channels] as PNG bytes."""
    if depth == 16:
        return row.astype(">u2").tobytes()
    if depth == 8:
        return row.astype(np.uint8).tobytes()
    bits = ((row.reshape(-1)[:, None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8)
    return np.packbits(bits.reshape(-1)).tobytes()


def filter_rows(rows, step):
    """Each row by another of the five filters, so that all of them are met."""
    out, above = b"", bytes(len(rows[0]))
    for number, row in enumerate(rows):
        kind = number % 5
        left = bytes(step) + row
        corner = bytes(step) + above
        line = bytearray()
        for i, value in enumerate(row):
            a, b, c = (left[i] if i >= step else 0), above[i], (corner[i] if i >= step else 0)
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            line.append((value - (0, a, b, (a + b) // 2, paeth)[kind]) & 255)
        out += bytes([kind]) + bytes(line)
        above = row
    return out


def png(samples, depth, color_type, palette=None, transparency=None, interlaced=False, parts=1):
    """A PNG of samples [h, w, channels]."""
    height, width, channels = samples.shape
    step = max(1, channels * depth // 8)
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    raw = b""
    for x, y, dx, dy in passes:
        part = samples[y::dy, x::dx]
        if part.size:
            raw += filter_rows([pack_row(row, depth) for row in part], step)
    data = zlib.compress(raw, 9)
    out = b"\x89PNG\r\n\x1a\n"
    out += png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, interlaced))
    if palette is not None:
        out += png_chunk(b"PLTE", palette.astype(np.uint8).tobytes())
    if transparency is not None:
        out += png_chunk(b"tRNS", transparency)
    size = -(-len(data) // parts)
    for i in range(parts):
        out += png_chunk(b"IDAT", data[i * size:(i + 1) * size])
    return out + png_chunk(b"IEND", b"")


def bmp(rows, bits, header=40, compression=0, palette=b"", masks=b"", downwards=False, width=WIDTH, height=HEIGHT):
    """A BMP of packed rows from top to bottom."""
    stored = rows if downwards else rows[::-1]
    pixels = b"".join(row + bytes(-len(row) % 4) for row in stored)
    offset = 14 + header + len(palette) + (len(masks) if header == 40 else 0)
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", header, width, -height if downwards else height, 1, bits, compression,
                           len(pixels), 2835, 2835, len(palette) // 4, 0) + masks
        info += bytes(max(0, header - len(info)))
    return struct.pack("<2sIHHI", b"BM", offset + len(pixels), 0, 0, offset) + info + palette + pixels


def jpeg(image, **options):
    stream = io.BytesIO()
    image.save(stream, "JPEG", **{"quality": 90, **options})
    return stream.getvalue()


class Writer:
    def __init__(self, folder):
        self.folder, self.lines, self.known = folder, [], {}
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()

    def file(self, name, data):
        assert len(data) < 3000, (name, len(data))
        (self.folder / name).write_bytes(data)

    def add(self, name, data, expected, tolerance=0):
        self.file(name, data)
        expected = np.ascontiguousarray(expected, np.uint8)
        key = expected.tobytes()
        if key not in self.known:
            self.known[key] = name.replace(".", "_") + ".rgb"
            self.file(self.known[key], key)
        height, width, _ = expected.shape
        self.lines.append(f"{name} {width} {height} {tolerance} {self.known[key]}")

    def finish(self):
        (self.folder / "manifest.txt").write_text("\n".join(self.lines) + "\n")


def add_pngs(out):
    full = scene()
    rgb8, alpha8 = (full >> 8)[..., :3], (full >> 8)[..., 3]
    gray = full[..., 1:2]

    def gray_as_rgb(samples, top):
        return np.repeat(samples.astype(np.int64) * 255 // top, 3, -1)

    for depth in (1, 2, 4, 8):
        samples = gray >> (16 - depth)
        expected = gray_as_rgb(samples, 2 ** depth - 1)
        for interlaced in (False, True):
            data = png(samples, depth, 0, interlaced=interlaced)
            out.add(f"gray{depth}{'i' if interlaced else ''}.png", data, expected)
            assert (np.array(Image.open(io.BytesIO(data)).convert("RGB")) == expected).all()
        value = int(samples[5, 5, 0])
        shown = np.where(samples == value, 255, expected)
        out.add(f"gray{depth}_key.png", png(samples, depth, 0, transparency=struct.pack(">H", value)), shown)
    out.add("gray16.png", png(gray, 16, 0), np.repeat(gray >> 8, 3, -1))
    value = int(gray[5, 5, 0])
    out.add("gray16_key.png", png(gray, 16, 0, transparency=struct.pack(">H", value)),
            np.repeat(np.where(gray == value, 255, gray >> 8), 3, -1))

    for depth in (8, 16):
        shift = 16 - depth
        samples = full[..., :3] >> shift
        for interlaced in (False, True):
            data = png(samples, depth, 2, interlaced=interlaced, parts=3)
            out.add(f"rgb{depth}{'i' if interlaced else ''}.png", data, rgb8)
            assert (np.array(Image.open(io.BytesIO(data)).convert("RGB")) == rgb8).all()
        key = samples[3, 4]
        shown = np.where((samples == key).all(-1, keepdims=True), 255, rgb8)
        out.add(f"rgb{depth}_key.png", png(samples, depth, 2, transparency=key.astype(">u2").tobytes()), shown)
        both = full >> shift
        for interlaced in (False, True):
            data = png(both, depth, 6, interlaced=interlaced)
            out.add(f"rgba{depth}{'i' if interlaced else ''}.png", data, on_white(rgb8, alpha8))
            opened = np.array(Image.open(io.BytesIO(data)).convert("RGBA"))
            assert (opened[..., :3] == rgb8).all() and (opened[..., 3] == alpha8).all()
        grays = np.concatenate([gray, full[..., 3:]], -1) >> shift
        out.add(f"gray_alpha{depth}.png", png(grays, depth, 4),
                on_white(np.repeat(gray >> 8, 3, -1), alpha8))

    generator = np.random.default_rng(5)
    for depth in (1, 2, 4, 8):
        colors = min(2 ** depth, 40)
        palette = generator.integers(0, 256, (colors, 3))
        index = (np.arange(HEIGHT)[:, None] + np.arange(WIDTH)) % colors
        expected = palette[index]
        for interlaced in (False, True):
            data = png(index[..., None], depth, 3, palette, interlaced=interlaced)
            out.add(f"palette{depth}{'i' if interlaced else ''}.png", data, expected)
            assert (np.array(Image.open(io.BytesIO(data)).convert("RGB")) == expected).all()
        opacity = generator.integers(0, 256, max(1, colors - 1))
        every = np.append(opacity, [255] * (colors - len(opacity)))
        data = png(index[..., None], depth, 3, palette, opacity.astype(np.uint8).tobytes())
        out.add(f"palette{depth}_alpha.png", data, on_white(expected, every[index]))

    short = generator.integers(1, 256, (5, 3))
    index = (np.arange(HEIGHT)[:, None] + np.arange(WIDTH)) % 7
    data = png(index[..., None], 8, 3, short)
    expected = np.vstack([short, [[5] * 3, [6] * 3]])[index]  # beyond the palette Pillow shows the index as grey
    assert (np.array(Image.open(io.BytesIO(data)).convert("RGB")) == expected).all()
    out.add("palette_short.png", data, expected)
    tiny = png(full[:1, :1, :3] >> 8, 8, 2)
    out.add("one_pixel.png", tiny, rgb8[:1, :1])


def add_bmps(out):
    full = scene()
    rgb8, alpha8 = (full >> 8)[..., :3], (full >> 8)[..., 3]
    bgr = np.ascontiguousarray(rgb8[..., ::-1].astype(np.uint8))
    generator = np.random.default_rng(6)
    for bits in (1, 4, 8):
        colors = min(2 ** bits, 50)
        palette = generator.integers(0, 256, (colors, 3))
        table = b"".join(bytes([b, g, r, 0]) for r, g, b in palette.tolist())
        index = (np.arange(HEIGHT)[:, None] + np.arange(WIDTH)) % colors
        data = bmp([pack_row(row[:, None], bits) for row in index], bits, palette=table)
        out.add(f"palette{bits}.bmp", data, palette[index])
    rows24 = [row.tobytes() for row in bgr]
    for name, data in {
        "rgb24.bmp": bmp(rows24, 24),
        "rgb24_downwards.bmp": bmp(rows24, 24, downwards=True),
        "rgb24_os2.bmp": bmp(rows24, 24, header=12),
        "rgb24_v5.bmp": bmp(rows24, 24, header=124),
    }.items():
        out.add(name, data, rgb8)
        assert (np.array(Image.open(io.BytesIO(data)).convert("RGB")) == rgb8).all()
    bgra = np.concatenate([bgr, alpha8[..., None].astype(np.uint8)], -1)
    rows32 = [row.tobytes() for row in bgra]
    out.add("rgb32_padding.bmp", bmp(rows32, 32), rgb8)
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    out.add("rgba32_v4.bmp", bmp(rows32, 32, header=108, compression=3, masks=masks), on_white(rgb8, alpha8))
    five, six = rgb8 >> 3, rgb8 >> 2
    words = five[..., 0] << 10 | five[..., 1] << 5 | five[..., 2]
    rows = [row.astype("<u2").tobytes() for row in words]
    out.add("rgb16_555.bmp", bmp(rows, 16), np.rint(five * 255 / 31), tolerance=1)
    words = five[..., 0] << 11 | six[..., 1] << 5 | five[..., 2]
    rows = [row.astype("<u2").tobytes() for row in words]
    data = bmp(rows, 16, compression=3, masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F))
    out.add("rgb16_565.bmp", data,
            np.rint(np.stack([five[..., 0] * 255 / 31, six[..., 1] * 255 / 63, five[..., 2] * 255 / 31], -1)),
            tolerance=1)
    out.file("run_length.bmp", bmp([bytes([WIDTH, 1, 0, 0])] * HEIGHT, 8, compression=1, palette=bytes(8)))


def add_jpegs(out):
    full = scene()
    image = Image.fromarray((full >> 8)[..., :3].astype(np.uint8))

    def add(name, data, tolerance):
        # libjpeg's and other decoders' inverse transforms and chroma filters differ by a few steps of 255.
        out.add(name, data, np.array(Image.open(io.BytesIO(data)).convert("RGB")), tolerance)

    add("gray.jpg", jpeg(image.convert("L")), 2)
    add("gray_progressive.jpg", jpeg(image.convert("L"), progressive=True), 2)
    # stb_image weights the chroma of the last column of 4:2:2 pictures otherwise than libjpeg.
    for number, (name, tolerance) in enumerate((("444", 4), ("422", 12), ("420", 4))):
        add(f"{name}.jpg", jpeg(image, subsampling=number), tolerance)
        add(f"{name}_progressive.jpg", jpeg(image, subsampling=number, progressive=True), tolerance)
    cmyk = jpeg(image.convert("CMYK"))
    add("cmyk.jpg", cmyk, 4)
    adobe = cmyk.index(b"Adobe")
    assert cmyk[adobe + 11] == 0
    add("ycck.jpg", cmyk[:adobe + 11] + b"\2" + cmyk[adobe + 12:], 6)
    out.file("cmyk_no_adobe.jpg", cmyk[:adobe - 4] + cmyk[adobe + 12:])
    plain = jpeg(image, subsampling=0)
    app0 = plain.index(b"JFIF") - 4
    after = app0 + 2 + struct.unpack(">H", plain[app0 + 2:app0 + 4])[0]
    rgb_marker = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"
    add("adobe_rgb.jpg", plain[:app0] + rgb_marker + plain[after:], 2)

    upright = Image.fromarray(np.repeat(np.repeat(
        np.array([[[255, 0, 0], [0, 255, 0], [255, 255, 255]], [[0, 0, 255], [0, 0, 0], [255, 255, 0]]], np.uint8), 8, 0), 8, 1))
    undo = {2: Image.FLIP_LEFT_RIGHT, 3: Image.ROTATE_180, 4: Image.FLIP_TOP_BOTTOM, 5: Image.TRANSPOSE,
            6: Image.ROTATE_90, 7: Image.TRANSVERSE, 8: Image.ROTATE_270}
    for orientation in range(1, 9):
        stored = upright.transpose(undo[orientation]) if orientation in undo else upright
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = jpeg(stored, subsampling=0, exif=exif.tobytes())
        shown = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
        assert np.abs(shown.astype(int) - np.array(upright)).max() <= 4
        out.add(f"orientation{orientation}.jpg", data, np.array(upright), 4)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=FOLDER)
    out = Writer(parser.parse_args().folder)
    add_pngs(out)
    add_bmps(out)
    add_jpegs(out)
    out.finish()


if __name__ == "__main__":
    main()
