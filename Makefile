# Each target sets up what it needs in .venv; only python3, make and a package registry have to be there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CHROMIUM ?= $(or $(shell command -v chromium),$(shell command -v google-chrome),/usr/bin/chromium)
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: help demo test lint types docs docs-test bench attack clean

help:
	@echo "make demo   train, edit and compare on simulated cells; writes demo/"
	@echo "            DATA=cells.h5ad GROUPBY=batch SOURCE=a TARGET=b QUERY=c does it on your file (COFACTOR=5: arcsinh first)"
	@echo "make test   run the tests"
	@echo "make lint types"
	@echo "make docs   build the site from nothing, tutorials and gallery included (QUICK=1: what changed, and no tutorial is run)"
	@echo "make docs-test   open the built site and reports in chromium, on a wide and on a narrow screen"
	@echo "make attack  damaged files, wrong calls, kills: how does each end? (LONG=1: all of them)"
	@echo "make bench  redo the tables of the docs, in hours (QUICK=1: a look at them, in minutes)"

$(VENV)/%.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade 'pip>=25.1' # the first that knows dependency groups
	$(INSTALL) --editable . $(if $(filter-out core,$*),--group $*)
	touch $@

demo: $(VENV)/core.stamp
ifdef DATA
	mkdir -p demo
	$(BIN)/neuronedit edit '$(DATA)' --groupby '$(GROUPBY)' --source '$(SOURCE)' --target '$(TARGET)' \
		$(if $(QUERY),--query '$(QUERY)') $(if $(COFACTOR),--cofactor $(COFACTOR)) --overwrite -o demo/edited.h5ad --biaxial demo/biaxial.png \
		|| case $$? in 3|4) ;; *) exit 2 ;; esac # 3 and 4: done, and the verdict says what to look at
else
	$(BIN)/neuronedit demo --output demo
endif

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/lint.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/lint.stamp
	$(BIN)/mypy

docs: $(VENV)/docs.stamp
ifdef QUICK
	$(BIN)/python -m sphinx -W --keep-going -n -D nb_execution_mode=off -D plot_gallery=0 -b html docs docs/_build/html
else
	rm -rf docs/_build docs/built docs/gallery docs/generated
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -n -j auto -b html docs docs/_build/html
endif

docs/_build/html/index.html:
	$(MAKE) docs

docs-test: docs/_build/html/index.html $(VENV)/docs-test.stamp
	test -x '$(CHROMIUM)' || apt-get install --yes --no-install-recommends chromium
	CHROMIUM='$(CHROMIUM)' $(BIN)/python -m pytest docs/test_site.py docs/test_report.py docs/test_app.py -q

attack: $(VENV)/test.stamp
	$(BIN)/python attack $(if $(LONG),--long)

bench: $(VENV)/test.stamp
	$(INSTALL) --editable '.[bench]' || echo "The packages of peers could not be installed: they are skipped."
ifdef QUICK
	$(BIN)/python benchmarks/training.py --quick
	$(BIN)/python benchmarks/speed.py --quick
	$(BIN)/python benchmarks/faces.py --quick
	$(BIN)/python benchmarks/paper.py --quick
	$(BIN)/python benchmarks/controls.py --quick --methods "mean shift" "neuron editing" "neuron editing, within strata"
	$(BIN)/python benchmarks/composition.py --quick
	$(BIN)/python benchmarks/matching.py --quick
	$(BIN)/python benchmarks/combinations.py --quick
	$(BIN)/python benchmarks/cytonorm_r.py --quick
	$(BIN)/python benchmarks/sorted_cells.py --quick
	$(BIN)/python benchmarks/prior.py --quick
	$(BIN)/python benchmarks/norman.py --quick
	$(BIN)/python benchmarks/scperturbench.py --quick
	$(BIN)/python benchmarks/openproblems_cytometry.py --quick
else
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/holdout.py
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/defaults.py
	$(BIN)/python benchmarks/prior.py
	$(BIN)/python benchmarks/composition.py
	$(BIN)/python benchmarks/matching.py
	$(BIN)/python benchmarks/combinations.py
	$(BIN)/python benchmarks/cytonorm_r.py
	$(BIN)/python benchmarks/sorted_cells.py
	$(BIN)/python benchmarks/controls.py --every 3
	$(BIN)/python benchmarks/faces.py
	$(BIN)/python benchmarks/paper.py
	$(BIN)/python benchmarks/norman.py
	$(BIN)/python benchmarks/scperturbench.py
	$(BIN)/python benchmarks/openproblems_cytometry.py
endif

clean:
	rm -rf $(VENV) demo docs/_build docs/built docs/gallery docs/generated docs/screenshots tutorials/study
