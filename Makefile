# Thin front of the CMake build: `make` lists the targets. Variables: KILLS, JOBS, SIDE, PREFIX, ONEDNN, FILTER, FUZZ_SECONDS, BENCH, CMAKE_FLAGS.
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
# Tests side by side: each has threads of its own for a part of its time, so more than two gain little.
SIDE ?= 2
PREFIX ?= /usr/local
CLANG_FORMAT ?= clang-format
# Another oneDNN than the system's builds into a directory of its own.
ONEDNN ?=
BUILD ?= $(if $(ONEDNN),build-onednn,build)
# Regular expression: only the tests whose names match.
FILTER ?=
# Rows of make bench-all; empty: all.
BENCH ?=
CMAKE_FLAGS ?=
# Directory with the binary files of CIFAR-10, or of a part of it, for make results-collapse and results-correlate; further words for both.
RESULTS_DATA ?=
RESULTS ?=
SECONDS ?= 60
FUZZ_SECONDS ?= $(SECONDS)
KILLS ?= 100

SOURCES = $(wildcard src/*/*.[ch] src/*/*/*.[ch] include/espalier/*.h tests/*.[ch] tests/*/*.[ch] tests/*/*.cpp \
	examples/*.[ch] bench/*.[ch])
SCRIPTS = $(shell grep -lE '^.!/bin/sh|^.!/usr/bin/env bash' .ci/run tools/* tests/*/*.sh 2>/dev/null)

# configure DIRECTORY,FLAGS: ninja and ccache when they are there; a configured directory keeps its generator.
configure = cmake -S . -B $(1) $(if $(wildcard $(1)/CMakeCache.txt),,$(if $(shell command -v ninja),-G Ninja)) \
	$(if $(shell command -v ccache),-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache) \
	$(if $(ONEDNN),-DONEDNN_ROOT=$(abspath $(ONEDNN))) $(2) $(CMAKE_FLAGS)
build = $(call configure,$(1),$(2)) && cmake --build $(1) -j $(JOBS)
ctest = ctest --test-dir $(1) -j $(SIDE) --output-on-failure --no-tests=error $(if $(FILTER),-R '$(FILTER)') $(2)

results = $(if $(RESULTS_DATA),,$(error make $@ RESULTS_DATA=DIR: the directory with the files of CIFAR-10)) \
	python3 bench/$(1).py $(BUILD)/espalier --data-dir '$(RESULTS_DATA)' --page docs/results.md $(RESULTS)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

deps: ## the packages that the build and the tests need (apt; elsewhere: prints them)
	@ONEDNN='$(ONEDNN)' tools/install-deps

build: deps ## library and command in build/ (build/espalier); ONEDNN=PREFIX: against that oneDNN, in build-onednn/
	$(call build,$(BUILD),)

demo: build ## search and retrain a network on real images, from nothing, in some minutes
	ESPALIER=$(BUILD)/espalier tools/demo

test: deps ## everything: build with warnings as errors, run all tests (FILTER=REGEX: only those)
	$(call build,$(BUILD),-DESPALIER_WERROR=ON)
	$(call ctest,$(BUILD),)

test-isa: deps ## all tests once more with each lower instruction set (AVX2, then none)
	$(call build,$(BUILD),-DESPALIER_WERROR=ON)
	ESPALIER_ISA=avx2 $(call ctest,$(BUILD),)
	ESPALIER_ISA=generic $(call ctest,$(BUILD),)

quick: ## build and run the tests that take seconds
	$(call build,$(BUILD),-DESPALIER_WERROR=ON)
	$(call ctest,$(BUILD),-LE slow)

bench: build ## the main benchmarks, ours and PyTorch's by turns (ESPALIER_PEER_PYTHON: a Python with PyTorch); half an hour
	python3 bench/table.py $(BUILD)/espalier

