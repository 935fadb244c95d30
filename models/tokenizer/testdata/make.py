"""Makes families.json: small tokenizers of every supported pre-tokeniser, and
the ids that Hugging Face's tokenizers gives them for odd texts.

Usage: python make.py > families.json      (needs: pip install tokenizers)

The tokenizers are trained here on the texts below; a byte-level alphabet with
gaps (as SmolLM has) and one with all 256 bytes are both among them.
"""

import json
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

HEAD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPECIAL = ["<|begin|>", "<|end|>", "<|end|><|end|>", "<|ending"]

CORPUS = [
    "I was charged twice for one coffee, and the card's limit isn't what you'd think. We'll see what they've done.",
    "the the the then there they're theirs; it is what it is, and that was that. The bank's app won't open!",
    "    for i in range(10):\n        print(i, end='')\n\n\n    return x == y || z != w;\n",
    "12345 67890 2024-01-31 3.14159 1,000,000 007 ١٢٣٤ ½ Ⅷ",
    "naïve café déjà vu Ünïcödé straße ELEVEN I'M HERE, WE'LL GO, THEY'RE LATE",
    "مرحبا بالعالم، كيف حالك اليوم؟ السلام عليكم",
    "你好，世界。今天的天气很好。我想查询我的账户余额。",
    "こんにちは世界 カタカナ 안녕하세요 세계",
    "👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 😀😀😀 ok",
    ")))))) (((((( ...... ------ ====== !!!??? aaaa aaaaaaaa",
    "Привет, мир! Как дела сегодня? Ελληνικά עברית हिन्दी",
]

TEXTS = [
    "", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", " \n ", "a", "a ", " a", "  a", "   a  b   ",
    "a\n\n\nb", "a \n \n b", ".\n\nI", "...\n\n\n", " ...\r\n\r\nx", "!\n  \n  x", "\n\n   x", "\t\tx\t y", "x\u000b\u000cy",
    "  \n\n  \n x  \n", "\r\r\n\n\rx", " \t \t z", "it's IT'S It'S i'M I'LL i'Ll WE'RE we'Re THEY'VE 'D 'd 'T't'S",
    "'s 't 're 've 'm 'll 'd", "' s '' ''s 'sam 'tis 'twas 'lla 'l 'r 'v 'x", "'\u017f '\u017fa I'\u017f o'\u212a", "'", "a'", "don''t", "rock 'n' roll",
    "1 12 123 1234 12345 123456 1234567", "a1b22c333d4444", "3.14159e-10", " 1", "  12", "-5", "$1,234.56", "1\n2", "١٢٣٤٥ ½¾ Ⅷ² ①②③ 一二三",
    "x²y³", "₁₂₃", "مرحبا بالعالم! ١٢٣ كيف؟", "السَّلَامُ عَلَيْكُم", "你好，世界。你好 世界123", "全角　空格　１２３ＡＢＣ", "こんにちは、世界！カタカナ", "안녕하세요 세계",
    "👍🏽", "👩‍👩‍👧‍👦 family", "🏳️‍🌈 a👍b 👍👍 👍 ", "😀😀😀!!!\n\n", "e\u0301 E\u0301cole a\u0300\u0301 \u0301 x", "n\u0303o\u0308 \u1e9b\u0323 q\u0307\u0323", "\u212b \u2126 \u1100\u1161\u11a8 \uac00\u11a8",
    "z" + "\u0301\u0323" * 20 + "algo", "a" + "\u0300" * 40 + "b", "\u0344 \u0958 \ufb1d \u2adc \U0001d15e", "a\u00a0b \u00a0 c\u00a0\u00a0d", "\u00a0\u00a0x", "a\u2028b\u2029c", "\u2028\u2028x", "a\u0085b \u0085\u0085 c",
    "a\u200bb\u200dc\ufeffd", "\u3000\u3000x", "\u1680x\u2000\u200ay\u202fz\u205f", "\u180ex", "a\u001cb\u001fc", "\u0000\u0001\u0004\u007f", "a\u0004b", "th\u0004e \u0004 the", "\u00ad\u00ff\u0100\u0143\u0144",
    "<|end|>", "<|end|", "<|END|>", "< |end|>", "a<|end|>b", "<|end|><|end|><|end|>", "<|ending", "<|endin", "<|begin|> hi <|end|>\n<|begin|>", "  <|end|>  x", "<<|end|>>", "<|end|>\u0338",
    "))))))", "((((((((", "......", "-------", "=== ===", "aaaaaaaaaaaaaaaaaaaaaaaaa", "abababababab", "coffeecoffeecoffee" * 4, "a" * 100, " " * 70, "x" + " " * 70 + "y", "!" * 65, "\n" * 50, "the" * 40,
    "    for i in range(10):\n        print(i)\n\n\n    return\n", "if(x==1){y+=2;}//ok", "https://example.org/a?b=c&d=%20", "user@example.org", "snake_case camelCase kebab-case SCREAMING_CASE",
    "naïve café déjà vu straße ǅ ʰ ª º", "ﬁ ﬆ 'ﬆ ß ẞ", "Привет, мир! ПРИВЕТ", "Ελληνικά שלום עולם हिन्दी ไทย", "\U0010ffff\ue000\ufffd", "\U00020000\U0002a6d7 x", "I was charged twice for one coffee, and the card's limit isn't what you'd think.",
    '{"label": "cash_withdrawal", "p": 0.97}', "<output>cash</output>", "a,b;c:d|e/f\\g", "\"quoted\" 'single' `tick`", "tab\tsep\tvalues\r\n1\t2\t3\r\n",
]


