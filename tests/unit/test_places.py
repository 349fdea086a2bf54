"""Encoder slots are counted over all processes, and a process that dies gives its own back."""

import os

from service.uploads.places import Places


def in_child(places: Places, row: int, slots: int) -> list[bool]:
    """Fork a process with its own row, which takes slots and ends without giving them back."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        places.row = row
        os.write(writing, bytes(places.take_slot() for _ in range(slots)))
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as taken:
        return [bool(byte) for byte in taken.read()]


def test_processes_share_the_slots() -> None:
    places = Places(max_running=3, max_waiting=1, rows=2)
    assert places.take_slot()
    assert in_child(places, 1, 3) == [True, True, False]
    assert not places.take_slot()


def test_slots_of_a_dead_process_are_free_once_its_row_is_cleared() -> None:
    places = Places(max_running=2, max_waiting=0, rows=2)
    assert in_child(places, 1, 2) == [True, True]
    assert places.are_full
    places.clear(1)
    assert not places.are_full
    assert places.take_slot()


def test_waiting_uploads_of_every_process_fill_the_queue() -> None:
    places = Places(max_running=1, max_waiting=3, rows=2)
    places.take_slot()
    places.set_waiting(2)
    assert (places.waiting, places.are_full) == (2, False)
    places.row = 1
    places.set_waiting(1)
    assert (places.waiting, places.are_full) == (3, True)
