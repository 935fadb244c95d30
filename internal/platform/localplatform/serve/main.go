// Serve runs the local platform, to try fetch without an account:
//
//	go run ./internal/platform/localplatform/serve -packages FOLDER
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"cubby/internal/interrupt"
	"cubby/internal/platform/localplatform"
)

func main() {
	if err := run(interrupt.Context(1), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

// run serves until the context ends.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	var opt localplatform.Options
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8085", "`ADDRESS` to listen on")
	era := flags.String("era", string(localplatform.Datasets), fmt.Sprint("which API: one of ", localplatform.Eras()))
	flags.StringVar(&opt.Packages, "packages", os.Getenv("CUBBY_PACKAGES"), "`FOLDER` of packages, by default $CUBBY_PACKAGES")
	flags.DurationVar(&opt.LinkLifetime, "links", time.Hour, "how long download addresses are good")
	if err := flags.Parse(args); err != nil {
		return err
	}
	opt.Era = localplatform.Era(*era)
	p, err := localplatform.New(opt)
	if err != nil {
		return err
	}
	p.Add("in-training", "JOB_RUNNING", time.Now().Add(-10*time.Minute))
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	address := "http://" + l.Addr().String()
	fmt.Fprintf(stdout, "%d models; user %s, password %q. In another terminal:\n", len(p.Models()), localplatform.User, localplatform.Password)
	fmt.Fprintf(stdout, "  export CUBBY_PLATFORM=%s CUBBY_COGNITO=%s\n  fetch login -user %s\n", address, address, localplatform.User)
	fmt.Fprintf(stdout, "or with a token, good for an hour:\n  export DISTIL_TOKEN=%s\n", p.Token())
	s := &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = s.Close()
	}()
	if err := s.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}
