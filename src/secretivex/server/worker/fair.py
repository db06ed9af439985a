"""A queue in which callers take turns, and the connections of a caller theirs.

A caller is a process: one with a thousand connections gets no more turns than one with a single.
Rule for editors: every step costs the same however much waits, and nothing stays of a connection
that is gone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Items by caller and by owner; first come, first served only within one owner.

    An owner belongs to one caller and has few items, at most as many as a connection has requests.
    """

    __slots__ = ("_callers", "size")

    def __init__(self) -> None:
        self._callers: OrderedDict[Hashable, OrderedDict[Hashable, list[Item]]] = OrderedDict()
        self.size = 0
        """How many there are, for who asks so often that a call of `len` counts."""

    def __len__(self) -> int:
        return self.size

    def push(self, caller: Hashable, owner: Hashable, item: Item) -> None:
        """Put an item at the end of its owner's line."""
        self.size += 1
        owners = self._callers.get(caller)
        if owners is None:
            self._callers[caller] = owners = OrderedDict()
        line = owners.get(owner)
        if line is None:
            owners[owner] = [item]
        else:
            line.append(item)

    def first(self) -> Item:
        """The item whose turn it is, left where it is; raises LookupError if nothing waits."""
        for owners in self._callers.values():
            return next(iter(owners.values()))[0]
        raise LookupError("nothing waits")

    def pop(self) -> Item:
        """The item whose turn it is; raises LookupError if nothing waits."""
        callers = self._callers
        caller = next(iter(callers), None)
        if caller is None:
            raise LookupError("nothing waits")
        owners = callers[caller]
        owner, line = owners.popitem(last=False)
        item = line.pop(0)
        self.size -= 1
        if line:
            owners[owner] = line
        if not owners:
            del callers[caller]
        elif len(callers) > 1:
            callers.move_to_end(caller)
        return item

    def take_all(self) -> list[Item]:
        """Everything, each item when its turn comes."""
        return [self.pop() for _ in range(self.size)]

    def drop(self, caller: Hashable, owner: Hashable) -> tuple[Item, ...]:
        """Forget what an owner waits for; answers it."""
        owners = self._callers.get(caller)
        line = None if owners is None else owners.pop(owner, None)
        if owners is None or line is None:
            return ()
        if not owners:
            del self._callers[caller]
        self.size -= len(line)
        return tuple(line)
