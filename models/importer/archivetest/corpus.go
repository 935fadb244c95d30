package archivetest

import (
	"archive/tar"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// Hostile is an archive that must be refused.
type Hostile struct {
	Class string // what kind of attack it is: "links", "chains", "bombs", …
	Name  string
	Data  []byte
	Want  string // a part of the refusal's message
}

// Limits that the corpus goes beyond.
const (
	entries   = 257
	nameBytes = 4 << 10
	allBytes  = 64 << 30
)

// Corpus makes the archives. Those that name a place of their own name the folder
// outside.
func Corpus(t testing.TB, outside string) []Hostile {
	ok := File("model/model.gguf", "weights")
	plain := Tar(t, ok)
	zeros := strings.Repeat("\x00", 8<<20)
	many := make([]Item, entries+1)
	for i := range many {
		many[i] = File(fmt.Sprint("f", i), "")
	}
	absolute := filepath.ToSlash(filepath.Join(outside, "x"))
	return []Hostile{
		{"links", "symbolic link", Tar(t, Item{Name: "model", Kind: tar.TypeSymlink, Link: outside}, File("model/passwd", "x")), "it is a link"},
		{"links", "link inside", Tar(t, ok, Item{Name: "x", Kind: tar.TypeSymlink, Link: "model"}), "it is a link"},
		{"links", "link over an earlier folder", Tar(t, ok, Item{Name: "model", Kind: tar.TypeSymlink, Link: outside}, File("model/x", "x")), "it is a link"},
		{"links", "hard link", Tar(t, ok, Item{Name: "x", Kind: tar.TypeLink, Link: outside}), "it is a link"},
		{"links", "hard link to an earlier file", Tar(t, ok, Item{Name: "x", Kind: tar.TypeLink, Link: "model/model.gguf"}), "it is a link"},
		{"chains", "chain of links", Tar(t, Item{Name: "a", Kind: tar.TypeSymlink, Link: "."}, Item{Name: "a/b", Kind: tar.TypeSymlink, Link: ".."}, File("a/b/x", "x")), "it is a link"},
		{"chains", "chain of links upward", Tar(t, Item{Name: "s/up", Kind: tar.TypeSymlink, Link: ".."}, Item{Name: "s/up/w", Kind: tar.TypeSymlink, Link: ".."}, File("s/up/w/x", "x")), "it is a link"},
		{"abs", "absolute path", Tar(t, File(absolute, "x")), "not a clean path"},
		{"abs", "absolute folder", Tar(t, Item{Name: absolute + "/", Kind: tar.TypeDir}, ok), "not a clean path"},
		{"abs", "drive", Tar(t, File("c:x", "x")), "not a clean path"},
		{"abs", "share", Tar(t, File(`\\server\share\x`, "x")), "not a clean path"},
		{"..", "path outside", Tar(t, File("../x", "x")), "not a clean path"},
		{"..", "path outside and in", Tar(t, File("../in/x", "x")), "not a clean path"},
		{"..", "dots within", Tar(t, File("model/../../x", "x")), "not a clean path"},
		{"..", "folder outside", Tar(t, Item{Name: "../x/", Kind: tar.TypeDir}, ok), "not a clean path"},
		{"..", "backslashes", Tar(t, File(`..\x`, "x")), "not a clean path"},
		{"sparse", "GNU sparse file", Retype(plain, tar.TypeGNUSparse), "sparse"},
		{"sparse", "PAX sparse file", paxSparse(t), "sparse"},
		{"bombs", "gzip bomb", Gzip(t, Tar(t, File("model.gguf", zeros))), "more than 100 times"},
		{"bombs", "bomb behind the end", Gzip(t, append(Tar(t, ok), zeros...)), "more than 100 times"},
		{"bombs", "header larger than the limit", hugeSize(t, allBytes+1), "larger than 64 GiB"},
		{"bombs", "too many entries", Tar(t, many...), "more than 257 entries"},
		{"bombs", "long name", Tar(t, File(strings.Repeat("n/", nameBytes)+"x", "x")), "longer than 4096"},
		{"bombs", "deep folders", Tar(t, File(strings.Repeat("n/", 65)+"x", "x")), "more than 64 folders"},
		{"bombs", "huge extension header", Tar(t, Item{Name: "x", PAX: map[string]string{"CUB.x": strings.Repeat("x", 1<<20-64)}}), "its headers take more than"},
		{"bombs", "many extension headers", manyHeaders(t, 1000), "its headers take more than"},
		{"bombs", "folder with a body", Tar(t, File(".", zeros[:1<<20])), "its headers take more than"},
		{"devices", "character device", Tar(t, Item{Name: "null", Kind: tar.TypeChar}), "neither a file nor a folder"},
		{"devices", "block device", Tar(t, Item{Name: "sda", Kind: tar.TypeBlock}), "neither a file nor a folder"},
		{"devices", "pipe", Tar(t, Item{Name: "pipe", Kind: tar.TypeFifo}), "neither a file nor a folder"},
		{"devices", "contiguous file", Retype(plain, tar.TypeCont), "neither a file nor a folder"},
		{"devices", "unknown type", Retype(plain, 'Z'), "neither a file nor a folder"},
		{"dupes", "same file again", Tar(t, ok, File("model/model.gguf", "other")), "repeats an earlier"},
		{"dupes", "same file, spelt otherwise", Tar(t, ok, File("./model/model.gguf", "other")), "repeats an earlier"},
		{"dupes", "file as a folder", Tar(t, File("a", "x"), File("a/b", "x")), "name of its folder"},
		{"dupes", "folder as a file", Tar(t, File("a/b", "x"), File("a", "x")), "repeats an earlier"},
		{"case clashes", "case clash", Tar(t, ok, File("model/MODEL.gguf", "other")), "differs from it only by case"},
		{"case clashes", "case clash of folders", Tar(t, File("a", "x"), File("A/b", "x")), "name of its folder"},
		{"case clashes", "Kelvin sign", Tar(t, File("k", "x"), File("\u212a", "x")), "only by case"},
		{"case clashes", "accent in one and in two characters", Tar(t, File("\u00e9", "x"), File("e\u0301", "x")), "only by case"},
		{"Windows", "stream", Tar(t, File("model.gguf:x", "x")), "not a clean path"},
		{"Windows", "device", Tar(t, File("model/con.gguf", "x")), "CON is a device on Windows"},
		{"Windows", "device with space", Tar(t, File("LPT\u00b9 .txt/x", "x")), "is a device on Windows"},
		{"Windows", "trailing dot", Tar(t, File("model./x", "x")), "ends with a dot or a space"},
		{"Windows", "trailing space", Tar(t, File("model.gguf ", "x")), "ends with a dot or a space"},
		{"Windows", "wildcard", Tar(t, File("model*.gguf", "x")), "not a clean path"},
		{"names", "no name", Tar(t, File("", "x")), "not a clean path"},
		{"names", "newline", Tar(t, File("a\nb", "x")), "not a clean path"},
		{"names", "broken UTF-8", Tar(t, File("a\xffb", "x")), "not a clean path"},
		{"damage", "cut in a file", Tar(t, File("x", strings.Repeat("x", 4096)))[:2048], "ends early"},
		{"damage", "cut in gzip", Gzip(t, plain)[:60], "ends early"},
		{"damage", "wrong gzip checksum", spoil(Gzip(t, plain), -8), "damaged"},
		{"damage", "wrong header checksum", spoil(plain, 0), "damaged"},
		{"damage", "empty", nil, "no files in it"},
		{"damage", "only folders", Tar(t, Item{Name: "model/", Kind: tar.TypeDir}), "no files in it"},
		{"damage", "file named as the folder", Tar(t, File(".", "")), "no files in it"},
		{"formats", "zip", []byte("PK\x03\x04" + zeros[:1024]), "it is a zip file"},
		{"formats", "xz", []byte("\xfd7zXZ\x00" + zeros[:1024]), "it is a xz file"},
		{"formats", "GGUF", []byte("GGUF" + zeros[:1024]), "it is a GGUF file"},
		{"formats", "text", []byte(strings.Repeat("<html>not found</html>\n", 100)), "damaged, or not a tar"},
	}
}
