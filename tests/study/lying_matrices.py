"""Batches of matrices that lie either way in memory, as those of a forward and of a backward pass do."""

import torch


def lying(rows, columns, *, turned, dtype):
    a = torch.randn(3, columns, rows, dtype=dtype) if turned else torch.randn(3, rows, columns, dtype=dtype)
    return a.mT if turned else a
