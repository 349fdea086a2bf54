"""Counts the uploads that run, wait or are suspended in all worker processes, in memory that they share."""

import mmap

_FIELDS = 3
_RUNNING, _WAITING, _SUSPENDED = range(_FIELDS)


class Places:
    """A row of counts for each process: its uploads that run, those that wait and those that are suspended.

    Make it before the processes are forked, so that all of them see the same memory. Each process then writes its
    own `row` and reads them all. `max_running`, `max_waiting` and `max_suspended` are the limits of all processes
    together; by default as many may be suspended as may run.
    """

    def __init__(self, *, max_running: int, max_waiting: int, max_suspended: int | None = None, rows: int = 1) -> None:
        self.max_running = max_running
        self.max_waiting = max_waiting
        self.max_suspended = max_running if max_suspended is None else max_suspended
        self.row = 0
        self.rows = rows
        # Aligned eight-byte numbers: the processor reads and writes each of them whole.
        self._counts = memoryview(mmap.mmap(-1, rows * _FIELDS * 8)).cast("q")

    @property
    def are_full(self) -> bool:
        """Whether the queue is full."""
        return self._sum(_RUNNING) + self._sum(_WAITING) >= self.max_running + self.max_waiting

    @property
    def has_free_slot(self) -> bool:
        """Whether another upload could run."""
        return self._sum(_RUNNING) < self.max_running

    @property
    def waiting(self) -> int:
        """How many uploads wait."""
        return self._sum(_WAITING)

    def take_slot(self) -> bool:
        """Take an encoder slot for this process, and return whether one was free."""
        return self._take(_RUNNING, self.max_running)

    def give_back_slot(self) -> None:
        """Give back an encoder slot of this process."""
        self._change(_RUNNING, -1)

    def take_suspension(self) -> bool:
        """Count one more suspended upload in this process, and return whether there may be so many."""
        return self._take(_SUSPENDED, self.max_suspended)

    def give_back_suspension(self) -> None:
        """Count one suspended upload of this process less."""
        self._change(_SUSPENDED, -1)

    def set_waiting(self, count: int) -> None:
        """Say how many uploads wait in this process."""
        self._counts[self.row * _FIELDS + _WAITING] = count

    def clear(self, row: int) -> None:
        """Forget the counts of a process that has ended."""
        for field in range(_FIELDS):
            self._counts[row * _FIELDS + field] = 0

    def _take(self, field: int, most: int) -> bool:
        self._change(field, 1)
        # Take first and count then: two processes may both miss the last one, but they never both get it.
        if self._sum(field) <= most:
            return True
        self._change(field, -1)
        return False

    def _change(self, field: int, difference: int) -> None:
        self._counts[self.row * _FIELDS + field] += difference

    def _sum(self, field: int) -> int:
        return sum(self._counts[field::_FIELDS])
