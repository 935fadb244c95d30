"""Makes foreign.json: goldens as in families.json, of families that the native
engine does not run.

Usage: python make_foreign.py > foreign.json      (made with transformers 5.24.0, torch 2.15.0)
"""

import json
import sys

import transformers

import make

SHAPE = dict(
    vocab_size=make.VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=512, pad_token_id=0, bos_token_id=1, eos_token_id=2,
)
QWEN = SHAPE | dict(
    head_dim=64, linear_key_head_dim=32, linear_value_head_dim=32, linear_num_key_heads=2, linear_num_value_heads=4, linear_conv_kernel_dim=4,
    rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5, mrope_section=[6, 5, 5], mrope_interleaved=True),
)
CONFIGS = {
    "lfm2": transformers.Lfm2Config(**SHAPE, layer_types=["conv", "full_attention", "conv", "full_attention"], block_auto_adjust_ff_dim=False),
    "lfm2, adjusted": transformers.Lfm2Config(**SHAPE, layer_types=["conv", "conv", "full_attention", "conv"], block_multiple_of=16),
    "qwen35": transformers.Qwen3_5TextConfig(
        **QWEN, tie_word_embeddings=True, layer_types=["linear_attention", "linear_attention", "linear_attention", "full_attention"]),
    "qwen35, untied": transformers.Qwen3_5TextConfig(
        **QWEN, tie_word_embeddings=False, layer_types=["linear_attention", "full_attention", "linear_attention", "full_attention"]),
}
plain = make.moments


def moments(name, shape, _):
    if name.endswith("linear_attn.norm.weight"):
        return 1.0, 0.25
    if name.endswith("norm.weight") and moments.family == "qwen35":
        return 0.0, 0.25  # transformers adds the 1
    if name.endswith(("A_log", "dt_bias")):
        return 0.0, 1.0
    return plain(name, shape, False)


make.moments = moments


def main():
    rows = []
    for name, config in CONFIGS.items():
        moments.family = name.split(",")[0]
        rows.append(json.dumps(make.make(name, config), separators=(",", ":")))
    sys.stdout.write("[\n" + ",\n".join(rows) + "\n]\n")


if __name__ == "__main__":
    main()
