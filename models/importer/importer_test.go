package importer

import (
	"context"
	"path/filepath"
	"testing"

	"cubby/internal/testenv"
	"cubby/models"
)

func TestQuick(t *testing.T) {
	dir := testenv.Packages(t)
	for _, form := range []string{"gguf", "merged", "seqcls", "adapter"} {
		s := models.NewStore(t.TempDir())
		res, err := Import(context.Background(), s, Options{Path: filepath.Join(dir, "banking-routing", form+".tar"), Name: "b"})
		t.Log(err)
		t.Logf("%+v", res.Manifest)
	}
}
