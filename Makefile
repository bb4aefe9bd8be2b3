# A thin front for meson and ninja: what a person types. `make help` lists it.
#
# `make` installs no packages; `make demo`, `make check` and the other checks install what they lack (scripts/install-deps).
PREFIX ?= /usr/local
DESTDIR ?=
TIME ?= 60
STORE ?= sqlite
SEED ?=
MESON = meson
RELEASE = build/release

.DEFAULT_GOAL = all
.PHONY: all demo check coverage lint bench bench-peers models mutants torture fuzz install uninstall clean help

all: $(RELEASE)/build.ninja ## build the library and the command into build/release
	@ninja -C $(RELEASE)

$(RELEASE)/build.ninja:
	@command -v $(MESON) >/dev/null || { echo "make: meson is missing; run: scripts/install-deps build" >&2; exit 1; }
	@$(MESON) setup $(RELEASE) --buildtype=release -Dtests=disabled --prefix=$(PREFIX)

demo: ## install what the build needs, build, and show two jobs that want one key
	@scripts/demo

check: ## install what the tests need; build and test plain, with clang, ASan+UBSan and TSan
	@scripts/install-deps build test
	@scripts/fetch-servers || true
	@scripts/check

coverage: ## which part of the lines and branches the tests reach, by folder
	@scripts/install-deps build test coverage
	@scripts/fetch-servers || true
	@scripts/coverage

lint: ## format, clang-tidy, cppcheck, shellcheck, includes, man pages, Python syntax
	@scripts/install-deps build test
	@scripts/lint

bench: all ## measure; figures are ratios within one run, never a failing test
	@$(MESON) test -C $(RELEASE) --benchmark --verbose | sed -n '/^[a-z-]*: /p; /FAIL\|ERROR\|TIMEOUT/p'

bench-peers: all ## install what else locks, and measure it beside ours on the same servers
	@scripts/install-deps peers || true
	@bench/peers/run.py --build $(RELEASE)

models: ## check the models of the lease and of Redlock in every state (Spin)
	@scripts/install-deps build test
	@models/run.py

mutants: ## put each known mistake into a copy of the source and show which test finds it
	@scripts/install-deps build test
	@scripts/fetch-servers || true
	@scripts/mutants

torture: ## lock under faults for TIME seconds: STORE=sqlite, redis, redis:3, postgresql, mongodb, or a URL; SEED, FAULT
	@scripts/install-deps build test
	@scripts/torture '$(STORE)' --time $(TIME) $(if $(SEED),--seed $(SEED)) $(addprefix --only ,$(FAULT))

fuzz: ## run each fuzz target for TIME seconds (60)
	@scripts/install-deps build test
	@scripts/fuzz $(TIME)

install: ## install below PREFIX (/usr/local); DESTDIR goes in front of it
	@test -f $(RELEASE)/build.ninja || $(MAKE) --no-print-directory all
	@$(MESON) configure $(RELEASE) -Dprefix=$(PREFIX)
	@$(MESON) install -C $(RELEASE) $(if $(DESTDIR),--destdir $(abspath $(DESTDIR)))
	@if test -z "$(DESTDIR)" && test "$$(id -u)" = 0; then ldconfig; fi

uninstall: ## remove what the last install of this folder put there
	@ninja -C $(RELEASE) uninstall
	@if test "$$(id -u)" = 0; then ldconfig; fi

clean: ## remove everything that was built
	@rm -rf build

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-11s %s\n' "$$name" "$$text"; done
