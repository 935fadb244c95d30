"""Makes sentencepiece.json: a small vocabulary as gemma has it, in the forms of a
tokenizer.json and of a GGUF, with the ids that Hugging Face's tokenizers and
SentencePiece give it for odd texts.

Usage: python make_sentencepiece.py > sentencepiece.json
(needs: pip install sentencepiece==0.2.3 tokenizers==0.23.3 transformers==5.23.0 protobuf)

The vocabulary is trained here. The tokenizer.json is made as transformers
converts gemma's model: merges by generate_merges, pieces that the model's makers
defined as added tokens, those of a turn as special ones. The GGUF form is that of
llama.cpp's converter. Each is there with and without a space before the text.
"""

import io
import json
import sys

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2 as proto
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers.convert_slow_tokenizer import generate_merges
from make import CORPUS, TEXTS

TURNS = ["<start_of_turn>", "<end_of_turn>"]
LINES = ["\n" * n for n in range(1, 6)]
BLANKS = ["\u2581" * n for n in range(2, 6)]
DEFINED = TURNS + LINES + BLANKS + ["<table>", "<h1>", "</h1>", "[multi]"]

MORE = [
    "a\u2581b", "\u2581", "\u2581\u2581\u2581", " \u2581 ", "<table><h1>x</h1>", "<table", "  <table>  ", "[multi] [multi", "<0x0A>", "<0x41>b",
    "\n\n\n\n\n\n\n\n", "x\n\n  y", "user\ntext", "<bos>", "<unk>", "\U0001f9ff\u00ac\ufffd", "\u0000", "aaaaaa aaaaa aaaa aaa aa", "thethethe the",
    "banana bananas", "                x", "model\ncash_withdrawal",
]
SPECIAL = ["<start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n", "a<end_of_turn>b", "<bos><start_of_turn>x", "<end_of_turn><end_of_turn>", "<start_of_turn> <end_of_turn>\n\n"]


def train():
    out = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 4), model_writer=out, model_type="bpe", vocab_size=640, character_coverage=1.0, byte_fallback=True,
        split_digits=True, allow_whitespace_only_pieces=True, normalization_rule_name="identity", add_dummy_prefix=False,
        remove_extra_whitespaces=False, user_defined_symbols=DEFINED, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
        pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>", hard_vocab_limit=False, minloglevel=2,
    )
    return out.getvalue()


def load(model, space):
    m = proto.ModelProto.FromString(model)
    m.normalizer_spec.add_dummy_prefix = space
    return spm.SentencePieceProcessor(model_proto=m.SerializeToString())


def hugging_face(sp, space):
    pieces = [(sp.id_to_piece(i), sp.get_score(i)) for i in range(sp.get_piece_size())]
    vocab = {piece: i for i, (piece, _) in enumerate(pieces)}
    tok = Tokenizer(models.BPE(vocab, generate_merges(vocab, dict(pieces)), unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    replace = normalizers.Replace(" ", "\u2581")
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), replace]) if space else replace
    if not space:
        tok.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    strip = [decoders.Strip(" ", 1, 0)] if space else []
    tok.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()] + strip)
    control = [sp.id_to_piece(i) for i in range(4)]
    special = lambda piece: piece in control or piece in TURNS
    tok.add_tokens([AddedToken(p, normalized=False, special=special(p)) for p in control + DEFINED])
    return tok


def gguf(sp):
    tokens, scores, types = [], [], []
    for i in range(sp.get_piece_size()):
        piece, kind = sp.id_to_piece(i), 1
        if sp.is_unknown(i):
            kind = 2
        elif sp.is_control(i) or piece in TURNS:
            kind = 3
        elif piece in DEFINED:
            piece, kind = piece.replace("\u2581", " "), 4
        elif sp.is_byte(i):
            kind = 6
        tokens.append(piece)
        scores.append(sp.get_score(i) if kind in (1, 6) else -1000.0)
        types.append(kind)
    return dict(tokens=tokens, scores=scores, types=types)


def dump(value):
    return json.dumps(value, separators=(",", ":"))


def main():
    model = train()
    texts = [t for t in TEXTS + MORE if not any(s in t for s in TURNS)]
    out = dict(texts=texts, special=SPECIAL, vocabulary=gguf(load(model, False)))
    for name, space in (("bare", False), ("spaced", True)):
        sp = load(model, space)
        tok = hugging_face(sp, space)
        made = json.loads(tok.to_str())
        if space:  # the vocabulary stands in the first
            made = {k: v for k, v in made.items() if k in ("normalizer", "pre_tokenizer", "decoder")}
        out[name] = dict(tokenizer=made, ids=[tok.encode(t).ids for t in texts], special=[tok.encode(t).ids for t in SPECIAL], spm=[sp.encode(t) for t in texts])
    sys.stdout.write("{\n" + ",\n".join(f"{dump(k)}:{dump(v)}" for k, v in out.items()) + "\n}\n")
    differ = [t for t, a, b in zip(texts, out["bare"]["ids"], out["bare"]["spm"]) if a != b]
    print("the two libraries differ on", differ, file=sys.stderr)


if __name__ == "__main__":
    main()
