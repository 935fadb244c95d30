package localplatform

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cubby/internal/testenv"
)

// site is a platform on a server.
type site struct {
	*Platform
	url string
	now time.Time
	dir string
}

func newSite(t *testing.T, opt Options) *site {
	t.Helper()
	s := &site{now: time.Now(), dir: t.TempDir()}
	if err := Sample(s.dir, "banking"); err != nil {
		t.Fatal(err)
	}
	opt.Packages = s.dir
	opt.Now = func() time.Time { return s.now }
	p, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	s.Platform, s.url = p, server.URL
	return s
}

// get asks with headers, each "Name: value".
func (s *site) get(t *testing.T, address string, headers ...string) (int, http.Header, []byte) {
	t.Helper()
	if strings.HasPrefix(address, "/") {
		address = s.url + address
	}
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		if name, value, ok := strings.Cut(h, ": "); ok {
			req.Header.Set(name, value)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return -1, resp.Header, body
	}
	return resp.StatusCode, resp.Header, body
}

// address asks the API for that of a package.
func (s *site) address(t *testing.T) string {
	t.Helper()
	status, _, body := s.get(t, "/slms/"+s.Models()[0].ID+"/download", "Authorization: Bearer "+s.Token())
	var a struct {
		URL string `json:"model_url"`
	}
	if err := json.Unmarshal(body, &a); status != 200 || err != nil {
		t.Fatalf("%d %s", status, body)
	}
	return a.URL
}

func TestRoutesOfEachEra(t *testing.T) {
	for era, want := range map[Era]map[string]int{
		Models:   {"/models": 200, "/slms": 404, "/credits/endpoints": 404, "/": 404},
		Both:     {"/models": 200, "/slms": 200, "/slms/x": 404},
		Training: {"/models": 410, "/trainings/x/model": 410, "/uploads/x/download": 410, "/slms": 200, "/credits/endpoints": 200, "/datasets/x/download": 404},
		Datasets: {"/models": 410, "/slms": 200, "/training-datasets/x/download": 404},
	} {
		s := newSite(t, Options{Era: era})
		for route, status := range want {
			if got, _, body := s.get(t, route, "Authorization: Bearer "+s.Token()); got != status {
				t.Errorf("%s %s: %d %s, want %d", era, route, got, body, status)
			}
			if got, _, _ := s.get(t, route); got != 401 {
				t.Errorf("%s %s without a token: %d", era, route, got)
			}
		}
	}
}

func TestTokens(t *testing.T) {
	s := newSite(t, Options{})
	token := s.Token()
	want := func(status int, header string) {
		t.Helper()
		if got, _, body := s.get(t, "/slms", "Authorization: "+header); got != status {
			t.Errorf("%d %s, want %d", got, body, status)
		}
	}
	want(200, "Bearer "+token)
	want(401, token)
	want(401, "Bearer x")
	s.now = s.now.Add(time.Hour)
	want(403, "Bearer "+token)
	token = s.Token()
	s.Revoke()
	want(401, "Bearer "+token)
	bare := newSite(t, Options{BareTokens: true})
	if got, _, _ := bare.get(t, "/slms", "Authorization: "+bare.Token()); got != 200 {
		t.Errorf("a bare token: %d", got)
	}
	if got, _, _ := bare.get(t, "/slms", "Authorization: Bearer "+bare.Token()); got != 401 {
		t.Errorf("the other form: %d", got)
	}
}

