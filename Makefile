# b4: build, prove, measure. "make" alone lists what there is.

GO      ?= go
BUILD   := $(CURDIR)/build
# A release's tarball carries VERSION; a checkout with tags asks git; without
# either b4d says what its source says.
VERSION := $(shell cat VERSION 2>/dev/null || git describe --tags --dirty 2>/dev/null)
LDFLAGS := -s -w $(if $(VERSION),-X main.version=$(VERSION))
# How long each fuzz target runs.
FUZZTIME ?= $(if $(QUICK),5s,20s)
# What a router with 8 MiB of flash can spare for b4d, in bytes.
MAXSIZE  := 4900000
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# No C compiler is needed, nor wanted in what is measured; the version comes
# from LDFLAGS, so that a checkout owned by somebody else builds too.
export CGO_ENABLED := 0
export GOFLAGS     := $(GOFLAGS) -buildvcs=false

# The routers b4 is made for: OpenWrt's targets.
TARGETS := mips mipsle armv5 armv7 arm64 riscv64 amd64 386
env-mips    := GOARCH=mips GOMIPS=softfloat
env-mipsle  := GOARCH=mipsle GOMIPS=softfloat
env-armv5   := GOARCH=arm GOARM=5
env-armv7   := GOARCH=arm GOARM=7
env-arm64   := GOARCH=arm64
env-riscv64 := GOARCH=riscv64
env-amd64   := GOARCH=amd64
env-386     := GOARCH=386

# What packages carry; openwrt/mkpkg says which of OpenWrt's architectures run it.
PACKED := mips mipsle armv7 arm64 riscv64 amd64
# Packages have one date, that of the last commit, so that they come out the same.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null)
# They are built by the Go that OpenWrt 24.10's feed has, which go fetches, and so
# come out the same whatever is installed, 68 kB smaller than by Go 1.26.
# PACKGO=local takes the one installed.
PACKGO ?= go1.23.12
# Inlining makes b4d a tenth larger. Packages have it where bytes of packets are
# worked on: all of it is 80 kB of the package more, and b4d's time for a
# connection is the same (45 to 50 us, with and without).
HOT := internal/abi internal/bytealg internal/byteorder sync/atomic math/bits encoding/binary \
	$(addprefix b4/,engine flow http1 inject match nfq packet quic tlshello tun)
SMALL = -gcflags=all=-l $(HOT:%=-gcflags=%=)

SCRIPTS = $(shell grep -rlE '^\#!.*/(env )?(ba)?sh\b' --exclude-dir=.git --exclude-dir=build --exclude=*.go .)

# The packages that make no system calls of their own. luci-app has no code in Go.
PURE = $(shell $(GO) list -f '{{.ImportPath}} {{join .Deps " "}}' ./... | grep -v 'golang.org/x/sys\|/luci-app ' | cut -d' ' -f1)

# Those with tests of the kernel, which want a router's kernel too.
KERNEL := confine fw inject netif nfq rtnl tun route

.PHONY: help build demo test test-root test-lab test-alone lint eslint luci bench soak chaos attack guest guest-tests matrix fuzz 386 bigendian arm5 cross packages reproducible mkpkg clean go shellcheck

help: ## list these targets
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

build: go ## b4d for this machine, into build/
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BUILD)/b4d ./cmd/b4d

demo: build ## b4d against censors, in network namespaces (root, or user namespaces)
	$(GO) -C lab build -trimpath -o $(BUILD)/demo ./cmd/demo
	$(BUILD)/demo -b4d $(BUILD)/b4d

test: go ## every test; those of the kernel need root and are skipped without
	@$(MAKE) --no-print-directory -j 2 --output-sync=target test-root test-lab
	@$(MAKE) --no-print-directory test-alone

test-root:
	$(GO) test ./...

# Most of it waits for something. What counts system calls, or fills queues, wants a
# machine that does nothing else: it would be repeated again and again.
ALONE := ^(TestCounts|TestCountsBesideOthers|TestIdle|TestListMemory|TestQueueFull)$$

test-lab:
	$(GO) -C lab test -timeout 30m -skip '$(ALONE)' ./...

