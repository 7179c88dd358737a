"""Where encoded images come from: folders, files, zip files, LMDB directories and the data sets of the package."""

from padinv.sources.finding import find_photographs, is_code
from padinv.sources.folders import FilesLeftOutWarning, FolderSource
from padinv.sources.opening import BUNDLED, Source, bundled_path, open_source

__all__ = [
    "BUNDLED",
    "FilesLeftOutWarning",
    "FolderSource",
    "Source",
    "bundled_path",
    "find_photographs",
    "is_code",
    "open_source",
]
