# hb: `make demo` shows it, `make test` proves it. Both work on a bare machine with a Rust toolchain.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
ARGS ?=

PREFIX ?= /usr/local

.PHONY: help build install dist reproducible demo test test-deps compose lint deny check simulate kills day zoo zoo-smoke zoo-random zoo-slow zoo-agents soak test-k8s smoke-k8s mutants fuzz bench bench-supervisors bench-recovery bench-peers bench-look bench-monitor bench-detection screenshots clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

build: ## both programs, for use
	$(CARGO) build --release --bins -p hbsidecar -p hbmonitor

install: build ## both programs into PREFIX/bin; PREFIX=/usr/local
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(TARGET)/release/hbsidecar $(TARGET)/release/hbmonitor $(DESTDIR)$(PREFIX)/bin

dist: ## dist/: archive and Debian package for machines without Rust: static programs, manual pages, completions, units; SBOM
	scripts/dist

reproducible: ## builds dist/ twice, from other paths, at other times: each byte must be the same; two release builds, a quarter of an hour
	scripts/reproducible

demo: ## builds and plays the demo; ARGS=--once ends it after the story
	$(CARGO) build --quiet --bins -p hbsidecar -p hbmonitor
	$(TARGET)/debug/hbmonitor demo $(ARGS)

.NOTPARALLEL: test
test: test-deps lint deny check ## everything: installs what tests need, format, lints, dependencies, all tests

test-deps: ## redis-server, node, Chromium, promtool, python clients, a Docker engine, cargo-deny
	scripts/test-deps

lint: ## format and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy -p heartbeat --test zoo --test zoo_random --test day --test kubernetes -- -D warnings
	$(CARGO) clippy -p heartbeat --lib -- -D warnings -D clippy::iter_over_hash_type
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

deny: ## licences, bans and sources of all dependencies
	@if command -v cargo-deny >/dev/null; then cargo-deny --workspace --log-level error check bans licenses sources; \
	elif [ -x $(TARGET)/tools/bin/cargo-deny ]; then $(TARGET)/tools/bin/cargo-deny --workspace --log-level error check bans licenses sources; \
	else echo "cargo-deny IS NOT HERE: licences, bans and sources were not checked" >&2; fi

# Most tests wait: twice as many at once as there are processors.
TEST_THREADS ?= $(shell echo $$((2 * $$(nproc))))

check: ## all tests; TEST_THREADS at once
	$(CARGO) build --workspace --bins
	RUST_TEST_THREADS=$(TEST_THREADS) $(CARGO) test --workspace
	$(MAKE) simulate
	$(MAKE) day
	$(MAKE) zoo-smoke
	$(MAKE) zoo-random COUNT=12

# A failing seed is printed: SEED=17 make simulate tells its story, with AGENT=a3 each beat of an agent.
simulate: ## agents and monitor in virtual time under every fault; SEEDS=100000, FAULT=Flush, SEED=17; half a minute, part of `make test`
	$(CARGO) run --quiet --profile simulation -p simulation

# Each point has a store and two monitors of its own; what the incidents show then is counted at the end.
POINTS ?= 200
kills: ## kill -9 of hbmonitor at POINTS random points of a recovery: no rung twice, no incident forgotten; five minutes
	HB_KILL_POINTS=$(POINTS) $(CARGO) test --quiet -p heartbeat --test ladder -- --nocapture killed_anywhere

compose: ## docker-compose.yml on a real engine with Compose v1 and v2; builds v2 with Go where it is not here; five minutes
	scripts/test-deps --compose-v2
	$(CARGO) test -p heartbeat --test compose

day: ## an operator's ordinary days, one story a test; ARGS names stories, in part; three minutes
	$(CARGO) test -p heartbeat --test day -- --test-threads=4 $(ARGS)

# A cluster of its own, unless KUBECONFIG names one that has the images of scripts/kubernetes. Root; six minutes more the first time.
test-k8s: ## hb in a real one-node Kubernetes, started for it; ARGS names rows, in part
	scripts/kubernetes test $(ARGS)

smoke-k8s: ## fourteen of its rows, with the programs of the last build; six minutes when the cluster's programs are there
	scripts/kubernetes smoke

.PHONY: k8s/hb.yaml
k8s/hb.yaml: ## renders the chart for kubectl and kustomize; HELM names helm
	{ echo '# hb with Redis in the namespace `hb`, for `kubectl apply -f`. Made from k8s/chart by `make k8s/hb.yaml`.'; \
	$(or $(HELM),helm) template hb k8s/chart --namespace hb --set namespace.create=true --kube-version 1.29.0; } > $@

