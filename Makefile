# What can be built, run and proved here. Needs Go 1.26; what else is missing is
# installed by apt-get as root, or named (packaging/tools/need.sh).

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unreleased)
FUZZTIME ?= 10s
STATES   ?= 1000000
CUTS     ?= 2000
# Of the short demo inside "make test"; "make demo" plays a whole day.
TEST_SALES ?= 200
SIZE_LIMIT := 9200000
# The time of every file in a package: that of the last commit.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || date +%s)
STATICCHECK_VERSION := v0.8.2
STATICCHECK := .tools/staticcheck-$(STATICCHECK_VERSION)
GOTESTSUM_VERSION := v1.13.0
GOTESTSUM := .tools/gotestsum-$(GOTESTSUM_VERSION)
# A test that fails beside all others, on a machine that stands still now and then, is run again
# alone; one that passes then is named at the end, for somebody to mend. A data race is never
# asked twice, nor are more than three failures.
GOTEST := $(GOTESTSUM) --format standard-quiet --hide-summary skipped --rerun-fails=2 --rerun-fails-max-failures=3 \
  --rerun-fails-abort-on-data-race --rerun-fails-run-root-test --rerun-fails-report=.tools/unsteady --packages=./...
UNSTEADY := if [ -s .tools/unsteady ]; then echo "UNSTEADY, failed at first and passed alone; mend these:"; cat .tools/unsteady; fi

# posdemo reads these from the environment: make demo DATA=folder DAY=2024-11-29 SALES=500 SEED=7 KEEP=1
export DATA DAY KEEP SALES SEED TILLS

export CGO_ENABLED ?= 0
# A terminal's program has to fit. HTTP/2 would be 390 kB unused: every listener here is plain
# HTTP on the machine, or TLS of NATS. Calls are inlined only where sales and parcels spend time;
# everywhere it would be 600 kB. Segments begin at 16 KiB instead of 64: kernels with 4 and
# with 16 KiB pages run it, as the journal asks for.
HOT := runtime internal/runtime/... internal/abi internal/cpu internal/bytealg internal/byteorder internal/race internal/goarch \
  sync/atomic strconv internal/strconv unicode/utf8 math/bits \
  crypto/internal/fips140/sha256 crypto/sha256 github.com/go-json-experiment/json/... \
  github.com/klauspost/compress/s2 github.com/klauspost/compress/internal/le
GOBUILD := go build -trimpath -buildvcs=false -tags nethttpomithttp2
# Elsewhere a defer is a call of the runtime, not code at each return, and what make and append
# return begins in the heap: 28 kB less. A sale would take three pieces of the heap more than its 81,
# so what it runs through keeps both.
WARM := bufio internal/poll net/http net/textproto posd/journal/... posd/pos posd/pos/event posd/pos/httpapi \
  posd/pos/itemcode posd/pos/register posd/pos/till posd/pos/view
COLD    := -l -d=noopendefer=1,variablemakethreshold=0
SLIM    := $(GOBUILD) -gcflags='all=$(COLD)' $(WARM:%=-gcflags=%=-l) $(HOT:%=-gcflags=%=)
LDFLAGS := -s -w -X main.release=$(VERSION)
PAGES   := -R 0x4000
DEVICE  := posd posctl
OFFICE  := poshub posdemo poscard

.DELETE_ON_ERROR:
.PHONY: all build build-arm64 size demo test race race-short fuzz bench bench-journal bench-uplink bench-hub bench-checkout bench-slice test-slice lab-neighbours stress lab-model lab-ext4 lab-faults lab-guest labs lab-till short-till chaos chaos-scenes short-chaos peers receipt-peers lint lint-api cover arm64-checkout verify-units packages packages-reproducible test-packages image image-reproducible test-guest short-guest short-demo unit reference clean help

all: build build-arm64

help:
	@sed -n 's/^## //p' Makefile

