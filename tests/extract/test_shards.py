"""Shards: how they are cut, and how an item that ends its process is found."""

from extract.cluster.messages import Item
from extract.cluster.shards import MOST_ITEMS, Shard, after_crash, after_node_loss, make_shards

GB = 1_000_000_000


def items(*sizes: int) -> list[Item]:
    return [Item(f"v{number}", size, None) for number, size in enumerate(sizes)]


def names(shards: list[Shard]) -> list[list[str]]:
    return [[item.name for item in shard.items] for shard in shards]


def test_shards_hold_every_item_once_in_order() -> None:
    videos = items(*range(1000, 0, -1))
    shards = make_shards(videos, slots=3, cores=2, most_bytes=GB)
    assert [item for shard in shards for item in shard.items] == videos
    assert len(shards) >= 4 * 3
    assert max(len(shard.items) for shard in shards) <= MOST_ITEMS


def test_a_shard_is_bounded_in_bytes() -> None:
    shards = make_shards(items(*[GB // 4] * 400), slots=1, cores=1, most_bytes=GB)
    assert {len(shard.items) for shard in shards} == {4}


def test_a_shard_has_a_video_for_each_core_if_there_are_enough() -> None:
    assert len(make_shards(items(*[5 * GB] * 64), slots=2, cores=8, most_bytes=GB)[0].items) == 8
    assert {len(shard.items) for shard in make_shards(items(*[5 * GB] * 4), 2, 8, GB)} == {1}
    assert make_shards([], 2, 8, GB) == []


def test_videos_of_unknown_size_are_cut_by_number() -> None:
    assert names(make_shards(items(0, 0, 0), slots=1, cores=1, most_bytes=GB)) == [["v0"], ["v1"], ["v2"]]


def test_the_item_that_ends_its_process_is_found() -> None:
    """Whichever it is, and whatever is known of the item that was being worked on."""
    videos = items(*[1] * 37)
    for bad in (0, 17, 36):
        for told in (True, False):
            pending, crashes, done, given_up = [Shard(tuple(videos))], 0, set[str](), []
            while pending:
                shard = pending.pop(0)
                finished: set[str] = set()
                for item in shard.items:
                    if item.name == f"v{bad}":
                        crashes += 1
                        again = after_crash(shard, finished, finished | {item.name} if told else set())
                        if again[0].given_up:
                            given_up.append(again.pop(0).items[0].name)
                        pending = [*again, *pending]
                        break
                    finished.add(item.name)
                assert not finished & done
                done |= finished
            assert given_up == [f"v{bad}"]
            assert len(done) == 36
            assert crashes <= (6 if told else 18)


def test_a_lost_node_is_no_fault_of_an_item() -> None:
    shard = Shard(tuple(items(1, 1, 1)), crashes=1)
    assert names(after_node_loss(shard, {"v0"})) == [["v1", "v2"]]
    assert after_node_loss(shard, {"v0"})[0].crashes == 0
    assert after_node_loss(shard, set()) == [shard]
    assert after_node_loss(shard, {"v0", "v1", "v2"}) == []
