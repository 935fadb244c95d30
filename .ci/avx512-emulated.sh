#!/bin/bash
# Runs the kernel package's tests on an emulated CPU with AVX-512 VNNI, for
# machines without one: Bochs boots a Linux kernel whose init runs the test
# binary, on a CPU model with VNNI, and writes the console to a file. It takes
# about two minutes.
#
#   .ci/avx512-emulated.sh [arguments of the test binary]
#
# It needs the Debian packages bochs, bochs-term, vgabios, isolinux,
# syslinux-common, xorriso and cpio, and a kernel image: KERNEL_IMAGE, or one
# fetched with apt-get. Where something is absent it skips with the reason and
# exits 0; a failed test exits 1.
set -euo pipefail
cd "$(dirname "$0")/.."

model=${CPU_MODEL:-corei7_icelake_u}
limit=${LIMIT_S:-900}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cubby/emulator
isolinux=/usr/lib/ISOLINUX/isolinux.bin
ldlinux=/usr/lib/syslinux/modules/bios/ldlinux.c32
bios=/usr/share/bochs/BIOS-bochs-latest
vgabios=/usr/share/vgabios/vgabios.bin

skip() {
  echo "skipped: $*"
  exit 0
}

for tool in bochs script xorriso cpio go; do
  command -v "$tool" >/dev/null || skip "no $tool on this machine"
done
for file in "$isolinux" "$ldlinux" "$bios" "$vgabios"; do
  [ -e "$file" ] || skip "no $file: install the packages named in this script"
done
compgen -G '/usr/lib/*/bochs/plugins/libbx_term_gui.so' >/dev/null || skip "no bochs-term on this machine"

work=$(mktemp -d)
stop() {
  [ ! -s "$work/pid" ] || kill -9 "$(cat "$work/pid")" 2>/dev/null || true
  rm -rf "$work"
}
trap stop EXIT

# fetch_kernel prints the path of a kernel image, from the cache or the
# distribution's package for virtual machines, the smallest there is.
fetch_kernel() {
  local package
  if [ ! -s "$cache/vmlinuz" ]; then
    package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends:/ {print $2; exit}') || true
    [ -n "$package" ] || return 1
    mkdir -p "$cache" "$work/package"
    (
      cd "$work/package"
      apt-get download -qq "$package" && dpkg-deb --fsys-tarfile ./*.deb | tar -x ./boot && mv boot/vmlinuz-* "$cache/vmlinuz"
    ) >&2 || return 1
  fi
  echo "$cache/vmlinuz"
}
kernel=${KERNEL_IMAGE:-$(fetch_kernel)} || skip "no kernel image: set KERNEL_IMAGE"

# Go's own garbage collector has AVX-512 code that Bochs 2.7 gets wrong, so it
# is left out.
export CGO_ENABLED=0 GOOS=linux GOARCH=amd64 GOEXPERIMENT=nogreenteagc
mkdir -p "$work/root" "$work/iso"
go test -c -ldflags='-s -w' -o "$work/root/tests" ./runtime/native/kernel
cat >"$work/init.go" <<'EOF'
package main

import (
	"fmt"
	"os"
	"os/exec"
	"time"
)

// Init passes its arguments to the tests and never ends: the kernel panics
// when it does.
func main() {
	tests := exec.Command("/tests", os.Args[1:]...)
	tests.Stdin, tests.Stdout, tests.Stderr = os.Stdin, os.Stdout, os.Stdout
	fmt.Println("BEGIN")
	err := tests.Run()
	fmt.Printf("END %v\n", err)
	time.Sleep(time.Hour)
}
EOF
go build -ldflags='-s -w' -o "$work/root/init" "$work/init.go"
(cd "$work/root" && find . | cpio --quiet -o -H newc) >"$work/iso/initrd"
cp "$kernel" "$work/iso/vmlinuz"
cp "$isolinux" "$ldlinux" "$work/iso/"

# What Bochs 2.7 claims to have and has not, or not as Linux expects it: compact
# XSAVE areas (321, 323), protection keys (515), and fast short copies without
# fast strings (580), which breaks the kernel's own memmove.
cat >"$work/iso/isolinux.cfg" <<EOF
default test
prompt 0
label test
  kernel vmlinuz
  append initrd=initrd console=ttyS0,115200 quiet mitigations=off clearcpuid=321,323,515,580 -- ${*:--test.v}
EOF
xorriso -as mkisofs -quiet -o "$work/boot.iso" -b isolinux.bin -c boot.cat \
  -no-emul-boot -boot-load-size 4 -boot-info-table "$work/iso" 2>/dev/null

cat >"$work/bochsrc" <<EOF
display_library: term
cpu: model=$model, count=1, ips=100000000, reset_on_triple_fault=0
memory: guest=512, host=512
romimage: file=$bios
vgaromimage: file=$vgabios
ata0-master: type=cdrom, path=$work/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/console
clock: sync=none
log: $work/log
panic: action=fatal
sound: driver=dummy
speaker: enabled=0
EOF
echo c >"$work/continue" # past the prompt of a Bochs with a debugger
: >"$work/console"
mkfifo "$work/keys"
exec 3<>"$work/keys" # a keyboard on which nobody types
(cd "$work" && TERM=xterm exec script -qec 'echo $$ >pid; exec bochs -q -f bochsrc -rc continue' screen) <&3 >/dev/null 2>&1 &
emulator=$!

start=$SECONDS
until grep -qE '^END|Kernel panic' "$work/console"; do
  ((SECONDS - start < limit)) && kill -0 "$emulator" 2>/dev/null || break
  sleep 1
done
tr -d '\r' <"$work/console" | sed -n '/^BEGIN/,$p' >"$work/result"
grep -vE '^ *=== |^BEGIN' "$work/result" || true
if ! grep -q '^END <nil>' "$work/result"; then
  echo "the emulated tests failed, or did not end within $limit s"
  [ -s "$work/result" ] || tail -20 "$work/console" "$work/log"
  exit 1
fi
if [ $# = 0 ] && ! grep -q 'best first: \[avx512vnni' "$work/result"; then
  echo "the emulated CPU $model lacks AVX-512 VNNI: nothing was proven"
  exit 1
fi
echo "passed on an emulated $model in $((SECONDS - start)) s"
