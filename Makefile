# SPDX-License-Identifier: BSD-2-Clause
# One Makefile for everything; objects and programs go to $(BUILD). `make help` lists the targets.

BUILD ?= build
JOBS  ?= $(shell nproc 2> /dev/null || echo 2)

ifeq ($(wildcard config.mak),)

# a clean clone: demo and check find their way alone, what is built by hand wants ./configure
demo check:
	@tools/install_packages.sh
	./configure
	@$(MAKE) -j$(JOBS) $@

UNCONFIGURED = @echo "make $@: run ./configure first (or: make demo, make check)" >&2; exit 1
%:
	$(UNCONFIGURED)
all cuda tools tests:                            # three are names of folders
	$(UNCONFIGURED)
.PHONY: cuda tools tests

else
include config.mak

WARNINGS := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wpointer-arith -Wvla
ifeq ($(WERROR),yes)
WARNINGS += -Werror
endif
ifneq ($(SANITIZE),)
# TD_CHECK: what clip.h says of the phases of a clip
SAN_FLAGS := -DTD_CHECK -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all
endif
CPPFLAGS_ALL := -D_GNU_SOURCE -I. -Iengine $(LIB_CFLAGS)
CFLAGS_ALL    = -std=c11 -O3 -g $(WARNINGS) -ffp-contract=off -fvisibility=hidden -pthread $(SAN_FLAGS) $(EXTRA_CFLAGS)
LDFLAGS_ALL   = -pthread $(SAN_FLAGS) $(EXTRA_LDFLAGS)
LIBS_ALL      = $(LIB_LIBS) -ldl -lm
COMPILE       = $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP

SOMAJOR := $(firstword $(subst ., ,$(VERSION)))
LIB_A   := $(BUILD)/libturbodiff.a
LIB_SO  := $(BUILD)/libturbodiff.so

