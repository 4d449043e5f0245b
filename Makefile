# One environment in .venv, made from requirements.lock on first use and again when the lock or pyproject.toml changes.
# Another interpreter: make PYTHON=/path/to/python3.11 ...

is_locked_python = -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'
PYTHON ?= $(shell for p in python3.11 python3; do $$p $(is_locked_python) 2>/dev/null && { command -v $$p; break; }; done)
need_python = test -n "$(PYTHON)" && "$(PYTHON)" $(is_locked_python) 2>/dev/null || { echo "Python 3.11 is needed \
(TensorFlow Privacy 0.9.0 ends there, the lock begins there): make PYTHON=/path/to/python3.11" >&2; exit 1; }
PYTEST_ARGS ?=
READY := .venv/.ready

export MLFLOW_DISABLE_TELEMETRY = true
export DO_NOT_TRACK = true

.DEFAULT_GOAL := help
.PHONY: help evaluate test lint ui lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

evaluate: $(READY) ## evaluate the quickstart models, print the verdicts (about 3 minutes after installation)
	.venv/bin/privassay run experiments/quickstart.yaml --out out --report-only

test: $(READY) ## run the tests; PYTEST_ARGS="-m slow" for the long ones
	.venv/bin/python -m pytest -n auto --dist loadfile $(PYTEST_ARGS)

lint: $(READY) ## check style, types and import directions
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

ui: $(READY) ## show the logged runs at http://127.0.0.1:5000
	@test -f mlflow.db || { echo "mlflow.db: not there yet; 'make evaluate' writes it" >&2; exit 1; }
	.venv/bin/mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1

lock: ## write requirements.lock anew; pins stay unless their line was removed from it
	@$(need_python)
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --constraint requirements.lock '.[keras,onnx,dev]'
	build/lock/bin/python -m pip check
	{ sed '/^[^#]/,$$d' requirements.lock; \
	  build/lock/bin/python -m pip freeze --all --exclude pip --exclude privassay | sed 's/+.*//'; } > build/requirements.lock
	mv build/requirements.lock requirements.lock
	rm -rf build/lock

clean: ## remove .venv, builds and caches; results (out, mlflow.db) stay
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml
	@$(need_python)
	@echo "installing into .venv: some minutes and about 4 GB the first time"
	.venv/bin/python $(is_locked_python) 2>/dev/null && test -x .venv/bin/pip || "$(PYTHON)" -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --requirement requirements.lock
	.venv/bin/python -m pip install --quiet --no-deps --editable .
	touch $@
