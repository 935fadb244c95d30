package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"cubby/models"

	"github.com/urfave/cli/v3"
)

// repeatable are the flags of a pull that another pull of the same needs as well.
var repeatable = []string{platformName, "as", "job", "client", "answer", "base", keepAdapter, "offline", "quantize", "test", "predictions", "replay-rows", "no-replay", "require-replay", "no-data", "files"}

// repeated are the flags of that list that the command line has, as a shell reads them,
// each behind a space; those of but are left out.
func repeated(c *cli.Command, but ...string) string {
	var b strings.Builder
	for _, name := range repeatable {
		if !c.IsSet(name) || slices.Contains(but, name) || name == platformName && slices.ContainsFunc(platformVariables, func(v string) bool { return os.Getenv(v) == c.String(name) }) {
			continue
		}
		switch v := c.Value(name).(type) {
		case bool:
			if v {
				fmt.Fprintf(&b, " -%s", name)
			}
		default:
			fmt.Fprintf(&b, " -%s %s", name, shellWord(fmt.Sprint(v)))
		}
	}
	return b.String()
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// shellWord quotes a word where a shell would take it apart.
func shellWord(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// pointers are what the names of the store point to.
func (p *program) pointers() (map[string]models.Digest, error) {
	list, err := p.store.List()
	if err != nil {
		return nil, err
	}
	at := map[string]models.Digest{}
	for _, e := range list {
		if e.Name != "" {
			at[e.Name] = e.Digest
		}
	}
	return at, nil
}

// wayBack is the version that a name pointed to before, where it points to another one
// now; else it is empty.
func wayBack(before map[string]models.Digest, name string, now models.Digest) string {
	was, ok := before[name]
	if !ok || was == now {
		return ""
	}
	return models.VersionOf(name, was)
}

// sayBack says how a name that points to another model now goes back.
func (p *program) sayBack(version string) {
	if version != "" {
		fmt.Fprintf(p.stdout, "before: %s; back: fetch use %[1]s\n", version)
	}
}
