"""Says why an encode failed, by ffmpeg's exit status and its last words, and counts it."""

import signal

import structlog

from service import metrics
from service.errors import ServiceError, Unavailable
from service.refusals import ENCODER_FAILED, ENCODER_UNAVAILABLE, STORAGE_FULL, UNENCODABLE_AUDIO

log = structlog.stdlib.get_logger()

# ffmpeg's exit statuses if samples are too large for this bit rate. Depending on its version, LAME fails an assertion,
# or ffmpeg reports AVERROR_BUG. What no bit rate takes is not even passed to it.
_UNENCODABLE = {-signal.SIGABRT, 190}
# If stderr has one of these words, the samples were the reason.
_ABOUT_SAMPLES = ("libmp3lame", "Assertion")
# prlimit and setpriv exit with these if the program that they should run cannot be run or does not exist.
_NOT_STARTED = {126, 127}


def failed(codec: str, status: int, words: str, reason: str = "") -> ServiceError:
    """Return the refusal for an ffmpeg that has ended; `words` is the end of its stderr."""
    if "No space left on device" in words or "Disk quota exceeded" in words:
        metrics.ENCODER_FAILURES.labels("storage_full").inc()
        return STORAGE_FULL()
    if status in _UNENCODABLE and codec.startswith("f") and any(name in words for name in _ABOUT_SAMPLES):
        return unencodable()
    if status in _NOT_STARTED:
        return not_started(words.strip())
    metrics.ENCODER_FAILURES.labels("failed").inc()
    log.error("encoder_failed", status=status, reason=reason, last_words=words)
    return ENCODER_FAILED()


def unencodable() -> ServiceError:
    """Return the refusal for samples that are too large, infinite or not numbers."""
    metrics.ENCODER_FAILURES.labels("unencodable_audio").inc()
    return UNENCODABLE_AUDIO()


def stuck(pid: int, seconds: float) -> ServiceError:
    """Return the refusal for an ffmpeg that takes nothing, or does not end, for so many seconds."""
    metrics.ENCODER_FAILURES.labels("stuck").inc()
    log.error("encoder_stuck", pid=pid, seconds=seconds)
    return ENCODER_FAILED()


def not_started(reason: str) -> Unavailable:
    """Return the refusal if ffmpeg cannot be started."""
    metrics.ENCODER_FAILURES.labels("not_started").inc()
    log.error("encoder_not_started", reason=reason)
    return ENCODER_UNAVAILABLE()
