package native

import (
	"fmt"
	goruntime "runtime"
	"testing"
	"testing/fstest"
)

func TestPhysicalCores(t *testing.T) {
	topology := func(name string, lists ...string) fstest.MapFS {
		sys := fstest.MapFS{}
		for cpu, list := range lists {
			sys[fmt.Sprintf("cpu%d/topology/%s", cpu, name)] = &fstest.MapFile{Data: []byte(list + "\n")}
		}
		return sys
	}
	smt := topology("core_cpus_list", "0,2", "1,3", "0,2", "1,3")
	for name, tc := range map[string]struct {
		sys     fstest.MapFS
		allowed []int
		want    int
	}{
		"two threads a core":       {smt, []int{0, 1, 2, 3}, 2},
		"bound to one core":        {smt, []int{0, 2}, 1},
		"bound to one thread each": {smt, []int{2, 3}, 2},
		"no second threads":        {topology("core_cpus_list", "0", "1", "2"), []int{0, 1, 2}, 3},
		"an old kernel":            {topology("thread_siblings_list", "0-1", "0-1", "2-3", "2-3"), []int{0, 1, 2, 3}, 2},
		"a processor is unknown":   {smt, []int{0, 4}, 0},
		"no topology":              {fstest.MapFS{}, []int{0}, 0},
		"no affinity":              {smt, nil, 0},
	} {
		if got := physicalCores(tc.sys, tc.allowed); got != tc.want {
			t.Errorf("%s: %d cores, want %d", name, got, tc.want)
		}
	}
}

func TestDefaultThreadsStayWithinTheProcess(t *testing.T) {
	before := goruntime.GOMAXPROCS(1)
	defer goruntime.GOMAXPROCS(before)
	if n := DefaultThreads(); n != 1 {
		t.Errorf("%d threads under GOMAXPROCS=1", n)
	}
	goruntime.GOMAXPROCS(before)
	if n := DefaultThreads(); n < 1 || n > before {
		t.Errorf("%d threads under GOMAXPROCS=%d", n, before)
	}
}
