"""The process of one device in a training on several; `training.devices` starts and watches it."""

import logging
import os
import sys
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection

import safetensors.torch

from dsanet.detectors.base import Detector
from dsanet.training.devices import EpochDone, Finished, LogLine, Message, Setup, Stopped
from dsanet.training.group import joined_group, lost_connection, share_cores, stay_on_this_machine
from dsanet.training.loop import TrainProgress
from dsanet.training.run import run_training
from extract.decode.worker import exit_with_parent
from extract.encoder import resolve_device
from extract.errors import InputError


def main() -> None:
    """Serve the connection whose file descriptor is the first argument."""
    threading.Thread(target=exit_with_parent, args=(os.getppid(),), daemon=True).start()
    with Connection(int(sys.argv[1])) as connection:
        parent = _Parent(connection)
        result = _result(connection.recv(), parent)
        with suppress(OSError):  # the parent has ended
            parent.send(result)
            if isinstance(result, Finished):
                return
    os._exit(1)  # an orderly end could wait for the other processes


def _result(setup: Setup, parent: "_Parent") -> Stopped | Finished:
    try:
        _train(setup, parent)
    except InputError as error:
        return Stopped(str(error), "input")
    except Exception as error:
        return Stopped(traceback.format_exc(), "lost" if lost_connection(error) else "bug")
    return Finished()


def _train(setup: Setup, parent: "_Parent") -> None:
    os.chdir(setup.working_directory)  # paths of the plan are relative to it
    device = resolve_device(setup.device)
    share_cores(device, setup.size)
    stay_on_this_machine()
    logging.getLogger().addHandler(_ToParent(parent, logging.INFO if setup.rank == 0 else logging.WARNING))
    with joined_group(device, setup.rank, setup.size, setup.size, setup.rendezvous) as group:
        on_epoch = parent.epoch_done if setup.per_epoch else None
        run_training(setup.plan, device, parent.progress, on_epoch, group)


class _Parent:
    """The connection to the parent, for several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def send(self, message: Message) -> None:
        with self._sending:
            self._connection.send(message)

    def progress(self, progress: TrainProgress) -> None:
        self.send(progress)

    def epoch_done(self, step: int, net: Detector) -> None:
        """Send the weights, and wait until the parent has used them."""
        self.send(EpochDone(step, safetensors.torch.save(net.own_state())))
        self._connection.recv()


class _ToParent(logging.Handler):
    """Sends log records to the parent, whose handlers show them."""

    def __init__(self, parent: _Parent, level: int) -> None:
        super().__init__(level)
        self._parent = parent
        logging.getLogger("dsanet").setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        self._parent.send(LogLine(record.name, record.levelno, record.getMessage()))


if __name__ == "__main__":
    # `main` of the imported module: pickled classes must not belong to `__main__`.
    from dsanet.training.device_process import main as _main

    _main()
