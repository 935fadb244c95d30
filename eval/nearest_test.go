package eval

import (
	"strings"
	"testing"

	"cubby/labels"
)

func TestUnknownLabel(t *testing.T) {
	set := setOf(t, "card_fee", "cash_fee", "Überweisung")
	many := make([]string, 40)
	for i := range many {
		many[i] = strings.Repeat(string(rune('A'+i)), 5)
	}
	tests := []struct {
		name string
		set  *labels.Set
		rows []Row
		want string
	}{
		{"near", set, []Row{{2, "t", "card_fee"}, {3, "t", "crad_fee"}}, `line 3: label "crad_fee" is not one of the model's 3 labels; the nearest is "card_fee"`},
		{"letter case and space", set, []Row{{2, "t", " Card_Fee "}}, `label " Card_Fee " is not one of the model's 3 labels; the nearest is "card_fee"`},
		{"not ASCII", set, []Row{{2, "t", "überweisunk"}}, `the nearest is "Überweisung"`},
		{"more rows", set, []Row{{2, "t", "cash-fee"}, {3, "t", "x"}, {4, "t", "y"}}, `line 2: label "cash-fee" is not one of the model's 3 labels (nor are those of 2 more rows)`},
		{"far", set, []Row{{2, "t", "weather"}}, `line 2: label "weather" is not one of the model's 3 labels; they are ["card_fee" "cash_fee" "Überweisung"]`},
		{"far, many labels", setOf(t, many...), []Row{{2, "t", "weather"}}, `line 2: label "weather" is not one of the model's 40 labels`},
		{"endless label", set, []Row{{2, "t", strings.Repeat("card_fee", 1e6)}}, `card_fee…" is not one of`},
		{"no rows", set, nil, `there are no rows to evaluate`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &scripted{}
			_, err := Run(t.Context(), c, tt.set, tt.rows, Options{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v\nwant …%s…", err, tt.want)
			}
			if err != nil && len(err.Error()) > 600 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if len(c.batches) > 0 {
				t.Error("the classifier ran before the labels were checked")
			}
		})
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"größe", "grösse", 2}} {
		if got := distance([]rune(tt.a), []rune(tt.b)); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
