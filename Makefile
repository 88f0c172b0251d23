# `make demo` and `make test` prepare everything they need: a virtual environment, the pinned
# packages, this project. Nothing has to be installed by hand but Python 3.11 or newer. Without a
# GPU, `PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo` loads a smaller PyTorch.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python release/install.py -c constraints.txt
# The demo needs a small part of what tests and documentation need.
DEMO   := $(VENV)/.installed-demo
STAMP  := $(VENV)/.installed

.PHONY: step-figures demo test coverage check reproduce bench rtl docs reference figures policies steps dist package-check sbom audit clean

demo: $(DEMO)
	$(BIN)/gscn-sim demo -o results/demo

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist worksteal

# No tracer sees into compiled code: the kernels run once more as plain Python against their twins.
coverage: $(STAMP)
	$(BIN)/coverage erase
	NUMBA_DISABLE_JIT=1 $(BIN)/coverage run -m pytest tests/kernels tests/fabric tests/run/test_functional.py
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# Whether the tests notice small changes of a module, in a copy of the sources; by hand, not in CI:
# make mutants MODULE=gscn_sim/mapping/residency.py TESTS=tests/mapping/test_residency.py
.PHONY: mutants
MUTANTS := build/mutants
mutants: $(STAMP)
	$(PIP) -e '.[mutation]'
	rm -rf $(MUTANTS) && mkdir -p $(MUTANTS)
	cp -r gscn_sim workloads tests docs pytest.ini $(MUTANTS)
	sed 's,MODULE,$(MODULE),; s,TESTS,$(TESTS),' release/mutants.toml > $(MUTANTS)/mutants.toml
	cd $(MUTANTS) && export PATH=$(abspath $(BIN)):$$PATH NUMBA_DISABLE_JIT=1 && \
	cosmic-ray init mutants.toml mutants.sqlite && \
	cr-filter-operators mutants.sqlite mutants.toml && \
	cosmic-ray exec mutants.toml mutants.sqlite && \
	cr-report --surviving-only --show-diff mutants.sqlite

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layering.py

reproduce: $(STAMP)
	$(BIN)/gscn-sim reproduce

bench: $(STAMP)
	$(BIN)/python -m pytest benchmarks

# The rules in hardware against the kernels, all designs; needs Verilator.
rtl: $(STAMP)
	RTL_DESIGNS=all $(BIN)/python -m pytest -rs tests/rtl

# Damage, kills and hostile input in numbers: every test that uses the fixture `survived`. Renews the
# table of docs/explanation/survival.md; 13.5 minutes on two busy cores.
.PHONY: chaos
chaos: $(STAMP)
	DAMAGES=1000 KILLS=8 CHAOS_PAGE=docs/explanation/survival.md \
	nice $(BIN)/python -m pytest -n auto --dist worksteal tests

# All fuzzed inputs; `make test` tries a quarter of them.
.PHONY: fuzz
fuzz: $(STAMP)
	FUZZ=all $(BIN)/python -m pytest -n auto tests/fuzz

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Pages and pictures that the program itself makes; a test says when the pages are out of date.
reference: $(STAMP)
	$(BIN)/python docs/generate.py

figures: $(STAMP)
	$(BIN)/python docs/draw_figures.py

# The notebook of the documentation, run anew: some 20 s of processor time.
.PHONY: notebook
notebook: $(STAMP)
	$(BIN)/python docs/run_notebook.py

# The tables of docs/explanation/policies.md, from simulated runs.
policies: $(STAMP)
	$(BIN)/python docs/measure_policies.py

# The tables of docs/explanation/whole-step.md, printed.
step-figures: $(STAMP)
	$(BIN)/python docs/measure_step.py

# The steps of known networks that come with the package, in workloads/data/steps.
steps: $(STAMP)
	set -e; for batch in 16 128; do \
	for network in resnet34 resnet50 vgg16 vgg16-bn mobilenet "vit-tiny --linear"; do \
	set -- $$network; $(BIN)/resprop-train step --model $$network --batch-size $$batch \
	    -o workloads/data/steps/$$1_n$$batch.json.gz; \
	done; done
	$(BIN)/resprop-train step --model resnet8 --batch-size 64 --size 8 --channels 1 --classes 10 \
	    -o workloads/data/steps/resnet8_n64.json.gz

dist: $(STAMP)
	$(BIN)/python release/build.py dist

package-check: $(STAMP)
	$(BIN)/python release/check.py

# What an installation consists of (CycloneDX), and whether any of it has known faults.
sbom: $(STAMP)
	$(PIP) '.[release]'
	$(BIN)/cyclonedx-py environment --output-reproducible --of JSON -o sbom.cdx.json $(BIN)/python

audit: $(STAMP)
	$(PIP) '.[release]'
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

$(DEMO): setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[train]'
	@touch $(DEMO)

$(STAMP): $(DEMO)
	$(PIP) -e '.[train,dev,docs]'
	@touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info
