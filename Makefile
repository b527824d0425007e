# make demo: train, sample and sweep a tiny cascade on this machine.   make test: ruff, pyright and all tests.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: help demo test quick types coverage docs faults format assets distil benchmark clean
help: ## show this
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11 to 3.13 is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]' -c constraints.txt
	touch $@

demo: $(INSTALLED) ## train a small cascade, sample it, sweep the guidance weight (15 minutes on 2 cores)
	$(BIN)/imagen demo

test: types ## ruff, pyright and the whole test suite
	$(BIN)/python -m pytest

quick: types ## the same without the slow tests
	$(BIN)/python -m pytest -m "not slow"

types: $(INSTALLED) ## ruff and pyright alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

coverage: $(INSTALLED) ## the share of lines that the tests run, in this process and in those that they start
	$(BIN)/python -m pytest --cov --cov-report=term

docs: $(INSTALLED) ## build the site of docs/ into site/, with the notebooks run (3 to 6 minutes); a broken link fails
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]' -c constraints.txt
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

faults: $(INSTALLED) ## kill, fill, flip, poison: what docs/reference/reliability.md promises, and what survived
	$(BIN)/python -m benchmarks.faults

format: $(INSTALLED) ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

assets: $(INSTALLED) ## train everything in assets/ again (hours)
	$(BIN)/python -m imagen.shipped.pretrain_t5 --threads 2 --out assets/shapes_t5
	$(BIN)/python -m imagen.shipped.train_judge --name a --out assets/judge_a
	$(BIN)/python -m imagen.shipped.train_judge --name b --out assets/judge_b
	$(BIN)/python train.py experiment=shipped_base
	$(BIN)/python train.py experiment=shipped_base_noisy
	$(BIN)/python train.py experiment=shipped_base_noisy trainer.max_steps=12000 stage.lr_schedule.total_steps=12000
	$(BIN)/python train.py experiment=shipped_sr1
	$(BIN)/python train.py experiment=shipped_sr1 trainer.max_steps=15000 stage.lr_schedule.total_steps=15000
	$(BIN)/python train.py experiment=shipped_base_fine
	$(BIN)/python train.py experiment=shipped_base_fine name=shipped_finer init_from=runs/base/shipped_fine/export trainer.max_steps=3600
	$(BIN)/python -m imagen.shipped.ship runs/base/shipped_finer runs/sr1/shipped

DISTILLED = runs/$(1)/distil_$(2)/export/config.json
distil: $(call DISTILLED,base,8) $(call DISTILLED,sr1,4) ## distil the shipped cascade to 8 and 4 steps; goes on where it stopped

$(call DISTILLED,%,guided): | $(INSTALLED)
	$(BIN)/python train.py experiment=distil_$*
$(call DISTILLED,base,8): | $(call DISTILLED,base,guided)
	$(BIN)/python train.py experiment=distil_base_steps
$(call DISTILLED,sr1,4): | $(call DISTILLED,sr1,guided)
	$(BIN)/python train.py experiment=distil_sr1_steps

benchmark: $(INSTALLED) ## speed against imagen-pytorch, which it installs into .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[benchmark]' -c constraints.txt
	$(BIN)/python benchmarks/speed.py

clean: ## remove runs, caches, outputs and the site; keeps .venv
	rm -rf runs cache outputs multirun site
