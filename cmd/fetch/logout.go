package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v3"
)

func (p *program) logoutCommand() *cli.Command {
	return &cli.Command{
		Name: "logout", Usage: "forget the login", Flags: platformFlags(), Action: p.logout, OnUsageError: usageFailed,
	}
}

// logout forgets what is kept here. The platform has no documented way to end a
// token early.
func (p *program) logout(_ context.Context, c *cli.Command) error {
	if c.Args().Present() {
		return usagef("logout takes no arguments")
	}
	a, err := newAccount(c)
	if err != nil {
		return err
	}
	had, err := a.credentials.Delete(a.url)
	if err != nil {
		return err
	}
	if had {
		fmt.Fprintf(p.stdout, "logged out of %s; a token that is already out stays good until it expires\n", a.url)
	} else {
		fmt.Fprintf(p.stdout, "no login was kept for %s\n", a.url)
	}
	if environmentLogin() {
		fmt.Fprintln(p.stdout, "note: the environment still holds a login")
	}
	return nil
}
