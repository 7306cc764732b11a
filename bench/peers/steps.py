"""One step of each kind: first- and second-order DARTS, GDAS, FBNet, ProxylessNAS, a single path, an evaluation of one, training of
a fixed network, inference.

A step leaves the gradients of its updates, before clipping, in `gradients` under the names of the first step's file while
that is a dictionary.
"""

import torch
from torch import nn
from torch.nn import functional as F

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, CLIP = 0.025, 0.9, 3e-4, 5.0


class Step:
    parts = ("train", "arch")  # of the images: what a step is called with

    def __init__(self, model, forward):
        self.model, self.forward = model, forward
        self.weights = list(model.parameters())
        self.gradients = self.output = None

    def given(self, arrays):
        """What else the file has for this kind."""

    def keep(self, prefix, named):
        if self.gradients is not None:
            self.gradients.update((prefix + name, t.grad.detach().clone()) for name, t in named.items() if t.grad is not None)

    def new_sgd(self):
        return torch.optim.SGD(self.weights, lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, foreach=True)

    def update_weights(self, loss, names):
        self.sgd.zero_grad(set_to_none=True)
        loss.backward(inputs=self.weights)
        self.keep("grad.model.", names)
        nn.utils.clip_grad_norm_(self.weights, CLIP, foreach=True)
        self.sgd.step()
        return float(loss.detach())


def chosen(arrays, paths):
    """Paths by choice: the index of the candidate."""
    bits = {name[len("path."):]: t.reshape(paths, -1) for name, t in arrays.items() if name.startswith("path.")}
    return [{key: int(t[i].argmax()) for key, t in bits.items()} for i in range(paths)]


class Training(Step):
    def __init__(self, model, forward, names, alphas):
        super().__init__(model, forward)
        self.names, self.sgd = names, self.new_sgd()

    def __call__(self, train, arch):
        return self.update_weights(F.cross_entropy(self.forward(train[0]), train[1]), self.names)


class Search(Step):
    """First-order DARTS: Adam on the alphas at the arch batch, then SGD with clipping on the weights."""

    def __init__(self, model, forward, names, alphas):
        super().__init__(model, forward)
        self.names, self.alphas, self.sgd = names, alphas, self.new_sgd()
        self.adam = torch.optim.Adam(list(alphas.values()), lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3, foreach=True)

    def loss(self, x, y):
        return F.cross_entropy(self.forward(x, {k: F.softmax(a, 0) for k, a in self.alphas.items()}), y)

    def alpha_gradients(self, train, arch):
        return torch.autograd.grad(self.loss(*arch), list(self.alphas.values()))

    def __call__(self, train, arch):
        # Only the gradients that are asked for: no weight gradients in the first half, no alpha gradients in the second.
        for alpha, gradient in zip(self.alphas.values(), self.alpha_gradients(train, arch)):
            alpha.grad = gradient
        self.keep("grad.alpha.", self.alphas)
        self.adam.step()
        return self.update_weights(self.loss(*train), self.names)


class SecondOrder(Search):
    """The alphas' gradient through one virtual step of the weights; the Hessian's product as a difference of gradients."""

    def virtual_step(self, train):
        """w - eta * (momentum * buffer + gradient + decay * w), in place."""
        step = torch.autograd.grad(self.loss(*train), self.weights)
        with torch.no_grad():
            torch._foreach_add_(step, self.weights, alpha=WEIGHT_DECAY)
            if self.sgd.state:
                torch._foreach_add_(step, [self.sgd.state[w]["momentum_buffer"] for w in self.weights], alpha=MOMENTUM)
            torch._foreach_add_(self.weights, step, alpha=-LEARNING_RATE)

    def alpha_gradients(self, train, arch):
        alphas = list(self.alphas.values())
        before = [w.detach().clone() for w in self.weights]
        self.virtual_step(train)
        gradients = torch.autograd.grad(self.loss(*arch), alphas + self.weights)
        of_alphas, direction = list(gradients[:len(alphas)]), gradients[len(alphas):]
        epsilon = 0.01 / float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(direction))))
        for sign in (1, -1):
            with torch.no_grad():
                torch._foreach_copy_(self.weights, before)
                torch._foreach_add_(self.weights, direction, alpha=sign * epsilon)
            side = torch.autograd.grad(self.loss(*train), alphas)
            torch._foreach_add_(of_alphas, side, alpha=-sign * LEARNING_RATE / (2 * epsilon))
        with torch.no_grad():
            torch._foreach_copy_(self.weights, before)
        return of_alphas


