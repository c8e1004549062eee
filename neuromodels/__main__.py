"""``python -m neuromodels``."""

from neuromodels.cli import main

if __name__ == "__main__":
    main()