## build           bin/: posd posctl poshub posdemo poscard for this machine
build:
	@mkdir -p bin
	$(SLIM) -ldflags '$(LDFLAGS)' -o bin/ $(DEVICE:%=./cmd/%)
	$(GOBUILD) -ldflags '$(LDFLAGS)' -o bin/ $(OFFICE:%=./cmd/%)
	@ls -l $(DEVICE:%=bin/%) $(OFFICE:%=bin/%) | awk '{printf "%10d  %s\n", $$5, $$9}'

## build-arm64     dist/: posd and posctl for the terminal, checked to be static, stripped, aarch64
build-arm64:
	@mkdir -p dist
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(SLIM) -ldflags '$(LDFLAGS) $(PAGES)' -o dist/ $(DEVICE:%=./cmd/%)
	go run ./packaging/tools/binary -release '$(VERSION)' $(DEVICE:%=dist/%)

## size            what dist/posd's bytes are made of; fails above 9,200,000
size: build-arm64
	@mkdir -p .tools
	@CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(SLIM) -ldflags '$(PAGES) -X main.release=$(VERSION)' -o .tools/posd.symbols ./cmd/posd
	go run ./packaging/tools/size -limit $(SIZE_LIMIT) -file dist/posd -symbols .tools/posd.symbols ./cmd/posd

## demo            a day of sales with crashes and a bad network (DATA= DAY= SALES= SEED= TILLS= KEEP=)
demo: build
	bin/posdemo run -posd bin/posd -posctl bin/posctl -poshub bin/poshub

## test            everything that must pass before a change goes in
test: lint lint-api build build-arm64 size unit race-short labs peers arm64-checkout verify-units test-packages packages-reproducible short-till short-guest short-chaos short-demo
	@echo "make test: all passed"

unit: $(GOTESTSUM)
	@packaging/tools/need.sh zoneinfo postgres
	@rm -f .tools/unsteady
	$(GOTEST)
	@$(UNSTEADY)

## race            all tests under the race detector
race:
	@packaging/tools/need.sh gcc zoneinfo postgres
	CGO_ENABLED=1 go test -race ./...

race-short: $(GOTESTSUM)
	@packaging/tools/need.sh gcc zoneinfo postgres
	@rm -f .tools/unsteady
	CGO_ENABLED=1 $(GOTEST) -- -race -short
	@$(UNSTEADY)

## fuzz            every fuzz test, FUZZTIME=10s each
fuzz:
	packaging/tools/fuzz.sh $(FUZZTIME)

## bench           every benchmark
bench:
	go test -run '^$$' -bench . -benchmem ./...

## bench-journal   one durable commit beside its peers on one core, about 5 minutes (DOC=1 writes docs/bench-journal.md, BENCH=-quick)
bench-journal:
	@mkdir -p .tools
	cd journal/peers && go build -o $(CURDIR)/.tools/bench-journal .
	.tools/bench-journal -md $(if $(DOC),docs,.tools)/bench-journal.md $(BENCH)

## bench-uplink    journal to stream beside other ways, one server and three, about 4 minutes (DOC=1 writes docs/bench-uplink.md, BENCH=-quick)
bench-uplink:
	@mkdir -p .tools
	go build -o .tools/bench ./sync/bench
	.tools/bench uplink -md $(if $(DOC),docs,.tools)/bench-uplink.md $(BENCH)

## bench-hub       head office: both ledgers beside plain consumers, sale to watermark, 3,000 terminals at once; about 8 minutes (DOC=1 writes docs/bench-hub.md, BENCH=-quick)
bench-hub:
	@packaging/tools/need.sh postgres
	@mkdir -p .tools
	go build -o .tools/bench ./sync/bench
	.tools/bench hub -md $(if $(DOC),docs,.tools)/bench-hub.md $(BENCH)

