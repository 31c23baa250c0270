# SPDX-License-Identifier: BSD-2-Clause
# One Makefile for everything; objects and programs go to $(BUILD). `make help` lists the targets.

BUILD ?= build

ifeq ($(wildcard config.mak),)
ifeq ($(filter clean distclean help,$(MAKECMDGOALS)),)
$(error run ./configure first)
endif
endif
-include config.mak

WARNINGS := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wpointer-arith
ifeq ($(WERROR),yes)
WARNINGS += -Werror
endif
ifneq ($(SANITIZE),)
SAN_FLAGS := -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all
endif
CPPFLAGS_ALL := -D_GNU_SOURCE -I. -Iengine $(LIB_CFLAGS)
CFLAGS_ALL    = -std=c11 -O3 -g $(WARNINGS) -ffp-contract=off -fvisibility=hidden -pthread $(SAN_FLAGS) $(EXTRA_CFLAGS)
LDFLAGS_ALL   = -pthread $(SAN_FLAGS) $(EXTRA_LDFLAGS)
LIBS_ALL      = $(LIB_LIBS) -ldl -lm
COMPILE       = $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP

SOMAJOR := $(firstword $(subst ., ,$(VERSION)))
LIB_A   := $(BUILD)/libturbodiff.a
LIB_SO  := $(BUILD)/libturbodiff.so

LIB_SRCS  := $(wildcard engine/*.c engine/cpu/*.c)
LIB_OBJS  := $(LIB_SRCS:%.c=$(BUILD)/%.o)
TOOL_SRCS := $(wildcard tools/*.c)
TOOLS     := $(TOOL_SRCS:tools/%.c=$(BUILD)/%)
UNIT_SRCS := $(wildcard tests/unit/test_*.c)
UNITS     := $(UNIT_SRCS:tests/unit/%.c=$(BUILD)/tests/%)
OPS_SRCS  := $(wildcard tests/checkops/*.c)
OPS_OBJS  := $(OPS_SRCS:%.c=$(BUILD)/%.o)
CHECKOPS  := $(if $(OPS_SRCS),$(BUILD)/checkops)

all: lib tools
lib: $(LIB_A) $(LIB_SO)
tools: $(TOOLS)
tests: $(UNITS) $(CHECKOPS)

# ---- library ----

$(BUILD)/%.o: %.c config.mak
	@mkdir -p $(@D)
	$(COMPILE) -fPIC -c $< -o $@

# the matrix multiplications sum in an order of their own and may fuse multiply and add
$(BUILD)/engine/cpu/gemm.o: CFLAGS_ALL += -ffp-contract=fast

$(LIB_A): $(LIB_OBJS)
	@rm -f $@
	$(AR) rcs $@ $(LIB_OBJS)

$(LIB_SO).$(VERSION): $(LIB_OBJS)
	$(CC) -shared $(LDFLAGS_ALL) -Wl,-soname,libturbodiff.so.$(SOMAJOR) -o $@ $(LIB_OBJS) $(LIBS_ALL)

$(LIB_SO): $(LIB_SO).$(VERSION)
	ln -sf $(<F) $@.$(SOMAJOR)
	ln -sf $(@F).$(SOMAJOR) $@

# ---- tools and tests ----

$(BUILD)/%: tools/%.c $(LIB_A)
	@mkdir -p $(@D)
	$(COMPILE) -MF $@.d $< -o $@ $(LDFLAGS_ALL) $(LIB_A) $(LIBS_ALL)

# tests that include alloc_fail.h make the n-th allocation fail
WRAP_TESTS := $(if $(UNIT_SRCS),$(shell grep -l alloc_fail.h $(UNIT_SRCS)))
$(WRAP_TESTS:tests/unit/%.c=$(BUILD)/tests/%): \
    LDFLAGS_ALL += -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=posix_memalign,--wrap=aligned_alloc

$(BUILD)/tests/%: tests/unit/%.c $(LIB_A)
	@mkdir -p $(@D)
	$(COMPILE) -MF $@.d $< -o $@ $(LDFLAGS_ALL) $(LIB_A) $(LIBS_ALL)

$(BUILD)/checkops: $(OPS_OBJS) $(LIB_A)
	$(CC) $(LDFLAGS_ALL) -o $@ $(OPS_OBJS) $(LIB_A) $(LIBS_ALL)

check-unit: $(UNITS) $(TOOLS)
	@TD_BUILD=$(BUILD) tests/run.sh unit $(UNITS)

check-ops: $(CHECKOPS)
	@tests/run.sh ops $(CHECKOPS)

clean:
	rm -rf $(BUILD)

distclean: clean
	rm -f config.mak

help:
	@echo "make              library and tools"
	@echo "make check-unit   unit tests"
	@echo "make check-ops    operator tests"
	@echo "make clean        remove $(BUILD)/; distclean also removes config.mak"

-include $(LIB_OBJS:.o=.d) $(OPS_OBJS:.o=.d) $(TOOLS:=.d) $(UNITS:=.d)

.PHONY: all lib tools tests check-unit check-ops clean distclean help
.DELETE_ON_ERROR:
.SECONDARY:
