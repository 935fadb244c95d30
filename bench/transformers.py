"""Answers lines of JSON: a list of texts in, the list of their labels out.

Arguments: the folder of a sequence classifier, the number of threads. The
first line out is {"version": ...}.
"""
import json
import sys

import torch
import transformers

folder, threads = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(threads)
transformers.utils.logging.set_verbosity_error()
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
if tokenizer.pad_token is None:
    tokenizer.pad_token = tokenizer.eos_token
model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
if model.config.pad_token_id is None:
    model.config.pad_token_id = tokenizer.pad_token_id
classify = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
print(json.dumps({"version": f"transformers {transformers.__version__}, torch {torch.__version__}"}), flush=True)
for line in sys.stdin:
    texts = json.loads(line)
    print(json.dumps([answer["label"] for answer in classify(texts, batch_size=len(texts))]), flush=True)
