"""Each stage as a step of the graph: a row in, rows out, files of the work folder in between.

A step is made once per worker and called once per row. It loads what its stage needs, calls the stage, and
says where things are kept; the arithmetic is all in `stages`.
"""
