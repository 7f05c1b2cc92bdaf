"""Many MLPs of one shape, trained in lockstep as one batched computation."""
