"""`python -m dlx` is `dlx`."""

import os
import sys

if __name__ == "__main__":
    # Python puts the working directory first on the path for -m: its json.py would be taken for Python's own.
    if not sys.flags.safe_path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]
    from dlx.cli.main import main

    main()
