// Serve runs the local hub, to try fetch without a network:
//
//	go run ./internal/hub/localhub/serve -root FOLDER
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"cubby/internal/hub/localhub"
	"cubby/internal/interrupt"
)

func main() {
	if err := run(interrupt.Context(1), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

// run serves until the context ends.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	var opt localhub.Options
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8086", "`ADDRESS` to listen on; large files come from another port")
	gated := flags.String("gated", "", "`REPOS` that are gated, by commas")
	flags.StringVar(&opt.Root, "root", "", "`FOLDER` that holds ORG/REPO/ with the files of each")
	flags.DurationVar(&opt.LinkLifetime, "links", time.Hour, "how long addresses of large files are good")
	if err := flags.Parse(args); err != nil {
		return err
	}
	opt.Gated = strings.Split(*gated, ",")
	h, err := localhub.New(opt)
	if err != nil {
		return err
	}
	repos, err := h.Repos()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	files, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	h.CDN.SetAddress("http://" + files.Addr().String())
	fmt.Fprintf(stdout, "%s\nIn another terminal, with the token for gated repos:\n  export HF_ENDPOINT=http://%s HF_TOKEN=%s\n", strings.Join(repos, "\n"), l.Addr(), localhub.Token)
	servers := []*http.Server{{Handler: h, ReadHeaderTimeout: 10 * time.Second}, {Handler: h.CDN, ReadHeaderTimeout: 10 * time.Second}}
	go func() {
		<-ctx.Done()
		for _, s := range servers {
			_ = s.Close()
		}
	}()
	go func() { _ = servers[1].Serve(files) }() // ends with the first
	if err := servers[0].Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}
