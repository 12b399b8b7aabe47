"""The lines behind a file."""

from __future__ import annotations

import random

import pytest

from dw_agents.emulator.spool import Spool


def filled(count: int, size: int) -> tuple[Spool, list[bytes]]:
    rng = random.Random(1)
    wanted = [b"%d:" % number + b"x" * rng.randrange(size) for number in range(count)]
    spool = Spool()
    for one in wanted:
        spool.append(one)
    return spool, wanted


def test_a_new_spool_is_empty() -> None:
    spool = Spool()

    assert (len(spool), spool.size, list(spool.chunks())) == (0, 0, [])


@pytest.mark.parametrize(("count", "size"), [(5, 10), (3000, 2000)])
def test_lines_come_back_one_by_one_and_all_together(count: int, size: int) -> None:
    spool, wanted = filled(count, size)

    assert len(spool) == count
    assert [spool.line(number) for number in range(count)] == wanted
    assert b"".join(spool.chunks()) == b"\n".join(wanted) + b"\n"
    assert spool.size == sum(map(len, wanted)) + count
    spool.close()


def test_reading_in_between_does_not_disturb_the_writing() -> None:
    spool, wanted = Spool(), []
    for number in range(40):
        wanted.append(b"%d" % number * 50_000)
        spool.append(wanted[-1])
        assert spool.line(number // 3) == wanted[number // 3]

    assert b"".join(spool.chunks()).splitlines() == wanted
    spool.close()


def test_a_range_of_lines_comes_back_whole() -> None:
    spool, wanted = filled(3000, 2000)

    for first, last in ((0, 1), (1500, 2200), (2990, 3000), (2990, 9999), (7, 7)):
        assert b"".join(spool.chunks(first, last)).splitlines() == wanted[first:last]
    spool.close()


def test_chunks_hold_whole_lines_and_stay_moderate() -> None:
    spool, _ = filled(3000, 2000)
    chunks = list(spool.chunks())

    assert len(chunks) > 5
    assert all(chunk.endswith(b"\n") for chunk in chunks)
    assert max(map(len, chunks)) <= 1 << 18
    spool.close()


def test_a_line_longer_than_a_chunk_is_a_chunk_of_its_own() -> None:
    spool = Spool()
    for one in (b"a", b"b" * 3_000_000, b"c"):
        spool.append(one)

    assert [len(chunk) for chunk in spool.chunks()] == [2, 3_000_001, 2]
    spool.close()


def test_lines_added_while_reading_are_read_too() -> None:
    spool, _ = filled(1, 10)
    reading = spool.chunks()
    next(reading)
    spool.append(b"late")

    assert next(reading) == b"late\n"


def test_most_of_it_is_not_in_memory() -> None:
    spool = Spool()
    for _ in range(100):
        spool.append(b"x" * 100_000)

    assert len(spool._tail) <= 1 << 20
    assert spool.size == 100 * 100_001
    spool.close()


def test_what_was_closed_says_that_its_lines_are_gone() -> None:
    spool, _ = filled(3000, 2000)
    spool.close()
    with pytest.raises(ValueError, match="gone"):
        spool.line(0)


def test_a_small_spool_can_be_read_after_its_end() -> None:
    spool, wanted = filled(3, 10)
    spool.close()

    assert spool.line(2) == wanted[2]
