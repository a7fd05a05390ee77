# Every target is one line over `python -m companion ...`, `python -m reidlib ...` or tools/; Windows users and clusters call the same.
export OMP_WAIT_POLICY = passive
PY = .venv/bin/python
PAPER ?= bpbreid
PRESET ?= auto
SEEDS ?= 1
JOBS ?= 2
FRESH ?=
PUBLISH ?=
DATASET ?=
DATA_ROOT ?= data
FORMAT ?= svg
REPOSITORY ?=

.PHONY: help setup reproduce test lint unit processors smoke lab runs status data tables render figures site archive bench clean

help:                                      ## this list
	@grep -E '^[a-z]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):.*## */  make \1: /'
	@echo "variables: PAPER=$(PAPER) PRESET=$(PRESET) SEEDS=$(SEEDS) JOBS=$(JOBS) BUDGET=seconds FRESH=1 PUBLISH=1 DATASET=name DATA_ROOT=$(DATA_ROOT) FORMAT=$(FORMAT)"

reproduce: setup render                    ## everything: data and the six notebooks, as pages in results/pages
test: setup lint unit processors smoke     ## everything CI checks

setup: .venv/ready                         ## virtual environment from the lock
.venv/ready: requirements.lock pyproject.toml
	python3 -m venv .venv
	$(PY) -m pip install -q uv
	$(PY) -m uv pip install -q --python $(PY) --compile-bytecode -r requirements.lock
	$(PY) -m uv pip install -q --python $(PY) --no-deps -e .
	touch $@

data: setup                                ## generate the synthetic benchmark; DATASET=market1501 checks a real one
	$(PY) -m $(if $(DATASET),reidlib doctor $(DATASET) --root "$(DATA_ROOT)",companion data --preset $(PRESET) --workers $(JOBS))
render: setup                              ## execute the notebooks; PUBLISH=1 writes the repository's own pages
	$(PY) tools/render.py --preset $(PRESET) --jobs $(JOBS) $(if $(FRESH),--fresh) $(if $(PUBLISH),--publish)
runs: setup                                ## compute missing run records
	$(PY) -m companion run --paper $(PAPER) --preset $(PRESET) --seeds $(SEEDS) --jobs $(JOBS) $(if $(BUDGET),--budget $(BUDGET)) $(if $(FRESH),--fresh)
status: setup                              ## which printed rows have a record
	$(PY) -m companion status
figures: setup                             ## every figure as FORMAT=svg or pdf, in results/pages/figures
	$(PY) tools/render.py --preset $(PRESET) --jobs $(JOBS) --figures $(FORMAT)
.venv/site: .venv/ready requirements-site.lock
	$(PY) -m uv pip install -q --python $(PY) -r requirements-site.lock
	touch $@
site: .venv/site                           ## the site, from what is committed, in results/pages/site
	$(PY) tools/site.py $(if $(REPOSITORY),--repository $(REPOSITORY))
archive: setup                             ## records, tables, figures and what they rest on in one file, and its check
	$(PY) tools/archive.py && $(PY) tools/archive.py --check results/pages/reidlib-*.tar.gz
tables: setup                              ## README and results/tables from the records
	$(PY) -m companion tables
lab: setup                                 ## JupyterLab on the notebooks
	$(PY) -m jupyterlab --ServerApp.ip=localhost
lint: setup                                ## style, import contracts, notebooks without outputs
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/lint-imports && .venv/bin/nbstripout --verify notebooks/*.ipynb
unit: setup                                ## unit tests
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) --dist worksteal
processors: setup                          ## the numeric tests as other processors would compute them
	$(PY) tools/processors.py --jobs $(JOBS)
smoke: setup                               ## every notebook at the smoke preset, and tables that leave the tree clean
	$(PY) tools/render.py --preset smoke --jobs $(JOBS) --output results/cache/smoke
	$(PY) -m companion tables --check
bench: setup                               ## speed and memory beside peers, kept for this kind of machine, with a chart
	for part in evaluation reranking matching training synthetic search machine; do $(PY) benchmarks/$$part.py || exit; done
clean:                                     ## caches and generated data; records and results stay
	rm -rf results/cache data/synthetic
