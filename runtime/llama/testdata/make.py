"""Makes hybrid.json and its models: the logits that Hugging Face's transformers
computes, in float32 on the CPU, for small random models of families that the
native engine does not know, with convolution and state-space layers.

Usage: python make.py LLAMA_CPP        (made with transformers 5.24.0, torch 2.15.0)

LLAMA_CPP is a checkout of llama.cpp v0.5.0, whose converter writes the GGUF files,
without a vocabulary. Weights are rounded to float16 before anything is computed,
so that the files hold them exactly.
"""

import json
import pathlib
import sys
import tempfile

import torch
import transformers

sys.path[:0] = [sys.argv[1], sys.argv[1] + "/gguf-py"]
import gguf  # noqa: E402
from conversion.lfm2 import LFM2Model  # noqa: E402
from conversion.qwen import Qwen3_5TextModel  # noqa: E402

VOCAB, LENGTH = 64, 24
HERE = pathlib.Path(__file__).parent

MODELS = {
    "lfm2": (LFM2Model, transformers.Lfm2ForCausalLM, transformers.Lfm2Config(
        vocab_size=VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=512, conv_L_cache=3, block_auto_adjust_ff_dim=False, block_ff_dim=96, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        layer_types=["conv", "full_attention", "conv", "full_attention"], tie_word_embeddings=True)),
    "qwen35": (Qwen3_5TextModel, transformers.Qwen3_5ForCausalLM, transformers.Qwen3_5TextConfig(
        vocab_size=VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=64,
        linear_key_head_dim=32, linear_value_head_dim=32, linear_num_key_heads=2, linear_num_value_heads=4, linear_conv_kernel_dim=4,
        max_position_embeddings=512, pad_token_id=0, bos_token_id=1, eos_token_id=2, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5, mrope_section=[6, 5, 5], mrope_interleaved=True),
        layer_types=["linear_attention", "linear_attention", "linear_attention", "full_attention"])),
}


def without_vocabulary(converter):
    class Bare(converter):
        model_arch = converter.model_arch
        no_mtp = True

        def set_vocab(self):
            self.gguf_writer.add_tokenizer_model("none")
            if "vocab_size" not in self.gguf_writer.kv_data[0]:
                self.gguf_writer.add_vocab_size(VOCAB)

    return Bare


def make(name, converter, kind, config):
    torch.manual_seed(5)
    config._attn_implementation = "eager"
    model = kind(config).eval()
    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.dim() > 1:
                tensor.normal_(0, 1 / tensor.shape[-1] ** 0.5)
            else:
                tensor.add_(torch.randn_like(tensor) * 0.1)
            tensor.copy_(tensor.half().float())
        tokens = torch.randint(3, VOCAB, (1, LENGTH))
        logits = model(tokens).logits[0]
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        path = HERE / f"{name}.gguf"
        path.unlink(missing_ok=True)
        without_vocabulary(converter)(pathlib.Path(folder), gguf.LlamaFileType.MOSTLY_F16, path).write()
    return dict(name=name, tokens=tokens[0].tolist(), logits=[[round(float(x), 6) for x in row] for row in logits])


torch.set_num_threads(1)
with open(HERE / "hybrid.json", "w") as f:
    json.dump([make(name, *rest) for name, rest in MODELS.items()], f)
    f.write("\n")
