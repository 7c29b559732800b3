"""Each sample once an epoch, no batch of one, and the order a function of seed and epoch alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from provenet.data.sampler import cut, order, steps_per_epoch


def test_every_size_gives_each_sample_once_and_no_batch_of_one() -> None:
    for num in range(1, 41):
        ids = np.arange(num) * 3
        for batch_size in range(1, 17):
            batches = cut(ids, batch_size)
            assert np.concatenate(batches).tolist() == ids.tolist()
            assert len(batches) == steps_per_epoch(num, batch_size)
            assert all(len(batch) == batch_size for batch in batches[:-1])
            assert len(batches[-1]) <= batch_size + 1
            if batch_size > 1 and num > 1:
                assert min(map(len, batches)) >= 2


def test_no_samples_are_no_steps() -> None:
    assert steps_per_epoch(0, 4) == 0
    assert cut(np.arange(0), 4) == []


@given(st.integers(0, 1000), st.integers(0, 50), st.integers(1, 60))
def test_an_epoch_is_a_permutation_that_depends_on_seed_and_epoch(seed: int, epoch: int, num: int) -> None:
    ids = np.arange(100, 100 + num)
    first = order(seed, epoch, ids)
    assert sorted(first) == ids.tolist()
    assert (order(seed, epoch, ids) == first).all()
    if num >= 20:
        assert (order(seed, epoch + 1, ids) != first).any()
        assert (order(seed + 1, epoch, ids) != first).any()


def test_all_orders_are_about_equally_likely() -> None:
    firsts = np.bincount([order(seed, 0, np.arange(4))[0] for seed in range(4000)], minlength=4)
    # 4 standard deviations of a binomial(4000, 1/4)
    assert np.abs(firsts - 1000).max() < 4 * np.sqrt(4000 * 3 / 16)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 9))
def test_balanced_classes_differ_by_one_at_most(labels: list[int], epoch: int) -> None:
    ids = np.arange(len(labels))
    drawn = order(3, epoch, ids, np.array(labels), balanced=True)
    assert len(drawn) == len(labels)
    counts = np.bincount(np.array(labels)[drawn], minlength=5)[np.unique(labels)]
    assert counts.max() - counts.min() <= 1
    # within a class no sample comes twice more often than another
    for label in np.unique(labels):
        times = np.bincount(drawn, minlength=len(labels))[np.array(labels) == label]
        assert times.max() - times.min() <= 1
