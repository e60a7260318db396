# make search: environment + main job.   make test: environment + all tests.
# make check: lint, types, import contracts, dead code.   make docs: HTML of docs/.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
PY = $(VENV)/bin/python

# Where no NVIDIA driver is found, torch comes from its CPU index: the default Linux build brings gigabytes of CUDA.
TORCH_INDEX := $(shell command -v nvidia-smi >/dev/null 2>&1 || echo --extra-index-url https://download.pytorch.org/whl/cpu)
TORCH := $(shell grep '^torch==' constraints.txt)

.PHONY: search test check docs clean
.DELETE_ON_ERROR:

search: $(VENV)/.search
	$(PY) -m jobs.search $(ARGS)

test: $(VENV)/.dev
	$(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/vulture

docs: $(VENV)/.dev
	$(PY) -m sphinx --fail-on-warning --quiet -b html docs docs/_build

$(PY):
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --upgrade --quiet pip

$(VENV)/.torch: $(PY) constraints.txt
	$(PY) -m pip install --quiet --no-deps $(TORCH_INDEX) $(TORCH)
	touch $@

$(VENV)/.search: $(VENV)/.torch pyproject.toml constraints.txt
	$(PY) -m pip install --quiet -c constraints.txt -e '.[report]'
	touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml constraints.txt
	$(PY) -m pip install --quiet -c constraints.txt -e '.[dev,docs,all]'
	touch $@ $(VENV)/.search

clean:
	rm -rf $(VENV) runs docs/_build
