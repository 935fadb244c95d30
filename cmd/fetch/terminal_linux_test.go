package main

import (
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"cubby/internal/platform/localplatform"

	"golang.org/x/sys/unix"
)

// newTerminal returns both ends of a terminal: what the user sees and types, and
// what the program gets.
func newTerminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { user.Close() })
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return user, program
}

// shows reports whether the terminal shows what is typed.
func shows(t *testing.T, f *os.File) bool {
	t.Helper()
	mode, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return mode.Lflag&unix.ECHO != 0
}

// A password that is typed does not show; whatever ends the question, the terminal
// shows again what is typed.
func TestPasswordDoesNotShow(t *testing.T) {
	packages := t.TempDir()
	if err := localplatform.Sample(packages, "banking"); err != nil {
		t.Fatal(err)
	}
	p, err := localplatform.New(localplatform.Options{Packages: packages})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(p)
	defer server.Close()
	for name, c := range map[string]struct {
		typed  string
		signal os.Signal
		code   int
	}{
		"right":       {typed: localplatform.Password, code: exitOK},
		"wrong":       {typed: "tr0ub4dor", code: exitAuth},
		"interrupted": {signal: os.Interrupt, code: exitInterrupted},
	} {
		t.Run(name, func(t *testing.T) {
			user, program := newTerminal(t)
			cmd := exec.Command(os.Args[0], "login", "-user", localplatform.User, "-platform", server.URL)
			home := t.TempDir()
			cmd.Env = append(os.Environ(), asProgram+"=1", "HOME="+home, "XDG_CONFIG_HOME="+home, "CUBBY_COGNITO="+server.URL, "PATH="+home)
			var printed strings.Builder
			cmd.Stdin, cmd.Stdout, cmd.Stderr = program, &printed, &printed
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(30 * time.Second); shows(t, program); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					_ = cmd.Process.Kill()
					_ = cmd.Wait()
					t.Fatalf("it does not ask: %s", printed.String())
				}
			}
			if c.signal != nil {
				if err := cmd.Process.Signal(c.signal); err != nil {
					t.Fatal(err)
				}
			} else if _, err := io.WriteString(user, c.typed+"\n"); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // the code says it
			if code := cmd.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exit code %d, want %d: %s", code, c.code, printed.String())
			}
			if !shows(t, program) {
				t.Error("the terminal no longer shows what is typed")
			}
			// What the user sees ends with what is typed now.
			if _, err := io.WriteString(user, "END\n"); err != nil {
				t.Fatal(err)
			}
			var seen strings.Builder
			for b := make([]byte, 256); !strings.Contains(seen.String(), "END"); {
				n, err := user.Read(b)
				if err != nil {
					t.Fatal(err)
				}
				seen.Write(b[:n])
			}
			if c.typed != "" && strings.Contains(seen.String()+printed.String(), c.typed) {
				t.Errorf("it shows the password: %s%s", seen.String(), printed.String())
			}
		})
	}
}