def split(regex):
    return [
        pre_tokenizers.Split(Regex(regex), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]


FAMILIES = {
    "smollm": ([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)], False, False, False),
    "llama-bpe": (split(HEAD + r"\p{N}{1,3}" + TAIL), True, False, True),
    "qwen2": (split(HEAD + r"\p{N}" + TAIL), True, True, False),
    "lfm2": (split(HEAD + r"\p{N}{1,3}" + TAIL), True, False, True),
    "qwen35": (split(HEAD.replace(r"\p{L}+", r"[\p{L}\p{M}]+") + r"\p{N}" + TAIL.replace(r"\s\p{L}\p{N}", r"\s\p{L}\p{M}\p{N}")), True, True, False),
    "gpt2-prefix": ([pre_tokenizers.ByteLevel(add_prefix_space=True)], True, False, False),
}


def make(steps, full_alphabet, nfc, ignore_merges):
    tok = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tok.pre_tokenizer = pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]
    tok.decoder = decoders.ByteLevel()
    if nfc:
        tok.normalizer = normalizers.NFC()
    alphabet = pre_tokenizers.ByteLevel.alphabet() if full_alphabet else []
    tok.train_from_iterator(CORPUS * 3, trainers.BpeTrainer(vocab_size=450, min_frequency=2, initial_alphabet=alphabet, show_progress=False))
    if ignore_merges:
        tok = unreachable(tok)
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIAL])
    return tok


def unreachable(tok):
    """Adds tokens that no merge makes, which only ignore_merges finds."""
    j = json.loads(tok.to_str())
    for word in ["\u0120roll", "twas", "===", "\u0120family"]:
        j["model"]["vocab"].setdefault(word, len(j["model"]["vocab"]))
    return Tokenizer.from_str(json.dumps(j))


def pack(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def main():
    families = {}
    for name, parts in FAMILIES.items():
        tok = make(*parts)
        families[name] = {"tokenizer": json.loads(tok.to_str()), "ids": [tok.encode(t).ids for t in TEXTS]}
    texts = ",\n".join(json.dumps(t) for t in TEXTS)
    rows = ",\n".join(f'"{n}":{{"tokenizer":{pack(f["tokenizer"])},\n"ids":{pack(f["ids"])}}}' for n, f in families.items())
    sys.stdout.write(f'{{"texts":[\n{texts}],\n"families":{{\n{rows}}}}}\n')


if __name__ == "__main__":
    main()