# What the library and the CUDA module must agree on: all headers of engine/ that the module's files and the objects in
# both of them include.
# A module with another hash is of another build, and is refused (engine/model/device.c).
SHARED_SRCS  := $(addprefix engine/,base/arena.c base/log.c base/options.c base/rng.c base/tensor.c base/thread.c)
SEAM_ROOTS   := $(addprefix engine/,$(sort $(shell sed -n 's|^.include "\(.*/.*\)"|\1|p' cuda/*.*)))
SEAM_HEADERS := $(sort $(filter %.h,$(shell $(CC) -Iengine -MM $(SEAM_ROOTS) $(SHARED_SRCS))))
SEAM         := $(if $(SEAM_HEADERS),$(shell cat $(SEAM_HEADERS) | sha256sum | cut -c 1-16))
ifeq ($(SEAM),)
$(error the hash of engine/seam/backend.h and what it includes cannot be made with $(CC) -MM and sha256sum)
endif

LIB_SRCS  := $(wildcard engine/*/*.c)
LIB_OBJS  := $(LIB_SRCS:%.c=$(BUILD)/%.o)
TOOL_SRCS := $(wildcard tools/*.c)
TOOLS     := $(TOOL_SRCS:tools/%.c=$(BUILD)/%)
UNIT_SRCS := $(wildcard tests/unit/test_*.c)
UNITS     := $(UNIT_SRCS:tests/unit/%.c=$(BUILD)/tests/%)
OPS_SRCS  := $(wildcard tests/checkops/*.c)
OPS_OBJS  := $(OPS_SRCS:%.c=$(BUILD)/%.o)
CHECKOPS  := $(if $(OPS_SRCS),$(BUILD)/checkops)
GPU_TOOLS := $(BUILD)/tests/gpu/stage $(BUILD)/tests/gpu/ops $(BUILD)/tests/gpu/hog $(BUILD)/tests/gpu/td_as
CARDS_SO  := $(BUILD)/tests/cards/libturbodiff-cuda.so
CARDS     := $(CARDS_SO) $(BUILD)/tests/cards/devices
FUZZ_SRCS := $(wildcard tests/fuzz/fuzz_*.c)
FUZZERS   := $(FUZZ_SRCS:tests/fuzz/%.c=$(BUILD)/%)
ifeq ($(HAVE_CUDA),yes)
CUDA_SRCS := $(wildcard cuda/*.cu)
CUDA_OBJS := $(CUDA_SRCS:%.cu=$(BUILD)/%.cu.o)
GPU_TOOLS += $(BUILD)/tests/gpu/peak $(BUILD)/tests/gpu/fault.so
CUDA_SO   := $(if $(CUDA_SRCS),$(BUILD)/libturbodiff-cuda.so)
endif

# the demo models: as they are installed, and where the programs of this tree look for them (engine/model/install.h); that of
# image to video has links to the text encoder and the VAE of the other one
DEMO_MODEL := tools/demo-model/model
DEMO_FILES := TurboWan2.1-T2V-demo-quant.pth Wan2.1_VAE.pth models_t5_umt5-xxl-enc-bf16.pth google/umt5-xxl/spiece.model \
    turbodiff.conf
I2V_FILES  := TurboWan2.2-I2V-demo-high-quant.pth TurboWan2.2-I2V-demo-low-quant.pth turbodiff.conf
I2V_LINKS  := Wan2.1_VAE.pth models_t5_umt5-xxl-enc-bf16.pth google
DEMO_LINK  := $(BUILD)/share/turbodiff/demo-model $(BUILD)/share/turbodiff/demo-model-i2v
DEMO_DIR    = $(DESTDIR)$(DATADIR)/turbodiff/demo-model

all: lib tools cuda
lib: $(LIB_A) $(LIB_SO) $(DEMO_LINK)
cuda: $(CUDA_SO)
tools: $(TOOLS) $(DEMO_LINK)
tests: $(UNITS) $(CHECKOPS) $(GPU_TOOLS) $(CARDS)

$(DEMO_LINK): $(BUILD)/share/turbodiff/demo-%:
	@mkdir -p $(@D)
	ln -sfn $(CURDIR)/tools/demo-model/$* $@

# ---- library ----

# the hash that the objects were made with
$(BUILD)/seam: $(if $(filter $(SEAM),$(shell cat $(BUILD)/seam 2> /dev/null)),,FORCE)
	@mkdir -p $(@D)
	@echo $(SEAM) > $@

$(BUILD)/%.o: %.c config.mak $(BUILD)/seam
	@mkdir -p $(@D)
	$(COMPILE) -fPIC -c $< -o $@

$(BUILD)/engine/model/device.o $(BUILD)/fuzz/engine/model/device.o: CPPFLAGS_ALL += -DTD_SEAM='"$(SEAM)"'

# where the demo model and the module are looked for
$(BUILD)/engine/model/install.o $(BUILD)/fuzz/engine/model/install.o: CPPFLAGS_ALL += -DTD_DATADIR='"$(DATADIR)"' -DTD_LIBDIR='"$(LIBDIR)"'

$(LIB_A): $(LIB_OBJS)
	@rm -f $@
	$(AR) rcs $@ $(LIB_OBJS)

$(LIB_SO).$(VERSION): $(LIB_OBJS) engine/api/turbodiff.map
	$(CC) -shared $(LDFLAGS_ALL) -Wl,-soname,libturbodiff.so.$(SOMAJOR) -Wl,--version-script=engine/api/turbodiff.map \
	    -Wl,-z,nodelete -o $@ $(LIB_OBJS) $(LIBS_ALL)

$(LIB_SO): $(LIB_SO).$(VERSION)
	ln -sf $(<F) $@.$(SOMAJOR)
	ln -sf $(@F).$(SOMAJOR) $@

NVCCFLAGS := -std=c++17 -O3 $(CUDA_LINES) -Iengine -Icuda -DTD_SEAM='"$(SEAM)"' -DTD_CODE='"$(CUDA_GENCODE)"' \
    -Xcompiler -fPIC,-fvisibility=hidden $(CUDA_GENCODE)

# FILE.cu.use: what ptxas says of each kernel's registers, spills and shared memory (tests/kernels.sh reads it)
$(BUILD)/%.cu.o: %.cu config.mak $(BUILD)/seam
	@mkdir -p $(@D)
	$(NVCC) $(NVCCFLAGS) -Xptxas -v -MMD -MF $(@:.o=.d) -c $< -o $@ > $(@:.o=.use) 2>&1 || { cat $(@:.o=.use) >&2; exit 1; }
	@grep -v '^ptxas info\|bytes stack frame' $(@:.o=.use) >&2 || true

# the engine's symbols are hidden, so the module brings the few it needs
CUDA_ENGINE := $(SHARED_SRCS:%.c=$(BUILD)/%.o)

$(BUILD)/libturbodiff-cuda.so: $(CUDA_OBJS) $(CUDA_ENGINE)
	$(NVCC) -shared -cudart static -o $@ $(CUDA_OBJS) $(CUDA_ENGINE)

# checkops and a module whose order racecheck can follow (cuda/gemm_mma.cu says why), for tests/gpu/sanitize.sh
RACE := $(BUILD)/racecheck
.PHONY: racecheck
ifeq ($(HAVE_CUDA),yes)
racecheck: $(RACE)/libturbodiff-cuda.so $(RACE)/checkops
else
racecheck:
	@echo "make racecheck: no CUDA module without nvcc" >&2; exit 1
endif

$(RACE)/gemm_mma.cu.o: cuda/gemm_mma.cu config.mak $(BUILD)/seam
	@mkdir -p $(@D)
	$(NVCC) $(NVCCFLAGS) -DTD_EACH_LANE -MMD -MF $(@:.o=.d) -c $< -o $@

$(RACE)/libturbodiff-cuda.so: $(RACE)/gemm_mma.cu.o $(CUDA_OBJS) $(CUDA_ENGINE)
	$(NVCC) -shared -cudart static -o $@ $< $(filter-out %/cuda/gemm_mma.cu.o,$(CUDA_OBJS)) $(CUDA_ENGINE)

$(RACE)/checkops: $(BUILD)/checkops
	cp $< $@

# ---- tools and tests ----

$(BUILD)/%: tools/%.c $(LIB_A)
	@mkdir -p $(@D)
	$(COMPILE) -MF $@.d $< -o $@ $(LDFLAGS_ALL) $(LIB_A) $(LIBS_ALL)

# tests that include alloc_fail.h make the n-th allocation fail
WRAP_TESTS := $(if $(UNIT_SRCS),$(shell grep -l alloc_fail.h $(UNIT_SRCS)))
$(WRAP_TESTS:tests/unit/%.c=$(BUILD)/tests/%): \
    LDFLAGS_ALL += -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=posix_memalign,--wrap=aligned_alloc,--wrap=free \
        -Wl,--wrap=strdup,--wrap=pthread_create

$(BUILD)/tests/%: tests/unit/%.c $(LIB_A)
	@mkdir -p $(@D)
	$(COMPILE) -MF $@.d $< -o $@ $(LDFLAGS_ALL) $(LIB_A) $(LIBS_ALL)

$(BUILD)/tests/gpu/td_as: LDFLAGS_ALL += -Wl,--wrap=td_device_open
$(BUILD)/tests/gpu/%: tests/gpu/%.c $(LIB_A)
	@mkdir -p $(@D)
	$(COMPILE) -MF $@.d $< -o $@ $(LDFLAGS_ALL) $(LIB_A) $(LIBS_ALL)

$(BUILD)/tests/gpu/peak: tests/gpu/peak.cu cuda/ptx_sm80.cuh
	@mkdir -p $(@D)
	$(NVCC) $(NVCCFLAGS) -cudart static $< -o $@

$(BUILD)/tests/gpu/fault.so: tests/gpu/fault.cu
	@mkdir -p $(@D)
	$(NVCC) $(NVCCFLAGS) -shared -Xcompiler -fPIC -cudart static $< -o $@

# claims GPUs; tests put it where the CUDA module belongs
$(CARDS_SO): tests/cards/module.c tests/cards.h $(LIB_A)
	@mkdir -p $(@D)
	$(COMPILE) -fPIC -DTD_SEAM='"$(SEAM)"' -MF $@.d $< -shared -Wl,-Bsymbolic -o $@ $(LDFLAGS_ALL) $(LIB_A) $(LIBS_ALL)

$(BUILD)/tests/cards/devices: tests/cards/devices.c $(LIB_A)
	@mkdir -p $(@D)
	$(COMPILE) -MF $@.d $< -o $@ $(LDFLAGS_ALL) $(LIB_A) $(LIBS_ALL)

$(BUILD)/checkops: $(OPS_OBJS) $(LIB_A)
	$(CC) $(LDFLAGS_ALL) -o $@ $(OPS_OBJS) $(LIB_A) $(LIBS_ALL)

# ---- pkg-config: as installed, and for use in this tree with the static library alone ----

PC_SED = -e 's|@VERSION@|$(VERSION)|; s|@MODULES@|$(LIB_MODULES)|'

$(BUILD)/turbodiff.pc: turbodiff.pc.in config.mak
	sed $(PC_SED) -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|; s|@LIBS@||' $< > $@

$(BUILD)/static/turbodiff.pc: turbodiff.pc.in config.mak
	@mkdir -p $(@D)
	ln -sf ../libturbodiff.a $(@D)/libturbodiff.a
	sed $(PC_SED) -e 's|@PREFIX@|$(CURDIR)|; s|@LIBDIR@|$(abspath $(@D))|; s|@INCLUDEDIR@|$(CURDIR)/engine/api|' \
	    -e 's|@LIBS@| $(LIBS_ALL) -pthread|' $< > $@

# ---- FFmpeg ----

FFMPEG        := $(BUILD)/ffmpeg
FILTER_SRCS   := $(wildcard libavfilter/*.[ch] patches/*.patch) doc/filters.texi doc/filters_i2v.texi tools/build_ffmpeg.sh tools/fetch_ffmpeg.sh
FFMPEG_DEPS   := $(LIB_A) $(BUILD)/static/turbodiff.pc $(FILTER_SRCS)
FFMPEG_ENV     = FFMPEG_GPL=$(FFMPEG_GPL) CC="$(CC)" JOBS=$(JOBS) PKG_CONFIG_PATH=$(abspath $(BUILD)/static):$$PKG_CONFIG_PATH \
    TD_LIB=$(abspath $(LIB_A)) HAVE_NASM=$(HAVE_NASM) HAVE_ZLIB=$(HAVE_ZLIB) HAVE_X264=$(HAVE_X264) HAVE_VPX=$(HAVE_VPX) \
    HAVE_ZMQ=$(HAVE_ZMQ) HAVE_ZIMG=$(HAVE_ZIMG) HAVE_FREETYPE=$(HAVE_FREETYPE) HAVE_HARFBUZZ=$(HAVE_HARFBUZZ) \
    HAVE_FONTCONFIG=$(HAVE_FONTCONFIG) HAVE_FFNVCODEC=$(HAVE_FFNVCODEC) HAVE_X265=$(HAVE_X265) HAVE_SVTAV1=$(HAVE_SVTAV1) \
    HAVE_DAV1D=$(HAVE_DAV1D) HAVE_OPUS=$(HAVE_OPUS) HAVE_MP3LAME=$(HAVE_MP3LAME) HAVE_GNUTLS=$(HAVE_GNUTLS) \
    HAVE_SRT=$(HAVE_SRT) HAVE_SDL2=$(HAVE_SDL2)

ifeq ($(HAVE_FFMPEG),yes)
ffmpeg: $(FFMPEG) $(DEMO_LINK) $(CUDA_SO)

$(FFMPEG): $(FFMPEG_DEPS)
	$(FFMPEG_ENV) FFMPEG_SRC="$(FFMPEG_SRC)" FFMPEG_EXTRA="$(FFMPEG_EXTRA)" \
	    tools/build_ffmpeg.sh $(FFMPEG_SERIES) full $(BUILD)/ffmpeg-$(FFMPEG_SERIES)
	for program in ffmpeg ffprobe zmqsend; do \
	    [ ! -f $(BUILD)/ffmpeg-$(FFMPEG_SERIES)/$$program ] || cp -f $(BUILD)/ffmpeg-$(FFMPEG_SERIES)/$$program $(BUILD)/; done
else
ffmpeg $(FFMPEG):
	@echo "FFmpeg was left out by ./configure --disable-ffmpeg" >&2; exit 1
endif

# the other series, with just what the tests need
ALL_SERIES := 7.1 8.1 9.0

$(ALL_SERIES:%=ffmpeg-%): ffmpeg-%: $(FFMPEG_DEPS) $(DEMO_LINK)
	$(FFMPEG_ENV) tools/build_ffmpeg.sh $* small $(BUILD)/small-$*

# ---- demo and tests ----

# in the words of the demo model, which tools/demo-model/wordings.py has
PROMPT = a yellow circle moves quickly to the right while night falls

# of demo.mp4's first frame, and of what comes after its last one
PICTURE_PROMPT = a yellow circle gets smaller while night falls
THEN_PROMPT = a yellow circle moves quickly to the left at night
DEMO = $(FFMPEG) -hide_banner -nostdin -y -v warning
DEMO_SCALE = scale=384:384:flags=lanczos
DEMO_OUT = -metadata comment="made by turbodiff: trainedAlgorithmicMedia" -pix_fmt yuv420p

demo: $(FFMPEG) $(TOOLS) $(DEMO_LINK) $(CUDA_SO)
	@rm -f $(BUILD)/demo.json
	$(DEMO) -f lavfi -i "turbodiff=prompt='$(PROMPT)':seed=1:stats=$(BUILD)/demo.json,$(DEMO_SCALE)" $(DEMO_OUT) demo.mp4
	$(DEMO) -i demo.mp4 -vf "turbodiff_i2v=prompt='$(PICTURE_PROMPT)':seed=1,$(DEMO_SCALE)" $(DEMO_OUT) demo-picture.mp4
	$(DEMO) -i demo.mp4 -vf "scale=192:192,turbodiff_i2v=mode=extend:prompt='$(THEN_PROMPT)':seed=1,$(DEMO_SCALE)" \
	    $(DEMO_OUT) demo-longer.mp4
	@echo "demo.mp4: $(PROMPT) (the demo model's; another one: make demo PROMPT='...')"
	@echo "demo-picture.mp4: a clip that begins with its first frame; demo-longer.mp4: how it goes on"
	@sed -n 's/.*"backend": "\([^"]*\)", "device": "\([^"]*\)".*/demo.mp4 was made on the \1 backend: \2/p' $(BUILD)/demo.json

MODEL := $(BUILD)/model-tiny

# random weights: the pictures mean nothing, but every stage runs as it does with real ones
$(MODEL)/stamp: $(BUILD)/tdsynth tests/data/spiece.model
	rm -rf $(MODEL)
	$(BUILD)/tdsynth --preset=tiny --format=pth --spiece=tests/data/spiece.model $(MODEL)
	touch $@

$(MODEL)-i2v/stamp: $(BUILD)/tdsynth tests/data/spiece.model
	rm -rf $(MODEL)-i2v
	$(BUILD)/tdsynth --preset=tiny --in-dim=36 --format=pth --spiece=tests/data/spiece.model $(MODEL)-i2v
	touch $@

# the weights that tests/golden was made with (tests/golden/manifest)
$(BUILD)/models/stamp: $(BUILD)/tdsynth tests/data/spiece.model
	rm -rf $(@D)
	mkdir -p $(@D)
	$(BUILD)/tdsynth --seed=1 --vocab=2048 --spiece=tests/data/spiece.model $(@D)/tiny
	$(BUILD)/tdsynth --seed=1 --dim=384 --ffn=640 --only=dit --spiece=tests/data/spiece.model $(@D)/wide
	$(BUILD)/tdsynth --seed=1 --in-dim=36 --only=dit --spiece=tests/data/spiece.model $(@D)/i2v
	$(BUILD)/tdsynth --seed=1 --only=vae --vae=tiny --spiece=tests/data/spiece.model $(@D)/tae
	touch $@

# of UNITS, goldens that are judged with the portable kernels, too
BASE_GOLDENS = $(filter $(UNITS),$(patsubst %,$(BUILD)/tests/test_golden_%,dit points sage text))

check-unit: $(UNITS) $(TOOLS) $(CUDA_SO) $(BUILD)/models/stamp
	@TD_BUILD=$(BUILD) TD_MODELS=$(BUILD)/models tests/run.sh unit "tests/rooms.sh $(BUILD)" $(UNITS) \
	    $(BASE_GOLDENS:%="env TD_TEST_BACKEND=base %") \
	    $(if $(CUDA_SO),"tests/kernels.sh $(BUILD)")

# on a machine with a GPU
check-gpu: $(TOOLS) $(CHECKOPS) $(GPU_TOOLS) $(CUDA_SO)
	@tests/gpu/card.sh $(BUILD)

# OFFICIAL=DIR: also full-size stages and clips against the official code there
check-gpu-all: $(UNITS) $(TOOLS) $(CHECKOPS) $(GPU_TOOLS) $(CUDA_SO)
	tests/gpu/check.sh $(BUILD)
	$(if $(OFFICIAL),tests/gpu/official.sh $(BUILD) $(OFFICIAL))

bench-gpu: $(TOOLS) $(CUDA_SO)
	tests/gpu/bench.sh $(BUILD)

check-ops: $(CHECKOPS) $(CUDA_SO)
	@tests/run.sh ops $(CHECKOPS) "$(CHECKOPS) --impl=base --fills=1" "$(CHECKOPS) --sums=tests/golden/ops.sums" \
	    "$(CHECKOPS) --impl=base --threads=1 --sums=tests/golden/ops.sums"

# after a change of numerics that is meant: bounds and sums anew, old and new side by side
regolden: $(UNITS) $(CHECKOPS) $(BUILD)/models/stamp $(TOOLS)
	@tools/regolden.sh $(BUILD)

# each change of the list is made to a copy of the tree, and a test that it names has to fail
mutate:
	@CC="$(CC)" tests/mutate.sh

check-tools: $(TOOLS) $(CUDA_SO) $(CARDS) $(BUILD)/tests/gpu/stage $(BUILD)/tests/gpu/ops $(MODEL)/stamp
	@r=0; tests/tools/run.sh $(BUILD) $(MODEL) || r=1; CC="$(CC)" tests/tools/devices.sh $(BUILD) $(MODEL) || r=1; \
	    CC="$(CC)" tests/tools/card.sh $(BUILD) || r=1; exit $$r

check-api: all $(CARDS_SO) $(MODEL)/stamp
	@MAKE="$(MAKE)" CC="$(CC)" tests/api/run.sh $(BUILD) $(MODEL)

# no case of the suites of fate passes with an ffmpeg that fails
check-cases: $(BUILD)/td $(BUILD)/tdsynth $(DEMO_LINK) $(CARDS_SO) $(MODEL)/stamp $(MODEL)-i2v/stamp
	@tests/fate/selftest.sh $(BUILD) $(MODEL) $(MODEL)-i2v

check-build: $(TOOLS) $(CUDA_SO) $(MODEL)/stamp
	@CC="$(CC)" tests/build.sh $(BUILD) $(MODEL)

# what a series of FFmpeg can break soonest; all that any ffmpeg can do; and what only the whole one can
FATE_SHORT := run i2v clips failure channel transition
FATE := $(FATE_SHORT) marks health disk devices demo
FATE_WHOLE := $(FATE) streams readme live firsthour

fate: $(FFMPEG) $(DEMO_LINK) $(CUDA_SO) $(CARDS_SO) $(MODEL)/stamp $(MODEL)-i2v/stamp
	@CC="$(CC)" tests/fate/all.sh $(BUILD) $(BUILD) $(FATE_WHOLE)

FATE_DEPS := $(CARDS_SO) $(MODEL)/stamp $(MODEL)-i2v/stamp
$(ALL_SERIES:%=fate-%): fate-%: ffmpeg-% $(FATE_DEPS)
	@CC="$(CC)" tests/fate/all.sh $(BUILD)/small-$* $(BUILD) $(FATE)

$(ALL_SERIES:%=fate-short-%): fate-short-%: ffmpeg-% $(FATE_DEPS)
	@CC="$(CC)" tests/fate/all.sh $(BUILD)/small-$* $(BUILD) $(FATE_SHORT)

# more suites: make check CHECK_MORE="style fate-7.1 asan"; CHECK_JOBS=2: two at a time
check: demo all tests $(MODEL)/stamp $(MODEL)-i2v/stamp $(BUILD)/models/stamp
	@MAKE="$(MAKE)" CHECK_JOBS=$(CHECK_JOBS) tests/check.sh $(BUILD) $(CHECK_MORE) fate check-unit check-fuzz \
	    $(if $(CHECKOPS),check-ops) check-tools check-api check-cases check-build

# of the CPU's code
ASAN = $(MAKE) BUILD=$(BUILD)/asan SANITIZE=address,undefined HAVE_CUDA=no

asan:
	$(ASAN) check-unit $(if $(CHECKOPS),check-ops)

# what reads files and prompts, and the API; a few minutes
ASAN_FAST := api broken_files checkpoint ckpt_limits form_names form_refused form_text forms frames gguf image json mapping \
    model_dirs model_files runtime safetensors sizes tdinfo tokenizer vae_tiny values views

asan-fast:
	$(ASAN) UNITS="$(ASAN_FAST:%=$(BUILD)/asan/tests/test_%)" check-unit

# about 20 minutes on two cores, with -j2
tsan:
	$(MAKE) BUILD=$(BUILD)/tsan SANITIZE=thread HAVE_CUDA=no check-unit $(if $(CHECKOPS),check-ops)

# lines of engine/, tools/ and libavfilter/ that the tests run; an hour. The tests have one CPU: threads on two, with
# gcov's counters between them, are three times as slow. It is ten times as slow as without them even so, and those of the
# filters' tests that keep to a clock may fail, which is no matter here
COVERAGE = $(MAKE) BUILD=$(BUILD)/coverage HAVE_CUDA=no CC="$(CC) --coverage"
ONE_CPU  = taskset -c $$(taskset -cp $$$$ | sed 's/.*: *\([0-9]*\).*/\1/')

coverage:
	@mkdir -p $(BUILD)
	find $(BUILD) -name '*.gcda' -delete
	+$(COVERAGE) all tests ffmpeg-8.1
	$(ONE_CPU) $(COVERAGE) check-unit check-ops check-tools check-api
	-$(ONE_CPU) $(COVERAGE) fate-8.1
	tests/coverage.sh $(BUILD)/coverage

FUZZ_SECONDS ?= 60
FUZZ_SEED    ?= 0

FUZZ_FLAGS := -std=c11 -O1 -g -ffp-contract=off -pthread -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZ_OBJS  := $(LIB_SRCS:%.c=$(BUILD)/fuzz/%.o)

$(BUILD)/fuzz/%.o: %.c config.mak
	@mkdir -p $(@D)
	clang $(CPPFLAGS_ALL) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c $< -o $@

$(BUILD)/fuzz_%: tests/fuzz/fuzz_%.c $(FUZZ_OBJS)
	clang $(CPPFLAGS_ALL) $(FUZZ_FLAGS) -fsanitize=fuzzer -MMD -MP -MF $@.d $< $(FUZZ_OBJS) -o $@ $(LIBS_ALL)

# FUZZ_JOBS of them at a time
FUZZ_JOBS ?= 1
fuzz: $(FUZZERS)
	@tests/fuzz/run.sh $(BUILD) $(FUZZ_SECONDS) $(FUZZ_SEED) $(FUZZ_JOBS) $(FUZZERS)

# the seeds once through every target, with sanitizers and any compiler
REPLAY_FLAGS := -std=c11 -O1 -g -ffp-contract=off -pthread -fsanitize=address,undefined -fno-sanitize-recover=all
REPLAY_SRCS  := $(wildcard engine/files/*.c engine/picture/*.c engine/text/*.c) engine/api/picture.c \
    $(addprefix engine/,base/io.c base/log.c base/number.c base/options.c base/tensor.c model/model_conf.c model/vocabulary.c) tests/fuzz/replay.c
REPLAY_OBJS  := $(REPLAY_SRCS:%.c=$(BUILD)/replay/%.o)
REPLAYERS    := $(FUZZ_SRCS:tests/fuzz/fuzz_%.c=$(BUILD)/replay/fuzz_%)

$(BUILD)/replay/%.o: %.c config.mak
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) $(WARNINGS) $(REPLAY_FLAGS) -MMD -MP -c $< -o $@

$(BUILD)/replay/fuzz_%: tests/fuzz/fuzz_%.c $(REPLAY_OBJS)
	$(CC) $(CPPFLAGS_ALL) $(REPLAY_FLAGS) -MMD -MP -MF $@.d $< $(REPLAY_OBJS) -o $@ $(LIBS_ALL)

check-fuzz: $(REPLAYERS)
	@tests/run.sh fuzz $(foreach r,$(REPLAYERS),"$(r) tests/fuzz/seeds/$(r:$(BUILD)/replay/fuzz_%=%)")

# ---- installation ----

install: lib $(CUDA_SO) $(BUILD)/td $(BUILD)/tdinfo $(BUILD)/turbodiff.pc
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(BINDIR)
	install -m 644 $(LIB_A) $(DESTDIR)$(LIBDIR)
	install -m 755 $(LIB_SO).$(VERSION) $(CUDA_SO) $(DESTDIR)$(LIBDIR)
	$(if $(CUDA_SO),,rm -f $(DESTDIR)$(LIBDIR)/libturbodiff-cuda.so)
	ln -sf libturbodiff.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libturbodiff.so.$(SOMAJOR)
	ln -sf libturbodiff.so.$(SOMAJOR) $(DESTDIR)$(LIBDIR)/libturbodiff.so
	install -m 644 $(BUILD)/turbodiff.pc $(DESTDIR)$(LIBDIR)/pkgconfig
	install -m 644 engine/api/turbodiff.h $(DESTDIR)$(INCLUDEDIR)
	install -m 755 $(BUILD)/td $(BUILD)/tdinfo $(DESTDIR)$(BINDIR)
	$(INSTALL_DEMO)

install-ffmpeg: $(FFMPEG) $(CUDA_SO)
	install -d $(DESTDIR)$(BINDIR) $(if $(CUDA_SO),$(DESTDIR)$(LIBDIR))
	$(if $(CUDA_SO),install -m 755 $(CUDA_SO) $(DESTDIR)$(LIBDIR),rm -f $(DESTDIR)$(LIBDIR)/libturbodiff-cuda.so)
	install -m 755 $(FFMPEG) $(BUILD)/ffprobe $(DESTDIR)$(BINDIR)
	$(INSTALL_DEMO)

INSTALL_DEMO = set -e; for f in $(DEMO_FILES); do install -D -m 644 $(DEMO_MODEL)/$$f $(DEMO_DIR)/$$f; done; \
    for f in $(I2V_FILES); do install -D -m 644 $(DEMO_MODEL)-i2v/$$f $(DEMO_DIR)-i2v/$$f; done; \
    for f in $(I2V_LINKS); do ln -sfn ../demo-model/$$f $(DEMO_DIR)-i2v/$$f; done

uninstall:
	rm -f $(addprefix $(DESTDIR)$(LIBDIR)/,libturbodiff.a libturbodiff.so libturbodiff.so.$(SOMAJOR) \
	    libturbodiff.so.$(VERSION) libturbodiff-cuda.so pkgconfig/turbodiff.pc) \
	    $(DESTDIR)$(INCLUDEDIR)/turbodiff.h $(addprefix $(DESTDIR)$(BINDIR)/,td tdinfo) $(addprefix $(DEMO_DIR)/,$(DEMO_FILES)) \
	    $(addprefix $(DEMO_DIR)-i2v/,$(I2V_FILES) $(I2V_LINKS))
	rmdir $(addprefix $(DEMO_DIR)/,google/umt5-xxl google) $(DEMO_DIR) $(DEMO_DIR)-i2v $(dir $(DEMO_DIR)) 2> /dev/null || true

-include $(LIB_OBJS:.o=.d) $(OPS_OBJS:.o=.d) $(TOOLS:=.d) $(UNITS:=.d) $(GPU_TOOLS:=.d) $(CARDS:=.d) $(CUDA_OBJS:.o=.d) $(RACE)/gemm_mma.cu.d \
    $(FUZZ_OBJS:.o=.d) $(FUZZERS:=.d) $(REPLAY_OBJS:.o=.d) $(REPLAYERS:=.d)

.PHONY: lib cuda tools tests ffmpeg check-unit check-fuzz check-ops check-tools check-api check-build check-cases \
    fate mutate regolden check-gpu check-gpu-all bench-gpu asan asan-fast tsan coverage fuzz install install-ffmpeg uninstall $(ALL_SERIES:%=ffmpeg-%) \
    $(ALL_SERIES:%=fate-%) $(ALL_SERIES:%=fate-short-%) FORCE
.SECONDARY:

endif

style:
	@tools/style.sh

clean:
	rm -rf $(BUILD) demo.mp4 demo-picture.mp4 demo-longer.mp4

distclean: clean
	rm -f config.mak

help:
	@echo "demo            everything up to demo.mp4 and two more, from a clean clone; PROMPT='...'"
	@echo "check           demo, then all tests that need no GPU; CHECK_MORE='style asan ...' CHECK_JOBS=2"
	@echo "all             lib tools cuda (after ./configure, as all that follows)"
	@echo "lib             libturbodiff"
	@echo "tools           td, tdinfo, tdsynth"
	@echo "cuda            the CUDA module, where nvcc was found; what uses it makes it"
	@echo "ffmpeg          ffmpeg and ffprobe with the turbodiff filters, in $(BUILD)/"
	@echo "ffmpeg-N fate-N the same of series N (7.1, 8.1, 9.0) with just what the tests need, and its tests"
	@echo "fate-short-N    of those what the series breaks soonest"
	@echo "install         library, header, pkg-config file, CUDA module, td, tdinfo, demo model"
	@echo "install-ffmpeg  ffmpeg, ffprobe, CUDA module, demo model"
	@echo "uninstall       takes away what install put there"
	@echo "tests           the programs of the tests"
	@echo "check-unit      tests of the library's rooms"
	@echo "check-ops       every operation of the CPU backend"
	@echo "check-fuzz      the fuzzers' seeds once, under sanitizers"
	@echo "check-tools     td, tdinfo, tdsynth"
	@echo "check-api       what is installed, and programs of earlier versions"
	@echo "check-build     the CUDA module: when it is made, and which one is opened"
	@echo "check-cases     fate's own tests"
	@echo "mutate          changes of the code that tests must see: tests/mutations/list"
	@echo "regolden        after a change of numerics that is meant: what tests know of it, anew"
	@echo "fate            the filters in ffmpeg"
	@echo "check-gpu       on a machine with a GPU, less than five minutes: a table of times for a report"
	@echo "check-gpu-all   the same machine, all that only a GPU can show; OFFICIAL=DIR"
	@echo "racecheck       what tests/gpu/sanitize.sh needs of CUDA's racecheck"
	@echo "bench-gpu       times on a GPU"
	@echo "asan tsan       unit and operator tests under sanitizers"
	@echo "asan-fast       of asan, what reads files and prompts"
	@echo "coverage        lines that the tests run, by gcov"
	@echo "fuzz            each fuzzer for FUZZ_SECONDS=60 (needs clang)"
	@echo "style           source style"
	@echo "clean distclean $(BUILD)/ and the clips of demo; and config.mak"
	@echo "help            this text"

.PHONY: all demo check style clean distclean help
.DELETE_ON_ERROR:
