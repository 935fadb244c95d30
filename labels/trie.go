package labels

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Trie holds the token sequences of all answers, shared where they begin
// alike. Every answer includes its end-of-answer token, so every label is a
// leaf, also one whose name begins another's. A Trie never changes.
type Trie struct {
	nodes     []Node
	branching []int32
	paths     [][]int32
	leaves    []int32
}

// Node is one token of the trie. Node 0 is the root, which stands for the
// prompt and has no token.
type Node struct {
	Token    Token
	Parent   int32   // -1 at the root
	Children []int32 // in ascending order of their tokens
	Label    int32   // the label that ends here; -1 unless the node is a leaf
	Depth    int32   // number of tokens from the root; 0 there
	// Lo and Hi bound the labels at or below this node: Trie.Leaves()[Lo:Hi].
	Lo, Hi int32
}

// NewTrie builds the trie of answers; answers[i] is the whole token sequence
// of label i with its end-of-answer token. The answers must differ, and none
// may be the beginning of another: such labels could not be told apart.
func NewTrie(answers [][]Token) (*Trie, error) {
	order, err := sortAnswers(answers)
	if err != nil {
		return nil, err
	}
	t := &Trie{
		nodes:  []Node{{Parent: -1, Label: -1}},
		paths:  make([][]int32, len(answers)),
		leaves: order,
	}
	var open []int32 // path of the answer added last
	for rank, label := range order {
		shared := 0
		if rank > 0 {
			shared = commonLen(answers[order[rank-1]], answers[label])
		}
		open = t.add(open[:shared], answers[label], label, int32(rank))
	}
	t.finish()
	return t, nil
}

// sortAnswers returns the labels in lexical order of their tokens, in which a
// sequence stands directly before those that it begins.
func sortAnswers(answers [][]Token) ([]int32, error) {
	if len(answers) == 0 {
		return nil, errors.New("label trie: no answers")
	}
	order := make([]int32, len(answers))
	for i, a := range answers {
		if len(a) == 0 {
			return nil, fmt.Errorf("label trie: the answer of label %d has no tokens", i)
		}
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(i, j int32) int {
		return cmp.Or(slices.Compare(answers[i], answers[j]), cmp.Compare(i, j))
	})
	for k := 1; k < len(order); k++ {
		i, j := order[k-1], order[k]
		switch a, b := answers[i], answers[j]; {
		case commonLen(a, b) < len(a):
		case len(a) == len(b):
			return nil, fmt.Errorf("label trie: labels %d and %d have the same answer tokens", i, j)
		default:
			return nil, fmt.Errorf("label trie: the answer of label %d begins that of label %d: the end-of-answer token is missing", i, j)
		}
	}
	return order, nil
}

func commonLen(a, b []Token) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// add appends the nodes of answer that are not on the open path, and returns
// the answer's own path.
func (t *Trie) add(open []int32, answer []Token, label, rank int32) []int32 {
	for _, token := range answer[len(open):] {
		parent := int32(0)
		if len(open) > 0 {
			parent = open[len(open)-1]
		}
		id := int32(len(t.nodes))
		t.nodes = append(t.nodes, Node{Token: token, Parent: parent, Label: -1, Depth: int32(len(open) + 1), Lo: rank})
		t.nodes[parent].Children = append(t.nodes[parent].Children, id)
		open = append(open, id)
	}
	t.nodes[open[len(open)-1]].Label = label
	t.paths[label] = slices.Clone(open)
	return open
}

// finish fills in what is known only once every node stands: children come
// after their parents, so one pass backwards carries Hi up.
func (t *Trie) finish() {
	for i := len(t.nodes) - 1; i >= 0; i-- {
		n := &t.nodes[i]
		if n.Label >= 0 {
			n.Hi = n.Lo + 1
		}
		if n.Parent >= 0 {
			p := &t.nodes[n.Parent]
			p.Hi = max(p.Hi, n.Hi)
		}
	}
	for i, n := range t.nodes {
		if len(n.Children) > 1 {
			t.branching = append(t.branching, int32(i))
		}
	}
}

// Nodes returns all nodes, depth first, a parent before its children. The
// caller must not change them.
func (t *Trie) Nodes() []Node { return t.nodes }

// Branching returns the indices, ascending, of the nodes with more than one
// child: only there does a model choose. It is empty for a single label. The
// caller must not change it.
func (t *Trie) Branching() []int32 { return t.branching }

// Path returns the nodes of a label's answer, one a token, from the child of
// the root to the leaf. The caller must not change it.
func (t *Trie) Path(label int) []int32 { return t.paths[label] }

// Leaves returns the labels in the order in which their leaves stand among
// the nodes. The caller must not change it.
func (t *Trie) Leaves() []int32 { return t.leaves }
