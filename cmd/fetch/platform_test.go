package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"cubby/internal/platform"
	"cubby/internal/platform/localplatform"
	"cubby/internal/testenv"
	"cubby/models"

	"github.com/rogpeppe/go-internal/testscript"
)

// The commands that ask the platform, as a user types them, against the local
// platform. Whatever they print is searched for tokens and passwords.
func TestPlatformScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "platform"),
		Setup: func(e *testscript.Env) error {
			packages := filepath.Join(e.WorkDir, "packages")
			if err := localplatform.Sample(packages, "banking", "tickets"); err != nil {
				return err
			}
			config := filepath.Join(e.WorkDir, "config")
			for name, value := range map[string]string{
				models.HomeVariable: filepath.Join(e.WorkDir, "store"), "HOME": e.WorkDir, "XDG_CONFIG_HOME": config, "AppData": config,
				"PACKAGES": packages, "CREDENTIALS": filepath.Join(config, "cubby", "credentials.json"), "BIN": filepath.Join(e.WorkDir, "bin"),
				"DEMO": filepath.Join(testenv.Root(t), "models", "demo", "model.gguf"),
			} {
				e.Setenv(name, value)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "platform": startPlatform, "revoke": revoke, "token": newToken, "fault": breakPlatform, "untrained": addUntrained, "mode": checkMode, "quiet": checkQuiet, "tar": makeTar,
		},
	})
}

// running are the platforms of the scripts, which run at the same time, by address.
var running = map[string]*localplatform.Platform{}
var runningLock = make(chan struct{}, 1)

func theirs(ts *testscript.TestScript) *localplatform.Platform {
	runningLock <- struct{}{}
	defer func() { <-runningLock }()
	p := running[ts.Getenv("CUBBY_PLATFORM")]
	if p == nil {
		ts.Fatalf("no platform: begin with the command platform")
	}
	return p
}

// startPlatform is the script command "platform ERA [bare]".
func startPlatform(ts *testscript.TestScript, _ bool, args []string) {
	p, err := localplatform.New(localplatform.Options{Packages: ts.Getenv("PACKAGES"), Era: localplatform.Era(args[0]), BareTokens: len(args) > 1})
	ts.Check(err)
	s := httptest.NewServer(p)
	ts.Defer(s.Close)
	runningLock <- struct{}{}
	running[s.URL] = p
	<-runningLock
	ts.Setenv("CUBBY_PLATFORM", s.URL)
	ts.Setenv("CUBBY_COGNITO", s.URL)
}

// revoke is the script command "revoke [refresh]": it ends all tokens.
func revoke(ts *testscript.TestScript, _ bool, args []string) {
	theirs(ts).Revoke()
	if len(args) > 0 {
		theirs(ts).RevokeRefresh()
	}
}

// newToken is the script command "token": it writes one to the file token and into
// TOKEN.
func newToken(ts *testscript.TestScript, _ bool, _ []string) {
	token := theirs(ts).Token()
	ts.Setenv("TOKEN", token)
	ts.Check(os.WriteFile(ts.MkAbs("token"), []byte(token+"\n"), 0o600))
}

// breakPlatform is the script command "fault ROUTE STATUS"; without arguments it
// heals.
func breakPlatform(ts *testscript.TestScript, _ bool, args []string) {
	p := theirs(ts)
	p.Heal()
	if len(args) == 2 {
		status, err := strconv.Atoi(args[1])
		ts.Check(err)
		p.Break(localplatform.Fault{Route: args[0], Status: status, Header: http.Header{"Retry-After": {"3600"}}, Body: `{"detail":"as the test wants"}`})
	}
}

// addUntrained is the script command "untrained NAME STATUS [COUNT]".
func addUntrained(ts *testscript.TestScript, _ bool, args []string) {
	n := 1
	if len(args) > 2 {
		var err error
		n, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	for i := range n {
		theirs(ts).Add(fmt.Sprint(args[0], i), args[1], time.Date(2027, 1, 1, 0, i, 0, 0, time.UTC))
	}
}

// checkMode is the script command "mode MODE FILE".
func checkMode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}

// checkQuiet is the script command "quiet": the last program printed no secret,
// neither the token of TOKEN nor what is kept, nor the password.
func checkQuiet(ts *testscript.TestScript, _ bool, _ []string) {
	printed := ts.ReadFile("stdout") + ts.ReadFile("stderr")
	secrets := []string{ts.Getenv("TOKEN"), localplatform.Password, "eyJ", "refresh-", "Signature"}
	for _, s := range secrets {
		if s != "" && strings.Contains(printed, s) {
			ts.Fatalf("it printed %q:\n%s", s, printed)
		}
	}
}

func TestPlatformExitCodes(t *testing.T) {
	for kind, want := range map[platform.Kind]int{
		platform.Network: exitNetwork, platform.Server: exitNetwork, platform.RateLimit: exitNetwork, platform.Unreadable: exitNetwork, platform.Expired: exitNetwork,
		platform.Auth: exitAuth, platform.NoLogin: exitAuth, platform.BadLogin: exitAuth,
		platform.NotFound: exitFailure, platform.NotReady: exitFailure, platform.Gone: exitFailure, platform.Payment: exitFailure, platform.Refused: exitFailure,
	} {
		err := errors.Join(errors.New("x"), fmt.Errorf("list: %w", &platform.Error{Kind: kind}))
		if got := exitCode(t.Context(), err); got != want {
			t.Errorf("%s: exit code %d, want %d", kind, got, want)
		}
	}
}

// Tokens of the platform's own command line go to the platform's own hosts without
// being asked.
func TestIsDistil(t *testing.T) {
	for address, want := range map[string]bool{
		platform.DefaultURL: true, "https://api-dev.distillabs.ai": true, "https://distillabs.ai": true,
		"http://api.distillabs.ai": false, "https://distillabs.ai.example": false, "https://notdistillabs.ai": false, "http://127.0.0.1:1": false,
	} {
		if isDistil(address) != want {
			t.Errorf("%s: %v", address, !want)
		}
	}
}
