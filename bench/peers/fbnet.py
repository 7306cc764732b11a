"""FBNet's space (Wu et al. 2019), for 32x32: the sum of all candidates of a layer, weighted by its mask."""

import torch
from torch import nn

from mobile import Candidate, Network, relu

EPS = 1e-5
# name, kernel, expansion, groups
CANDIDATES = (("k3_e1", 3, 1, 1), ("k3_e1_g2", 3, 1, 2), ("k3_e3", 3, 3, 1), ("k3_e6", 3, 6, 1),
              ("k5_e1", 5, 1, 1), ("k5_e1_g2", 5, 1, 2), ("k5_e3", 5, 3, 1), ("k5_e6", 5, 6, 1))
STAGES = ((16, 1, 1), (24, 4, 1), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1))


class Layer(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.kept = stride == 1 and c_in == c_out
        for name, kernel, expansion, groups in CANDIDATES:
            setattr(self, name, Candidate(c_in, c_out, kernel, stride, expansion, relu, EPS, groups=groups))

    def forward(self, x, weights):
        # every candidate has the shortcut, `skip` has nothing else, and the weights add up to 1: it is added once
        total = x if self.kept else None
        for weight, (name, *_) in zip(weights.unbind(), CANDIDATES):
            y = getattr(self, name)(x)
            total = weight * y if total is None else torch.addcmul(total, weight, y)
        return total


def build():
    model = Network("layer", Layer, STAGES, 16, 1, 0, 1984, relu, EPS)
    sizes = {key: len(CANDIDATES) + getattr(model, key).kept for key in model.keys}
    return model, {key: nn.Parameter(torch.zeros(n)) for key, n in sizes.items()}
