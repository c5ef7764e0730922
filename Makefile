VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
RUFF := $(VENV)/bin/ruff

.PHONY: demo test check soak bench clean

# One environment in .venv, made once, remade when pyproject.toml changes.
$(STAMP): pyproject.toml
	python3 -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(STAMP)  ## make a small film and dub it into two languages
	$(VENV)/bin/dubline demo

test: $(STAMP)  ## the quick suite: under 12 minutes on 2 cores
	$(PY) -m pytest -n 2 --dist worksteal

check: $(STAMP)  ## style and types
	$(RUFF) check .
	$(RUFF) format --check .
	$(VENV)/bin/mypy

soak: $(STAMP)  ## the long suites, whole
	$(PY) -m pytest -m soak --timeout 3600 -s

bench: $(STAMP)  ## ratios measured in one run
	$(PY) -m tests.bench

clean:
	rm -rf $(VENV) demo build *.egg-info