## bench-checkout  sales over HTTP beside a till on SQLite, on one core, about 4 minutes (DOC=1 writes docs/bench-checkout.md, BENCH=-quick)
bench-checkout: build
	@mkdir -p .tools
	cd pos/peers && go build -o $(CURDIR)/.tools/bench-checkout .
	.tools/bench-checkout -md $(if $(DOC),docs,.tools)/bench-checkout.md $(BENCH)

## bench-slice     posd and a NATS leaf node in 10 % of a core and 32 MiB, in a guest, about 12 minutes (DOC=1 writes docs/bench-slice.md, BENCH=-quick)
bench-slice: build build-arm64
	@packaging/tools/need.sh qemu-system-aarch64 mkfs.ext4
	@mkdir -p .tools
	go build -o .tools/bench-slice ./packaging/lab/slicebench
	.tools/bench-slice -md $(if $(DOC),docs,.tools)/bench-slice.md $(BENCH)

## test-slice      sales in the real slice, in a guest: limits, a memory hog, a killed posd, a full partition, a planted loss
test-slice:
	@packaging/tools/need.sh qemu-system-aarch64 mkfs.ext4
	POSD_SLICE=short go test -count=1 -run TestSlice ./packaging/lab/slicebench

## lab-neighbours  the same with all bad neighbours: also hostile requests, a log flood, processor hogs
lab-neighbours:
	@packaging/tools/need.sh qemu-system-aarch64 mkfs.ext4
	POSD_SLICE=all go test -count=1 -v -timeout 30m -run TestSlice ./packaging/lab/slicebench

## stress          posd through a bad day, natively, with execution traces, watching for leaks (MINUTES=10 STRESS=-plant)
stress: build
	@mkdir -p .tools
	cd packaging/lab/stress && go build -o $(CURDIR)/.tools/stress .
	.tools/stress -long $(or $(MINUTES),10)m $(STRESS)

## lab-model       power cuts in a model of a disk, with planted bugs (STATES=1000000 LAB_SEED=)
lab-model:
	@mkdir -p .tools
	go test -c -o .tools/lab.test ./journal/lab
	.tools/lab.test -test.run '^TestModel$$' -test.timeout 0 -states=$(STATES) $(if $(LAB_SEED),-seed=$(LAB_SEED))

## lab-ext4        power cuts of a real ext4, with planted bugs; needs root (CUTS=2000)
lab-ext4:
	@packaging/tools/need.sh mkfs.ext4
	cd journal/lab/ext4 && go run . -cuts $(CUTS)

## lab-faults      a real ext4 whose disk fails: EIO, full, read-only; needs root
lab-faults:
	@packaging/tools/need.sh mkfs.ext4
	cd journal/lab/ext4 && go test -count=1 ./...

## lab-guest       power cuts of the whole terminal, an arm64 guest on a disk with a write cache, with planted bugs (CUTS=300 LAB_SEED=)
lab-guest: build build-arm64
	@packaging/tools/need.sh qemu-system-aarch64 mkfs.ext4
	go run ./packaging/lab/power -cuts $(if $(filter file,$(origin CUTS)),300,$(CUTS)) $(if $(LAB_SEED),-seed $(LAB_SEED))

## chaos           cuts the links between real terminals, NATS servers and hubs, kills all of them, compares (CUTS=2000 LAB_SEED=)
chaos:
	@packaging/tools/need.sh postgres
	@mkdir -p .tools
	go build -o .tools/chaos-lab ./sync/lab/chaos
	.tools/chaos-lab -cuts $(CUTS) $(if $(LAB_SEED),-seed $(LAB_SEED))

## chaos-scenes    servers that forget, restored ledgers, copied disks, 30 days offline, a drain of 1,000,000 events (SCENE=all STORE= EVENTS=)
chaos-scenes:
	@packaging/tools/need.sh postgres
	@mkdir -p .tools
	go build -o .tools/chaos-lab ./sync/lab/chaos
	.tools/chaos-lab -scene $(or $(SCENE),all) -store '$(STORE)' -events $(or $(EVENTS),0)

# The short form of chaos: every planted bug must be seen.
short-chaos:
	$(MAKE) chaos CUTS=12

