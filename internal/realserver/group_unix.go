//go:build unix

package realserver

import (
	"os/exec"
	"syscall"
)

// ownGroup makes the server the head of a process group: Ollama computes in a
// child, which would outlive it.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// killGroup kills the server's group. Its number is the server's until it was
// waited for, and cannot be another's while any child lives.
func killGroup(cmd *exec.Cmd) { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
