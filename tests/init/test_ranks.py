"""Two gloo ranks under FSDP2 hold the weights of a single process, whatever the mesh cuts."""

import pytest
import torch
from sharded_inits import SCHEMES, every_scheme, network, planned

from gloo import two_ranks


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return two_ranks(every_scheme, tmp_path_factory.mktemp("ranks"))


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
