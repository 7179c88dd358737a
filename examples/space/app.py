"""The studio as a Hugging Face Space, which runs this file and shows port 7860."""

from __future__ import annotations

import os

from padinv.app import Limits, Studio
from padinv.app.server import serve


def main() -> None:
    """Serves the model that PADINV_MODEL names, or the bundled one."""
    studio = Studio.open(os.environ.get("PADINV_MODEL", "congress64"), limits=Limits(megabytes=10, visitors=64))
    serve(studio, host="0.0.0.0", port=int(os.environ.get("PORT", "7860")))


if __name__ == "__main__":
    main()
