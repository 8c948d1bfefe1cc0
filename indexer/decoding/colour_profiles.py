"""Colour profiles (ICC.1): whether one shows samples as other colours than sRGB does. Must never import torch.

Pixels are compared as they lie in the file. The same samples under another profile are another picture to everybody who
looks at them, so such a profile is a part of what is compared.
"""

import contextlib
import io
from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image, ImageCms

_STEPS: Final = (0, 51, 102, 153, 204, 255)  # of each channel that is tried
_REMEMBERED_BYTES: Final = 1 << 16  # of one profile; larger ones are looked at each time
_UNUSABLE: Final = (ImageCms.PyCMSError, OSError, ValueError, TypeError, EOFError)
_SEEN: Final = 3  # levels of 255 from which on a difference counts: makers of sRGB round its numbers differently


def shown_otherwise(image: Image.Image) -> bytes:
    """Return the profile of a picture where it shows colours that differ from sRGB's, or cannot be read; else nothing.

    image: opened; grey or RGB ones are looked at, others keep their profile: their samples mean nothing without it.
    """
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile:
        return b""
    if image.mode in ("CMYK", "LAB"):
        return profile
    mode = "L" if image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;") else "RGB"
    known = _is_known_srgb if len(profile) <= _REMEMBERED_BYTES else _is_srgb
    return b"" if known(profile, mode) else profile


def in_srgb(rgb: Image.Image, profile: bytes) -> Image.Image:
    """Return an RGB picture whose samples mean what a profile says in sRGB's samples; as it is where nobody can."""
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        shown = ImageCms.profileToProfile(rgb, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except _UNUSABLE:
        return rgb  # of inks, of greys, or damaged
    return shown or rgb


def of_inks(image: Image.Image) -> Image.Image:
    """Return a CMYK picture as RGB, by its profile where that is one of inks."""
    if profile := image.info.get("icc_profile"):
        inks, screen = io.BytesIO(profile), ImageCms.createProfile("sRGB")
        intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
        # Not a CMYK profile, or a damaged one: the plain conversion is the next best.
        with contextlib.suppress(*_UNUSABLE):
            if converted := ImageCms.profileToProfile(image, inks, screen, intent, "RGB", flags=flags):
                return converted
    return image.convert("RGB")


def _is_srgb(profile: bytes, mode: str) -> bool:
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if own.profile.xcolor_space.strip() != ("GRAY" if mode == "L" else "RGB"):
            # Nobody can use it on these samples, so everybody shows them as if there were none.
            return True
        transform = ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), mode, "RGB")
        shown = ImageCms.applyTransform(_tried(mode), transform)
    except _UNUSABLE:
        return False
    there, as_it_is = (np.asarray(one, np.int16) for one in (shown, _tried(mode).convert("RGB")))
    return bool(np.abs(there - as_it_is).max() <= _SEEN)


_is_known_srgb = lru_cache(64)(_is_srgb)


def _tried(mode: str) -> Image.Image:
    """Return a picture of one row with samples from all over a mode."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.meshgrid(_STEPS, _STEPS, _STEPS)
    return Image.fromarray(np.stack(levels, -1).reshape(1, -1, 3).astype(np.uint8))
