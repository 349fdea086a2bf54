"""Opens files that are kept on this machine."""

from io import FileIO
from pathlib import Path

from service.storage.draft_files import unavailable


def open_kept_file(path: Path) -> FileIO:
    """Open a kept file to read it; this may block.

    Raises FileNotFoundError only if the file's folder is there without it. Whatever else goes wrong may be
    over the next time: Unavailable. A folder that is missing may be a volume that is not mounted.
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
