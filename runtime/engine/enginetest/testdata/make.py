"""Makes families.json: the logits that Hugging Face's transformers computes, in
float32 on the CPU, for a small model of every family the native engine runs.

Usage: python make.py > families.json      (made with transformers 5.23.0, torch 2.15.0)

Weights are not stored: fill() makes them from a tensor's name, and golden.go does
the same. A model is its config.json as transformers saves it, the shapes of its
tensors ("N" for the number of a layer), a text of token ids that is longer than
every sliding window, and the logits at each position (for a classifier, at the
last one) as little-endian float32 in base64.
"""

import base64
import json
import re
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

torch.set_num_threads(1)

LENGTH, VOCAB = 40, 64
SHAPE = dict(
    vocab_size=VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, head_dim=32, max_position_embeddings=512, pad_token_id=0, bos_token_id=1, eos_token_id=2,
)
LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)


def gemma(**other):
    shape = SHAPE | dict(num_hidden_layers=7, sliding_window=12, query_pre_attn_scalar=32)
    return transformers.Gemma3TextConfig(**(shape | other))


CONFIGS = {
    "llama, llama3 scaling": transformers.LlamaConfig(**SHAPE, rope_parameters=dict(LLAMA3)),
    "llama, tied": transformers.LlamaConfig(**SHAPE, tie_word_embeddings=True, rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0)),
    "mistral": transformers.MistralConfig(**SHAPE, sliding_window=12),
    # qwen2 has no head_dim of its own
    "qwen2": transformers.Qwen2Config(
        **{k: v for k, v in SHAPE.items() if k != "head_dim"} | dict(hidden_size=128), tie_word_embeddings=True,
        use_sliding_window=True, sliding_window=12, max_window_layers=1),
    "qwen3": transformers.Qwen3Config(**SHAPE, rope_parameters=dict(rope_type="default", rope_theta=1e6)),
    "qwen3, tied": transformers.Qwen3Config(**SHAPE, tie_word_embeddings=True),
    "qwen3, classifier": transformers.Qwen3Config(**SHAPE, id2label={0: "a", 1: "b", 2: "c"}, label2id={"a": 0, "b": 1, "c": 2}),
    "gemma3": gemma(query_pre_attn_scalar=24),
    "gemma3, linear scaling": gemma(rope_parameters=dict(
        full_attention=dict(rope_type="linear", rope_theta=1e6, factor=8.0), sliding_attention=dict(rope_type="default", rope_theta=100.0))),
}


def fill(name, shape, mean, spread):
    """Values spread evenly around mean: 24 bits of a hash of name and index."""
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = (seed ^ byte) * 0x01000193 & 0xFFFFFFFF
    x = (np.arange(int(np.prod(shape)), dtype=np.uint64) * 0x9E3779B9 + seed & 0xFFFFFFFF).astype(np.uint32)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    u = (x >> np.uint32(8)).astype(np.float64) / 2**24
    return (mean + spread * (2 * u - 1)).astype(np.float32).reshape(shape)


def moments(name, shape, gemma):
    """The mean and spread of a tensor's values."""
    if name.endswith("norm.weight"):
        return (0.0 if gemma else 1.0), 0.25
    if name.endswith(".bias"):
        return 0.0, 0.5
    if "embed_tokens" in name:
        return 0.0, 0.5
    return 0.0, round(float(np.sqrt(3 / shape[-1])), 6)


def make(name, config):
    classifier = "classifier" in name
    auto = AutoModelForSequenceClassification if classifier else AutoModelForCausalLM
    model = auto.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        saved = json.load(open(folder + "/config.json"))
        with safe_open(folder + "/model.safetensors", "np") as f:
            names = list(f.keys())
    tensors, state = {}, model.state_dict()
    for key in names:
        shape = list(state[key].shape)
        mean, spread = moments(key, shape, "gemma" in name)
        state[key].copy_(torch.from_numpy(fill(key, shape, mean, spread)))
        tensors[re.sub(r"layers\.\d+\.", "layers.N.", key)] = dict(shape=shape, mean=mean, spread=spread)
    tokens = [int(v) for v in fill(name, [LENGTH], 0, 1).view(np.uint32) % VOCAB]
    tokens = [t if t != 0 else 3 for t in tokens]  # the classifier takes 0 for padding
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0].numpy().astype("<f4")
    return dict(name=name, config=saved, tensors=tensors, tokens=tokens, logits=base64.b64encode(logits.tobytes()).decode())


def main():
    rows = [json.dumps(make(name, config), separators=(",", ":")) for name, config in CONFIGS.items()]
    sys.stdout.write("[\n" + ",\n".join(rows) + "\n]\n")


if __name__ == "__main__":
    main()
