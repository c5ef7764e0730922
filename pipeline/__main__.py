"""`python -m pipeline` is the command `dubline`."""

from pipeline.cli import app

if __name__ == "__main__":
    app(prog_name="dubline")
