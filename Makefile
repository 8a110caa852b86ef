# make serve | make test | make bench [BENCH=name] [JSON=file] | make bench-peers | make lint | make clean
#
# Each target installs what it misses: system packages by apt where there is apt, Python packages into .venv.
# PORT and HOST are respected, as is every DRAGOMAN_… variable (see `.venv/bin/dragoman serve --help`).

HOST ?= 127.0.0.1
PORT ?= 8080
export HOST PORT

VENV := .venv
# The first Python that runs and is new enough (a version manager's shim may be there and not run).
ifndef PYTHON
PYTHON := $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
endif

# GPL programs, used as subprocesses: the voice, and the translator with its language pairs.
RUN_PACKAGES := espeak-ng apertium apertium-eng-spa apertium-eng-cat apertium-en-gl apertium-es-gl apertium-spa-cat \
	apertium-fra-cat apertium-fr-es apertium-es-pt apertium-pt-gl apertium-por-cat apertium-spa-ita
# Speech that the recogniser understands, two browsers, a TURN server; npm for the type checker of the page.
TEST_PACKAGES := flite iproute2 chromium firefox-esr coturn $(if $(shell command -v npm),,npm)

# The tests' PyTorch; whoever has one already keeps it.
TORCH := torch==2.13.0

# A media server that ours is compared with.
PEER_PACKAGES := janus

.PHONY: serve test bench bench-peers lint clean run-packages test-packages

serve: run-packages $(VENV)/run.stamp
	@exec $(VENV)/bin/dragoman serve

test: run-packages test-packages $(VENV)/test.stamp lint
	$(VENV)/bin/python -m pytest $(PYTEST)

bench: run-packages test-packages $(VENV)/test.stamp
	$(VENV)/bin/python -m tests.bench $(BENCH)

# What `make bench BENCH=media` compares with. Each Python one has a venv of its own: their dependencies are not ours.
bench-peers: test-packages $(VENV)/test.stamp .bench/fastrtc/stamp .bench/pipecat/stamp
	$(call install_packages,$(PEER_PACKAGES))
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[fast,test,bench]'

.bench/fastrtc/stamp: PEER := fastrtc
.bench/pipecat/stamp: PEER := 'pipecat-ai[webrtc]' fastapi uvicorn
.bench/%/stamp: | $(VENV)/bin/python
	$(PYTHON) -m venv .bench/$*
	.bench/$*/bin/python -m pip install --quiet --disable-pip-version-check $(PEER)
	@touch $@

lint: $(VENV)/test.stamp
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	tests/node_modules/.bin/tsc --project static/jsconfig.json

clean:
	rm -rf $(VENV) .bench tests/node_modules *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Silent and quick when everything is there.
define install_packages
	@missing=""; for package in $(1); do \
		dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
		echo "There is no apt here: see 'Without apt' in README.md for what works without$$missing"; exit 0; fi; \
	sudo=""; if [ "$$(id -u)" != 0 ]; then sudo=sudo; fi; \
	echo "Installing:$$missing"; \
	$$sudo apt-get update -qq && \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null || \
		{ echo "These system packages could not be installed; going on without:$$missing"; }
endef

run-packages:
	$(call install_packages,$(RUN_PACKAGES) $(if $(shell $(PYTHON) -c 'import ensurepip' 2>/dev/null && echo yes),,python3-venv))

test-packages:
	$(call install_packages,$(TEST_PACKAGES))

$(VENV)/bin/python: | run-packages
	@[ -n "$(PYTHON)" ] || { echo "Dragoman needs Python 3.11 or newer; give PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# silero-vad without its dependencies: the wheel holds the model we run with onnxruntime, its metadata would pull in torch.
$(VENV)/run.stamp: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[fast]'
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps 'silero-vad>=6,<7'
	@touch $@

# PyTorch's own index first: it has a build for CPUs of 200 MB, where PyPI's brings gigabytes of CUDA along.
$(VENV)/test.stamp: $(VENV)/run.stamp tests/package.json
	$(VENV)/bin/python -c 'import torch' 2>/dev/null || \
		$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --retries 0 $(TORCH) \
			--index-url https://download.pytorch.org/whl/cpu 2>/dev/null || \
		$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[fast,seamless,test]' 'einops>=0.7,<0.9'
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps moshi==0.2.13  # its pins are too old
	npm install --prefix tests --silent --no-audit --no-fund
	@touch $@
