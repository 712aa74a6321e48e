"""How many episodes go through the head together on a GPU."""

from __future__ import annotations

_MOST = 64
_SHARE = 0.05  # of the free memory, for features: heads need a multiple of them, and the cache takes its own share


def affordable(episode_bytes: int, free: int) -> int:
    """So many episodes whose features take ``episode_bytes`` each, where ``free`` bytes of the device are.

    A power of two from 1 to 64, so that a little more or less memory does not change it.
    """
    fitting = min(int(_SHARE * free) // max(episode_bytes, 1), _MOST)
    return 1 << max(fitting.bit_length() - 1, 0)