## lab-till        random shops on a whole terminal and on a model of a till, with kills and planted bugs (STEPS=300000 LAB_SEED=)
lab-till:
	@mkdir -p .tools
	go test -c -tags posdlab -o .tools/till.test ./pos/lab
	.tools/till.test -test.run '^TestModel$$' -test.v -test.timeout 0 -steps=$(or $(STEPS),300000) $(if $(LAB_SEED),-seed=$(LAB_SEED))
	$(if $(LAB_SEED),,.tools/till.test -test.run '^TestPlantedBugs' -test.v -test.timeout 0)

# The short form of lab-till: every planted bug must be seen.
short-till:
	$(MAKE) lab-till STEPS=10000

## labs            both, where this machine can
labs:
	@if [ "$$(id -u)" = 0 ] && [ -e /dev/fuse ] && [ -e /dev/loop-control ]; then \
	  $(MAKE) lab-faults lab-ext4; \
	else echo "labs: left out, they need root, /dev/fuse and /dev/loop-control"; fi

## peers           the peers' benchmark still builds and runs; others' programs read what poshub publishes
peers:
	cd journal/peers && go vet ./... && go test -count=1 ./...
	cd sync/peers && go vet ./... && go test -count=1 ./...
	cd pos/peers && go vet ./... && go test -count=1 ./...
	$(MAKE) receipt-peers

## receipt-peers   receipts beside another encoder's, QR codes read by zbar, pages checked by Tidy
receipt-peers:
	@packaging/tools/need.sh node npm zbarimg tidy
	@mkdir -p .tools/receipt-peers
	cp pos/receipt/peers/package.json pos/receipt/peers/package-lock.json pos/receipt/peers/encode.mjs .tools/receipt-peers/
	cd .tools/receipt-peers && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	cd pos/receipt/peers && go vet ./... && go test -count=1 ./...

## lint-api        openapi.json by Redocly's linter, which has to see planted faults
lint-api:
	@packaging/tools/need.sh node npm
	packaging/tools/openapi/lint.sh .tools/openapi

## lint            gofmt, go vet, staticcheck, module files
lint: $(STATICCHECK)
	@unformatted=$$(gofmt -l .); \
	  [ -z "$$unformatted" ] || { echo "gofmt these: $$unformatted" >&2; exit 1; }
	go vet ./... && go vet -tags posdlab ./...
	$(STATICCHECK) ./...
	cd journal/lab/ext4 && go vet ./... && $(CURDIR)/$(STATICCHECK) ./...
	cd journal/peers && go vet ./... && $(CURDIR)/$(STATICCHECK) ./...
	cd sync/peers && go vet ./... && $(CURDIR)/$(STATICCHECK) ./...
	cd pos/peers && go vet ./... && $(CURDIR)/$(STATICCHECK) ./...
	cd pos/receipt/peers && go vet ./... && $(CURDIR)/$(STATICCHECK) ./...
	cd packaging/package && go vet ./... && $(CURDIR)/$(STATICCHECK) ./...
	cd packaging/lab/stress && go vet ./... && $(CURDIR)/$(STATICCHECK) ./...
	go mod verify
	@echo "lint: gofmt, go vet, staticcheck $(STATICCHECK_VERSION), module checksums: in order"

$(STATICCHECK):
	@mkdir -p .tools
	GOBIN=$(CURDIR)/.tools GOFLAGS=-buildvcs=false go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)
	@mv .tools/staticcheck $@

$(GOTESTSUM):
	@mkdir -p .tools
	GOBIN=$(CURDIR)/.tools CGO_ENABLED=0 GOFLAGS=-buildvcs=false go install gotest.tools/gotestsum@$(GOTESTSUM_VERSION)
	@mv .tools/gotestsum $@

## cover           coverage by function, the least covered first
cover:
	@mkdir -p .tools
	go test -coverprofile=.tools/cover.out ./...
	@go tool cover -func=.tools/cover.out | sort -k3 -n | head -50
	@go tool cover -func=.tools/cover.out | tail -1

