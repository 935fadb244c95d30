// Package lora merges a LoRA adapter, as Hugging Face's PEFT saves it, into the
// weights of the base model it was trained on. The result is what the model
// computed in training: what cannot be merged exactly is refused by its name, for
// a model that is almost right answers, and wrongly.
//
// A merge goes through the base once, tensor by tensor, and holds no more than
// one adapted module's low-rank factors and a few rows of its matrix in memory.
package lora
