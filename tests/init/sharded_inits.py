"""What two ranks do with a plan; a module of its own, so that their processes can import it."""

import torch
from torch import nn

from steadygrad.errors import SteadygradError
from steadygrad.init import plan

SCHEMES = ("critical", "orthogonal", "xavier")


def network():
    return nn.Sequential(
        nn.Conv2d(3, 10, 3),
        nn.BatchNorm2d(10),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(360, 301),
        nn.GELU(),
        nn.Linear(301, 5),
    )


def planned(scheme):
    """Made on meta, where nothing has memory yet."""
    with torch.device("meta"):
        return plan(network(), (8, 3, 8, 8), scheme=scheme)


def sharded(scheme):
    """One rank's part of the model, put together again from all ranks."""
    from torch.distributed.fsdp import fully_shard

    made = planned(scheme)
    model = made.model
    fully_shard(model[4])
    fully_shard(model)
    model.to_empty(device="cpu")
    made.apply_(seed=5)
    return {name: p.full_tensor().detach().clone() for name, p in model.named_parameters()}


def sharded_by_columns():
    """A mesh that cuts the other axis."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    made, mesh = planned("critical"), init_device_mesh("cpu", (2,))
    model = network()
    cut = distribute_tensor(torch.zeros(301, 360), mesh, [Shard(1)])
    model[4].weight = nn.Parameter(cut)
    made.apply_(model, seed=5)
    return model[4].weight.full_tensor().detach().clone()


def refused():
    from torch.distributed.fsdp import fully_shard

    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    made = plan(model, torch.randn(8, 4), scheme="lsuv")
    fully_shard(model)
    try:
        made.apply_()
    except SteadygradError as error:
        return str(error)
    return ""


def every_scheme(_rank):
    found = {scheme: sharded(scheme) for scheme in SCHEMES}
    return {**found, "columns": sharded_by_columns(), "refused": refused()}
