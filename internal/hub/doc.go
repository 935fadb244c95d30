// Package hub is a client of the Hugging Face hub as far as models are downloaded
// from it: it resolves a revision to a commit, lists a commit's files with their
// sizes and hashes, chooses those that make a model, and downloads them.
//
// The routes, fields and error codes are those that huggingface_hub 2.4 uses
// (hf_api.py, utils/_http.py, utils/_pagination.py) and huggingface.co/docs/hub
// describes.
package hub
