"""Opens files that are kept on this machine."""

from io import FileIO
from pathlib import Path

from service.storage.draft_files import unavailable


def open_kept_file(path: Path) -> FileIO:
    """Open a kept file to read it. Blocking.

    Raises FileNotFoundError only if the file is missing from its folder: a missing folder may be a volume that is not
    mounted. Raises Unavailable for every other error, because the next try may succeed.
    """
    try:
        return FileIO(path)
    except FileNotFoundError:
        try:
            path.parent.stat()
        except OSError as error:
            raise unavailable(f"a folder of kept files cannot be read: {error.strerror}") from error
        raise
    except OSError as error:
        raise unavailable(f"a kept file cannot be opened: {error.strerror}") from error
