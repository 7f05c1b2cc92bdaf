"""Streams of random numbers, each with a key: what one parameter draws depends on nothing else.

A stream is cut into blocks, and each block has a generator of its own, whose whole state comes from the counter-based
Philox of key and block. So blocks are drawn in any order, by any thread, on any rank, and are always the same.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from steadygrad.errors import not_allowed

# Entries of a block: a megabyte, for a processor's cache; its generator takes 2% of what drawing them takes.
BLOCK = 1 << 18

# torch's processor generator: the words of its Mersenne twister stand in its state as 64-bit numbers after 24 bytes.
_WORDS, _OFFSET = 624, 24


@dataclass(frozen=True)
class Stream:
    """Random numbers that belong to a key of 128 bits.

    >>> stream = Stream.named(0, "fc.weight")
    >>> torch.equal(torch.randn(3, generator=stream.generator(1)), torch.randn(3, generator=stream.generator(1)))
    True
    """

    key: bytes

    @classmethod
    def named(cls, seed: int, name: str) -> Stream:
        """Return the stream of a parameter's name.

        Args:
            seed: any whole number.
            name: such as ``"blocks.3.fc.weight"``.

        Raises:
            ValueError: the seed is no whole number.
        """
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise ValueError(not_allowed("seed", "must be a whole number", seed))
        return cls(_hashed(f"{seed}/{name}".encode()))

    @classmethod
    def drawn(cls, generator: torch.Generator | None) -> Stream:
        """Return the next stream of a generator, torch's own where it is None: it gives two numbers, the key."""
        device = "cpu" if generator is None else generator.device
        words = torch.randint(-(2**62), 2**62, (2,), generator=generator, device=device).tolist()
        return cls(_hashed(repr(words).encode()))

    def part(self, name: str) -> Stream:
        """Return a stream of its own for a part, such as which entries are zero."""
        return Stream(_hashed(self.key + name.encode()))

    def generator(self, block: int = 0) -> torch.Generator:
        """Return the generator of a block, at its beginning."""
        key = np.frombuffer(self.key, dtype=np.uint64)
        words = np.random.Philox(key=key, counter=(0, 0, block, 0)).random_raw(_WORDS // 2).view(np.uint32)
        state = _fresh().clone()
        state[_OFFSET : _OFFSET + 8 * _WORDS] = torch.from_numpy(words.astype(np.int64)).view(torch.uint8)
        made = torch.Generator()
        made.set_state(state)
        return made


@functools.cache
def _fresh() -> torch.Tensor:
    """The state of a generator that is about to make its first numbers."""
    return torch.Generator().manual_seed(0).get_state()


def _hashed(words: bytes) -> bytes:
    return hashlib.blake2b(words, digest_size=16).digest()
