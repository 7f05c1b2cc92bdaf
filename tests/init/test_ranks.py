"""Two gloo ranks under FSDP2 hold the weights of a single process, whatever the mesh cuts."""

import socket

import pytest
import torch
import torch.multiprocessing as mp
from sharded_inits import SCHEMES, network, planned, worker


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    mp.spawn(worker, args=(port, folder), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_shards_are_slices_of_what_one_process_draws(ranks, scheme):
    alone = network()
    planned(scheme).apply_(alone, seed=5)
    for found in ranks:
        assert all(torch.equal(found[scheme][name], p) for name, p in alone.named_parameters())


def test_the_axis_that_is_cut_does_not_matter(ranks):
    alone = network()
    planned("critical").apply_(alone, seed=5)
    for found in ranks:
        assert torch.equal(found["columns"], alone[4].weight)


def test_scaling_by_data_is_refused_where_weights_are_sharded(ranks):
    for found in ranks:
        assert found["refused"] == '"lsuv" runs the model, so apply it before the model is sharded.'