test-alone:
	$(GO) -C lab test -run '$(ALONE)' .

lint: go shellcheck ## gofmt, vet, staticcheck, shellcheck
	@files=$$($$($(GO) env GOROOT)/bin/gofmt -l .); [ -z "$$files" ] || { echo "not gofmt-ed:" $$files; exit 1; }
	$(GO) vet ./...
	$(GO) -C lab vet ./...
	$(GO) run $(STATICCHECK) ./...
	cd lab && $(GO) run $(STATICCHECK) ./...
	shellcheck -e SC3043,SC2034 $(SCRIPTS)

eslint: ## LuCI's pages (nodejs and npm, which fetches eslint)
	@command -v npm >/dev/null || { echo "npm is missing: apt-get install nodejs npm"; exit 1; }
	@mkdir -p $(BUILD)/eslint && cp luci-app/package.json luci-app/package-lock.json luci-app/eslint.config.mjs $(BUILD)/eslint
	@echo "module eslint" >$(BUILD)/eslint/go.mod # what npm brings is not ours, though some of it is Go
	npm ci --silent --no-audit --no-fund --ignore-scripts --prefix $(BUILD)/eslint
	cd luci-app && $(BUILD)/eslint/node_modules/.bin/eslint --config $(BUILD)/eslint/eslint.config.mjs --max-warnings 0 .

# LuCI's runtime comes from a checkout of github.com/openwrt/luci, master or a release from 23.05 on.
luci: go ## click through LuCI's pages in Chromium, with a real b4d behind them (LUCI_SRC=a checkout of LuCI)
	@[ -d "$(LUCI_SRC)/modules/luci-base" ] || { echo "LUCI_SRC is missing: git clone --depth 1 https://github.com/openwrt/luci, and LUCI_SRC=luci"; exit 1; }
	LUCI_SRC='$(abspath $(LUCI_SRC))' $(GO) -C lab test -count 1 ./luci

bench: build ## docs/BENCHMARKS.md anew: b4d against plain forwarding; then the parts' own benchmarks (QUICK=1: less, and not written)
	$(GO) -C lab build -trimpath -o $(BUILD)/bench ./cmd/bench
	$(BUILD)/bench -b4d $(BUILD)/b4d $(if $(QUICK),-quick,-o $(CURDIR)/docs/BENCHMARKS.md)
	@pkgs=$$(grep -rl --include='*_test.go' --exclude-dir=lab --exclude-dir=build '^func Benchmark' . | xargs -n 1 dirname | sort -u); \
	$(GO) test -run '^$$' -bench . -benchtime $(if $(QUICK),20ms,200ms) -benchmem $$pkgs

# How long the soak lasts, and how often b4d is killed in a chaos with each engine.
FOR   ?= 30m
KILLS ?= 200

soak: build ## mixed traffic for half an hour, with accidents, against the same without b4 (FOR=3m: shorter)
	$(GO) -C lab build -trimpath -o $(BUILD)/soak ./cmd/soak
	$(BUILD)/soak -b4d $(BUILD)/b4d -for $(FOR)

chaos: build ## b4d killed 200 times under load, with each engine (KILLS=40: fewer)
	$(GO) -C lab build -trimpath -o $(BUILD)/chaos ./cmd/chaos
	$(BUILD)/chaos -b4d $(BUILD)/b4d -kills $(KILLS)

attack: build ## floods by a client, and what they cost, as docs/ATTACKS.md has it
	$(GO) -C lab build -trimpath -o $(BUILD)/attack ./cmd/attack
	$(BUILD)/attack -b4d $(BUILD)/b4d -rate 25000

# What runs in the guests is what packages ship, with the configuration they ship.
GUEST := $(GO) -C lab run ./guest -dir $(BUILD)/guest
guest-mipsle := -arch mipsel -m 64
guest-arm64  := -arch arm64 -m 128
smp-arm64    := -smp 2
feed-mipsle  := mipsel_24kc
feed-arm64   := aarch64_generic

guest: go ## the packages in emulated MIPS and ARM routers (QEMU): a small demo, behind flow offload, and the kernel tests
	$(MAKE) -j 2 --output-sync=target guest-tests guest-demo-mipsle guest-demo-arm64 guest-offload-mipsle guest-offload-arm64

