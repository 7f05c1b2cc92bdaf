"""A bilinear layer as what it is: a linear one of the products of its inputs' entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class BilinearAsLinear(TorchFunctionMode):
    """Within it `torch.bilinear`, y_k = b_k + sum_ij W_kij x_i z_j, is taken by way of the products x_i z_j.

    >>> layer, x = torch.nn.Bilinear(2, 3, 4), (torch.ones(5, 2), torch.ones(5, 3))
    >>> with BilinearAsLinear():
    ...     found = layer(*x)
    >>> torch.allclose(found, layer(*x), atol=1e-6)
    True
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Take the place of bilinear layers; call anything else."""
        given = kwargs or {}
        return _by_products(*args, **given) if func is torch.bilinear else func(*args, **given)


def _by_products(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    products = (input1.unsqueeze(-1) * input2.unsqueeze(-2)).flatten(-2)
    return torch.nn.functional.linear(products, weight.flatten(1), bias)
