"""Starts a command of `wavepress` and ends it, also if a signal interrupts it at its first or at its last moment."""

import sys

from service import interruption


def main() -> None:
    """Run one command and exit: 0 done, 1 failed, 2 used wrongly, 130 and 143 interrupted by SIGINT and SIGTERM."""
    interruption.end_at_once()
    from service.commands import run  # noqa: PLC0415 - it takes half a second, in which a signal may come

    interruption.raise_interrupts()
    try:
        run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(interruption.exit_code())
    finally:
        interruption.end_at_once()  # Python still waits for threads


if __name__ == "__main__":
    main()
