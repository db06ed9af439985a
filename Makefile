# Every verb works from a fresh clone: what it needs is set up first.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long lint typecheck contracts unit property peers scripts \
	packaging conform fuzz bench stress soak build security smoke clean

BIN := .venv/bin
PYTEST := $(BIN)/pytest -q -m "not long"
# Two processes: the tests are sized for a machine of two cores.
JOBS ?= 2
SOAK_DURATION ?= 5m

help: ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

setup: ## build .venv from the locked requirements and install system packages
	@./tools/setup.sh

demo: ## run the main job from end to end on this machine
	@./tools/demo.sh

test: lint typecheck contracts unit property peers conform scripts packaging ## everything that must pass

lint: setup ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: setup ## mypy --strict
	$(BIN)/mypy .

contracts: setup ## who may import whom
	$(BIN)/lint-imports

unit: setup ## pure tests
	$(PYTEST) -n $(JOBS) --timeout 120 tests/unit

property: setup ## properties and bounded fuzzing
	$(PYTEST) -n $(JOBS) --timeout 300 tests/property tests/conformance

# What compares times or counts shares is run by itself: a neighbour's load would be measured too.
ALONE := tests/peers/server/test_peers_agent_server_pressure.py tests/peers/test_peers_load_gates.py \
	tests/peers/test_peers_fanout_namespace.py tests/peers/test_peers_secretive_bench.py \
	tests/peers/test_peers_load_faults.py

peers: setup ## against real programs: OpenSSH, git, coreutils
	$(PYTEST) -n $(JOBS) --timeout 300 $(addprefix --ignore=,$(ALONE)) tests/peers
	$(PYTEST) --timeout 300 $(ALONE)

scripts: setup ## the command lines as a user runs them
	$(PYTEST) -n $(JOBS) --timeout 600 tests/scripts

conform: setup ## OpenSSH's own agent tests; TEST_AGENT=ssh-agent proves the harness
	$(PYTEST) -n $(JOBS) --timeout 1000 -p no:randomly tests/regress

packaging: setup ## shape, documents, codes, isolated installation
	$(PYTEST) --timeout 600 tests/packaging

test-long: setup ## long campaigns; not part of CI
	FUZZ_EXAMPLES=20000 $(BIN)/pytest -q --timeout 7200 -m long tests
	FUZZ_EXAMPLES=20000 $(BIN)/pytest -q --timeout 7200 -k fuzz tests/property

fuzz: setup ## the parsers' fuzz tests with more examples, a million inputs of the engine
	FUZZ_EXAMPLES=2000 FUZZ_SECONDS=1 $(PYTEST) -n $(JOBS) --timeout 3600 -k fuzz tests/property
	$(BIN)/python tests/fuzz/fuzz_engine.py --runs 1000000

bench: setup ## every benchmark; prints the ratios and tells at the end which targets were missed
	$(BIN)/python benchmarks/run_all.py

stress: setup ## our agent under 512, 1024, 1536 and 4096 clients, five minutes each
	$(BIN)/python benchmarks/long_load.py stress

soak: setup ## our agent under load for SOAK_DURATION (5m); fails on leaks and drift
	$(BIN)/python benchmarks/long_load.py soak --duration $(SOAK_DURATION)

build: setup ## wheel and source distribution with their checksums
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	cd dist && sha256sum * > SHA256SUMS && cat SHA256SUMS

security: setup ## known vulnerabilities in what is locked; the security rules over the sources
	$(BIN)/ruff check --select S src
	$(BIN)/pip-audit --strict --require-hashes --disable-pip -r requirements/all.txt \
		$(if $(PIP_AUDIT_CACHE_DIR),--cache-dir $(PIP_AUDIT_CACHE_DIR))

smoke: setup ## a quick walk through FleetMDM on a throw-away database
	@BIN=$(BIN) ./tools/smoke.sh

clean: ## remove what make made
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