guest-demo-%: packed-%
	$(env-$*) $(GO) -C lab build -trimpath -ldflags '-s -w' -o $(BUILD)/$*/demo ./cmd/demo
	$(BUILD)/mkpkg -only $* -bin $(BUILD)/packed -out $(BUILD)/$*/packages -version '$(VERSION)' -epoch '$(or $(SOURCE_DATE_EPOCH),0)'
	$(GUEST) $(guest-$*) -ipk $(BUILD)/$*/packages/ipk/$(feed-$*)/b4_*.ipk -add $(BUILD)/$*/demo:/demo \
		-run 'b4d check -offline && /demo -small -b4d /usr/sbin/b4d -config /etc/config/b4'

# What b4d does in a router that offloads flows. Starts and ends under load want two
# cores, which the MIPS board has not: on one, no packet is between two rules when they
# change.
offload-mipsle := -parts opens,speed
offload-arm64  := -parts cycles -cycles 50

guest-offload-%: packed-%
	$(env-$*) $(GO) -C lab build -trimpath -ldflags '-s -w' -o $(BUILD)/$*/offload ./cmd/offload
	$(GUEST) $(guest-$*) -m 256 $(smp-$*) -add $(BUILD)/packed/$*/b4d:/b4d -add $(CURDIR)/procd/b4.config:/b4.config \
		-add $(BUILD)/$*/offload:/offload -run '/offload -small -b4d /b4d -config /b4.config $(offload-$*)'

# The bench in little. Emulation tells how figures compare with one another, not how
# fast a router is.
guest-bench-%: packed-%
	$(env-$*) $(GO) -C lab build -trimpath -ldflags '-s -w' -o $(BUILD)/$*/bench ./cmd/bench
	$(GUEST) $(guest-$*) -m 256 $(smp-$*) -add $(BUILD)/packed/$*/b4d:/b4d -add $(BUILD)/$*/bench:/bench -run '/bench -small -b4d /b4d $(BENCHFLAGS)'

# At the end it is measured what b4d does with a packet, compiled as in packages and
# without the kernel's part. Emulation tells how figures compare with one another,
# not how fast a router is.
guest-tests: go
	rm -rf $(BUILD)/mipsle/tests
	$(env-mipsle) $(GO) test -c -ldflags '-s -w' -o $(BUILD)/mipsle/tests/ $(KERNEL:%=./%)
	GOTOOLCHAIN=$(PACKGO) $(env-mipsle) $(GO) test -c $(SMALL) -ldflags '-s -w' -o $(BUILD)/mipsle/tests/ ./pipeline
	@echo "== the kernel's tests, on emulated MIPS"
	$(GUEST) -m 256 -add $(BUILD)/mipsle/tests:/tests \
		$(foreach d,$(wildcard $(KERNEL:%=%/testdata)),-add $(CURDIR)/$(d):/src/$(d)) \
		-run 'set -e; export B4_SLOW=1; for p in $(KERNEL); do echo "== $$p"; mkdir -p /src/$$p; cd /src/$$p; /tests/$$p.test -test.timeout 20m; done; echo "== on emulated MIPS:"; cd /; \
			/tests/pipeline.test -test.run ^$$ -test.bench "Hello|Steered|NoInterest|QUIC" -test.benchtime 2000x -test.benchmem'

matrix: go ## docs/MATRIX.md anew: every strategy against every model censor, in memory
	$(GO) -C lab run ./cmd/b4lab matrix -o $(CURDIR)/docs/MATRIX.md

# Where fuzz targets are, as path/of/package/FuzzName.
FUZZ = $(shell grep -rEo --include='*_test.go' '^func Fuzz\w+' . | sed 's,^\./\(.*\)/[^/]*:func ,\1/,' | sort)

fuzz: go ## each fuzz target for FUZZTIME (20s; QUICK=1: 5s), four at a time
	@rm -rf $(BUILD)/fuzz
	@$(MAKE) --no-print-directory -j 2 $(patsubst %,$(BUILD)/fuzz/%.test,$(sort $(patsubst %/,%,$(dir $(FUZZ)))))
	@$(MAKE) --no-print-directory -j 4 --output-sync=target $(FUZZ:%=fuzz/%)