bench-all: build ## all benchmarks (BENCH=W2,W10: these rows) in all modes of PyTorch; goes on where it was stopped
	python3 bench/table.py $(BUILD)/espalier --all --store $(BUILD)/bench $(if $(BENCH),--rows $(BENCH))

results-collapse: build ## does DARTS collapse, and what helps? into docs/results.md; RESULTS_DATA=DIR with CIFAR-10's files; 3 hours at most, again to go on
	$(call results,collapse)

results-correlate: build ## do the scores of a search rank networks? into docs/results.md; RESULTS_DATA=DIR as above; 3 hours at most, again to go on
	$(call results,correlate)

results-regret: build ## classic strategies on a table of accuracies: the curves and the table of docs/results.md (half a minute)
	$(BUILD)/bench/regret tests/data/tables/nas-bench-macro.csv 300 docs/images/regret.svg

page: ## the page of `espalier ui`, from web/ into web/dist, where it is committed (needs Node >= 20.19)
	@node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' 2>/dev/null || \
		{ echo 'make page: needs Node.js 20.19 or newer; the page that is committed in web/dist works without' >&2; exit 1; }
	cd web && npm ci --no-audit --no-fund && npm run build

page-check: ## is web/dist what web/ builds, and small enough?
	tools/check-page

test-page: build page ## the page in Chromium, against a search that goes on; pictures in build/page
	node tests/page/page.mjs $(BUILD)/espalier $(BUILD)/page

asan: deps ## all tests under AddressSanitizer and UndefinedBehaviorSanitizer
	$(call build,build-asan,-DESPALIER_SANITIZE=address,undefined -DCMAKE_BUILD_TYPE=RelWithDebInfo)
	UBSAN_OPTIONS=print_stacktrace=1 $(call ctest,build-asan,)

tsan: deps ## the tests with threads of our own under ThreadSanitizer (what is left out, and why: tools/tsan.supp)
	$(call build,build-tsan,-DESPALIER_SANITIZE=thread -DCMAKE_BUILD_TYPE=RelWithDebInfo)
	OMP_NUM_THREADS=1 TSAN_OPTIONS='suppressions=$(CURDIR)/tools/tsan.supp ignore_noninstrumented_modules=1' \
		$(call ctest,build-tsan,-L threads)

valgrind: build ## leak check of examples/train
	tools/valgrind $(BUILD)

test-crash: build ## KILLS (100) SIGKILLs at random instants over searches of every strategy and a retraining; nothing may differ afterwards
	NO_COLOR=1 OMP_WAIT_POLICY=passive tests/cli/crash.sh $(abspath $(BUILD)/espalier) $(abspath $(BUILD)/tests/cli/same_run) $(KILLS)

fuzz: deps ## the readers against broken input, FUZZ_SECONDS (60) each
	JOBS=$(JOBS) tools/fuzz $(FUZZ_SECONDS)

format: ## rewrite the sources in the project's style
	@$(CLANG_FORMAT) -i $(SOURCES)

lint: ## style, layers, shell scripts
	tools/check-layers
	$(if $(shell command -v shellcheck),shellcheck -x $(SCRIPTS),@echo 'lint: no shellcheck here, scripts not checked')
	@case "$$($(CLANG_FORMAT) --version)" in \
	*"version 14."*) echo "$(CLANG_FORMAT) --dry-run --Werror ..."; $(CLANG_FORMAT) --dry-run --Werror $(SOURCES) ;; \
	*version*) echo "lint: the style is that of clang-format 14, here is another version: not checked" ;; \
	*) echo "lint: no $(CLANG_FORMAT) here; make deps" >&2; exit 1 ;; esac

install: build ## library, headers, pkg-config file and command below PREFIX (default /usr/local)
	cmake --install $(BUILD) --prefix $(PREFIX)

clean: ## remove everything that was built
	rm -rf build build-*

.PHONY: help deps build demo test test-isa page page-check test-page quick bench bench-all results-collapse results-correlate results-regret asan tsan valgrind test-crash fuzz format lint install clean
