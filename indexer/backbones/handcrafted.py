"""Classical statistics of a small picture, the handcrafted half of the built-in backbone.

Five statistics of one 96x96 frame, each of unit length before it is weighted:

- Gabor energies on a 4x4 grid: the spatial envelope, "gist" (Oliva and Torralba, 2001)
- histograms of oriented gradients (Dalal and Triggs, 2005), 8x8 cells of 8 pixels
- the lowest cosine coefficients, as perceptual hashes use them
- colour moments on a 4x4 grid (Stricker and Orengo, 1995)
- a 16x16 grey thumbnail with a 4x4 colour thumbnail

Owns no weights and reads no file. Must not import PIL, timm or OpenCV: what OpenCV did where the projection of
`indexer/backbones/builtin.py` was fitted is written out here in torch, to the rounding of 8-bit colours.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGE_SIZE = 96  # pixels on a side
STATISTICS = 512 + 1764 + 175 + 144 + 288

GRID = 4  # the 4x4 grid on which energies, moments and the colour thumbnail are taken
BLOCK = IMAGE_SIZE // GRID
GRADIENT_SIZE = 64  # gradients and cosines are taken on a 64x64 reduction
CELL = 8
ORIENTATIONS = 9
LOW_FREQUENCIES = 12
CHROMA_SIZE = 16
CHROMA_FREQUENCIES = 4
EPS = 1e-8

# The standard's constants as OpenCV rounds them.
SRGB_TOE = 0.04045  # below it sRGB is linear
LAB_TOE = 0.008856  # below it the cube root of CIE Lab is a straight line
SRGB_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
WHITE_POINT = (0.950456, 1.0, 1.088754)  # D65


class HandcraftedStatistics(nn.Module):
    """The five statistics of each picture, weighted and joined."""

    def __init__(self) -> None:
        super().__init__()
        self.lab = LabConversion()
        self.gabor_energies = GaborEnergies()
        self.gradient_histograms = GradientHistograms()
        self.cosine_coefficients = CosineCoefficients()

    def forward(self, levels: Tensor) -> Tensor:
        """Return (N, STATISTICS) float32.

        levels: (N, 3, 96, 96) float32 RGB, whole numbers from 0 to 255.
        """
        grey = luma(levels)
        lab = self.lab(levels)
        # The weights are those the projection was fitted with.
        parts = [
            self.gabor_energies(grey),
            self.gradient_histograms(grey),
            0.7 * self.cosine_coefficients(grey, lab),
            0.5 * colour_moments(lab),
            0.5 * thumbnails(grey, lab),
        ]
        return torch.cat(parts, dim=1)


class LabConversion(nn.Module):
    """sRGB to CIE L*a*b* as OpenCV's 8-bit conversion has it: 255/100 L*, a* + 128, b* + 128, whole numbers.

    It follows OpenCV's fixed-point tables, because plain floating point differs by a level in 15 % of all pixels.
    Every intermediate is a whole number below 2**24, hence exact in float32.
    """

    linear: Tensor  # (256,) sRGB level -> linear light, in 1/8 levels
    cube_root: Tensor  # (3072,) linear light in 1/8 levels -> the f of CIE Lab, in 1/32768
    to_xyz: Tensor  # (3, 3, 1, 1) linear RGB -> XYZ over the D65 white point, in 1/4096

    def __init__(self) -> None:
        super().__init__()
        level = torch.arange(256, dtype=torch.float64) / 255
        linear = torch.where(level <= SRGB_TOE, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
        light = torch.arange(3072, dtype=torch.float64) / (255 * 8)
        cube_root = torch.where(light < LAB_TOE, light * 7.787 + 4 / 29, light ** (1 / 3))
        to_xyz = torch.tensor(SRGB_TO_XYZ, dtype=torch.float64)
        to_xyz /= torch.tensor(WHITE_POINT, dtype=torch.float64)[:, None]
        self.register_buffer("linear", (255 * 8 * linear).round().float(), persistent=False)
        self.register_buffer("cube_root", (32768 * cube_root).round().float(), persistent=False)
        self.register_buffer("to_xyz", (4096 * to_xyz).round().float()[..., None, None], persistent=False)

    def forward(self, levels: Tensor) -> Tensor:
        """Return (N, 3, 96, 96) float32, whole numbers from 0 to 255; levels as in HandcraftedStatistics."""
        light = self.linear[levels.long()]
        # Multiplied channel by channel: a matrix product may run in TF32 on a GPU and lose the exactness.
        xyz = [(light * weights).sum(1) for weights in self.to_xyz]
        fx, fy, fz = (self.cube_root[_descale(plane, 4096).long()] for plane in xyz)
        lightness = _descale(296 * fy - 1336934, 32768)  # 296 and 1336934: 116 and 16 x 32768, times 255/100
        return torch.stack(
            [lightness, _descale(500 * (fx - fy), 32768) + 128, _descale(200 * (fy - fz), 32768) + 128], dim=1
        )


class GaborEnergies(nn.Module):
    """Mean magnitude of log-Gabor responses, 4 octaves x 8 orientations, on a 4x4 grid."""

    filters: Tensor  # (32, 96, 96) in the order of torch.fft.fft2

    def __init__(self) -> None:
        super().__init__()
        frequency = torch.fft.fftfreq(IMAGE_SIZE, dtype=torch.float64)
        fy, fx = torch.meshgrid(frequency, frequency, indexing="ij")
        radius = torch.hypot(fx, fy) + 1e-9
        angle = torch.atan2(fy, fx)
        filters = []
        for centre in (0.25, 0.125, 0.0625, 0.035):  # cycles per pixel
            octaves = torch.log2(radius / centre)
            for k in range(8):
                turn = angle - k * math.pi / 8
                turn = torch.atan2(turn.sin(), turn.cos())
                filters.append(torch.exp(-(octaves**2) / (2 * 0.45**2) - turn**2 / (2 * 0.25**2)))
        self.register_buffer("filters", torch.stack(filters).float(), persistent=False)

    def forward(self, grey: Tensor) -> Tensor:
        """Return (N, 512) float32 of unit length; grey: (N, 96, 96) float32."""
        contrast = torch.log1p(grey)
        contrast = contrast - contrast.mean((1, 2), keepdim=True)
        spread = contrast.square().mean((1, 2), keepdim=True).sqrt()
        spectrum = torch.fft.fft2(contrast / (spread + 0.05))
        # One filter at a time: all 32 responses of a batch would fall out of the processor's cache (2 x slower).
        energies = [
            F.avg_pool2d(_magnitude(torch.fft.ifft2(spectrum * band)), BLOCK).flatten(1) for band in self.filters
        ]
        return F.normalize(torch.cat(energies, dim=1), eps=EPS)


def _magnitude(waves: Tensor) -> Tensor:
    # Tensor.abs guards against overflow number by number, which takes three times as long as these sums.
    return (waves.real.square() + waves.imag.square()).sqrt_()


class GradientHistograms(nn.Module):
    """Histograms of oriented gradients: 9 orientations, 8x8 cells, 2x2 cells to a block, clipped at 0.2."""

    reduce: Tensor
    sobel: Tensor

    def __init__(self) -> None:
        super().__init__()
        along_x = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
        self.register_buffer("sobel", torch.stack([along_x, along_x.T])[:, None], persistent=False)
        self.register_buffer("reduce", area_matrix(IMAGE_SIZE, GRADIENT_SIZE).float(), persistent=False)

    def forward(self, grey: Tensor) -> Tensor:
        """Return (N, 1764) float32 of unit length; grey: (N, 96, 96) float32."""
        small = self.reduce @ grey @ self.reduce.T
        padded = F.pad(small[:, None], (1, 1, 1, 1), mode="reflect")
        gx, gy = F.conv2d(padded, self.sobel).unbind(1)
        cells = self._histograms(torch.hypot(gx, gy), torch.atan2(gy, gx))
        blocks = torch.cat([cells[:, :-1, :-1], cells[:, 1:, :-1], cells[:, :-1, 1:], cells[:, 1:, 1:]], dim=-1)
        # 20 grey levels of gradient keep the noise of a flat block from growing to full length.
        blocks = (blocks / (blocks.norm(dim=-1, keepdim=True) + 20)).clamp(max=0.2)
        return F.normalize(blocks.flatten(1), eps=EPS)

    @staticmethod
    def _histograms(magnitude: Tensor, angle: Tensor) -> Tensor:
        """Return (N, 8, 8, 9): each gradient is shared by the two orientations nearest to its own."""
        bins = torch.arange(ORIENTATIONS, device=angle.device)[:, None, None]
        position = (angle * (ORIENTATIONS / math.pi)).remainder(ORIENTATIONS)[:, None]
        away = (position - bins).abs()
        away = torch.minimum(away, ORIENTATIONS - away)
        shares = magnitude[:, None] * (1 - away).clamp(min=0)
        return (F.avg_pool2d(shares, CELL) * CELL**2).permute(0, 2, 3, 1)


class CosineCoefficients(nn.Module):
    """The lowest cosine coefficients: 12x12 of grey without the mean, 4x4 of each chroma plane."""

    grey_basis: Tensor  # (12, 96)
    chroma_basis: Tensor  # (4, 96)
    neutral: Tensor  # (32,)

    def __init__(self) -> None:
        super().__init__()
        # The reduction and the transform are both linear, so one matrix does the two.
        grey_basis = cosine_matrix(LOW_FREQUENCIES, GRADIENT_SIZE) @ area_matrix(IMAGE_SIZE, GRADIENT_SIZE)
        chroma_basis = cosine_matrix(CHROMA_FREQUENCIES, CHROMA_SIZE) @ area_matrix(IMAGE_SIZE, CHROMA_SIZE)
        # Taken off the two constant terms. A neutral plane has 2048 there; the projection was fitted with 512.
        neutral = torch.zeros(2 * CHROMA_FREQUENCIES**2)
        neutral[:: CHROMA_FREQUENCIES**2] = 512
        self.register_buffer("grey_basis", grey_basis.float(), persistent=False)
        self.register_buffer("chroma_basis", chroma_basis.float(), persistent=False)
        self.register_buffer("neutral", neutral, persistent=False)

    def forward(self, grey: Tensor, lab: Tensor) -> Tensor:
        """Return (N, 175) float32; grey: (N, 96, 96), lab: (N, 3, 96, 96)."""
        low = (self.grey_basis @ grey @ self.grey_basis.T).flatten(1)[:, 1:]
        low = low.sign() * low.abs().sqrt()
        chroma = (self.chroma_basis @ lab[:, 1:] @ self.chroma_basis.T).flatten(1) - self.neutral
        return torch.cat([F.normalize(low, eps=EPS), 0.4 * F.normalize(chroma, eps=EPS)], dim=1)


def luma(levels: Tensor) -> Tensor:
    """Return (N, 96, 96) grey levels, rounded as OpenCV rounds them; levels as in HandcraftedStatistics."""
    red, green, blue = levels.unbind(1)
    return _descale(9798 * red + 19235 * green + 3735 * blue, 32768)


def colour_moments(lab: Tensor) -> Tensor:
    """Return (N, 144) float32 of unit length: mean - 128, deviation and skewness of L, a, b in each grid cell.

    lab: (N, 3, 96, 96).
    """
    pixels = lab.unfold(2, BLOCK, BLOCK).unfold(3, BLOCK, BLOCK).flatten(4)  # (N, 3, 4, 4, 576)
    mean = pixels.mean(-1)
    centred = pixels - mean[..., None]
    squared = centred.square()
    third = (squared * centred).mean(-1)
    moments = [mean - 128, squared.mean(-1).sqrt(), third.sign() * third.abs().pow(1 / 3)]
    return F.normalize(torch.stack(moments, 1).permute(0, 3, 4, 1, 2).flatten(1), eps=EPS)


def thumbnails(grey: Tensor, lab: Tensor) -> Tensor:
    """Return (N, 288) float32: a 16x16 grey and a 4x4 chroma thumbnail; grey: (N, 96, 96), lab: (N, 3, 96, 96)."""
    shades = F.avg_pool2d(grey, IMAGE_SIZE // 16).flatten(1)
    shades = shades - shades.mean(1, keepdim=True)
    chroma = F.avg_pool2d(lab[:, 1:], BLOCK).permute(0, 2, 3, 1).flatten(1) - 128
    return torch.cat([F.normalize(shades, eps=EPS), 0.3 * F.normalize(chroma, eps=EPS)], dim=1)


def area_matrix(size: int, reduced: int) -> Tensor:
    """Return (reduced, size) float64: each row averages the pixels, and parts of pixels, under one new pixel."""
    edges = torch.arange(reduced + 1, dtype=torch.float64) * (size / reduced)
    pixel = torch.arange(size, dtype=torch.float64)
    covered = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    return covered.clamp(min=0) * (reduced / size)


def cosine_matrix(frequencies: int, size: int) -> Tensor:
    """Return (frequencies, size) float64: the first rows of the orthonormal DCT-II of this size."""
    k = torch.arange(frequencies, dtype=torch.float64)[:, None]
    position = torch.arange(size, dtype=torch.float64) + 0.5
    rows = torch.cos(math.pi / size * k * position) * math.sqrt(2 / size)
    rows[0] /= math.sqrt(2)
    return rows


def _descale(values: Tensor, scale: int) -> Tensor:
    """Divide whole numbers by a power of two and round halves up, as OpenCV's fixed-point code does."""
    return torch.floor((values + scale // 2) / scale)
