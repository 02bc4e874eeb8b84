# gotoni: make demo · make test · make lib · make install PREFIX=DIR · make bench-micro · make format
#
# Every target says what it does, installs what it can into build/ and .venv/, and asks clearly for the rest.

PREFIX      ?= /usr/local
BUILD       := build
LIB         := $(BUILD)/lib
VENV        := .venv
PYTHON      ?= python3
CC          ?= cc
VERSION     := 0.1.0
ABI         := 0
SWIFT_BUILD := swift build --quiet

CORE_SOURCES := $(shell find Sources include -name '*.swift' -o -name '*.h' -o -name '*.map' -o -name '*.modulemap') Package.swift

.PHONY: help
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

# ----- What must be there ------------------------------------------------------------------------------

## make deps          check the tools; as root on Debian, install the missing packages
.PHONY: deps
deps:
	@scripts/check-deps

# ----- The C library -----------------------------------------------------------------------------------

## make lib           libgotoni.so, libgotoni.a and gotoni.pc in build/lib (Embedded Swift, no Swift runtime)
.PHONY: lib
lib: $(LIB)/libgotoni.so.$(ABI)

$(LIB)/libgotoni.so.$(ABI): $(CORE_SOURCES) | deps
	@echo "lib: building libgotoni as Embedded Swift (about half a minute) ..."
	@GOTONI_EMBEDDED=1 $(SWIFT_BUILD) -c release --scratch-path .build-embedded --product gotoni-shared
	@GOTONI_EMBEDDED=1 $(SWIFT_BUILD) -c release --scratch-path .build-embedded --product gotoni-static
	@mkdir -p $(LIB)
	@cp .build-embedded/release/libgotoni-static.a $(LIB)/libgotoni.a
	@ln -sf libgotoni.so.$(ABI) $(LIB)/libgotoni.so
	@strip --strip-unneeded -o $@ .build-embedded/release/libgotoni-shared.so
	@echo "lib: $(LIB)/libgotoni.so.$(ABI), $(LIB)/libgotoni.a"