$(BUILD)/fuzz/%.test:
	@echo "fuzz binary of $*"; cd $* && $(GO) test -c -fuzz . -o $@ .

# One worker each, as several run at a time. Now and then the end of the time itself
# is called a failure, "context deadline exceeded"; a finding names its input or
# says what else went wrong.
fuzz/%: log = $(BUILD)/fuzz/$*.log
fuzz/%:
	@mkdir -p $(dir $(log)); cd $(@D:fuzz/%=%) && $(BUILD)/$(@D).test -test.run '^$$' -test.fuzz '^$(@F)$$' -test.fuzztime $(FUZZTIME) \
		-test.fuzzminimizetime 10x -test.parallel 1 -test.fuzzcachedir "$$($(GO) env GOCACHE)/fuzz/b4/$(@D:fuzz/%=%)" >$(log) 2>&1 || \
		{ grep -q '^    context deadline exceeded' $(log) && ! grep -q 'Failing input\|_test.go:' $(log); } || \
		{ echo "$@ found:"; cat $(log); exit 1; }; \
	echo "$@$$(sed -n 's/^fuzz:/:/p' $(log) | tail -n 1)"

386: go ## the tests that need no kernel, on 32 bits
	GOARCH=386 $(GO) test -short ./...

bigendian: go ## the tests of the pure packages, on emulated big-endian MIPS
	@command -v qemu-mips-static >/dev/null || { echo "qemu-mips-static is missing: apt-get install qemu-user-static"; exit 1; }
	$(env-mips) $(GO) test -short -exec qemu-mips-static $(PURE)

arm5: go ## the same on emulated ARM without a floating point unit
	@command -v qemu-arm-static >/dev/null || { echo "qemu-arm-static is missing: apt-get install qemu-user-static"; exit 1; }
	$(env-armv5) $(GO) test -short -exec qemu-arm-static $(PURE)

cross: $(TARGETS:%=cross-%) ## build for every router

cross-%: go
	GOOS=linux $(env-$*) $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BUILD)/$*/b4d ./cmd/b4d

packages: $(PACKED:%=packed-%) ## .ipk, .apk and feeds for OpenWrt, into build/packages/; bound b4d's size
	@size=$$(stat -c %s $(BUILD)/packed/mipsle/b4d); echo "b4d for mipsle: $$size bytes of $(MAXSIZE)"; \
	[ $$size -le $(MAXSIZE) ] || { echo "b4d for mipsle is too large"; exit 1; }
	$(BUILD)/mkpkg -bin $(BUILD)/packed -out $(BUILD)/packages -version '$(VERSION)' -epoch '$(or $(SOURCE_DATE_EPOCH),0)'

reproducible: packages ## make the packages twice: they are the same to the byte
	mv $(BUILD)/packages/sha256sums $(BUILD)/first.sha256sums
	rm -rf $(BUILD)/packed $(BUILD)/packages
	$(MAKE) --no-print-directory packages >/dev/null
	cmp $(BUILD)/first.sha256sums $(BUILD)/packages/sha256sums

packed-%: mkpkg
	@echo "b4d for the packages of $*"; version=$$($(BUILD)/mkpkg -version '$(VERSION)' -print-version) && \
	GOTOOLCHAIN=$(PACKGO) GOOS=linux $(env-$*) $(GO) build -trimpath $(SMALL) \
		-ldflags "-s -w -X main.version=$$version" -o $(BUILD)/packed/$*/b4d ./cmd/b4d

mkpkg: go
	$(GO) build -trimpath -o $(BUILD)/mkpkg ./openwrt/mkpkg

clean: ## remove build/
	rm -rf $(BUILD)

go:
	@$(GO) version 2>/dev/null | grep -qE 'go1\.(2[1-9]|[3-9][0-9])|devel' || \
		{ echo "Go 1.23 or newer is missing: https://go.dev/dl"; exit 1; }

shellcheck:
	@command -v shellcheck >/dev/null || { echo "shellcheck is missing: apt-get install shellcheck"; exit 1; }
