"""Pictures through shared memory: chunks of one size, two at a time, and nothing is overwritten unread."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import numpy as np
import pytest

from extract.decode.shared_pictures import PictureSender, SharedMemory, SharedPictures, new_memory

SMALL, LARGE = (8, 10, 3), (1000, 900, 3)


@contextmanager
def pair() -> Iterator[tuple[PictureSender, Connection, SharedMemory]]:
    """A sender, the other end of its connection, and the memory as mapped by the receiver."""
    ours, theirs = Pipe()
    descriptor = new_memory()
    memory = SharedMemory(descriptor)
    with ours, theirs:
        yield PictureSender(theirs, SharedMemory(descriptor)), ours, memory
    memory.close()


def picture(number: int, shape: tuple[int, ...] = SMALL) -> np.ndarray:
    return np.full(shape, number, np.uint8)


def receive(connection: Connection, memory: SharedMemory) -> tuple[tuple[int, ...], np.ndarray]:
    """Picks and pictures of the next message, which is not answered."""
    message = connection.recv()
    assert isinstance(message, SharedPictures)
    return message.picks, memory.array(message.offset, (len(message.picks), *message.shape))


def test_small_pictures_are_sent_together() -> None:
    with pair() as (sender, connection, memory):
        for number in range(32):
            assert not connection.poll()
            sender.add(number, picture(number))
        picks, pictures = receive(connection, memory)
        assert picks == tuple(range(32))
        assert np.array_equal(pictures[:, 0, 0, 0], picks)
        assert not connection.poll()


def test_a_chunk_that_is_not_full_is_sent_in_time_or_at_the_end() -> None:
    with pair() as (sender, connection, memory):
        sender.tick()
        assert not connection.poll()  # there is nothing to send
        sender.add(0, picture(7))
        sender.tick()
        assert not connection.poll()
        time.sleep(0.25)
        sender.tick()
        picks, pictures = receive(connection, memory)
        assert (picks, pictures.max()) == ((0,), 7)
        sender.add(1, picture(8))
        sender.flush()
        assert receive(connection, memory)[0] == (1,)


def test_pictures_of_another_size_begin_a_chunk() -> None:
    """The memory grows for them, after all that was sent has been read."""
    with pair() as (sender, connection, memory):
        sender.add(0, picture(1))
        sender.add(1, picture(2))
        connection.send_bytes(b"")
        sender.add(2, picture(3, LARGE))  # waits for the answer above
        picks, pictures = receive(connection, memory)
        assert (picks, pictures.shape) == ((0, 1), (2, *SMALL))
        sender.flush()
        picks, pictures = receive(connection, memory)
        assert (picks, pictures.shape, pictures.min()) == ((2,), (1, *LARGE), 3)


def test_the_sender_waits_until_a_chunk_has_been_read() -> None:
    with pair() as (sender, connection, memory):

        def send() -> None:
            for number in range(4):
                sender.add(number, picture(number, LARGE))  # a chunk has room for less than one of them
                sender.flush()
            sender.reset()

        thread = threading.Thread(target=send)
        thread.start()
        _, first = receive(connection, memory)
        _, second = receive(connection, memory)
        assert not connection.poll(0.1)
        assert (first.min(), first.max(), second.min(), second.max()) == (0, 0, 1, 1)
        connection.send_bytes(b"")
        _, third = receive(connection, memory)
        assert (third.min(), second.max()) == (2, 1)
        connection.send_bytes(b"")
        assert receive(connection, memory)[1].min() == 3
        connection.send_bytes(b"")
        thread.join(0.1)
        assert thread.is_alive()  # `reset` reads the last answer
        connection.send_bytes(b"")
        thread.join(5)
        assert not thread.is_alive()


def test_pictures_that_were_not_sent_do_not_get_into_the_next_video() -> None:
    with pair() as (sender, connection, memory):
        sender.add(5, picture(5))
        sender.reset()
        sender.add(0, picture(1))
        sender.flush()
        picks, pictures = receive(connection, memory)
        assert (picks, pictures.max()) == ((0,), 1)


def test_a_receiver_that_has_ended_ends_the_sender() -> None:
    with pair() as (sender, connection, _):
        sender.add(0, picture(0, LARGE))
        sender.flush()
        connection.recv()
        connection.close()
        with pytest.raises(ConnectionResetError):
            sender.reset()