func TestCognitoRefusals(t *testing.T) {
	s := newSite(t, Options{})
	for body, want := range map[string]string{
		`{`: "SerializationException", `{"AuthFlow":"USER_PASSWORD_AUTH"}`: "InvalidParameterException", `{"AuthFlow":"OTHER","ClientId":"c"}`: "InvalidParameterException",
		`{"AuthFlow":"USER_PASSWORD_AUTH","ClientId":"c","AuthParameters":{"USERNAME":"x","PASSWORD":"y"}}`: "NotAuthorizedException",
		`{"AuthFlow":"REFRESH_TOKEN_AUTH","ClientId":"c","AuthParameters":{"REFRESH_TOKEN":"y"}}`:           "NotAuthorizedException",
	} {
		req, err := http.NewRequest(http.MethodPost, s.url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Target", "AWSCognitoIdentityProviderService.InitiateAuth")
		req.Header.Set("Content-Type", "application/x-amz-json-1.1")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 400 || !strings.Contains(string(got), want) {
			t.Errorf("%s: %d %s", body, resp.StatusCode, got)
		}
	}
}

// Files behave as S3's do.
func TestFiles(t *testing.T) {
	s := newSite(t, Options{LinkLifetime: time.Minute})
	address := s.address(t)
	m := s.Models()[0]
	whole, err := os.ReadFile(filepath.Join(s.dir, m.Task, m.Shape+".tar"))
	if err != nil {
		t.Fatal(err)
	}
	status, h, body := s.get(t, address)
	etag := h.Get("ETag")
	if status != 200 || !bytes.Equal(body, whole) || etag == "" || h.Get("Accept-Ranges") != "bytes" {
		t.Errorf("%d, %d bytes, %v", status, len(body), h)
	}
	if status, h, body := s.get(t, address, "Range: bytes=1000-"); status != 206 || !bytes.Equal(body, whole[1000:]) || h.Get("ETag") != etag {
		t.Errorf("a part: %d, %d bytes, %v", status, len(body), h)
	}
	if status, _, body := s.get(t, address, "Range: bytes=1000-", "If-Range: "+etag); status != 206 || len(body) != len(whole)-1000 {
		t.Errorf("a part of that version: %d, %d bytes", status, len(body))
	}
	if status, _, body := s.get(t, address, "Range: bytes=1000-", `If-Range: "other"`); status != 200 || len(body) != len(whole) {
		t.Errorf("a part of another version: %d, %d bytes", status, len(body))
	}
	if status, _, _ := s.get(t, address, fmt.Sprintf("Range: bytes=%d-", len(whole))); status != 416 {
		t.Errorf("behind the end: %d", status)
	}
	for name, c := range map[string]struct {
		address, header string
		status          int
		code            string
	}{
		"with a token":          {address, "Authorization: Bearer x", 400, "InvalidArgument"},
		"another signature":     {strings.Replace(address, "Signature=", "Signature=0", 1), "", 403, "SignatureDoesNotMatch"},
		"another lifetime":      {strings.Replace(address, "Expires=60", "Expires=999999", 1), "", 403, "SignatureDoesNotMatch"},
		"another file":          {strings.Replace(address, ".tar", ".json", 1), "", 403, "SignatureDoesNotMatch"},
		"outside of the folder": {s.url + filesPrefix + "..%2f..%2fetc/passwd", "", 403, "SignatureDoesNotMatch"},
	} {
		status, _, body := s.get(t, c.address, c.header)
		if status != c.status || !strings.Contains(string(body), "<Code>"+c.code) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	s.now = s.now.Add(time.Minute)
	if status, _, body := s.get(t, address); status != 403 || !strings.Contains(string(body), "Request has expired") {
		t.Errorf("an expired address: %d %s", status, body)
	}
	address = s.address(t)
	if err := os.Remove(filepath.Join(s.dir, m.Task, m.Shape+".tar")); err != nil {
		t.Fatal(err)
	}
	if status, _, body := s.get(t, address); status != 404 || !strings.Contains(string(body), "NoSuchKey") {
		t.Errorf("a file that is gone: %d %s", status, body)
	}
}

func TestFaults(t *testing.T) {
	s := newSite(t, Options{})
	address := s.address(t)
	_, h, whole := s.get(t, address)
	etag := h.Get("ETag")
	part := "Range: bytes=100-"
	during := func(f Fault, check func()) {
		t.Helper()
		f.Route = "GET /s3/"
		s.Break(f)
		check()
		s.Heal()
	}
	during(Fault{Status: 503, Header: http.Header{"Retry-After": {"1"}}, Body: "x"}, func() {
		if status, h, body := s.get(t, address); status != 503 || h.Get("Retry-After") != "1" || string(body) != "x" {
			t.Errorf("%d %v %s", status, h, body)
		}
	})
	during(Fault{Drop: true}, func() {
		if status, _, _ := s.get(t, address); status != 0 {
			t.Errorf("dropped: %d", status)
		}
	})
	during(Fault{CutAfter: 70000}, func() {
		if status, _, body := s.get(t, address); status != -1 || !bytes.Equal(body, whole[:70000]) {
			t.Errorf("cut: %d, %d bytes", status, len(body))
		}
		if status, _, body := s.get(t, address, part); status != -1 || !bytes.Equal(body, whole[100:70100]) {
			t.Errorf("a part, cut: %d, %d bytes", status, len(body))
		}
	})
	during(Fault{FlipAt: 1234}, func() {
		want := slices.Clone(whole)
		want[1234] ^= 1
		if _, _, body := s.get(t, address); !bytes.Equal(body, want) {
			t.Error("the byte is not changed")
		}
		if _, _, body := s.get(t, address, part); !bytes.Equal(body, want[100:]) {
			t.Error("the byte of a part is not changed")
		}
		if _, _, body := s.get(t, address, "Range: bytes=2000-"); !bytes.Equal(body, whole[2000:]) {
			t.Error("a byte behind it is changed")
		}
	})
	during(Fault{IgnoreRange: true}, func() {
		if status, _, body := s.get(t, address, part); status != 200 || !bytes.Equal(body, whole) {
			t.Errorf("a range that is ignored: %d, %d bytes", status, len(body))
		}
	})
	during(Fault{ETag: `"new"`}, func() {
		if status, h, body := s.get(t, address, part, "If-Range: "+etag); status != 200 || h.Get("ETag") != `"new"` || len(body) != len(whole) {
			t.Errorf("a replaced file: %d %v, %d bytes", status, h, len(body))
		}
	})
	during(Fault{Delay: 30 * time.Millisecond, Times: 1}, func() {
		start := time.Now()
		if status, _, _ := s.get(t, address); status != 200 || time.Since(start) < 30*time.Millisecond {
			t.Errorf("%d after %v", status, time.Since(start))
		}
	})
	during(Fault{Drop: true, Times: 2}, func() {
		var got []int
		for range 3 {
			status, _, _ := s.get(t, address)
			got = append(got, status)
		}
		if got[0] != 0 || got[2] != 200 { // Go's client repeats a request on a connection that was idle
			t.Errorf("%v", got)
		}
	})
	if status, _, _ := s.get(t, address); status != 200 {
		t.Errorf("after all: %d", status)
	}
}

func TestOptions(t *testing.T) {
	if _, err := New(Options{}); err == nil || !strings.Contains(err.Error(), "make_packages.py") {
		t.Error(err)
	}
	if _, err := New(Options{Packages: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("a folder that is not there")
	}
	if _, err := New(Options{Packages: t.TempDir(), Era: "bronze"}); err == nil {
		t.Error("an era that is not there")
	}
	dir := t.TempDir()
	if err := Sample(dir, "a", "b"); err != nil {
		t.Fatal(err)
	}
	p, err := New(Options{Packages: dir, Shapes: []string{"gguf"}})
	if err != nil || len(p.Models()) != 2 || p.Models()[0].Name != "b-gguf" {
		t.Errorf("%+v, %v", p.Models(), err)
	}
}

// Each package that make_packages.py built is a model whose parts can be fetched.
func TestBuiltPackages(t *testing.T) {
	s := newSite(t, Options{})
	p, err := New(Options{Packages: testenv.Packages(t)})
	if err != nil {
		t.Fatal(err)
	}
	s.Platform = p
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	s.url = server.URL
	shapes := map[string]int{}
	for _, m := range p.Models() {
		shapes[m.Shape]++
		status, _, body := s.get(t, "/slms/"+m.ID+"/download", "Authorization: Bearer "+s.Token())
		var a struct {
			URL string `json:"model_url"`
		}
		if err := json.Unmarshal(body, &a); status != 200 || err != nil {
			t.Errorf("%s: %d %s", m.Name, status, body)
			continue
		}
		status, h, part := s.get(t, a.URL, "Range: bytes=257-262")
		if status != 206 || string(part) != "ustar\x00" || h.Get("Content-Range") == "" {
			t.Errorf("%s: %d %q %v", m.Name, status, part, h)
		}
	}
	for _, shape := range Shapes() {
		if shapes[shape] == 0 {
			t.Errorf("no package of the shape %s", shape)
		}
	}
}
