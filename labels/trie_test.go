package labels

import (
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const end Token = 1 << 20

// checkTrie walks all of a trie and reports what contradicts the answers.
func checkTrie(t rapid.TB, trie *Trie, answers [][]Token) {
	t.Helper()
	nodes := trie.Nodes()
	seen := make([]int, len(answers))
	var branching []int32
	for i, n := range nodes {
		if i == 0 {
			if n.Parent != -1 || n.Depth != 0 || n.Lo != 0 || int(n.Hi) != len(answers) {
				t.Fatalf("root is %+v", n)
			}
		} else {
			p := nodes[n.Parent]
			if int(n.Parent) >= i || n.Depth != p.Depth+1 || !slices.Contains(p.Children, int32(i)) || n.Lo < p.Lo || n.Hi > p.Hi {
				t.Fatalf("node %d is %+v under %+v", i, n, p)
			}
		}
		for k, c := range n.Children {
			if k > 0 && nodes[c].Token <= nodes[n.Children[k-1]].Token {
				t.Fatalf("children of node %d are not in ascending order", i)
			}
		}
		if len(n.Children) > 1 {
			branching = append(branching, int32(i))
		}
		if (n.Label >= 0) != (len(n.Children) == 0) {
			t.Fatalf("node %d has %d children and label %d", i, len(n.Children), n.Label)
		}
		if n.Label >= 0 {
			seen[n.Label]++
			if n.Hi != n.Lo+1 || trie.Leaves()[n.Lo] != n.Label {
				t.Fatalf("leaf %d is %+v", i, n)
			}
		}
	}
	if !slices.Equal(branching, trie.Branching()) {
		t.Fatalf("branching %v, want %v", trie.Branching(), branching)
	}
	for label, a := range answers {
		if seen[label] != 1 {
			t.Fatalf("label %d has %d leaves", label, seen[label])
		}
		at := int32(0)
		path := trie.Path(label)
		if len(path) != len(a) {
			t.Fatalf("label %d has a path of %d nodes for %d tokens", label, len(path), len(a))
		}
		for k, id := range path {
			if nodes[id].Parent != at || nodes[id].Token != a[k] || !(nodes[id].Lo <= nodes[path[len(path)-1]].Lo) {
				t.Fatalf("label %d: node %d is %+v", label, id, nodes[id])
			}
			at = id
		}
		if nodes[at].Label != int32(label) {
			t.Fatalf("the path of label %d ends at label %d", label, nodes[at].Label)
		}
	}
}

// checkProducts gives every branching node a random conditional distribution
// and wants the products along the paths to be one distribution.
func checkProducts(t *rapid.T, trie *Trie, labels int) {
	t.Helper()
	nodes := trie.Nodes()
	cond := make([]float64, len(nodes))
	for i := range cond {
		cond[i] = 1
	}
	for _, b := range trie.Branching() {
		scores := make([]float64, len(nodes[b].Children))
		for k := range scores {
			scores[k] = rapid.Float64Range(-30, 30).Draw(t, "logit")
		}
		d, err := Softmax(scores)
		if err != nil {
			t.Fatal(err)
		}
		for k, c := range nodes[b].Children {
			cond[c] = d[k]
		}
	}
	d := make(Distribution, labels)
	for l := range d {
		d[l] = 1
		for _, id := range trie.Path(l) {
			d[l] *= cond[id]
		}
	}
	if err := d.Check(); err != nil {
		t.Fatal(err)
	}
}

func TestTrieOfAnyAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Few distinct tokens, so that answers begin alike and begin each other.
		token := rapid.Int32Range(0, 3)
		answers := rapid.SliceOfNDistinct(rapid.SliceOfN(token, 0, 6), 1, 80, key).Draw(t, "answers")
		for i := range answers {
			answers[i] = append(slices.Clone(answers[i]), end)
		}
		trie, err := NewTrie(answers)
		if err != nil {
			t.Fatal(err)
		}
		checkTrie(t, trie, answers)
		checkProducts(t, trie, len(answers))
	})
}

