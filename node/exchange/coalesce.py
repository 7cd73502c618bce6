"""Many callers, one call: work that is cheaper in batches waits for nobody and is done together.

A caller awaits its result. Whoever comes first starts the worker; while a batch is being worked on, the next callers
gather, and are taken together, up to a limit, as soon as the worker is free. There is no delay for gathering: a caller
who is alone is served alone. Results come in the order of the items.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Coalescer(Generic[Item, Result]):
    """Gathers items for `work`, which gives one result or one exception for each, in order.

    One batch is at work at a time. If `work` itself raises, every item of that batch fails with that exception. A
    caller who is cancelled abandons its result, not the work: the batch goes on for the others.
    """

    def __init__(
        self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]], limit: int = 64
    ) -> None:
        self._work = work
        self._limit = limit
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """Have the item worked on with whatever else is waiting."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(self._limit, len(self._waiting)))]
            try:
                results = await self._work([item for item, _ in batch])
            except asyncio.CancelledError:
                # The loop is closing: nobody may wait for what will not come.
                for _, future in (*batch, *self._waiting):
                    future.cancel()
                raise
            except Exception as failure:  # noqa: BLE001  # handed to every caller that waits for this batch
                results = [failure] * len(batch)
            for (_, future), result in zip(batch, results, strict=True):
                if future.done():
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
