"""`python -m dlx` is `dlx`."""

from dlx.cli.main import main

if __name__ == "__main__":
    main()
