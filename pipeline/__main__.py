"""`python -m pipeline`: the job's own commands, without those about clusters that `dubline` has beside them."""

from pipeline.cli import main

if __name__ == "__main__":
    main()