## arm64-checkout  the arm64 programs sell, stop, start again and prove the journal, under qemu
arm64-checkout: build-arm64
	packaging/arm64/checkout.sh dist

## verify-units    systemd's own checks of the units, and posd's of the example configuration
verify-units: build
	@packaging/tools/need.sh systemd-analyze
	packaging/systemd/verify.sh bin/posd

## packages        dist/: deb and ipk, what is in them, checksums, signature (VERSION= SOURCE_DATE_EPOCH= RELEASE_KEY=file)
packages: build-arm64
	@mkdir -p .tools/packages/arm64 .tools/packages/amd64
	@cp $(DEVICE:%=dist/%) .tools/packages/arm64/
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 $(SLIM) -ldflags '$(LDFLAGS)' -o .tools/packages/amd64/ $(DEVICE:%=./cmd/%)
	go build -C packaging/package -buildvcs=false -o '$(CURDIR)/.tools/package' .
	.tools/package build -release '$(VERSION)' -epoch '$(SOURCE_DATE_EPOCH)' -binaries .tools/packages -out dist -key '$(RELEASE_KEY)'

## packages-reproducible  builds the packages twice, elsewhere and otherwise, and compares bytes (FULL=1: nothing from the build cache)
packages-reproducible:
	packaging/package/reproducible.sh '$(VERSION)' '$(SOURCE_DATE_EPOCH)'

## test-packages   installs, upgrades, removes and purges the packages in a scratch system; needs root
test-packages: packages
	@packaging/tools/need.sh curl dpkg systemd-analyze busybox
	cd packaging/package && go vet ./... && go test -count=1 ./...
	packaging/package/test.sh dist .tools/packages

## image           dist/posd-VERSION-arm64.img: bootable firmware for an arm64 board with UEFI; needs root
image: packages
	@packaging/tools/need.sh debootstrap mksquashfs mkfs.vfat mcopy sgdisk cpio zstd mkfs.ext4 qemu-aarch64-static
	packaging/image/build.sh dist

## image-reproducible  builds the image's root twice from separate trees and compares bytes (FULL=1: also Debian's packages anew)
image-reproducible: packages
	@packaging/tools/need.sh debootstrap mksquashfs mkfs.vfat mcopy sgdisk cpio zstd mkfs.ext4 qemu-aarch64-static
	packaging/image/reproducible.sh dist

## test-guest      boots the image in qemu: sells, upgrades, reboots, cuts the power, resets, and compares; needs root (GUEST=-skip=loader)
test-guest: image build
	@packaging/tools/need.sh qemu-system-aarch64 aavmf mcopy
	@mkdir -p .tools/newer/arm64
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(SLIM) -ldflags '-s -w $(PAGES) -X main.release=99.0.0' -o .tools/newer/arm64/ $(DEVICE:%=./cmd/%)
	.tools/package build -release 99.0.0 -epoch '$(SOURCE_DATE_EPOCH)' -binaries .tools/newer -out .tools/newer -only arm64.deb
	go run ./packaging/lab/device -dist dist -hub bin/poshub -newer .tools/newer/posd_99.0.0_arm64.deb $(GUEST)

# The short form of lab-guest: every planted bug must be seen.
short-guest: build build-arm64
	$(MAKE) lab-guest CUTS=10

short-demo: build
	@dir=$$(mktemp -d) && DATA= DAY= KEEP= TILLS= SEED=1 SALES=$(TEST_SALES) \
	  bin/posdemo run -posd bin/posd -posctl bin/posctl -poshub bin/poshub -dir "$$dir/demo" && rm -rf "$$dir"

## reference       docs/config.md from the table of keys
reference:
	go test ./pos/config -run TestReference -update

## clean           removes what was built; not .demo, which may hold a running demo
clean:
	rm -rf bin dist .tools
