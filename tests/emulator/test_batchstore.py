"""Batches and their store."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from dw_agents.emulator.batchstore import CANCELLED, COMPLETED, FAILED, PENDING, Batch, BatchStore, mentions
from dw_agents.emulator.filestore import FileStore, StoredFile, new_object_id

if TYPE_CHECKING:
    from dw_agents.emulator.filestore import Purpose


def stored(purpose: Purpose = "batch") -> StoredFile:
    return StoredFile(str(uuid.uuid4()), owner="me", filename="Run-7.jsonl", purpose=purpose, created=0)


def make(count: int = 0, **fields: Any) -> Batch:
    known: dict[str, Any] = {
        "source": stored(),
        "output": stored("batch_output"),
        "errors": stored("batch_error"),
        "endpoint": "/v1/responses",
        "window": "24h",
        "metadata": {"Token": "abc"},
        "created": 100.0,
        "expires": 86_500.0,
    }
    batch = Batch(str(uuid.uuid4()), **{**known, **fields})
    if count:
        batch.populate(count, 101.0)
    return batch


def test_a_line_is_found_by_its_id_in_either_spelling() -> None:
    batch = make(5)
    ids = [batch.line_id(number) for number in range(5)]

    assert len({str(uuid.UUID(ident)) for ident in ids}) == 5
    assert [batch.line_number(ident) for ident in ids] == [0, 1, 2, 3, 4]
    assert batch.line_number(f"batch_req_{ids[3]}") == 3


def test_the_line_of_another_batch_is_not_found() -> None:
    one, other = make(5), make(5)

    assert one.line_number(other.line_id(0)) is None
    assert one.line_number(one.line_id(5)) is None
    assert one.line_number("nonsense") is None


def test_lines_that_are_reopened_count_no_more_and_have_no_result() -> None:
    batch = make(3)
    for number, state in enumerate((COMPLETED, FAILED, CANCELLED)):
        batch.settle(number, state)
        batch.rows[number] = number
    assert batch.settled

    batch.state = "completed"
    batch.stamp("completed_at", 200)
    batch.reopen([1, 2])
    assert (batch.completed, batch.failed, batch.cancelled) == (1, 0, 0)
    assert (list(batch.lines), list(batch.rows)) == ([COMPLETED, PENDING, PENDING], [0, -1, -1])
    assert (batch.state, "completed_at" in batch.stamps, batch.settled) == ("in_progress", False, False)


def test_a_time_is_noted_once() -> None:
    batch = make()
    batch.stamp("cancelling_at", 1)
    batch.stamp("cancelling_at", 2)

    assert batch.stamps["cancelling_at"] == 1


def test_what_waits_is_everything_before_the_start_and_the_rest_after_it() -> None:
    source = stored()
    source.models.update({"a": 3, "b": 1})
    batch = make(source=source)
    assert (batch.waiting("a"), batch.waiting("c")) == (3, 0)

    batch.populate(4, 1)
    batch.settle(0, COMPLETED)
    batch.settle(1, FAILED)
    assert batch.waiting("a") == 1


@pytest.mark.parametrize(
    ("text", "found"), [("", True), ("TOKEN", True), ("ABC", True), ("run-7", True), ("xyz", False)]
)
def test_a_batch_mentions_its_metadata_its_filename_and_its_id(text: str, found: bool) -> None:
    batch = make()

    assert mentions(batch, text) is found
    assert mentions(batch, batch.id[3:20])


def test_a_batch_is_seen_by_its_owner_once_it_is_old_enough_and_until_it_is_deleted() -> None:
    now = 100.0
    store, batch = BatchStore(lambda: now), make()
    store.add(batch)
    assert store.find(batch.id.upper(), "me") is batch
    assert store.find(batch.id, "you") is None
    assert store.find(batch.id, "me", visible_after=1) is None
    now = 101.0
    assert store.find(batch.id, "me", visible_after=1) is batch

    batch.deleted = True
    assert store.find(batch.id, "me") is None
    assert (store.all(), store.unfinished(), store.get(batch.id)) == ([batch], [], batch)


def test_ids_are_bare_uuids_here_and_prefixed_at_openai() -> None:
    assert str(uuid.UUID(new_object_id("file", openai=False))).count("-") == 4
    assert new_object_id("file", openai=True).startswith("file-")
    assert new_object_id("batch", openai=True).startswith("batch_")


def test_a_removed_file_is_gone() -> None:
    store, file = FileStore(), stored()
    store.add(file)
    assert store.get(file.id.upper()) is file

    store.remove(file)
    assert (store.get(file.id), store.all()) == (None, [])


def test_lines_that_cannot_be_decoded_are_shown_as_bytes() -> None:
    file = stored()
    for text in (b'{"a":1}', b"{"):
        file.spool.append(text)

    assert file.lines() == [{"a": 1}, b"{"]


def test_the_text_forms_say_what_it_is() -> None:
    batch = make(2)

    assert "in_progress 0+0+0/2" in repr(batch)
    assert "'Run-7.jsonl' 0 lines" in repr(batch.input)
