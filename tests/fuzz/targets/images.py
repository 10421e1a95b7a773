"""Small images of every supported format and mode, for the harnesses of images."""

import io

from PIL import Image


def _saved(form: str, mode: str, **options: object) -> bytes:
    out = io.BytesIO()
    image = Image.linear_gradient("L").resize((16, 12)).convert(mode if mode != "I;16" else "L")
    (image.convert("I;16") if mode == "I;16" else image).save(out, form, **options)
    return out.getvalue()


def _rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return _saved("JPEG", "RGB", exif=exif)


SEEDS = [
    _saved("JPEG", "RGB"),
    _saved("JPEG", "L", progressive=True),
    _saved("JPEG", "CMYK"),
    _rotated(),
    _saved("PNG", "RGBA"),
    _saved("PNG", "P"),
    _saved("PNG", "I;16"),
    _saved("GIF", "P", save_all=True, append_images=[Image.new("P", (16, 12))]),
    _saved("WEBP", "RGB"),
    _saved("WEBP", "RGBA", lossless=True),
    _saved("AVIF", "RGB"),
    _saved("BMP", "RGB"),
    _saved("BMP", "1"),
    *(_saved("TIFF", "RGB", compression=each) for each in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg")),
    _saved("TIFF", "1", compression="group4"),
    _saved("TIFF", "LAB"),
    _saved("TIFF", "RGB", tile=(16, 16)),
]
