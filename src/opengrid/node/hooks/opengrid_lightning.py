"""OpenGrid's callback for Lightning's Trainer: goes on from a checkpoint, saves one on SIGTERM, tells step and metrics.

It runs in the user's process, with the user's Lightning, and imports nothing of OpenGrid.
"""

from __future__ import annotations

import importlib
import os
import signal
import time
import warnings
from typing import Any

#: Where the checkpoint of a rank that was asked to end goes, below Trainer's default_root_dir.
SAVED_ON_SIGTERM = "sigterm.ckpt"

_TELL_EVERY_S = 0.5

_resumed = False  # by the first fit of this process: what comes after it is another training


def callbacks_for_lightning() -> list[Any]:
    """Return the callbacks for `lightning.pytorch`."""
    return _callbacks("lightning.pytorch")


def callbacks_for_pytorch_lightning() -> list[Any]:
    """Return the callbacks for `pytorch_lightning`, the older package."""
    return _callbacks("pytorch_lightning")


def _callbacks(package: str) -> list[Any]:
    if "GRID_EXPERIMENT_ID" not in os.environ:
        return []
    library: Any = importlib.import_module(f"{package}.callbacks")
    try:
        on_exception: Any = library.OnExceptionCheckpoint
    except AttributeError:  # Lightning before 1.8
        return []
    checkpoint = os.environ.get("GRID_RESUME_FROM")
    resumes = checkpoint is not None and os.environ.get("GRID_RESUME_KIND") == "lightning" and not _resumed

    class OpenGrid(library.Callback):
        """Tells how far the training is and what it logs, and saves a checkpoint when all ranks are asked to end."""

        def __init__(self) -> None:
            self._told_at = 0.0
            self._metrics = _metrics_file()
            self._first_step: int | None = None
            self._asked = False  # to end, by SIGTERM
            self._ends_in_step = False  # all ranks, so that they can save together

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            global _resumed
            # Steps are told of the first fit alone: a second one counts from 0 again.
            self._first_step = None if _resumed else int(trainer.global_step)
            _resumed = True
            self._tell(trainer)
            self._watch_sigterm(trainer)

        def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
            if time.monotonic() - self._told_at >= _TELL_EVERY_S:
                self._tell(trainer)
            if trainer.log_every_n_steps and trainer.global_step % trainer.log_every_n_steps == 0:
                self._tell_metrics(trainer)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self._tell_metrics(trainer)

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            if not trainer.sanity_checking:
                self._tell_metrics(trainer)

        def on_test_end(self, trainer: Any, pl_module: Any) -> None:
            self._tell_metrics(trainer)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self._tell(trainer)

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            self._tell(trainer)
            # Only here are all ranks at the same step, and well. After a failure, saving would wait for dead peers.
            if type(exception).__name__ == "SIGTERMException" and self._ends_in_step:
                trainer.save_checkpoint(os.path.join(trainer.default_root_dir, SAVED_ON_SIGTERM))

        def _tell(self, trainer: Any) -> None:
            path = os.environ.get("GRID_PROGRESS_FILE")
            if path is None or not trainer.is_global_zero or self._first_step is None:
                return
            self._told_at = time.monotonic()
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
                os.pwrite(descriptor, b"%20d %20d\n" % (self._first_step, int(trainer.global_step)), 0)
                os.close(descriptor)
            except OSError:
                pass  # a full disk is not ours to report

        def _tell_metrics(self, trainer: Any) -> None:
            """Write what the script has logged, unless its own logger writes it where TensorBoard finds it."""
            if self._metrics is not None and trainer.is_global_zero and not _writes_events(trainer):
                self._metrics.write(trainer.callback_metrics, int(trainer.global_step))

        def _watch_sigterm(self, trainer: Any) -> None:
            """Let rank 0's word count, at the start of a batch.

            Lightning's own handler calls a collective wherever the signal finds a rank, between two collectives of
            the training that differ from rank to rank. Its loop asks rank 0 before every batch anyway.
            """
            loop: Any = getattr(trainer.fit_loop, "epoch_loop", None)
            ask = getattr(loop, "_broadcast_sigterm_tensor", None)
            connector = getattr(trainer, "_signal_connector", None)
            if ask is None or connector is None or trainer.world_size == 1:
                self._ends_in_step = trainer.world_size == 1
                return

            def note(*_: Any) -> None:
                self._asked = True

            def ask_rank_0() -> None:
                if self._asked and trainer.is_global_zero:
                    connector.received_sigterm = True
                ask()

            try:
                signal.signal(signal.SIGTERM, note)
            except ValueError:
                return  # fit() runs in a thread
            loop._broadcast_sigterm_tensor = ask_rank_0
            self._ends_in_step = True

    if not resumes:
        return [OpenGrid()]

    class Resume(on_exception):
        """Being an OnExceptionCheckpoint makes fit(ckpt_path=None) go on from ckpt_path; it saves nothing itself."""

        def __init__(self) -> None:
            on_exception.__init__(self, os.path.dirname(checkpoint or ""), "unused")
            warnings.filterwarnings("ignore", message=".*The last model of the previous `fit` call will be used")

        @property
        def ckpt_path(self) -> str | None:
            return None if _resumed else checkpoint

        def on_exception(self, *_: Any, **__: Any) -> None:
            pass

        def teardown(self, *_: Any, **__: Any) -> None:
            pass

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            # A second fit() is another training. Another list: this one is being gone through.
            trainer.callbacks = [callback for callback in trainer.callbacks if callback is not self]

    return [OpenGrid(), Resume()]


def _metrics_file() -> Any:
    path = os.environ.get("GRID_METRICS_FILE")
    return None if path is None else importlib.import_module("opengrid_metrics").MetricsFile(path)


def _writes_events(trainer: Any) -> bool:
    """Whether one of the Trainer's loggers writes event files."""
    return any(kind.__name__ == "TensorBoardLogger" for logger in trainer.loggers for kind in type(logger).__mro__)