class Drawing(Search):
    """The weights first, then the alphas, under Gumbel noise from the file."""

    alpha_lr, betas, alpha_decay, temperature = 3e-4, (0.5, 0.999), 1e-3, 10.0

    def __init__(self, model, forward, names, alphas):
        super().__init__(model, forward, names, alphas)
        self.adam = torch.optim.Adam(list(alphas.values()), lr=self.alpha_lr, betas=self.betas, weight_decay=self.alpha_decay, foreach=True)

    def given(self, arrays):
        self.noise = {part: {key: arrays[f"noise.{part}.{key}"].to(a.dtype) for key, a in self.alphas.items()} for part in ("train", "arch")}

    def draw(self, key, part):
        """Index and weights: those of a pass for the weights of the network are not differentiated for."""
        alpha = self.alphas[key] if part == "arch" else self.alphas[key].detach()
        p = F.softmax((F.log_softmax(alpha, 0) + self.noise[part][key]) / self.temperature, 0)
        index = int(p.detach().argmax())
        return (index, F.one_hot(torch.tensor(index), len(p)) - p.detach() + p if part == "arch" else None)

    def loss(self, part, x, y):
        return F.cross_entropy(self.forward(x, {key: self.draw(key, part) for key in self.alphas}), y)

    def __call__(self, train, arch):
        loss = self.update_weights(self.loss("train", *train), self.names)
        gradients = torch.autograd.grad(self.loss("arch", *arch), list(self.alphas.values()), allow_unused=True)
        for alpha, gradient in zip(self.alphas.values(), gradients):
            alpha.grad = gradient
        self.keep("grad.alpha.", self.alphas)
        self.update_alphas()
        return loss

    def update_alphas(self):
        self.adam.step()


class Masks(Drawing):
    """All candidates under soft weights."""

    alpha_lr, betas, alpha_decay, temperature = 1e-2, (0.9, 0.999), 5e-4, 5.0

    def draw(self, key, part):
        alpha = self.alphas[key] if part == "arch" else self.alphas[key].detach()
        return F.softmax((F.log_softmax(alpha, 0) + self.noise[part][key]) / self.temperature, 0)


class TwoPaths(Drawing):
    """The weights of one path, with label smoothing; then the gates of two, drawn as in the file. Adam has no first moments,
    and of the two numbers what they were together is kept, so that no other candidate's probability moves."""

    alpha_lr, betas, alpha_decay = 6e-3, (0.0, 0.999), 0.0
    smoothing = {"train": 0.1, "arch": 0.0}

    def given(self, arrays):
        self.drawn = {}
        for part in ("train", "arch"):
            for key in self.alphas:
                rivals, active = (row.bool() for row in arrays[f"gate.{part}.{key}"])
                self.drawn[part, key] = (int(active.nonzero()), int((rivals & ~active).nonzero()))
        self.pairs = {key: torch.tensor(self.drawn["arch", key]) for key in self.alphas}

    def draw(self, key, part):
        return (*self.drawn[part, key], F.softmax(self.alphas[key][self.pairs[key]], 0) if part == "arch" else None)

    def loss(self, part, x, y):
        output = self.forward(x, {key: self.draw(key, part) for key in self.alphas})
        return F.cross_entropy(output, y, label_smoothing=self.smoothing[part])

    @torch.no_grad()
    def together(self):
        return torch.stack([alpha[self.pairs[key]] for key, alpha in self.alphas.items()]).logsumexp(1)

    def update_alphas(self):
        before = self.together()
        super().update_alphas()
        with torch.no_grad():
            for (key, alpha), shift in zip(self.alphas.items(), self.together() - before):
                alpha[self.pairs[key]] -= shift


class SinglePath(Training):
    """The weights of the path in the file; what is off the path has no gradient and stays as it is."""

    def given(self, arrays):
        self.path = chosen(arrays, 1)[0]

    def __call__(self, train, arch):
        return self.update_weights(F.cross_entropy(self.forward(train[0], self.path), train[1]), self.names)


class Evaluation(Step):
    """The statistics of a path's batch norms as means over batches, then its outputs under them; each time the next path of
    the file."""

    parts = ("train", "score")
    batches, paths = 4, 20

    def __init__(self, model, forward, names, alphas):
        super().__init__(model, forward)
        self.norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        self.done = 0

    def given(self, arrays):
        self.drawn = chosen(arrays, self.paths)
        for norm in self.norms:
            norm.momentum = None

    def set_training(self, training):
        for norm in self.norms:
            norm.training = training

    def __call__(self, train, score):
        path = self.drawn[self.done % self.paths]
        self.done += 1
        with torch.inference_mode():
            for norm in self.norms:
                norm.reset_running_stats()
            self.set_training(True)
            for x in train[0].chunk(self.batches):
                self.forward(x, path)
            self.set_training(False)
            self.output = self.forward(score[0], path)
        return None


class Inference(Step):
    def __init__(self, model, forward, names, alphas):
        super().__init__(model, forward)

    def __call__(self, train, arch):
        with torch.inference_mode():
            self.output = self.forward(train[0])
        return None


KINDS = {"darts": Search, "nb201": Search, "darts-second": SecondOrder, "gdas": Drawing, "fbnet": Masks, "proxyless": TwoPaths,
         "proxyless-224": TwoPaths, "spos": SinglePath, "spos-224": SinglePath, "enas": SinglePath, "spos-evaluation": Evaluation,
         "darts-train": Training, "resnet18": Training, "mobilenetv2": Training, "darts-inference": Inference}
NETWORKS = {"darts-second": "darts", "proxyless-224": "proxyless_224", "spos": "shufflenet", "spos-224": "shufflenet_224",
            "enas": "enas_micro", "spos-evaluation": "shufflenet", "darts-train": "darts_network", "darts-inference": "darts_network"}
