package gguf_test

import (
	"bytes"
	"reflect"
	"testing"

	"cubby/models/gguf"
	"cubby/models/gguf/gguftest"
)

// What is read is written again byte for byte.
func TestMetaIsWrittenAgain(t *testing.T) {
	want := pairs("u8", uint8(1), "i8", int8(-1), "u16", uint16(2), "i16", int16(-2), "u32", uint32(3), "i32", int32(-3), "u64", uint64(4), "i64", int64(-4),
		"f32", float32(0.5), "f64", 0.25, "true", true, "text", "ü", "empty", "", "strings", []string{"a", ""}, "none", []string{},
		"u8s", []uint8{1, 2}, "i16s", []int16{-1, 2}, "f32s", []float32{1, -0.5}, "bools", []bool{true, false}, "no ints", []int32{})
	data := gguftest.Encode(want, nil)
	f, err := gguf.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	got := f.Meta()
	for i, m := range want {
		if got[i].Key != m.Key || !reflect.DeepEqual(got[i].Value, m.Value) {
			t.Errorf("%s is %T %v, want %T %v", m.Key, got[i].Value, got[i].Value, m.Value, m.Value)
		}
	}
	if again := gguftest.Encode(got, nil); !bytes.Equal(again, data) {
		t.Errorf("%q, want %q", again, data)
	}
}
