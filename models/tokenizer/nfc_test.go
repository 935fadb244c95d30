package tokenizer

import (
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"
)

// marked are characters that compose, decompose or reorder, and some that do not.
var marked = []rune("ae oqé\u0300\u0301\u0323\u0307\u0345\u1e9b\u212b\u0344\u0958\ufb1d\u2adc\U0001d15e\u1100\u1161\u11a8가각\u0f71\u0f72一👍")

// TestNFCAgreesWithNorm holds where package norm inserts no joiner.
func TestNFCAgreesWithNorm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOfN(rapid.SampledFrom(marked), 0, 25).Draw(t, "text"))
		want := norm.NFC.String(text)
		if strings.ContainsRune(want, '\u034f') {
			t.Skip("a joiner")
		}
		if got := nfc(text); got != want {
			t.Fatalf("nfc(%+q) = %+q, want %+q", text, got, want)
		}
	})
}

func TestNFCOfEveryCharacter(t *testing.T) {
	const end = 0x30000 // nothing above decomposes, composes or combines
	for r := rune(0); r < end; r++ {
		text := string(r) + "\u0301"
		if got, want := nfc(text), norm.NFC.String(text); got != want {
			t.Errorf("nfc(%+q) = %+q, want %+q", text, got, want)
		}
	}
}

func TestNFCInsertsNothing(t *testing.T) {
	marks := strings.Repeat("\u0301", 100)
	if got, want := nfc("e"+marks), "é"+marks[2:]; got != want {
		t.Errorf("nfc(e and 100 accents) = %+q", got)
	}
	if got := nfc("e\u0301\xff"); got != "e\u0301\xff" {
		t.Errorf("nfc changes invalid UTF-8 to %q", got)
	}
}
