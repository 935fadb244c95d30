package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"classify-server": main})
}

// Each script is a session with the real program. $ADDR is an address that is
// free, "ready" waits for the server there, and "get" and "post" are curl.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			addr, err := freeAddr()
			e.Setenv("ADDR", addr)
			e.Setenv("CUBBY_HOME", e.WorkDir+"/home")
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready": cmdReady, "get": cmdGet, "post": cmdPost, "status": cmdStatus,
		},
	})
}

func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// readyTimeout is generous: machines that test are busy.
const readyTimeout = 60 * time.Second

func waitReady(addr string) error {
	for deadline := time.Now().Add(readyTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if status, _, err := request("GET", "http://"+addr+"/readyz", ""); err == nil && status == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("%s is not ready", addr)
}

// request sends one request on a connection of its own.
func request(method, url, body string) (int, string, error) {
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded") // as curl -d
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(answer), err
}

func cmdReady(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(waitReady(ts.Getenv("ADDR")))
}

// cmdStatus is: status CODE PROGRAM ARGS…, which runs the program and requires
// that exit code. Its errors can be matched as after exec.
func cmdStatus(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// cmdGet is: get STATUS PATH
func cmdGet(ts *testscript.TestScript, _ bool, args []string) {
	check(ts, args[0], "GET", args[1], "")
}

// cmdPost is: post STATUS BODY, or post STATUS @FILE
func cmdPost(ts *testscript.TestScript, _ bool, args []string) {
	body := args[1]
	if name, ok := strings.CutPrefix(body, "@"); ok {
		body = ts.ReadFile(name)
	}
	check(ts, args[0], "POST", "/v1/classify", body)
}

func check(ts *testscript.TestScript, want, method, path, body string) {
	status, answer, err := request(method, "http://"+ts.Getenv("ADDR")+path, body)
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), answer)
	if strconv.Itoa(status) != want {
		ts.Fatalf("status %d, want %s: %s", status, want, answer)
	}
}
