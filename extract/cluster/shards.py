"""Shards of items: how they are cut, and what is tried again after the process of a task has ended."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from extract.cluster.messages import Item

SHARDS_PER_SLOT = 4
"""At least, so that the tasks end at about the same time and a node that is added later finds work."""
MOST_ITEMS = 100
CRASHES_OF_A_SHARD = 2
"""After this many without a result the shard is halved."""
CRASHES_ALONE = 5
"""After this many an item that is alone in its shard is given up; others may kill processes, too."""


@dataclass(frozen=True)
class Shard:
    """Items for one task, in order. `crashes`: tries that ended its process before any item was done."""

    items: tuple[Item, ...]
    crashes: int = 0

    @property
    def given_up(self) -> bool:
        return len(self.items) == 1 and self.crashes >= CRASHES_ALONE


def make_shards(items: Sequence[Item], slots: int, cores: int, most_bytes: int) -> list[Shard]:
    """Shards of about equal size, of items in their order, for `slots` tasks at a time.

    A shard has one item for each of a task's cores, which decode one video each, if there are enough items.
    """
    share = sum(item.size for item in items) // (SHARDS_PER_SLOT * slots)
    enough_bytes = min(share, most_bytes)
    enough_items = max(1, min(cores, len(items) // (2 * slots), MOST_ITEMS))
    shards: list[Shard] = []
    part: list[Item] = []
    for item in items:
        part.append(item)
        full = sum(one.size for one in part) >= enough_bytes and len(part) >= enough_items
        if full or len(part) == MOST_ITEMS:
            shards.append(Shard(tuple(part)))
            part = []
    return [*shards, Shard(tuple(part))] if part else shards


def after_crash(shard: Shard, done: Collection[str], taken: Collection[str]) -> list[Shard]:
    """The shards that replace one whose process has ended; the first of them may be `given_up`.

    Items whose work had begun are under suspicion and come apart from the others, which are not.
    """
    left = [item for item in shard.items if item.name not in done]
    suspects = [item for item in left if item.name in taken]
    others = [item for item in left if item.name not in taken]
    if not suspects:  # its last messages were lost
        suspects, others = left, []
    crashes = shard.crashes + 1 if len(left) == len(shard.items) else 1
    if len(suspects) > 1 and crashes >= CRASHES_OF_A_SHARD:
        middle = len(suspects) // 2
        replaced = [Shard(tuple(suspects[:middle])), Shard(tuple(suspects[middle:]))]
    else:
        replaced = [Shard(tuple(suspects), crashes)] if suspects else []
    return [*replaced, *([Shard(tuple(others))] if others else [])]


def after_node_loss(shard: Shard, done: Collection[str]) -> list[Shard]:
    """What is left of a shard whose node was lost, for which no item is to blame."""
    left = tuple(item for item in shard.items if item.name not in done)
    return [Shard(left, shard.crashes if len(left) == len(shard.items) else 0)] if left else []
