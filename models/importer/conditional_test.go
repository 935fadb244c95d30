package importer

import (
	"strings"
	"testing"
)

func TestWithoutConditionals(t *testing.T) {
	for from, want := range map[string]string{
		"no tags (a if b else c)":                   "no tags (a if b else c)",
		"{{ a if b else c }}":                       "{{ a if b else c }}",
		"{% set x = a if b else c %}":               "{% set x = a if b else c %}",
		"{# (a if b else c) #}{{ (a) }}":            "{# (a if b else c) #}{{ (a) }}",
		"{{ '(a if b else c)' }}":                   "{{ '(a if b else c)' }}",
		"{{ '}}' + (a if b else c) }}":              "{{ '}}' + (__conditional( b , a , c)) }}",
		"{{- x + (a if b else \"\") -}}":            "{{- x + (__conditional( b , a , \"\")) -}}",
		"{{ (a if b) }}":                            "{{ (__conditional( b,a ,'')) }}",
		"{{ f(x, a if (b if c else d) else e) }}":   "{{ f(x,__conditional( (__conditional( c , b , d)) , a , e)) }}",
		"{{ (a if b else c if d else e) }}":         "{{ (__conditional( b , a ,__conditional( d , c , e))) }}",
		"{% if (m['if'] == elsewhere) and (x) %}":   "{% if (m['if'] == elsewhere) and (x) %}",
		"{% for x in y if (z.if_else) %}":           "{% for x in y if (z.if_else) %}",
		"{{ x[(1 if y else 2)] }} {{ 'it\\'s (' }}": "{{ x[(__conditional( y ,1 , 2))] }} {{ 'it\\'s (' }}",
		"{{ (a if b else c":                         "{{ (__conditional( b ,a , c)",
	} {
		got := withoutConditionals(from)
		if strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
			t.Errorf("%q\n got %q\nwant %q", from, got, want)
		}
	}
}

func TestConditionalsRender(t *testing.T) {
	c, err := newChat("{{ '<' + ('first' if messages|length == 1 else 'more') + ('' if messages else 'none') + messages[0]['content'] + ('x' if tools) + '>' }}", "", "")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := c.render(true, message{"user", "hi"}); err != nil || out != "<firsthi>" {
		t.Errorf("%q, %v", out, err)
	}
}

func FuzzWithoutConditionals(f *testing.F) {
	f.Add("{{ '<' + (a if b else \"}}\") }}{% set x = (f(1, 2 if c else 3)) %}{# ( #}")
	f.Add("{{ ((((")
	f.Add("{%'")
	f.Fuzz(func(t *testing.T, source string) {
		got := withoutConditionals(source)
		if !strings.Contains(source, "if") && got != source {
			t.Errorf("%q became %q", source, got)
		}
	})
}
