package pull

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cubby/internal/download"
	"cubby/internal/platform"
	"cubby/models"
)

// version tells one package of a model from another, without its bytes.
type version struct {
	id   string
	size int64 // 0 where the server does not say
}

const (
	askTries = 5
	askPause = 500 * time.Millisecond // before the second try; doubles
)

const again = "run the same command again"

// ask asks the server for one byte of the package, and learns which one it has: a
// presigned address is good for GET only. An expired address is renewed once, and
// what may pass is tried again.
func ask(ctx context.Context, platformURL string, link platform.Link) (version, error) {
	client := platform.NewHTTP()
	defer client.CloseIdleConnections()
	renewed := false
	for try := 1; ; try++ {
		v, status, err := askOnce(ctx, client, platformURL, link.URL)
		if err == nil || ctx.Err() != nil {
			return v, err
		}
		e := &download.Error{Kind: download.Network, File: "the package", From: link.String(), Advice: "check the connection and the proxy, then " + again}
		switch {
		case status == 0:
			e.Problem = "the server cannot be reached" // the error's text has the address, and the key in it
		case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound, status == http.StatusGone:
			if !renewed {
				renewed = true
				if link, err = link.Renew(ctx); err != nil {
					return v, err
				}
				continue
			}
			e.Problem = fmt.Sprintf("there is nothing at the address that the platform gives (HTTP %d)", status)
			e.Advice = "the package may have been withdrawn: see fetch list, or train the model again"
			if status == http.StatusUnauthorized || status == http.StatusForbidden {
				e.Kind, e.Problem = download.Auth, fmt.Sprintf("access is refused at the address that the platform gives (HTTP %d)", status)
				e.Advice = "log in again: fetch login; then " + again
			}
			return v, e
		default:
			e.Problem = fmt.Sprintf("the server answers HTTP %d", status)
			e.Advice = "wait some minutes, then " + again
			if status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout {
				return v, e
			}
		}
		if try == askTries {
			return v, e
		}
		select {
		case <-ctx.Done():
			return v, ctx.Err()
		case <-time.After(askPause << (try - 1)):
		}
	}
}

func askOnce(ctx context.Context, client *http.Client, platformURL, address string) (v version, status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return v, 0, err
	}
	req.Header.Set("Range", "bytes=0-0")
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := client.Do(req)
	if err != nil {
		return v, 0, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		v.size = max(resp.ContentLength, 0)
	case http.StatusPartialContent:
		_, all, _ := strings.Cut(resp.Header.Get("Content-Range"), "/")
		if n, err := strconv.ParseUint(all, 10, 62); err == nil {
			v.size = int64(n)
		}
	default:
		return v, resp.StatusCode, fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	tag := resp.Header.Get("ETag")
	if tag == "" {
		tag = resp.Header.Get("Last-Modified")
	}
	v.id = models.DigestOf(fmt.Appendf(nil, "%s\n%s\n%d", platformURL, tag, v.size)).Hex()[:16]
	return v, resp.StatusCode, nil
}