# ARGS names rows, in part: make zoo ARGS="h07 g0". ZOO_SIDECAR=PATH tries another program in the sidecar's place.
zoo: test-deps ## hangs that must be found and work that must not be flagged, under the sidecar; seven minutes
	$(CARGO) test --quiet -p heartbeat --test zoo -- $(ARGS)

zoo-smoke: test-deps ## sixty-nine of its rows, each rule once; two minutes, part of `make test`
	$(CARGO) test --quiet -p heartbeat --test zoo -- --smoke $(ARGS)

# COUNT trees from the first of SEEDS on, or exactly SEEDS=3,5,8: make zoo-random COUNT=1000 SEEDS=5000
COUNT ?= 300
SEEDS ?= 1
zoo-random: test-deps ## random trees on the real kernel: no proof where the model can go on; four minutes
	$(CARGO) test --quiet -p heartbeat --test zoo_random -- COUNT=$(COUNT) SEEDS=$(SEEDS) $(ARGS)

zoo-slow: test-deps ## some of its rows in real time; half an hour
	$(CARGO) test --quiet -p heartbeat --test zoo -- --slow $(ARGS)

soak: test-deps ## ordinary programs, an hour of theirs each at twenty times the speed, without one flag; nine minutes
	$(CARGO) test --quiet -p heartbeat --test zoo -- --soak $(ARGS)

# ZOO_JOBS=3 limits the agents at once, ZOO_PATIENCE=1 is real time; ARGS names rows, in part: ARGS="gemini _stall".
zoo-agents: test-deps ## eleven real agents in every mode of a fake model, and rows of Claude Code and Codex; an hour
	scripts/test-deps --agents
	$(CARGO) test --quiet -p heartbeat --test zoo -- --agents $(ARGS)
	$(CARGO) test --quiet -p heartbeat --test zoo -- --matrix $(ARGS)

fuzz: ## long: broken lines against the status contract; HB_FUZZ_SECONDS, HB_FUZZ_CASES, HB_FUZZ_SEED
	scripts/fuzz

# One line per commit, so that two commits compare at a glance; "-dirty" marks a tree that is no commit.
bench: ## figures of this commit beside their peers, kept in target/bench-history.txt
	@mkdir -p $(TARGET)
	$(CARGO) bench --bench beats --bench lines -- --noplot | tee $(TARGET)/bench.txt
	@{ printf '%s %s' "$$(git describe --always --dirty --exclude '*')" "$$(date -u +%F)"; scripts/bench-line $(TARGET)/bench.txt; } | tee -a $(TARGET)/bench-history.txt

bench-supervisors: ## hbsidecar beside tini, dumb-init, runit, s6, supervisord and PM2; installs them; ARGS=--rounds=10
	@scripts/bench-supervisors $(ARGS)

bench-recovery: ## from kill -9 to working again: each rung beside docker, systemd and PM2; root, five minutes; ARGS="--rounds 5"
	@scripts/bench-recovery $(ARGS)

bench-peers: ## what hbsidecar, tini, dumb-init, catatonit, runit and s6 do with a program; the table in docs/supervision.md
	@scripts/bench-peers $(ARGS)

# Only the files that decide a proof: a mutant that no test notices is a gate that nothing guards.
mutants: ## changes each line that decides a proof: a test must fail; installs cargo-mutants; an hour
	@command -v cargo-mutants >/dev/null || [ -x $(TARGET)/tools/bin/cargo-mutants ] || $(CARGO) install cargo-mutants --locked --root $(TARGET)/tools
	PATH="$(TARGET)/tools/bin:$$PATH" HB_MODEL_STATES=50000 $(CARGO) mutants -p heartbeat -o $(TARGET) -f 'src/verdict/wakeup/[!s]*.rs' -f src/verdict/wakeup/sources.rs -f src/verdict/known_programs.rs -- --lib --test model

bench-look: test-deps ## what one sample of a tree of ten processes costs, beside ps and lsof; what a beat costs at 10 GB
	$(CARGO) bench --quiet -p hbsidecar --bench look
	$(CARGO) build --quiet --release -p hbsidecar
	python3 benches/supervisors/mapped.py $(TARGET)/release/hbsidecar

# ARGS picks loads and peers: make bench-monitor ARGS="--agents 1000 --shapes varying --seconds 2".
bench-monitor: ## hbmonitor beside the seed's monitor in Node and a subscriber that discards, on a real Redis; ten minutes
	@scripts/bench-monitor $(ARGS)

bench-detection: ## how long hbmonitor takes to see silent deaths, idle and under 50,000 beats a second; seven minutes; ARGS="--trials 10"
	@scripts/bench-detection $(ARGS)

screenshots: ## the pictures of docs/img, in a real Chromium; half an hour, so that there are curves
	@scripts/screenshots

clean: ## what was built
	$(CARGO) clean
