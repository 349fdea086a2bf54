"""Ends a command when SIGINT or SIGTERM comes: without a traceback, and with the exit code that shells expect.

It imports next to nothing, so that it is there from the first moment on.
"""

import os
import signal
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_received = [signal.SIGINT]


def end_at_once() -> None:
    """From now on, either signal ends this process where it stands, for times at which nothing has to be cleaned up.

    An exception would not do: whatever is being imported may catch it or turn it into another one.
    """
    _handle(_SIGNALS, _exit)


def raise_interrupts() -> None:
    """From now on, either signal raises KeyboardInterrupt; in a coroutine, asyncio cancels the main task first.

    An event loop that handles a signal forgets this when it is closed, so call it again behind one.
    """
    # asyncio replaces this handler and no other, and puts it back.
    _handle((signal.SIGINT,), signal.default_int_handler)
    _handle((signal.SIGTERM,), _interrupt)


def exit_code() -> int:
    """Return the exit code of a command that was ended by KeyboardInterrupt."""
    return 128 + _received[-1]


def _handle(numbers: tuple[signal.Signals, ...], handler: "signal._HANDLER") -> None:
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:  # a shell's background job ignores SIGINT
            signal.signal(number, handler)


def _exit(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C would do."""
    _received.append(signal.Signals(number))
    interrupt = signal.getsignal(signal.SIGINT)
    (interrupt if callable(interrupt) else signal.default_int_handler)(signal.SIGINT, frame)
