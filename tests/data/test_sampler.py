from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from padinv.data.sampler import EvalSampler, Position, TrainSampler
from padinv.exceptions import ConfigError, DataError

Item = tuple[int, bool]


def take(sampler: TrainSampler, batches: int) -> list[list[Item]]:
    """As the loader does: batches handed out one by one, over as many iterations as it takes."""
    taken: list[list[Item]] = []
    while len(taken) < batches:
        items = iter(sampler)
        while len(taken) < batches and (batch := list(islice(items, sampler.batch_size))):
            sampler.advance()
            taken.append(batch)
    return taken


def stream(batches: list[list[Item]]) -> list[Item]:
    return [item for batch in batches for item in batch]


@given(
    length=st.integers(1, 50),
    workers=st.integers(1, 4),
    batch_size=st.integers(1, 5),
    seed=st.integers(0, 3),
    n=st.data(),
)
def test_processes_share_the_global_batch(
    length: int, workers: int, batch_size: int, seed: int, n: st.DataObject
) -> None:
    total = workers * batch_size
    if length < total:
        return
    batches = n.draw(st.integers(1, 3 * (length // total)))
    alone = take(TrainSampler(length, total, seed=seed), batches)
    shares = [take(TrainSampler(length, batch_size, workers, rank, seed), batches) for rank in range(workers)]
    for rank, share in enumerate(shares):
        assert share == [batch[rank::workers] for batch in alone]


@given(length=st.integers(1, 40), batch_size=st.integers(1, 40))
def test_an_iteration_is_an_epoch_of_full_batches(length: int, batch_size: int) -> None:
    if length < batch_size:
        return
    sampler = TrainSampler(length, batch_size)
    numbers = [number for number, _ in sampler]
    assert len(numbers) == len(sampler) == length // batch_size * batch_size
    assert len(set(numbers)) == len(numbers)


@given(
    length=st.integers(12, 40),
    before=st.integers(1, 4),
    after=st.integers(1, 4),
    replicas=st.integers(1, 3),
    batches=st.integers(0, 30),
)
def test_resumes_at_the_image_whatever_the_batch(
    length: int, before: int, after: int, replicas: int, batches: int
) -> None:
    """Within an epoch, nothing is lost or repeated: the images taken before and after are one permutation's."""
    first = TrainSampler(length, before)
    seen = stream(take(first, batches))
    ranks = [TrainSampler(length, after, replicas, rank, start=first.position) for rank in range(replicas)]
    shares = [take(rank, 1)[0] for rank in ranks]
    resumed = [item for items in zip(*shares, strict=True) for item in items]
    epoch, offset = first.position
    order = stream(take(TrainSampler(length, 1, start=Position(epoch)), length))
    assert order[:offset] == (seen[-offset:] if offset else [])
    if offset + after * replicas <= length:
        assert resumed == order[offset : offset + after * replicas]
    else:
        assert resumed == stream(take(TrainSampler(length, 1, start=Position(epoch + 1)), after * replicas))


def test_order_and_flips_depend_on_seed_and_epoch_only() -> None:
    def epochs(**options: int) -> list[list[list[Item]]]:
        sampler = TrainSampler(40, 8, **options)
        return [take(sampler, 5) for _ in range(3)]

    first = epochs()
    assert first == epochs()
    assert first[0] != first[1] != first[2]
    assert first[0] != epochs(seed=1)[0]
    assert first[1] != epochs(seed=1)[0]  # seed and epoch are not merely added
    assert [sorted(number for number, _ in stream(epoch)) for epoch in first] == [list(range(40))] * 3


def test_set_epoch_does_not_move_the_stream() -> None:
    sampler = TrainSampler(10, 2, start=Position(3, 4))
    sampler.set_epoch(7)
    assert take(sampler, 5) == take(TrainSampler(10, 2, start=Position(3, 4)), 5)


def test_flip() -> None:
    flips = [flip for _, flip in TrainSampler(1000, 10)]
    assert 400 < sum(flips) < 600
    assert not any(flip for _, flip in TrainSampler(1000, 10, flip=False))
    assert [n for n, _ in TrainSampler(1000, 10)] == [n for n, _ in TrainSampler(1000, 10, flip=False)]


def test_fewer_images_than_a_global_batch() -> None:
    with pytest.raises(ConfigError, match="batch_size=4 on 2 process"):
        TrainSampler(7, 4, 2)


@given(length=st.integers(1, 30), replicas=st.integers(1, 5))
def test_evaluation_takes_each_image_once(length: int, replicas: int) -> None:
    if length < replicas:
        with pytest.raises(DataError, match=f"{length} image"):
            EvalSampler(length, replicas, 0)
        return
    shares = [EvalSampler(length, replicas, rank) for rank in range(replicas)]
    assert sorted(number for share in shares for number in share) == list(range(length))
    assert [len(share) for share in shares] == [len(list(share)) for share in shares]
