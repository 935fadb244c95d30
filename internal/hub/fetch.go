package hub

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"cubby/internal/download"
	"cubby/models"
)

// Fetch downloads files of a commit into dir, under their paths in the repo. What
// came is what the hub's listing says: by SHA-256, or for a small file by its hash in
// git.
func (c *Client) Fetch(ctx context.Context, d download.Downloader, dir string, at Commit, files []File) ([]models.File, error) {
	list := make([]download.File, len(files))
	for i, f := range files {
		address := c.address(at, f.Path)
		list[i] = download.File{
			Name: f.Path, URL: address, Header: c.header(), Size: f.Size, SHA256: f.SHA256,
			// Where bytes lie is told anew by the same address: presigned ones expire.
			Renew: func(context.Context) (string, error) { return address, nil },
		}
	}
	got, err := d.Fetch(ctx, dir, list)
	var e *download.Error
	if errors.As(err, &e) && e.Kind == download.Auth && ctx.Err() == nil {
		if why := c.Access(ctx, at); why != nil {
			return nil, why
		}
	}
	if err != nil {
		return nil, err
	}
	var wrong []error
	for _, f := range files {
		if f.Blob != "" {
			wrong = append(wrong, c.checkBlob(dir, at, f)) // each wrong one must go
		}
	}
	return got, errors.Join(wrong...)
}

// address is where a file of a commit is asked for.
func (c *Client) address(at Commit, name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return c.endpoint + "/" + at.Repo + "/resolve/" + at.SHA + "/" + strings.Join(parts, "/")
}

// checkBlob hashes a small file as git does, and removes a wrong one.
func (c *Client) checkBlob(dir string, at Commit, f File) error {
	name := filepath.Join(dir, filepath.FromSlash(f.Path))
	sum, err := blobHash(name)
	if err != nil || sum == f.Blob {
		return err
	}
	err = os.Remove(name)
	return &download.Error{Kind: download.Checksum, File: f.Path, From: c.address(at, f.Path), Err: err,
		Problem: fmt.Sprintf("its hash in git is %s, and %s was published", sum, f.Blob),
		Advice:  "it was removed: run the same command again, over another network if there is one"}
}

func blobHash(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", info.Size())
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}
