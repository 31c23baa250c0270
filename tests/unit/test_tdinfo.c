/* SPDX-License-Identifier: BSD-2-Clause
 * tdinfo as its users run it, on model directories made by tdsynth: what it prints, and its exit codes. */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "test.h"

static char dir[] = "/tmp/td_test_XXXXXX";
static char output[1 << 16];

/* Run a shell command in which %B is the build directory and %D the test directory. @return exit code */
static int run(const char *command)
{
    const char *build = getenv("TD_BUILD");
    char line[1000], *p = line;
    size_t n = 0;
    FILE *f;
    int status;

    for (; *command && p < line + sizeof(line) - 300; command++) {
        if (command[0] == '%' && (command[1] == 'B' || command[1] == 'D'))
            p += snprintf(p, 200, "%s", *++command == 'D' ? dir : build ? build : "build");
        else
            *p++ = *command;
    }
    strcpy(p, " 2>&1");
    f = popen(line, "r");
    if (!f)
        return -1;
    while (n < sizeof(output) - 1) {
        size_t got = fread(output + n, 1, sizeof(output) - 1 - n, f);

        if (!got)
            break;
        n += got;
    }
    output[n] = 0;
    status = pclose(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect(const char *command, int code, const char *words)
{
    int ret = run(command);

    if (ret != code || !strstr(output, words)) {
        printf("  %s: exit code %d, want %d; output wants \"%s\":\n%.2000s\n", command, ret, code, words, output);
        CHECK(!"as wanted");
    }
}

/* A .safetensors file of zeros */
static void save(const char *name, const char *json, size_t data)
{
    char path[200];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "wb");
    if (!CHECK(f))
        return;
    for (int i = 0; i < 8; i++)
        fputc((int)(strlen(json) >> 8 * i & 0xff), f);
    fputs(json, f);
    while (data--)
        fputc(0, f);
    fclose(f);
}

/* A transformer's first tensors, of zeros, with one more; tdinfo names it, and says that it would not run */
static void strange(const char *more, int in, int out, const char *words)
{
#define TENSOR(name, shape) "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[%d,%d]}"
    static const char json[] = "{" TENSOR("%spatch_embedding.weight", "[2,%d,1,2,2]") ","
                               TENSOR("text_embedding.0.weight", "[2,2]") "," TENSOR("head.head.weight", "[%d,2]") ","
                               TENSOR("%s", "[1]") "}";
    int a = 2 * in * 4 * 4, b = a + 16, c = b + out * 8, causal = !strncmp(more, "generator", 9);
    char text[700], line[200];

    snprintf(text, sizeof(text), json, causal ? "generator_ema.model." : "", in, 0, a, a, b, out, b, c, more,
             c, c + 4);
    save("strange.safetensors", text, (size_t)c + 4);
    snprintf(line, sizeof(line), "strange.safetensors: %s, not supported: 4 tensors", words);
    expect("%B/tdinfo --summary %D/strange.safetensors", 1, line);
}

/* what is of another family, by the name of one tensor */
static void other(const char *name, const char *words)
{
    char text[300], line[200];

    snprintf(text, sizeof(text), "{\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", name);
    save("other.safetensors", text, 4);
    snprintf(line, sizeof(line), "other.safetensors: %s, not supported: 1 tensors", words);
    expect("%B/tdinfo --summary %D/other.safetensors", 1, line);
}

static void test_strangers(void)
{
    static const struct { const char *more; int in, out; const char *words; } kinds[] = {
        { "blocks.0.cross_attn.k_img.weight", 36, 64, "Wan2.1 I2V (with CLIP branch)" },
        { "model.diffusion_model.blocks.0.cross_attn.k_img.weight", 36, 64, "Wan2.1 I2V (with CLIP branch)" },
        { "img_emb.emb_pos", 36, 64, "Wan2.1 FLF2V (first and last frame)" },
        { "blocks.0.norm3.weight", 48, 192, "Wan2.2-TI2V-5B" },
        { "blocks.0.cross_attn.k_img.weight", 48, 64, "Wan Fun Control" },
        { "blocks.0.norm3.weight", 52, 64, "Wan Fun Control" }, { "ref_conv.weight", 16, 64, "Wan Fun Control" },
        { "control_adapter.conv.weight", 36, 64, "Wan Fun Camera" },
        { "vace_blocks.0.before_proj.weight", 16, 64, "Wan VACE" },
        { "vace_patch_embedding.weight", 16, 64, "Wan VACE" },
        { "face_adapter.fuser_blocks.0.k_norm.weight", 36, 64, "Wan2.2 Animate" },
        { "pose_patch_embedding.weight", 36, 64, "Wan2.2 Animate" },
        { "casual_audio_encoder.encoder.final_linear.weight", 16, 64, "Wan2.2 S2V (speech to video)" },
        { "audio_injector.injector.0.k.weight", 16, 64, "Wan2.2 S2V (speech to video)" },
        { "audio_proj.audio_proj_glob_1.layer.bias", 36, 64, "HuMo" },
        { "blocks.0.audio_cross_attn.q_linear.weight", 36, 64, "MultiTalk or InfiniteTalk" },
        { "audio_model.blocks.0.self_attn.q.weight", 16, 64, "Ovi" },
        { "fps_embedding.weight", 16, 64, "SkyReels V2 (causal)" },
        { "blocks.0.cam_encoder.weight", 16, 64, "ReCamMaster" },
        { "generator_ema.model.blocks.0.norm3.weight", 16, 64, "causal Wan2.1 (of Self-Forcing's kind)" },
    };

    test_begin("transformers of Wan's kind that are not run, by name");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
        strange(kinds[i].more, kinds[i].in, kinds[i].out, kinds[i].words);
    test_begin("files of other families, by name");
    other("vace_blocks.0.after_proj.weight", "Wan VACE");
    other("text_model.a", "CLIP");
    other("visual.a", "CLIP");
    other("double_blocks.0.a", "transformer of another family");
    other("transformer_blocks.0.a", "transformer of another family");
    other("model.diffusion_model.joint_blocks.0.a", "transformer of another family");
    other("model.diffusion_model.input_blocks.0.a", "Stable Diffusion");
    other("model.layers.0.self_attn.q_proj.weight", "language model");
    other("control_model.a", "ControlNet");
    other("decoder.up.0.a", "VAE of another family");
}

#define PAIR(name, shape, from, to) \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":[" shape "],\"data_offsets\":[" #from "," #to "]}"

int main(void)
{
    if (!mkdtemp(dir))
        return 1;
    test_begin("complete directories");
    expect("%B/tdsynth --preset=tiny --dit=both %D/pth && %B/tdinfo --summary %D/pth", 0,
           "umT5 encoder, other size: dim 256, ffn 512, 4 heads, 2 blocks, 1664 ids: 22 tensors, 3476480 bytes, "
           "complete");
    CHECK(strstr(output, "Wan T2V, other size: dim 256, ffn 512, 2 blocks, 16 input channels, int8, SLA: 93 tensors"));
    CHECK(strstr(output, "not quantised, SLA: 73 tensors, 4624512 bytes, complete"));
    CHECK(strstr(output, "Wan VAE, other size: base dim 16: 194 tensors, 14409484 bytes, complete"));
    CHECK(strstr(output, "spiece.model: vocabulary with umT5's conventions, other size: 1660 ids"));
    expect("%B/tdsynth --preset=tiny --in-dim=36 --no-sla --format=safetensors %D/st && %B/tdinfo --summary %D/st", 0,
           "Wan I2V, other size: dim 256, ffn 512, 2 blocks, 36 input channels, not quantised, dense attention");
    test_begin("tensor list");
    expect("%B/tdinfo %D/pth/Wan2.1_VAE.pth", 0, "encoder.conv1.weight ");
    CHECK(strstr(output, " f32   [16,3,3,3,3] 5184\n"));
    expect("%B/tdinfo %D/pth/models_t5_umt5-xxl-enc-bf16.pth", 0, " bf16  [1664,256] 851968\n");
    test_begin("a directory is complete where the library can use it");
    expect("touch %D/pth/._Wan2.1_VAE.pth && mkdir %D/pth/old_vae.pth && ln -s none %D/pth/vae.pth && "
           "%B/tdinfo --summary %D/pth", 0, "complete");
    expect("cp %D/pth/Wan2.1_VAE.pth %D/pth/vae2.pth && %B/tdinfo --summary %D/pth", 1,
           "more than one file could be a VAE");
    expect("mv %D/pth/vae2.pth %D/pth/T2V-low.pth && cp %D/pth/*480P.pth %D/pth/T2V-low.pth && "
           "%B/tdinfo --summary %D/pth", 1, "T2V-low.pth: two transformers, want one");
    expect("rm %D/pth/T2V-low.pth && echo steps = 3 > %D/pth/turbodiff.conf && %B/tdinfo --summary %D/pth", 1,
           "turbodiff.conf:1: 'steps', want width");
    expect("rm %D/pth/turbodiff.conf && %B/tdinfo --summary %D/pth", 0, "complete");
    test_begin("a tiny VAE beside the real one");
    expect("%B/tdsynth --only=vae --vae=tiny %D/pth && %B/tdinfo --summary %D/pth", 0,
           "taew2_1.pth: tiny VAE (taew2_1): 128 tensors, 22631078 bytes, complete");
    CHECK(strstr(output, "Wan VAE, other size: base dim 16"));
    expect("mv %D/pth/taew2_1.pth %D/lighttaew2_1.pth && %B/tdinfo --summary %D/lighttaew2_1.pth", 0,
           "tiny VAE (lighttaew2_1, by its name)");
    save("tae48.safetensors", "{\"decoder.1.weight\":{\"dtype\":\"F32\",\"shape\":[1,48,1,1],\"data_offsets\":[0,192]},"
         "\"decoder.3.conv.0.weight\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[192,196]}}", 196);
    expect("%B/tdinfo --summary %D/tae48.safetensors", 1,
           "tiny VAE of Wan 2.2 TI2V-5B (48 latent channels), not supported: 2 tensors");
    test_begin("incomplete directories");
    expect("rm %D/pth/Wan2.1_VAE.pth && %B/tdinfo --summary %D/pth", 1, "no VAE in it");
    expect("rm -r %D/pth/google && %B/tdinfo --summary %D/pth", 1, "no tokenizer (spiece.model) in it");
    expect("mkdir %D/none && %B/tdinfo %D/none", 1, "no transformer in it");
    test_begin("missing, unexpected, wrong shape");
    save("text.safetensors", "{\"token_embedding.weight\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
         "\"norm.weight\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[16,28]},"
         "\"extra\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[28,32]}}", 32);
    expect("%B/tdinfo --summary %D/text.safetensors", 1, "1 missing, 1 of wrong shape, 1 unexpected");
    CHECK(strstr(output, "  missing: blocks.0\n") && strstr(output, "  unexpected: extra\n"));
    CHECK(strstr(output, "  wrong shape: norm.weight: [3], want [2]\n"));
    test_begin("what is none of a model, by name");
    save("control.safetensors", "{\"patch_embedding.reshape_weight\":{\"dtype\":\"F32\",\"shape\":[1],"
         "\"data_offsets\":[0,4]}}", 4);
    expect("%B/tdinfo --summary %D/control.safetensors", 1, "control.safetensors: LoRA, for lora=, not supported: 1");
    save("tae.safetensors", "{\"decoder.3.conv.0.weight\":{\"dtype\":\"F32\",\"shape\":[1],"
         "\"data_offsets\":[0,4]}}", 4);
    expect("%B/tdinfo --summary %D/tae.safetensors", 1, "127 missing, 1 of wrong shape, 0 unexpected");
    CHECK(strstr(output, "tae.safetensors: tiny VAE (taew2_1): 1 tensors"));
    save("clip.safetensors", "{\"text_model.a\":{\"dtype\":\"F8_E8M0\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
    expect("%B/tdinfo %D/clip.safetensors", 1, "text_model.a ");
    CHECK(strstr(output, " f8_e8m0 [1] 1\n") && strstr(output, "CLIP, not supported"));

    test_strangers();

    test_begin("a LoRA, which is used beside a model");
    save("lora.safetensors", "{" PAIR("blocks.0.ffn.0.lora_A.weight", "2,1", 0, 8) ","
         PAIR("blocks.0.ffn.0.lora_B.weight", "1,2", 8, 16) ","
         PAIR("lora_unet_blocks_0_ffn_2.lora_down.weight", "1,1", 16, 20) ","
         PAIR("lora_unet_blocks_0_ffn_2.lora_up.weight", "1,1", 20, 24) ","
         PAIR("blocks.0.norm3.diff", "1", 24, 28) "}", 28);
    expect("%B/tdinfo --summary %D/lora.safetensors", 0, "LoRA, for lora=, 2 pairs of rank 1 to 2, differences: 5 ");
    save("half.safetensors", "{" PAIR("blocks.0.ffn.0.lora_A.weight", "2,1", 0, 8) ","
         PAIR("blocks.0.ffn.2.lora_A.weight", "0,1", 8, 8) ","
         PAIR("blocks.0.ffn.2.lora_B.weight", "1,0", 8, 8) "}", 8);
    expect("%B/tdinfo --summary %D/half.safetensors", 1, "  missing the other half of: blocks.0.ffn.0.lora_A.weight\n");
    CHECK(strstr(output, "  rank 0: blocks.0.ffn.2.lora_A.weight\n") != NULL);

    test_begin("a file that the library refuses is not complete");
    expect("%B/tdsynth --only=text --format=safetensors %D/odd && cd %D/odd && LC_ALL=C sed -i "
           "'s/\"norm.weight\":{\"dtype\":\"BF16\"/\"norm.weight\":{\"dtype\":\"I16\" /' *.safetensors && "
           "cd - > /dev/null && %B/tdinfo --summary %D/odd/models_t5_umt5-xxl-enc-bf16.safetensors", 1, "refused");
    test_begin("wrong files");
    expect("head -c 100000 %D/pth/TurboWan2.1-T2V-1.3B-480P.pth > %D/cut.pth; %B/tdinfo %D/cut.pth", 1, "truncated");
    expect("%B/tdinfo %D/nothing.pth", 1, "nothing.pth: no such file");
    expect("%B/tdinfo tests/data/torch_zip.pth", 1, "unknown model: 11 tensors, 186 bytes");
    expect("%B/tdinfo --summary tests/data/tokenizer_golden.json", 1, "want a .pth");
    test_begin("usage");
    expect("%B/tdinfo", 2, "usage: tdinfo");
    expect("%B/tdinfo --wrong x", 2, "unrecognized option '--wrong'");
    expect("%B/tdinfo --help", 0, "usage: tdinfo");
    test_begin("tokenize");
    expect("printf 'cat\\0a cat\\0' | %B/tdinfo --tokenize tests/data/spiece.model", 0, "303 1\n277 303 1\n");
    expect("printf '\\377\\0cat\\0' | %B/tdinfo --tokenize tests/data/spiece.model", 1, "prompt: is not UTF-8");
    CHECK(strstr(output, "error\n303 1\n"));
    run("rm -r %D");
    return test_end();
}
