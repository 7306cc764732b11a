"""ProxylessNAS's space (Cai, Zhu and Han 2019), 9 blocks for 32x32: of every block only the candidates that were drawn run."""

import torch
from torch import nn

from mobile import Candidate, Network, relu6

EPS = 1e-3
CANDIDATES = tuple((f"{kernel}e{expansion}", kernel, expansion) for kernel in (3, 5, 7) for expansion in (3, 6))


def product(a, b):
    """The sum of a * b over everything; no temporary where both lie alike."""
    if not a.is_contiguous():
        a, b = a.permute(0, 2, 3, 1), b.permute(0, 2, 3, 1)
    return torch.dot(a.reshape(-1), b.reshape(-1))


class Gates(torch.autograd.Function):
    """Lets the output of the active path through; backwards the gates of the active path and of its rival learn what
    each would have added. None: a path that adds nothing."""

    @staticmethod
    def forward(ctx, gates, total, active, rival):
        ctx.paths = (active, rival)
        return total.view_as(total)

    @staticmethod
    def backward(ctx, gradient):
        zero = gradient.new_zeros(())
        of_gates = torch.stack([zero if y is None else product(gradient, y) for y in ctx.paths])
        ctx.paths = None
        return of_gates, gradient, None, None


class Choice(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        for name, kernel, expansion in CANDIDATES:
            setattr(self, name, Candidate(c_in, c_out, kernel, stride, expansion, relu6, EPS))

    def path(self, index, x):
        """None behind the last candidate: `zero`."""
        return getattr(self, CANDIDATES[index][0])(x) if index < len(CANDIDATES) else None


class Block(nn.Module):
    """The candidates of a block that changes the shape are its own children."""

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.kept = stride == 1 and c_in == c_out
        if self.kept:
            self.choice = Choice(c_in, c_out, stride)
        else:
            for name, module in Choice(c_in, c_out, stride).named_children():
                setattr(self, name, module)

    def forward(self, x, drawn):
        active, rival, gates = drawn
        path = self.choice.path if self.kept else lambda index, x: Choice.path(self, index, x)
        y = path(active, x)
        total = y if not self.kept else x if y is None else x + y
        if gates is None:
            return total
        with torch.no_grad():
            other = path(rival, x)
        return Gates.apply(gates, total, None if y is None else y.detach(), other)


def build(stages=((24, 3, 2), (40, 3, 2), (80, 3, 2)), stem_stride=1):
    model = Network("block", Block, stages, 32, stem_stride, 16, 1280, relu6, EPS)
    sizes = {key: len(CANDIDATES) + getattr(model, key).kept for key in model.keys}
    return model, {key: nn.Parameter(torch.zeros(n)) for key, n in sizes.items()}
