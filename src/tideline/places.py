"""Which sticky keys a canary answers: stretches between 0 and 1, as long as its share; the champion has the rest.

They are kept with the canary, because no rule without a memory can let one of three shares grow without moving keys
between the other two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Stretch = tuple[float, float]

_NOTHING = 1e-12  # what rounding leaves of a share


def share_out(canaries: Iterable[tuple[Sequence[Stretch], float]]) -> list[tuple[Stretch, ...]]:
    """New stretches of each canary, from those it has and the share it shall have; the shares are at most 1 together.

    Whoever shrinks leaves its last ones to the champion, whoever grows takes the champion's first ones. So if a single
    share changes, keys move between that canary and the champion alone.
    """
    asked = list(canaries)
    given = [_cut(stretches, share) for stretches, share in asked]
    for i, (_, share) in enumerate(asked):
        lacking = share - _measure(given[i])
        if lacking > _NOTHING:
            given[i] = _merge([*given[i], *_cut(_find_free(given), lacking)])
    return [tuple(stretches) for stretches in given]


def _measure(stretches: Iterable[Stretch]) -> float:
    return sum(stop - start for start, stop in stretches)


def _cut(stretches: Iterable[Stretch], length: float) -> list[Stretch]:
    kept: list[Stretch] = []
    for start, stop in stretches:
        if length <= _NOTHING:
            break
        kept.append((start, stop if length > stop - start - _NOTHING else start + length))
        length -= stop - start
    return kept


def _merge(stretches: Iterable[Stretch]) -> list[Stretch]:
    merged: list[Stretch] = []
    for start, stop in sorted(stretches):
        if merged and merged[-1][1] == start:
            merged[-1] = merged[-1][0], stop
        else:
            merged.append((start, stop))
    return merged


def _find_free(given: Iterable[Iterable[Stretch]]) -> list[Stretch]:
    free, at = [], 0.0
    for start, stop in sorted(stretch for stretches in given for stretch in stretches):
        if start > at:
            free.append((at, start))
        at = max(at, stop)
    return [*free, (at, 1.0)] if at < 1.0 else free
