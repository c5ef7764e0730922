"""`python -m cluster` is the command `dubline`."""

from cluster.cli import main

if __name__ == "__main__":
    main()