// key makes a token sequence comparable.
func key(tokens []Token) string {
	var b strings.Builder
	for _, x := range tokens {
		b.WriteRune(rune(x + 1))
	}
	return b.String()
}

func TestTrieOfUnicodeNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.String(), 1, 40, rapid.ID[string]).Draw(t, "names")
		answers := make([][]Token, len(names))
		for i, n := range names {
			answers[i] = append(spell(n), end)
		}
		trie, err := NewTrie(answers)
		if err != nil {
			t.Fatal(err)
		}
		checkTrie(t, trie, answers)
		checkProducts(t, trie, len(answers))
	})
}

// spell is a tokenizer of one token a byte.
func spell(s string) []Token {
	tokens := make([]Token, len(s))
	for i := range len(s) {
		tokens[i] = Token(s[i])
	}
	return tokens
}

func TestTrieOfThousandLabelsWithLongHeads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		head := rapid.SliceOfN(rapid.Int32Range(0, 100), 40, 60).Draw(t, "head")
		answers := make([][]Token, 1000)
		for i := range answers {
			a := append(slices.Clone(head), Token(i/100), Token(i/10%10), Token(i%10))
			answers[i] = append(a, end)
		}
		trie, err := NewTrie(answers)
		if err != nil {
			t.Fatal(err)
		}
		checkTrie(t, trie, answers)
		if want := 1 + len(head) + 10 + 100 + 2*1000; len(trie.Nodes()) != want {
			t.Fatalf("%d nodes, want %d: heads are not shared", len(trie.Nodes()), want)
		}
		if want := 1 + 10 + 100; len(trie.Branching()) != want {
			t.Fatalf("%d branching nodes, want %d", len(trie.Branching()), want)
		}
	})
}

func TestTriePrefixLabels(t *testing.T) {
	answers := [][]Token{{7, 8, end}, {7, end}, {7, 8, 9, end}}
	trie, err := NewTrie(answers)
	if err != nil {
		t.Fatal(err)
	}
	checkTrie(t, trie, answers)
	if len(trie.Branching()) != 2 {
		t.Fatalf("branching %v: each of the two heads chooses between going on and ending", trie.Branching())
	}
}

func TestTrieOfOneLabel(t *testing.T) {
	trie, err := NewTrie([][]Token{{5, end}})
	if err != nil {
		t.Fatal(err)
	}
	checkTrie(t, trie, [][]Token{{5, end}})
	if len(trie.Branching()) != 0 {
		t.Fatalf("branching %v for a single label", trie.Branching())
	}
}

func TestNewTrieRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers [][]Token
		want    string
	}{
		{"nothing", nil, "no answers"},
		{"empty answer", [][]Token{{1}, {}}, "label 1 has no tokens"},
		{"equal", [][]Token{{1, 2}, {3}, {1, 2}}, "labels 0 and 2 have the same"},
		{"proper prefix", [][]Token{{1, 2, 3}, {4}, {1, 2}}, "label 2 begins that of label 0"},
		{"prefix, with one between", [][]Token{{1}, {1, 2}, {1, 3}}, "label 0 begins"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := NewTrie(c.answers)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one that holds %q", err, c.want)
			}
		})
	}
}

// A trie is refused exactly when two answers are equal or one begins another.
func TestNewTrieRefusesExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		answers := rapid.SliceOfN(rapid.SliceOfN(rapid.Int32Range(0, 2), 1, 4), 1, 6).Draw(t, "answers")
		clash := false
		for i, a := range answers {
			for j, b := range answers {
				clash = clash || i != j && len(a) <= len(b) && slices.Equal(a, b[:len(a)])
			}
		}
		if _, err := NewTrie(answers); (err != nil) != clash {
			t.Fatalf("error %v for clash %v", err, clash)
		}
	})
}

func BenchmarkNewTrie(b *testing.B) {
	answers := make([][]Token, 1000)
	for i := range answers {
		answers[i] = append(spell(strings.Repeat("head", 8)), Token(math.MaxInt16-i), end)
	}
	for b.Loop() {
		if _, err := NewTrie(answers); err != nil {
			b.Fatal(err)
		}
	}
}
