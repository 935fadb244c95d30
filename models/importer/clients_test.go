package importer

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
)

// sentByClients is testdata/clients/sent.json, which make.py there writes.
type sentByClients struct {
	Text    string
	Clients map[string]struct {
		Messages []message
		Thinking bool
	}
}

// TestClientsSend lifts from each client exactly what Python says that it sends.
func TestClientsSend(t *testing.T) {
	dir := filepath.Join("testdata", "clients")
	data, err := os.ReadFile(filepath.Join(dir, "sent.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want sentByClients
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.py"))
	if err != nil || len(files) != len(want.Clients)+1 { // make.py
		t.Fatalf("%d files for %d clients, %v", len(files), len(want.Clients), err)
	}
	for name, w := range want.Clients {
		t.Run(name, func(t *testing.T) {
			src, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			c, err := parseClient(src)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.messages(want.Text); !reflect.DeepEqual(got, w.Messages) || c.Thinking != w.Thinking {
				t.Errorf("got  %q, thinking %v\nwant %q, thinking %v", got, c.Thinking, w.Messages, w.Thinking)
			}
		})
	}
	t.Run("sent.json is up to date", func(t *testing.T) {
		python, err := exec.LookPath("python3")
		if err != nil {
			t.Skip("python3 is not installed")
		}
		out, err := exec.Command(python, filepath.Join(dir, "make.py")).Output()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(bytes.ReplaceAll(out, []byte("\r\n"), []byte("\n")), data) {
			t.Error("make.py gives another sent.json than the one that is checked in")
		}
	})
}
