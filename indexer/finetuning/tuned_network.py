"""A timm network with good weights and a new classifier, and what of it may learn.

The new classifier starts from zero and sees centred embeddings of unit size (on average over the training pictures), so
that one learning rate fits every backbone, whatever the size of its numbers. Both are folded into its weights at the
end: what is saved is a plain timm network.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch
from torch import nn

from indexer.decoding.preparation import Preparation
from search.errors import UsageError

_LEAST_SIZE: Final = 1e-6
_MATRIX: Final = 2  # dimensions of (N, D)


class TunedNetwork(nn.Module):
    """(N, H, W, 3) uint8 prepared pixels in, (N, classes) float32 logits out.

    network: timm's, with as many classes as there are; its classifier starts anew. whole: every tensor learns.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    centre: torch.Tensor
    shrink: torch.Tensor

    def __init__(self, network: Any, preparation: Preparation, *, whole: bool, dropout: float) -> None:
        super().__init__()
        self.network = network
        self.whole = whole
        self._dropout = dropout
        head = network.get_classifier()
        self.register_buffer("mean", 255 * torch.tensor(preparation.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", 1 / (255 * torch.tensor(preparation.std).view(1, 3, 1, 1)), persistent=False)
        dims = head.weight.shape[1]
        self.register_buffer("centre", torch.zeros(dims))
        self.register_buffer("shrink", torch.ones(()))
        nn.init.zeros_(head.weight)
        if head.bias is not None:
            nn.init.zeros_(head.bias)
        network.requires_grad_(whole)
        head.requires_grad_(True)
        self._seen: torch.Tensor | None = None
        head.register_forward_pre_hook(self._before_head)

    @property
    def head(self) -> Any:
        """The new classifier: a linear layer, or a 1 x 1 convolution."""
        return self.network.get_classifier()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (N, classes) float32."""
        levels = pixels.permute(0, 3, 1, 2).float()
        answer: torch.Tensor = self.network((levels - self.mean) * self.scale)
        return answer.float()

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (N, D) float32: what the classifier is given, before it is centred and shrunk.

        Raises:
            UsageError: this network has no one embedding of a picture, so it cannot be fine-tuned here.
        """
        answer, seen = self(pixels), self._seen
        if seen is None or seen.numel() != len(pixels) * len(self.centre) or answer.ndim != _MATRIX:
            raise UsageError("this network does not classify by one embedding of a picture: choose another backbone")
        return seen.flatten(1).float()

    def classify(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return (N, classes) float32 of (N, D) embeddings as `embed` gives them."""
        shaped = embeddings.view(*embeddings.shape, *[1] * (self.head.weight.ndim - _MATRIX))
        answer: torch.Tensor = self.head(shaped)
        return answer.flatten(1).float()

    def learning(self, learning: bool = True) -> "TunedNetwork":  # noqa: FBT001, FBT002 -- as train() of torch
        """Set what differs between learning and checking.

        A frozen backbone always works as it will later. Batch normalisation keeps its statistics in any case: those
        of the small batches of fine-tuning are worse than those the weights were trained with.
        """
        self.train(learning and self.whole)
        for module in self.network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        self.head.train(learning)
        return self

    def centre_on(self, embeddings: torch.Tensor) -> None:
        """Set what is subtracted from embeddings and what they are multiplied by. embeddings: (N, D), of training."""
        known = embeddings.double()
        centre = known.mean(0) if self.head.bias is not None else torch.zeros_like(known[0])
        size = (known - centre).square().sum(1).mean().sqrt().clamp(min=_LEAST_SIZE)
        self.centre.copy_(centre)
        self.shrink.copy_(1 / size)

    def trained(self) -> dict[str, torch.Tensor]:
        """Return every tensor that training may have changed, by name; the tensors themselves, not copies."""
        names = self.state_dict() if self.whole else {*self._head_names(), "centre", "shrink"}
        return {name: tensor for name, tensor in self.state_dict().items() if name in names}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Set the tensors that `trained` gave.

        Raises:
            UsageError: these are not the tensors of this network.
        """
        wanted = self.trained()
        if {name: tensor.shape for name, tensor in wanted.items()} != {name: t.shape for name, t in tensors.items()}:
            raise UsageError("the checkpoint belongs to another network: pass --restart to begin anew")
        with torch.no_grad():
            for name, tensor in wanted.items():
                tensor.copy_(tensors[name])

    def backbone_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that are not the classifier's."""
        own = {id(parameter) for parameter in self.head.parameters()}
        return [parameter for parameter in self.network.parameters() if id(parameter) not in own]

    def named_learning(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters that learn, by name."""
        return ((name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad)

    def plain_tensors(self) -> dict[str, torch.Tensor]:
        """Return timm's tensors of the network, with centring and shrinking folded into the classifier: copies."""
        tensors = {name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()}
        weight = self.head.weight.detach().double().cpu() * self.shrink.double().cpu()
        names = {name.removeprefix("network."): name.rsplit(".", maxsplit=1)[-1] for name in self._head_names()}
        for name, kind in names.items():
            if kind == "weight":
                tensors[name] = weight.float()
            else:
                shift = weight.flatten(1) @ self.centre.double().cpu()
                tensors[name] = (self.head.bias.detach().double().cpu() - shift).float()
        return {name: tensor.contiguous() for name, tensor in tensors.items()}

    def _head_names(self) -> set[str]:
        own = {id(parameter) for parameter in self.head.parameters()}
        return {name for name, parameter in self.named_parameters() if id(parameter) in own}

    def _before_head(self, head: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        self._seen = inputs[0].detach()
        # A linear layer takes the numbers of an embedding last, a convolution takes them second.
        centre = self.centre if isinstance(head, nn.Linear) else self.centre.view(1, -1, 1, 1)
        centred = (inputs[0] - centre) * self.shrink
        return (nn.functional.dropout(centred, self._dropout, head.training),)
